"""A process's place on the bus: one connection, one inbox for replies, one for control.

Every role owns one `Bus`. It hands out senders and receivers, gives them what arrives, and
keeps their clock. Nothing that happens in a callback may escape from it: an exception there,
`CancelledError` included, would end the subscription silently.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

import msgspec
import nats
from nats.errors import Error as NatsError

from . import topology
from .frames import (
    SETTLED,
    Control,
    Frame,
    Kind,
    Op,
    Settled,
    decode_control,
    decode_frame,
    decode_settled,
    encode_control,
    encode_frame,
    encode_settled,
)
from .replies import ReplyReceiver, ReplySender

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

log = logging.getLogger("weir.bus")

PENDING_BYTES = 64 * 1024 * 1024
"""What may wait to be written while the server is away. nats-py's own 2 MiB refuses a body."""
TICK = 1.0
SETTLE_AFTER = 0.05
NO_RESPONDERS = "503"


def connection_options(name: str) -> dict[str, object]:
    """Options of nats.connect: it reconnects without limit and never blocks its reader."""
    return {
        "name": name,
        "allow_reconnect": True,
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": 0.2,
        "ping_interval": 10,
        "max_outstanding_pings": 3,
        "pending_size": PENDING_BYTES,
        "flusher_queue_size": 4096,
        "error_cb": _log_error,
    }


async def _log_error(error: Exception) -> None:
    log.warning("nats: %s", type(error).__name__ if isinstance(error, NatsError) else error)


class Bus:
    """One process on the bus. `connect`, then `open` receivers and `answer` with senders."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.instance = f"{role}-{secrets.token_hex(6)}"
        self.nc: Client
        self._receivers: dict[int, ReplyReceiver] = {}
        self._senders: dict[int, ReplySender] = {}
        self._number = 0
        self._ticker: asyncio.Task[None] | None = None
        self.on_reconnected: list[Callable[[], object]] = []
        self._settled: dict[str, list[int]] = {}
        self._settling: asyncio.Task[None] | None = None

    async def connect(self, url: str) -> None:
        """Raises what nats.connect raises when no server can be reached."""
        options = connection_options(self.instance)
        self.attach(
            await nats.connect(url.split(","), reconnected_cb=self.on_reconnect, **options)  # pyright: ignore[reportArgumentType]
        )
        await self.listen()

    def attach(self, nc: "Client") -> None:
        """Uses a connection that somebody else has opened."""
        self.nc = nc

    async def listen(self) -> None:
        await self.nc.subscribe(
            topology.reply_subject(self.instance, "*"),
            cb=self._on_frame,
            pending_bytes_limit=512 * 1024 * 1024,
        )
        await self.nc.subscribe(topology.control_subject(self.instance, "*"), cb=self._on_control)
        self._ticker = asyncio.create_task(self._tick(), name="bus-ticker")  # noqa: TID251 - kept

    async def close(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
        try:
            await self.nc.drain()
        except NatsError:
            with suppress(NatsError, RuntimeError):  # uvloop's, where the socket is gone
                await self.nc.close()

    @property
    def ready(self) -> bool:
        return self.nc.is_connected

    async def _publish(self, subject: str, payload: bytes = b"", reply: str = "") -> None:
        """What the two ends of a stream say. It may be lost, as everything on core NATS: what
        matters is kept, and asked for again."""
        try:
            await self.nc.publish(subject, payload, reply)
        except NatsError as error:
            log.debug("not sent: %s", type(error).__name__)

    async def call(self, subject: str, envelope: bytes) -> ReplyReceiver:
        """Publishes an envelope and returns where its answer will arrive."""
        self._number += 1
        number = self._number
        receiver = ReplyReceiver(
            number, topology.reply_subject(self.instance, number), self._publish
        )
        self._receivers[number] = receiver
        try:
            await self.nc.publish(subject, envelope, reply=receiver.subject)
        except BaseException:
            del self._receivers[number]
            raise
        return receiver

    def forget(self, receiver: ReplyReceiver) -> None:
        """The caller is done with it. A stream that arrived whole is settled with its sender."""
        self._receivers.pop(receiver.number, None)
        if receiver.ended and receiver.control:
            instance, _, number = receiver.control.rpartition(".")
            if not self._settled:
                asyncio.get_running_loop().call_later(SETTLE_AFTER, self._start_settling)
            self._settled.setdefault(instance, []).append(int(number))

    def _start_settling(self) -> None:
        self._settling = asyncio.create_task(self._settle())  # noqa: TID251 - kept

    async def _settle(self) -> None:
        """Says for many streams at once that they arrived: one message in place of hundreds."""
        settled, self._settled = self._settled, {}
        for instance, numbers in settled.items():
            try:
                await self.nc.publish(
                    f"{instance}.{SETTLED}", encode_settled(Settled(tuple(numbers)))
                )
            except NatsError as error:
                log.debug("settling: %s", type(error).__name__)

    def answer(self, reply_to: str) -> ReplySender:
        """A sender for the answer to an envelope that came with `reply_to`."""
        self._number += 1
        number = self._number
        sender = ReplySender(
            reply_to, topology.control_subject(self.instance, number), self._publish
        )
        self._senders[number] = sender
        return sender

    @property
    def open_streams(self) -> tuple[int, int]:
        """How many receivers and senders are remembered."""
        return len(self._receivers), len(self._senders)

    async def _on_frame(self, msg: "Msg") -> None:
        try:
            receiver = self._receivers.get(_number_of(msg.subject))
            if receiver is None:
                await self._turn_away(msg)
                return
            if _nobody_there(msg):
                receiver.nobody_there()
                return
            await receiver.receive(decode_frame(msg.data))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - see the class
            _report(error, "frame")

    async def _turn_away(self, msg: "Msg") -> None:
        """Tells a worker to stop that answers to a call which was given up."""
        frame = decode_frame(msg.data) if msg.data else None
        if frame is not None and frame.kind in (Kind.ACCEPTED, Kind.PING):
            await self.nc.publish(frame.payload.decode(), encode_control(Control(Op.CANCEL)))

    async def _on_control(self, msg: "Msg") -> None:
        try:
            number = _number_of(msg.subject)
            if number == SETTLED:
                await self._hear_of_all(msg)
                return
            sender = self._senders.get(number)
            if sender is None:
                if msg.reply:  # a receiver that waits for more than there will ever be
                    await self._publish(msg.reply, encode_frame(Frame(0, Kind.LOST)))
                return
            if _nobody_there(msg):
                sender.nobody_there()
            else:
                await sender.hear(decode_control(msg.data))
            if sender.settled:
                self._senders.pop(number, None)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - see the class
            _report(error, "control message")

    async def _hear_of_all(self, msg: "Msg") -> None:
        """What is said about no single stream: many that are settled, or whether we are there."""
        if msg.data:
            for settled in decode_settled(msg.data).numbers:
                self._senders.pop(settled, None)
        elif msg.reply:
            await msg.respond(b"")

    async def on_reconnect(self) -> None:
        """Both ends look for what was lost: receivers ask, senders say how far they are."""
        try:
            for receiver in tuple(self._receivers.values()):
                receiver.reconnected()
                await receiver.ask_again(at_once=True)
            for sender in tuple(self._senders.values()):
                sender.reconnected()
                await sender.ping()
            for heard in self.on_reconnected:
                heard()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - see the class
            _report(error, "reconnect")

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            try:
                # What is said while the server is away would all be heard at once, later.
                if self.nc.is_connected:
                    await self._tick_once(monotonic())
            except Exception:
                log.exception("tick")

    async def _tick_once(self, now: float) -> None:
        for receiver in tuple(self._receivers.values()):
            await receiver.tick(now)
        for number, sender in tuple(self._senders.items()):
            if sender.settled:
                self._senders.pop(number, None)
            else:
                await sender.tick(now)


def _report(error: BaseException, what: str) -> None:
    """Logs what a callback ran into; it ends here."""
    if isinstance(error, msgspec.DecodeError):
        log.warning("undecodable %s", what)
    elif not isinstance(error, asyncio.CancelledError):
        log.error("while receiving a %s", what, exc_info=error)


def _nobody_there(msg: "Msg") -> bool:
    """The server's own answer where a message with a reply subject found no subscription."""
    return not msg.data and bool(msg.headers) and msg.headers.get("Status") == NO_RESPONDERS


def _number_of(subject: str) -> int:
    return int(subject.rpartition(".")[2])
