"""Reading a vendor's stream: bytes to chunks, keeping account, and keeping time."""

import asyncio
from contextlib import AbstractAsyncContextManager

from shared.bus.envelope import Chunk
from shared.canonical.events import (
    TERMINAL,
    Cancelled,
    Event,
    Failed,
    Finished,
    PartDelta,
    Started,
    UsageReported,
)
from shared.canonical.usage import Usage
from shared.config import Timeouts
from shared.framing.sse import SseFrame, SseSplitter, parse_frame
from shared.protocols.codec import Codec

CLOCK_STEP = 0.01
"""The loop's own clock goes in milliseconds: a timer may fire before its time has quite come."""


class StreamReading:
    """Turns reads into chunks, and remembers the model, the usage and how it ended.

    Without `want_events` the frames of a read become one chunk of raw bytes, however many
    they are. A frame that only reports usage is kept from a client that did not ask for it
    (`hide_usage`); the frame of a failure is not forwarded but kept as `terminal_raw`.
    """

    def __init__(
        self, codec: Codec, *, want_events: bool, keep_raw: bool, hide_usage: bool
    ) -> None:
        self.want_events = want_events
        self.model = ""
        self.usage: Usage | None = None
        self.terminal: Finished | Failed | Cancelled | None = None
        self.terminal_raw = b""
        self.received_chars = 0
        self._keep_raw = keep_raw
        self._hide_usage = hide_usage
        self._splitter = SseSplitter()
        self._decoder = codec.stream_decoder()

    def feed(self, data: bytes) -> tuple[Chunk, ...]:
        """Raises MalformedAnswerError, FrameTooLargeError."""
        return self._chunks(self._splitter.feed(data))

    def close(self) -> tuple[Chunk, ...]:
        """The end of the bytes, which some protocols take for the end of the answer."""
        rest = self._splitter.close()
        chunks = self._chunks([parse_frame(rest)]) if rest.strip() else ()
        if self.terminal is not None:
            return chunks
        for event in self._decoder.close():
            self._note(event, b"")
        return chunks

    def _chunks(self, frames: list[SseFrame]) -> tuple[Chunk, ...]:
        chunks: list[Chunk] = []
        raws: list[bytes] = []
        for frame in frames:
            events = self._decoder.feed(frame)
            for event in events:
                self._note(event, frame.raw)
            if isinstance(self.terminal, Failed):
                break
            raw = frame.raw if self._keep_raw and not self._hidden(events) else b""
            if self.want_events:
                chunks.append(Chunk(raw, self._visible(events)))
            else:
                raws.append(raw)
        if any(raws):
            chunks.append(Chunk(b"".join(raws)))
        return tuple(chunks)

    def _note(self, event: Event, raw: bytes) -> None:
        match event:
            case PartDelta():
                self.received_chars += len(event.text)
            case UsageReported():
                known = self.usage
                self.usage = event.usage if known is None else known.merged(event.usage)
            case Started():
                self.model = event.model
            case Finished() | Failed() | Cancelled():
                self.terminal = event
                self.terminal_raw = raw if self._keep_raw else b""
            case _:
                pass

    def _hidden(self, events: list[Event]) -> bool:
        return (
            self._hide_usage
            and bool(events)
            and all(isinstance(event, UsageReported) for event in events)
        )

    def _visible(self, events: list[Event]) -> tuple[Event, ...]:
        """The terminal event travels in END, once."""
        if self.terminal is None:
            return tuple(events)
        return tuple(event for event in events if not isinstance(event, TERMINAL))


class Timer:
    """The clocks of one attempt: first token, idle and total, one running at a time."""

    def __init__(self, timeouts: Timeouts, remaining_us: int) -> None:
        loop = asyncio.get_running_loop()
        self._now = loop.time
        self._idle = timeouts.idle
        self._first_token = timeouts.first_token
        self._deadline = loop.time() + min(timeouts.total, remaining_us / 1e6)
        self._phase = "first token"
        self._stopped = False
        self._timeout = asyncio.timeout_at(min(self._now() + timeouts.first_token, self._deadline))

    def running(self) -> AbstractAsyncContextManager[object]:
        """Raises TimeoutError inside when a clock runs out."""
        return self._timeout

    def progress(self) -> None:
        """Something arrived: from now on the idle clock runs."""
        if self._stopped:
            return
        self._phase = "idle"
        self._timeout.reschedule(min(self._now() + self._idle, self._deadline))

    def pause(self) -> None:
        """Only the call's total time runs until the next progress."""
        self._timeout.reschedule(self._deadline)

    def stop(self) -> None:
        """The attempt is over; what still arrives is of no interest."""
        self._stopped = True

    def describe(self) -> str:
        """Which clock ran out, for the error message."""
        if self._now() + CLOCK_STEP >= self._deadline:
            return "the call's total time is over"
        seconds = self._first_token if self._phase == "first token" else self._idle
        return f"the vendor was silent for {seconds:g} s ({self._phase} timeout)"
