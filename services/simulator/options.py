"""The grammar by which a caller asks for an answer's size, pace and faults.

`chunks=50,size=20,pace=5`: joined after `sim:` in the model name, or in the header
`x-simulate`, which then stands alone. Pure; the wire formats turn an `OptionError` into their
vendor's 400.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, get_args

from msgspec import Struct

HEADER = "x-simulate"
MODEL_PREFIX = "sim:"
HOUR_MS = 3_600_000
MOST_TEXT_BYTES = 64 * 1024 * 1024

Finish = Literal["stop", "length", "tool_calls", "refusal"]
FaultKind = Literal["error", "stall", "cut", "malformed"]


class OptionError(ValueError):
    """An option that is not in the grammar; the message names it."""


class Fault(Struct, frozen=True):
    """What goes wrong once `after` content chunks are out."""

    kind: FaultKind
    after: int


class Options(Struct, frozen=True, kw_only=True):
    """`first` and `pace` in milliseconds; None where the default depends on the request."""

    chunks: int | None = None
    size: int = 16
    first: float = 0
    pace: float = 0
    tools: int | None = None
    thinking: int = 0
    status: int | None = None
    retry_after: int | None = None
    fault: Fault | None = None
    finish: Finish | None = None
    input: int | None = None
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int | None = None


def options_text(model: str, headers: dict[str, str]) -> str:
    """The options of a request as written: the header's if there is one, else the model's."""
    header = headers.get(HEADER)
    if header is not None:
        return header
    return model[len(MODEL_PREFIX) :] if model.startswith(MODEL_PREFIX) else ""


@lru_cache(maxsize=1024)
def parse_options(text: str) -> Options:
    values: dict[str, Any] = {}
    for item in text.split(","):
        if not item.strip():
            continue
        key, _, written = (word.strip() for word in item.partition("="))
        name, read = _KEYS.get(key, ("", _unknown))
        try:
            value = read(written)
        except ValueError as error:
            raise OptionError(f"simulator option '{key}': {error}") from None
        if name in values:
            raise OptionError(f"simulator option '{key}': there is already one for '{name}'")
        values[name] = value
    options = Options(**values)
    if (options.chunks or 1) * options.size > MOST_TEXT_BYTES:
        raise OptionError(f"simulator option 'size': over {MOST_TEXT_BYTES} bytes of text")
    return options


def _unknown(_: str) -> Any:
    raise ValueError(f"there is no such option, only {', '.join(_KEYS)}")


def _integer(least: int, most: int) -> Callable[[str], int]:
    def read(written: str) -> int:
        # isdecimal() alone would let other scripts' digits through, int() spaces and underscores
        if not (written.isascii() and written.isdecimal()) or not least <= int(written) <= most:
            raise ValueError(f"'{written}' is not an integer from {least} to {most}")
        return int(written)

    return read


def _milliseconds(written: str) -> float:
    try:
        value = float(written)
    except ValueError:
        value = -1.0
    if not 0 <= value <= HOUR_MS:
        raise ValueError(f"'{written}' is not a number of milliseconds up to an hour")
    return value


def _finish(written: str) -> str:
    if written not in get_args(Finish):
        raise ValueError(f"'{written}' is not one of {', '.join(get_args(Finish))}")
    return written


def _fault(kind: FaultKind) -> Callable[[str], Fault]:
    count = _integer(0, 1_000_000)
    return lambda written: Fault(kind, count(written))


_TOKENS = _integer(0, 1_000_000_000)

# key: the field it fills and what reads its value
_KEYS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "chunks": ("chunks", _integer(0, 1_000_000)),
    "size": ("size", _integer(1, 1_000_000)),
    "first": ("first", _milliseconds),
    "pace": ("pace", _milliseconds),
    "tools": ("tools", _integer(0, 100)),
    "thinking": ("thinking", _integer(0, 10_000)),
    "status": ("status", _integer(400, 599)),
    "retry_after": ("retry_after", _integer(0, 1_000_000)),
    "error_after": ("fault", _fault("error")),
    "stall_after": ("fault", _fault("stall")),
    "cut_after": ("fault", _fault("cut")),
    "malformed_after": ("fault", _fault("malformed")),
    "finish": ("finish", _finish),
    "input": ("input", _TOKENS),
    "cache_read": ("cache_read", _TOKENS),
    "cache_write": ("cache_write", _TOKENS),
    "cache_write_1h": ("cache_write_1h", _TOKENS),
    "reasoning": ("reasoning", _TOKENS),
}
