"""`weir tail`: shows running calls' events live, one line each."""

import asyncio
import sys
from collections.abc import Iterable

import nats
from nats.aio.msg import Msg

from shared.bus import topology
from shared.bus.bus import connection_options
from shared.bus.envelope import Chunk, decode_delivery, decode_end
from shared.bus.frames import Kind
from shared.bus.tap import SAY_EVERY, Interest, Tapped, decode_tapped, encode_interest
from shared.canonical.events import (
    Event,
    Failed,
    Finished,
    PartDelta,
    PartStarted,
    Started,
    UsageReported,
)
from shared.canonical.failures import MalformedAnswerError
from shared.framing.sse import parse_frame
from shared.lifecycle import Stop
from shared.protocols.codec import StreamDecoder
from shared.protocols.registry import CODECS

SHOWN = 100


async def tail(nats_url: str, interest: Interest) -> None:
    """Prints until SIGTERM or Ctrl-C."""
    stop = Stop()
    nc = await nats.connect(
        nats_url.split(","),
        **connection_options("weir-tail"),  # pyright: ignore[reportArgumentType]
    )
    viewer = Viewer(interest)
    await nc.subscribe(
        topology.tap_subject(interest.tenant or "*", interest.agent or "*"), cb=viewer.see
    )
    while not stop.requested.is_set():
        await nc.publish(topology.TAP_CALLS, encode_interest(interest))
        try:
            await asyncio.wait_for(stop.requested.wait(), SAY_EVERY)
        except TimeoutError:
            continue
    await nc.close()


class Viewer:
    """Turns frames into lines. Raw frames are decoded here, not where the call runs."""

    def __init__(self, interest: Interest) -> None:
        self._interest = interest
        self._decoders: dict[str, StreamDecoder] = {}

    async def see(self, msg: Msg) -> None:
        tapped = decode_tapped(msg.data)
        if self._interest.call_id not in ("", tapped.call_id):
            return
        for line in self.lines(tapped):
            sys.stdout.write(f"{tapped.call_id} {tapped.tenant}/{tapped.agent} {line}\n")
        sys.stdout.flush()

    def lines(self, tapped: Tapped) -> Iterable[str]:
        """What one frame says, for the terminal."""
        if tapped.kind is Kind.EVENTS:
            chunks, outcome = decode_delivery(tapped.payload).chunks, None
        else:
            end = decode_end(tapped.payload)
            chunks, outcome = end.chunks, end.outcome
            self._decoders.pop(tapped.call_id, None)
        for chunk in chunks:
            for event in chunk.events or self._decoded(tapped, chunk):
                line = _line(event)
                if line:
                    yield line
        if outcome is not None:
            yield _line(outcome) or f"{type(outcome).__name__.lower()} {tapped.model}"

    def _decoded(self, tapped: Tapped, chunk: Chunk) -> list[Event]:
        """Events of raw frames, which are always of the client's own protocol."""
        codec = CODECS[tapped.protocol]
        decoder = self._decoders.setdefault(tapped.call_id, codec.stream_decoder())
        events: list[Event] = []
        try:
            for raw in chunk.raw.replace(b"\r\n", b"\n").split(b"\n\n"):
                if raw.strip():
                    events += decoder.feed(parse_frame(raw + b"\n\n"))
        except MalformedAnswerError:
            return []  # a whole answer, not a stream; or one that was joined midway
        return events


def _line(event: Event) -> str:
    match event:
        case Started():
            return f"started {event.model}"
        case PartStarted():
            return f"{type(event.part).__name__.lower()} {event.index}"
        case PartDelta():
            return f"  {event.kind} {event.text[:SHOWN]!r}" if event.text else ""
        case UsageReported():
            return f"usage input={event.usage.prompt_total} output={event.usage.output}"
        case Finished():
            return f"finished {event.reason}"
        case Failed():
            return f"failed {event.failure}: {event.message[:SHOWN]}"
        case _:
            return ""
