"""A role that takes work off the bus: FastStream's subscriber in front, one task a piece.

Used by pipeline and providers. The subscriber only starts a task and returns, so that no
handler's exception reaches the subscription and no work waits behind other work. A worker
without a free slot leaves its queue groups, and answers `busy` to what was already on its way,
so that nothing waits behind a full worker while another is free.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

from faststream.nats import NatsBroker, NatsMessage
from nats.errors import Error as NatsError

from shared.config import Settings

from .bus import Bus, connection_options
from .replies import ReplySender

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

log = logging.getLogger("weir.worker")

Run = Callable[[bytes, ReplySender], Coroutine[None, None, None]]
"""Does one piece of work: the envelope's bytes, and where the answer goes. Must not raise."""

REJOIN_BELOW = 0.9
"""A worker that was full takes work again once this share of its slots is used."""
CUT_GRACE = 5.0
"""How long work that was cut may take to say so, in seconds."""


class Worker:
    """Subscriptions in queue groups, tasks with slots, and an orderly end."""

    def __init__(self, role: str, settings: Settings) -> None:
        self.bus = Bus(role)
        self._slots = settings.slots
        self._drain_timeout = settings.timeouts.drain
        self._tasks: set[asyncio.Task[None]] = set()
        self._joined = False
        self._draining = False
        self._membership: asyncio.Task[None] | None = None
        self.broker = NatsBroker(
            settings.nats_url.split(","),
            logger=None,
            apply_types=False,
            reconnected_cb=self.bus.on_reconnect,
            **connection_options(self.bus.instance),  # pyright: ignore[reportArgumentType]
        )

    @property
    def running(self) -> int:
        """How many pieces of work are under way."""
        return len(self._tasks)

    def subscribe(self, subject: str, queue: str, run: Run, description: str) -> None:
        """Declares a request-level subscription; call before `start`."""

        async def take(message: NatsMessage) -> None:
            try:
                await self._take(message, run)
            except (Exception, asyncio.CancelledError):
                # CancelledError would end the subscription, and nobody would hear of it.
                log.exception("work was not taken")

        self.broker.subscriber(
            subject, queue=queue, decoder=_undecoded, no_reply=True, description=description
        )(take)

    async def _take(self, message: NatsMessage, run: Run) -> None:
        body = _body_out_of(message)
        sender = self.bus.answer(message.reply_to)
        if self._draining or self._full:
            await sender.refuse_busy()
            return
        await sender.accept()
        task = asyncio.create_task(_run(run, body, sender))  # noqa: TID251 - kept
        sender.on_cancel = task.cancel
        self._tasks.add(task)
        task.add_done_callback(self._done)
        if self._full:
            self._review_membership()

    async def connect(self) -> None:
        """Opens the connection and the inboxes, before any work comes in."""
        self.bus.attach(await self.broker.connect())
        await self.bus.listen()

    async def start(self) -> None:
        """From here on work comes in."""
        await self.broker.start()
        self._joined = True

    async def drain(self, cut: asyncio.Event) -> None:
        """Leaves the queue groups first, then lets what runs finish, until the grace is over
        or `cut` is set; what still runs then is cancelled, and ends with an error."""
        self._draining = True
        if self._membership is not None:
            await asyncio.wait((self._membership,))
        await self._leave()
        if self._tasks:
            finished = asyncio.gather(*self._tasks, return_exceptions=True)
            waiting = asyncio.create_task(cut.wait())  # noqa: TID251 - awaited
            await asyncio.wait(
                (finished, waiting),
                timeout=self._drain_timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
            waiting.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CUT_GRACE)

    async def close(self) -> None:
        await self.bus.close()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("work failed", exc_info=task.exception())
        if not self._joined:
            self._review_membership()

    def _review_membership(self) -> None:
        if self._membership is None and not self._draining:
            self._membership = asyncio.create_task(self._adjust())  # noqa: TID251 - kept
            self._membership.add_done_callback(self._adjusted)

    def _adjusted(self, task: asyncio.Task[None]) -> None:
        self._membership = None
        if not task.cancelled() and task.exception() is not None:
            log.error("queue group membership", exc_info=task.exception())
        elif (self._joined and self._full) or (not self._joined and self._roomy):
            self._review_membership()  # it changed meanwhile

    async def _adjust(self) -> None:
        """Leaves the queue groups when full, joins them again when there is room."""
        if self._joined and self._full:
            await self._leave()
        elif not self._joined and self._roomy:
            for subscriber in self.broker.subscribers:
                await subscriber.start()
            self._joined = True

    @property
    def _full(self) -> bool:
        return len(self._tasks) >= self._slots

    @property
    def _roomy(self) -> bool:
        return len(self._tasks) <= self._slots * REJOIN_BELOW

    async def _leave(self) -> None:
        """Leaves the queue groups; what was on its way is still answered. FastStream's own stop
        would drop it, and its caller would wait for nothing."""
        if not self._joined:
            return
        self._joined = False
        for subscriber in self.broker.subscribers:
            subscription: Subscription | None = getattr(subscriber, "subscription", None)
            if subscription is not None and self.bus.ready:
                subscriber.subscription = None  # pyright: ignore[reportAttributeAccessIssue]
                await self._drained(subscription)
            await subscriber.stop()

    async def _drained(self, subscription: "Subscription") -> None:
        """Takes everything that the server has sent until it heard that nothing more shall come.

        nats-py's drain alone asks whether all is here before it has said so: its PING overtakes
        its UNSUB. So that is said a round trip earlier.
        """
        nc, number = self.bus.nc, subscription._id  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        try:
            await nc._send_unsubscribe(number)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            await nc.flush()
            await subscription.drain()
        except NatsError as error:  # the server went away meanwhile
            log.warning("while leaving a queue group: %s", type(error).__name__)
            nc._remove_sub(number)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            await nc._send_unsubscribe(number)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


async def _run(run: Run, body: bytes, sender: ReplySender) -> None:
    """No work may end without its stream: whoever waits for it would wait for ever."""
    try:
        await run(body, sender)
    finally:
        await sender.abandon()


def _body_out_of(message: NatsMessage) -> bytes:
    """FastStream's message refers to itself (its parser's cache keeps it), so it stays until the
    garbage collector comes by, which is seldom: its body, up to 32 MiB, must not."""
    body, message.body = message.body, b""
    message.raw_message.data = b""
    return body


async def _undecoded(message: NatsMessage) -> NatsMessage:
    """Leaves the bytes to msgspec: FastStream would parse them as JSON."""
    return message
