"""The reply contract: one stream of frames from a sender to a receiver, over core NATS.

The same code stands between provider and pipeline and between pipeline and ingress. Core
NATS delivers at most once; what makes a stream whole again is here:

- The receiver's window is the sender's credit and its memory in one: at most `WINDOW_FRAMES`
  frames of at most `WINDOW_BYTES` are under way, and the sender keeps just those. A sender
  without credit waits, and stops reading from its own source.
- The receiver takes frames in the order of their numbers only. After a gap, a reconnect, or a
  PING that speaks of frames which it has not seen, it asks for them again.
- A receiver answers a PING with what it has granted so far, in case its grants were lost.
- A sender pings every `PING_AFTER`; a receiver that hears nothing for longer probes. Both bear
  a reply subject, so the server itself tells them when the other process is gone
  (`GONE_AFTER` answers of "no responders" in a row: one alone may be a subscription that is
  just being restored). A receiver that hears nothing for `SILENCE_LIMIT` gives the stream up.
- What cannot be repaired is `ReplyLostError`.

Neither side knows what a payload means, nor opens a subscription: `Bus` feeds both.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Protocol

from .frames import NUMBERED, Control, Frame, Kind, Op, encode_control, encode_frame

WINDOW_FRAMES = 64
WINDOW_BYTES = 1024 * 1024
PIECE_BYTES = 512 * 1024
"""A larger payload goes in pieces: a NATS server takes 1 MiB a message unless it is told more."""
PING_AFTER = 5.0
PROBE_AFTER = PING_AFTER + 2.0
SILENCE_LIMIT = 30.0
RESEND_AFTER = 0.25
"""A receiver that asked for frames asks again only after this long."""
KEEP_ENDED = 30.0
"""An ended sender keeps what was not acknowledged for this long."""

GONE_AFTER = 3
MISS_APART = 1.5


class Publish(Protocol):
    """How both ends say something: `Client.publish` of nats-py."""

    def __call__(self, subject: str, payload: bytes = b"", reply: str = "") -> Awaitable[None]: ...


class ReplyLostError(Exception):
    """The stream is broken and cannot be repaired."""


class Misses:
    """Counts the server's answers that nobody listens. What was said while the connection was
    away is answered all at once: only answers that are `MISS_APART` count."""

    def __init__(self) -> None:
        self._count = 0
        self._last = 0.0

    def __bool__(self) -> bool:
        return self._count > 0

    def clear(self) -> None:
        self._count = 0

    def count(self) -> bool:
        """True once there have been enough of them in a row."""
        now = monotonic()
        if self._count == 0 or now - self._last >= MISS_APART:
            self._count += 1
            self._last = now
        return self._count >= GONE_AFTER


class NoResponderError(Exception):
    """Nobody listens on the subject that was called, or nobody took the call in time."""


class BusyError(Exception):
    """The worker that got the call is full."""


class ReplyReceiver:
    """Receives one stream. `next` gives EVENTS frames in order, then END. That END has come is
    said by the bus, for many streams at once."""

    def __init__(self, number: int, subject: str, publish: Publish) -> None:
        self.number = number
        self.subject = subject
        self.control = ""
        self.heard = monotonic()
        self.ended = False
        self._publish = publish
        self._expected = 1
        self._frames: deque[Frame] = deque()
        self._pieces: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._granted = 0
        self._consumed = 0
        self._consumed_bytes = 0
        self._asked_at = 0.0
        self._cancelled = False
        self._misses = Misses()

    @property
    def accepted(self) -> bool:
        return bool(self.control)

    async def wait_accepted(self, timeout: float) -> None:
        """Returns once a worker has taken the call. Raises TimeoutError, and NoResponderError or
        BusyError where somebody has said so."""
        if self.control or self._frames:
            return
        async with asyncio.timeout(timeout):
            while not (self.control or self._frames):
                await self._wait()

    async def next(self) -> Frame:
        """The next frame. Raises ReplyLostError."""
        while (frame := await self._next_frame()).kind in (Kind.PIECE, Kind.DROP):
            if frame.kind is Kind.PIECE:
                self._pieces.append(frame.payload)
            else:
                self._pieces.clear()
        if not self._pieces:
            return frame
        payload = b"".join((*self._pieces, frame.payload))
        self._pieces.clear()
        return Frame(frame.seq, frame.kind, payload)

    async def _next_frame(self) -> Frame:
        while not self._frames:
            await self._wait()
        frame = self._frames.popleft()
        self._consumed = frame.seq
        self._consumed_bytes += len(frame.payload)
        if (
            frame.seq - self._granted >= WINDOW_FRAMES // 4
            or self._consumed_bytes >= WINDOW_BYTES // 4
        ):
            await self._grant()
        return frame

    def pending(self) -> bool:
        """Whether `next` would return at once."""
        return bool(self._frames)

    async def cancel(self) -> None:
        """Tells the sender that nobody listens any more, now or as soon as it is known."""
        self._cancelled = True
        if self.control and not self.ended:
            await self._say(Control(Op.CANCEL))

    async def receive(self, frame: Frame) -> None:
        """Called by the bus for each frame that arrives."""
        self.heard = monotonic()
        self._misses.clear()
        if frame.kind in NUMBERED:
            if frame.seq == self._expected:
                self._take(frame)
            elif frame.seq > self._expected:
                await self.ask_again()
            return
        match frame.kind:
            case Kind.ACCEPTED | Kind.PING:
                await self._learn_control(frame)
            case Kind.BUSY:
                self.fail(BusyError("the worker is full"))
            case Kind.LOST:
                self.fail(ReplyLostError("frames were lost on the bus"))
            case _:
                pass

    def fail(self, error: Exception) -> None:
        """Ends the stream with an error, after the frames that are already here."""
        if self._error is None and not self.ended:
            self._error = error
            self._wake()

    def reconnected(self) -> None:
        """The silence until now, and what nobody heard, were the connection's fault."""
        self.heard = monotonic()
        self._misses.clear()

    async def ask_again(self, *, at_once: bool = False) -> None:
        """Asks for everything from the first missing frame on."""
        now = monotonic()
        if not self.control or self.ended or (now - self._asked_at < RESEND_AFTER and not at_once):
            return
        self._asked_at = now
        await self._say(Control(Op.RESEND, self._expected))

    def nobody_there(self) -> None:
        """Called by the bus when the server says that nobody listens where this one speaks."""
        if not self.control:
            self.fail(NoResponderError("no worker is there"))
            return
        if self._misses.count():
            self.fail(ReplyLostError("the sender is gone"))

    async def tick(self, now: float) -> None:
        """Called by the bus about once a second."""
        silence = now - self.heard
        if silence > SILENCE_LIMIT:
            self.fail(ReplyLostError("the sender fell silent"))
            await self.cancel()
        elif silence > PROBE_AFTER and self.control and not self.ended:
            # once a second: MISS_APART counts every second answer
            await self._say(Control(Op.RESEND, self._expected), reply=self.subject)

    def _take(self, frame: Frame) -> None:
        self._expected += 1
        self._frames.append(frame)
        if frame.kind is Kind.END:
            self.ended = True
        self._wake()

    async def _learn_control(self, frame: Frame) -> None:
        if not self.control:
            self.control = frame.payload.decode()
            self._wake()
        if self._cancelled:
            await self._say(Control(Op.CANCEL))
            return
        if frame.kind is Kind.PING and self._granted:
            await self._grant()
        if frame.seq >= self._expected:
            # What was asked for a moment ago, after a reconnect, nobody may have heard yet.
            await self.ask_again(at_once=frame.kind is Kind.PING)

    async def _grant(self) -> None:
        self._granted = self._consumed
        self._consumed_bytes = 0
        if self.control:
            await self._say(Control(Op.GRANT, self._consumed, WINDOW_FRAMES, WINDOW_BYTES))

    async def _say(self, control: Control, reply: str = "") -> None:
        await self._publish(self.control, encode_control(control), reply)

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class ReplySender:
    """Sends one stream. `on_cancel` is called once, when the receiver no longer listens."""

    def __init__(self, subject: str, control: str, publish: Publish) -> None:
        self.subject = subject
        self.control = control
        self.cancelled = False
        self.finished = False
        self.on_cancel: Callable[[], object] | None = None
        self._torn = False
        self._publish = publish
        self._seq = 0
        self._kept: deque[tuple[int, bytes]] = deque()
        self._kept_bytes = 0
        self._frames_allowed = WINDOW_FRAMES
        self._bytes_allowed = WINDOW_BYTES
        self._spoke = monotonic()
        self._pinged = self._spoke
        self._misses = Misses()
        self._waiter: asyncio.Future[None] | None = None

    async def accept(self) -> None:
        await self._send_unnumbered(Kind.ACCEPTED, self.control.encode())

    async def refuse_busy(self) -> None:
        self.finished = True
        await self._send_unnumbered(Kind.BUSY)

    async def send(self, payload: bytes) -> None:
        """Sends an EVENTS frame, waiting for credit. Silently drops it once cancelled."""
        if len(payload) > PIECE_BYTES:
            payload = await self._send_pieces(payload)
        if await self._credit(len(payload)):
            await self._send_numbered(Kind.EVENTS, payload)

    async def end(self, payload: bytes) -> None:
        """Sends END, the last of it without waiting for credit: nothing follows it."""
        if self.finished:
            return
        if self._torn:
            await self._send_numbered(Kind.DROP, b"")
        if len(payload) > PIECE_BYTES:
            payload = await self._send_pieces(payload)
        self.finished = True
        await self._send_numbered(Kind.END, payload)

    async def abandon(self) -> None:
        """Gives up a stream that got no END: the receiver hears that it is lost."""
        if not self.finished:
            self.finished = True
            await self._send_unnumbered(Kind.LOST)

    async def _send_pieces(self, payload: bytes) -> bytes:
        """Sends all but the last piece of a large payload, which it returns."""
        self._torn = True
        last = (len(payload) - 1) // PIECE_BYTES * PIECE_BYTES
        for start in range(0, last, PIECE_BYTES):
            if await self._credit(PIECE_BYTES):
                await self._send_numbered(Kind.PIECE, payload[start : start + PIECE_BYTES])
        self._torn = False
        return payload[last:]

    async def _credit(self, size: int) -> bool:
        """Waits until so many bytes may be sent; False once nobody listens any more."""
        while not self.has_credit(size):
            if self.cancelled:
                return False
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return True

    @property
    def settled(self) -> bool:
        """Whether it can be forgotten before the bus hears that it has arrived whole."""
        expired = monotonic() - self._spoke > KEEP_ENDED
        return self.finished and (not self._seq or self.cancelled or expired)

    async def hear(self, control: Control) -> None:
        """Called by the bus for each control message."""
        self._misses.clear()
        match control.op:
            case Op.GRANT:
                self._forget_through(control.seq)
                self._frames_allowed = control.frames
                self._bytes_allowed = control.size
                self._wake()
            case Op.RESEND:
                await self._send_again(control.seq)
            case Op.CANCEL:
                self._cancel()

    def nobody_there(self) -> None:
        """Called by the bus when the server says that nobody hears this one."""
        if self._misses.count():
            self._cancel()

    def reconnected(self) -> None:
        """What nobody heard until now was the connection's fault."""
        self._misses.clear()
        self._spoke = monotonic()

    async def ping(self) -> None:
        """Says how far it is; the server answers if nobody is there to hear it."""
        self._pinged = monotonic()
        frame = Frame(self._seq, Kind.PING, self.control.encode())
        await self._publish(self.subject, encode_frame(frame), self.control)

    async def tick(self, now: float) -> None:
        """Called by the bus about once a second."""
        due = MISS_APART if self._misses else PING_AFTER
        if now - self._pinged > due and not self.finished:
            await self.ping()

    def has_credit(self, size: int) -> bool:
        """Whether so many bytes may be sent now."""
        if not self._kept:
            return True  # one frame may always go, however large
        return (
            len(self._kept) < self._frames_allowed
            and self._kept_bytes + size <= self._bytes_allowed
        )

    async def _send_numbered(self, kind: Kind, payload: bytes) -> None:
        self._seq += 1
        data = encode_frame(Frame(self._seq, kind, payload))
        self._kept.append((self._seq, data))
        self._kept_bytes += len(data)
        self._spoke = monotonic()
        await self._publish(self.subject, data)

    async def _send_unnumbered(self, kind: Kind, payload: bytes = b"") -> None:
        self._spoke = monotonic()
        await self._publish(self.subject, encode_frame(Frame(self._seq, kind, payload)))

    async def _send_again(self, first: int) -> None:
        if first <= self._seq and (not self._kept or first < self._kept[0][0]):
            await self._send_unnumbered(Kind.LOST)
            self._cancel()
            return
        for seq, data in tuple(self._kept):
            if seq >= first:
                await self._publish(self.subject, data)

    def _forget_through(self, seq: int) -> None:
        while self._kept and self._kept[0][0] <= seq:
            self._kept_bytes -= len(self._kept.popleft()[1])

    def _cancel(self) -> None:
        if not self.cancelled:
            self.cancelled = True
            self._wake()
            if self.on_cancel is not None and not self.finished:
                self.on_cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
