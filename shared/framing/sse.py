"""Server-sent events: a byte stream cut into frames, each keeping its own bytes.

Used by every protocol that streams over SSE. Line ends may be LF, CRLF or CR (WHATWG HTML,
"Parsing an event stream"); a frame is what stands between two blank lines.
"""

import re

from msgspec import Struct

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""A vendor's largest frames are whole images in base64; beyond this the stream is broken."""

# Two line ends of any kind. Whether CR is a line end or half of one is only known by the byte
# behind it; two CRs make a blank line at once, for whoever writes CR alone writes no LF after.
_BLANK_LINE = re.compile(
    rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\n\n|\r\n\r(?=[^\n])|\n\r(?=[^\n])", re.DOTALL
)
_OVERLAP = 3  # the longest beginning of a blank line
_BOM = b"\xef\xbb\xbf"


class FrameTooLargeError(Exception):
    """A frame grew past the bound."""


class SseFrame(Struct, frozen=True, gc=False):
    """One event. `raw` is its bytes, blank line included; a comment has neither event nor data."""

    raw: bytes
    data: bytes
    event: str | None = None


class SseSplitter:
    """Cuts a byte stream into frames. Feeding n bytes in any number of pieces costs O(n)."""

    framing = "sse"

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._pieces: list[bytes] = []  # of a frame that has not ended; joined once, at its end
        self._size = 0
        self._tail = b""  # their last bytes: a blank line may straddle the border
        self._max = max_frame_bytes

    def feed(self, chunk: bytes) -> list[SseFrame]:
        """The frames that `chunk` completes. Raises FrameTooLargeError."""
        buffer, search = chunk, 0
        window = self._tail + chunk if self._pieces else chunk
        find_end = _find_any_end if b"\r" in window else _find_line_feeds
        if self._pieces:
            if find_end(window, 0) < 0:
                self._keep(chunk, window)
                return []
            search = self._size - len(self._tail)
            buffer = b"".join((*self._pieces, chunk))
            self._pieces.clear()
            self._size = 0
        start, frames = 0, list[SseFrame]()
        while (end := find_end(buffer, search)) >= 0:
            if end - start > self._max:
                raise FrameTooLargeError(f"a stream frame exceeds {self._max} bytes")
            frames.append(parse_frame(buffer[start:end]))
            start = search = end
        if start < len(buffer):
            rest = buffer[start:] if start else buffer
            self._keep(rest, rest)
        return frames

    def close(self) -> bytes:
        """What is left of a frame that never ended; empty after a clean end."""
        rest = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        return rest

    def _keep(self, piece: bytes, window: bytes) -> None:
        if not piece:
            return
        self._pieces.append(piece)
        self._size += len(piece)
        self._tail = window[-_OVERLAP:]
        if self._size > self._max:
            raise FrameTooLargeError(f"a stream frame exceeds {self._max} bytes")


def _find_line_feeds(buffer: bytes, start: int) -> int:
    """Where the first frame ends, its blank line included; -1 if it does not."""
    end = buffer.find(b"\n\n", start)
    return end + 2 if end >= 0 else -1


def _find_any_end(buffer: bytes, start: int) -> int:
    blank = _BLANK_LINE.search(buffer, start)
    return blank.end() if blank is not None else -1


def parse_frame(raw: bytes) -> SseFrame:
    """The fields of one frame; several `data` lines are joined by LF."""
    if b"\r" not in raw:  # the two forms that vendors write
        if raw.startswith(b"data: ") and raw.find(b"\n") == len(raw) - 2:
            return SseFrame(raw, raw[6:-2])
        if raw.startswith(b"event: "):
            data = raw.find(b"\n") + 1
            if raw.startswith(b"data: ", data) and raw.find(b"\n", data) == len(raw) - 2:
                event = raw[7 : data - 1].decode("utf-8", "replace")
                return SseFrame(raw, raw[data + 6 : -2], event)
    return _parse_lines(raw)


def _parse_lines(raw: bytes) -> SseFrame:
    event: str | None = None
    data: list[bytes] = []
    text = raw.removeprefix(_BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for line in text.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode("utf-8", "replace")
    return SseFrame(raw, b"\n".join(data), event)


def encode_frame(data: bytes, event: str | None = None) -> bytes:
    """One frame as vendors write it: `event:` (if named), one `data:` line, a blank line."""
    if event is None:
        return b"data: %b\n\n" % data
    return b"event: %b\ndata: %b\n\n" % (event.encode(), data)


COMMENT_PING = b": ping\n\n"
