"""An answer as the bytes that go out, when, and how it ends: HTTP/1.1 framing and faults.

A tape is made once for a script and its options and kept, with `SERIAL` where each call's own
serial comes in. Pure: `playback.py` runs it against a transport.
"""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Literal

from msgspec import Struct

from .options import Fault, Options
from .script import Refusal, Script
from .wire.wire_format import Frame, WireFormat

# "stall": nothing more comes and the connection stays open; "cut": it is reset
Ending = Literal["finished", "stall", "cut"]

LAST_CHUNK = b"0\r\n\r\n"
# Unpaced chunks are written together, as an early reader of a fast vendor's socket finds them,
# but in portions that let back-pressure in.
PORTION = 64 * 1024
_REASONS = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}


class Tape(Struct, frozen=True):
    """`writes` in order: the first is due after `first` seconds, each next `pace` seconds on."""

    writes: tuple[bytes, ...]
    first: float = 0
    pace: float = 0
    ending: Ending = "finished"

    @property
    def size(self) -> int:
        return sum(map(len, self.writes))


def encode_head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def encode_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def encode_whole(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """A complete unstreamed answer."""
    described = {"content-type": "application/json", "content-length": str(len(body))}
    return encode_head(status, {**described, **(headers or {})}) + body


def record_stream(wire: WireFormat, script: Script, options: Options) -> Tape:
    """The tape of a streamed answer: every frame is an HTTP chunk of its own."""
    head = encode_head(
        200,
        {
            "content-type": wire.stream_type,
            "transfer-encoding": "chunked",
            **vendor_headers(wire, 200, options),
        },
    )
    beats, closing = _beats(wire.encode_stream(script))
    ending: Ending = "finished"
    if options.fault:
        beats, closing, ending = _spoil(wire, beats, closing, options.fault)
    parts = [head, *beats]
    parts[:2] = [b"".join(parts[:2])]  # the first byte comes with the first content
    parts[-1] += closing
    writes = tuple(parts) if options.pace else tuple(_portions(parts))
    return Tape(writes, options.first / 1000, options.pace / 1000, ending)


def record_answer(wire: WireFormat, script: Script, options: Options) -> Tape:
    """The tape of an unstreamed answer, which takes as long as the stream would."""
    fault = options.fault
    body = wire.encode_answer(script)
    headers = vendor_headers(wire, 200, options)
    delay = (options.first + options.pace * script.chunks) / 1000
    if fault is None:
        return Tape((encode_whole(200, body, headers),), delay)
    share = len(body) * min(fault.after, script.chunks) // max(script.chunks, 1)
    part = body[: min(share, len(body) - 2)]  # never the whole of it, nor all but its newline
    if fault.kind == "error":
        return Tape((encode_whole(200, wire.encode_refusal(Refusal(500)), headers),), delay)
    if fault.kind == "malformed":
        return Tape((encode_whole(200, part, headers),), delay)
    whole = encode_whole(200, body, headers)
    return Tape((whole[: len(whole) - len(body)] + part,), delay, 0, fault.kind)


def vendor_headers(wire: WireFormat, status: int, options: Options) -> dict[str, str]:
    headers = wire.encode_headers(status)
    if options.retry_after is None:
        return headers
    return {**headers, "retry-after": str(options.retry_after)}


def _beats(frames: Iterable[Frame]) -> tuple[list[bytes], bytes]:
    """Pieces that end in a content chunk each, and what comes after the last of these."""
    beats: list[bytes] = []
    held: list[bytes] = []
    for frame in frames:
        held.append(encode_chunk(frame.data))
        if frame.content:
            beats.append(b"".join(held))
            held.clear()
    return beats, b"".join(held) + LAST_CHUNK


def _spoil(
    wire: WireFormat, beats: list[bytes], closing: bytes, fault: Fault
) -> tuple[list[bytes], bytes, Ending]:
    kept = beats[: fault.after]
    if fault.kind == "error":
        return kept, encode_chunk(wire.encode_stream_error()) + LAST_CHUNK, "finished"
    if fault.kind == "malformed":
        spoiled = [*kept, encode_chunk(wire.malformed), *beats[fault.after :]]
        return spoiled, closing, "finished"
    return kept, b"", fault.kind


def _portions(parts: list[bytes]) -> Iterable[bytes]:
    held: list[bytes] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= PORTION:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
