"""The numbered events of a resumable stream, as ingress logs them and another one reads them.

They lie in a JetStream stream in memory, bounded in bytes and time; a reader notices a number
that is missing. Nothing here knows HTTP.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import nats.errors
from msgspec import Struct
from nats.js.api import DeliverPolicy

from . import topology
from .envelope import Principal

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext


log = logging.getLogger("weir.bus")

RESTORE_AFTER = 0.5


class Logged(Struct, frozen=True, kw_only=True, array_like=True):
    """Frames that went out together. `first` is the number of the first one; the message that
    opens a log has none and says whose the stream is and which ingress (`instance`) runs it."""

    first: int
    frames: tuple[bytes, ...] = ()
    ended: bool = False
    instance: str = ""
    protocol: str = ""
    owner: Principal | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Logged).decode


class ReplayMissingError(Exception):
    """There is no such stream, or a part of it is no longer kept."""


class ReplayKeeper:
    """The log lies in the server's memory: a server that was started again has none, until
    somebody declares it."""

    def __init__(self, js: "JetStreamContext", replicas: int) -> None:
        self._js = js
        self._replicas = replicas
        self._restoring: asyncio.Task[None] | None = None

    def restore(self) -> None:
        """Called after each reconnect."""
        if self._restoring is None or self._restoring.done():
            self._restoring = asyncio.create_task(self._restore())  # noqa: TID251 - kept

    def stop(self) -> None:
        if self._restoring is not None:
            self._restoring.cancel()

    async def _restore(self) -> None:
        while True:
            try:
                await topology.declare(self._js, self._replicas)
            except (nats.errors.Error, TimeoutError) as error:
                log.debug("the log of streams is not yet there: %s", type(error).__name__)
                await asyncio.sleep(RESTORE_AFTER)
            else:
                return


class ReplayLog:
    """Numbers one stream's frames and logs them. Frames are counted from 1. `split` gives the
    frames that count of what is written: of the framing, nothing else is known here."""

    def __init__(
        self,
        nc: "Client",
        call_id: str,
        owner: Principal,
        split: Callable[[bytes], list[bytes]],
    ) -> None:
        self._nc = nc
        self._subject = topology.replay_subject(owner.tenant, call_id)
        self._owner = owner
        self._next = 1
        self._split = split

    async def open(self, instance: str, protocol: str) -> None:
        head = Logged(first=0, instance=instance, protocol=protocol, owner=self._owner)
        await self._log(head)

    async def append(self, data: bytes) -> bytes:
        """Logs whole frames; returns them with their numbers. Comments have none, and are not
        logged."""
        frames = self._split(data)
        if not frames:
            return data
        first = self._next
        numbered = tuple(
            b"id: %d\n%b" % (number, frame) for number, frame in enumerate(frames, first)
        )
        self._next += len(numbered)
        await self._log(Logged(first=first, frames=numbered))
        return b"".join(numbered)

    async def close(self) -> None:
        await self._log(Logged(first=self._next, ended=True))

    async def _log(self, logged: Logged) -> None:
        """What cannot be logged is missing to who resumes, and he is told; who reads now has it."""
        try:
            await self._nc.publish(self._subject, _encode(logged))
        except nats.errors.Error as error:
            log.warning("a resumable stream has a gap: %s", type(error).__name__)


class ReplayReader:
    """Reads a log from after a number on, and goes on as it grows."""

    def __init__(self, js: "JetStreamContext", owner: Principal, call_id: str) -> None:
        self._js = js
        self._owner = owner
        self._subject = topology.replay_subject(owner.tenant, call_id)
        self.instance = ""
        self.protocol = ""
        self.ended = False

    async def open(self, after: int, timeout: float) -> None:
        """Raises ReplayMissingError, for another principal's stream too."""
        self._next = after + 1
        self._subscription = await self._js.subscribe(
            self._subject,
            stream=topology.REPLAY_STREAM,
            ordered_consumer=True,
            deliver_policy=DeliverPolicy.ALL,
        )
        head = await self._receive(timeout)
        if head is None or head.owner != self._owner:
            await self.close()
            raise ReplayMissingError("there is no such stream")
        self.instance, self.protocol = head.instance, head.protocol

    async def next(self, timeout: float) -> bytes:
        """The next frames; b"" if none came in time. Raises ReplayMissingError for a gap."""
        logged = await self._receive(timeout)
        if logged is None:
            return b""
        self.ended = logged.ended
        if logged.first > self._next:
            raise ReplayMissingError("a part of the stream is no longer kept")
        fresh = logged.frames[self._next - logged.first :] if logged.frames else ()
        self._next += len(fresh)
        return b"".join(fresh)

    async def close(self) -> None:
        await self._subscription.unsubscribe()

    async def _receive(self, timeout: float) -> Logged | None:
        try:
            return _decode((await self._subscription.next_msg(timeout)).data)
        except nats.errors.TimeoutError:
            return None
