"""Content codings of requests and answers: gzip, deflate, zstd, lz4. Pure.

zstd and lz4 are those packages that ClickHouse's own client brings along.
"""

import sys
import zlib
from collections.abc import Callable
from typing import Any, Protocol, cast

import lz4.frame

from .errors import EngineError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

UNKNOWN_COMPRESSION = 89
CANNOT_DECOMPRESS = 271
TOO_LARGE = 1006
MOST_BYTES = 512 * 1024 * 1024
"""No body is larger than this, decompressed."""


class Encoder(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Decoder(Protocol):
    """One frame's decoder; `unused_data` is what stands after that frame."""

    eof: bool
    unused_data: bytes | None

    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


class _Lz4Encoder:
    """lz4's own wants to be told where a frame begins."""

    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._head = cast("bytes", self._frame.begin())

    def compress(self, data: bytes) -> bytes:
        head, self._head = self._head, b""
        return head + cast("bytes", self._frame.compress(data))

    def flush(self) -> bytes:
        head, self._head = self._head, b""
        return head + cast("bytes", self._frame.flush())


def encoder(accepted: str) -> tuple[str, Encoder] | None:
    """The first coding of an Accept-Encoding that is offered here, with its encoder."""
    for wanted in accepted.split(","):
        name, _, quality = wanted.strip().partition(";")
        if quality.replace(" ", "") in ("q=0", "q=0.0"):
            continue
        match name.strip().lower():
            case "zstd":
                return "zstd", cast("Encoder", zstd.ZstdCompressor(level=1))
            case "lz4":
                return "lz4", _Lz4Encoder()
            case "gzip":
                return "gzip", zlib.compressobj(level=1, wbits=31)
            case "deflate":
                return "deflate", zlib.compressobj(level=1)
            case _:
                pass
    return None


def decode_body(body: bytes, coding: str) -> bytes:
    """Raises EngineError for an unknown coding, broken data, or too much of it."""
    try:
        match coding.strip().lower():
            case "" | "identity":
                return body
            case "gzip":
                return _frames(body, lambda: zlib.decompressobj(wbits=31))
            case "deflate":
                return _frames(body, zlib.decompressobj)
            case "zstd":
                return _frames(body, zstd.ZstdDecompressor)
            case "lz4":
                return _frames(body, lz4.frame.LZ4FrameDecompressor)
            case _:
                raise EngineError(UNKNOWN_COMPRESSION, "Unknown compression method")
    except (OSError, EOFError, RuntimeError, zlib.error, zstd.ZstdError) as error:
        raise EngineError(CANNOT_DECOMPRESS, f"The body is not {coding}: {error}") from None


def _frames(body: bytes, new_decoder: Callable[[], Any]) -> bytes:
    """Clients send one frame a block of rows, one after another."""
    parts: list[bytes] = []
    room = MOST_BYTES
    while body:
        decoder: _Decoder = new_decoder()
        parts.append(decoder.decompress(body, room + 1))
        room -= len(parts[-1])
        if room < 0:
            raise EngineError(TOO_LARGE, "The body is too large")
        if not decoder.eof:
            raise EOFError("it ends in mid-frame")
        body = decoder.unused_data or b""
    return b"".join(parts)
