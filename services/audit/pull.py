"""Takes messages from a pull consumer, in order and without a gap, or says that it can't.

Called by `shard`. nats-py's own `fetch` waits for each message by itself; here a callback
collects them (5 us each). Messages can be lost on the way to a client, when it reconnects or is
slow, and the server brings them again only later, out of order; a gap in the consumer's own
sequence shows that, and the caller opens the consumer anew.
"""

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from .batch import Stored

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

EXPIRES = 3.0
"""How long the server keeps a request open, in seconds."""
GRACE = 2.0
MOST_BYTES = 8 * 1024 * 1024

# Of a request that is over, in a message without a body: the server's own way to say so.
_OVER = frozenset({"404", "408", "409"})
_STILL_OPEN = frozenset({"100"})
_GONE = ("Consumer Deleted", "Consumer is push based", "Leadership Change", "Server Shutdown")


class PullBrokenError(Exception):
    """The consumer must be opened anew."""


class Pull:
    """One consumer's messages."""

    def __init__(self, nc: "Client", stream: str, consumer: str) -> None:
        self._nc = nc
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = nc.new_inbox()
        self._subscription: Subscription | None = None
        self._arrived = asyncio.Event()
        self._buffer: list[Stored] = []
        self._size = 0
        self._first_at = 0.0
        self._asked = 0
        self._deadline = 0.0
        self._delivered = 0
        self._last = 0
        self._broken: str | None = None
        self._woken = False
        self._large = False
        self.pending = 0
        """How many messages the server had left when the last one was sent."""

    @classmethod
    async def open(cls, nc: "Client", stream: str, consumer: str) -> "Pull":
        pull = cls(nc, stream, consumer)
        pull._subscription = await nc.subscribe(pull._inbox, cb=pull._collect)
        return pull

    def wake(self) -> None:
        """From now on `take` returns at once what has arrived."""
        self._woken = True
        self._arrived.set()

    async def close(self) -> None:
        if self._subscription is not None and not self._nc.is_closed:
            await self._subscription.unsubscribe()

    async def acknowledge(self, message: Stored) -> None:
        """This one and all before it."""
        await self._nc.publish(message.reply)

    async def take(self, most: int, patience: float) -> list[Stored]:
        """Up to `most` messages: as soon as there are so many, or when the first of them has
        waited for `patience` seconds. Empty after EXPIRES seconds without any. Raises
        PullBrokenError."""
        give_up = monotonic() + EXPIRES
        while True:
            self._check()
            now = monotonic()
            full = len(self._buffer) >= most or self._size >= MOST_BYTES
            due = self._first_at + patience if self._buffer else give_up
            if full or now >= due or self._woken:
                return self._taken(most)
            await self._ask(most, now)
            self._arrived.clear()
            try:
                async with asyncio.timeout(min(due, self._deadline) - now):
                    await self._arrived.wait()
            except TimeoutError:
                pass

    def _taken(self, most: int) -> list[Stored]:
        taken, self._buffer = self._buffer[:most], self._buffer[most:]
        self._size = sum(len(message.data) for message in self._buffer)
        self._first_at = monotonic()
        return taken

    async def _ask(self, most: int, now: float) -> None:
        if self._asked > 0:
            if now > self._deadline:
                raise PullBrokenError("the server does not answer")
            return
        self._asked = 1 if self._large else most - len(self._buffer)
        self._deadline = now + EXPIRES + GRACE
        request = {"batch": self._asked, "expires": int(EXPIRES * 1e9)}
        if not self._large:
            request["max_bytes"] = MOST_BYTES
        self._large = False
        await self._nc.publish(self._next, msgspec.json.encode(request), reply=self._inbox)

    def _check(self) -> None:
        if self._broken is not None:
            raise PullBrokenError(self._broken)

    async def _collect(self, msg: "Msg") -> None:
        """The subscription's callback: nothing may escape from it."""
        try:
            if msg.headers and "Status" in msg.headers and not msg.data:
                self._hear(msg.headers)
            else:
                self._keep(msg)
        except (ValueError, IndexError) as error:
            self._broken = f"an unreadable message: {error}"
        self._arrived.set()

    def _hear(self, headers: dict[str, str]) -> None:
        status, why = headers["Status"].strip(), headers.get("Description", "")
        if any(reason in why for reason in _GONE) or status not in _OVER | _STILL_OPEN:
            self._broken = why or status
        elif status in _OVER:
            self._asked = 0
            self._large = "MaxBytes" in why and not self._buffer  # it alone is larger than that

    def _keep(self, msg: "Msg") -> None:
        """Its reply subject is $JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.
        <stream sequence>.<consumer sequence>.<time>.<pending>[.<token>]."""
        parts = msg.reply.split(".")
        at = 4 if len(parts) == 9 else 6
        sequence, delivered = int(parts[at + 1]), int(parts[at + 2])
        self._asked -= 1
        if delivered != self._delivered + 1:
            self._broken = "messages were lost on their way"
            return
        self._delivered = delivered
        if sequence <= self._last:  # brought again, since it took long to acknowledge
            return
        self._last = sequence
        self.pending = int(parts[at + 4])
        if not self._buffer:
            self._first_at = monotonic()
        self._buffer.append(Stored(sequence, msg.subject, msg.data, msg.reply))
        self._size += len(msg.data)
