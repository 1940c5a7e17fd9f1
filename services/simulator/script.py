"""What a simulated call asks for and what it will be answered, in no vendor's words.

A wire format reads a `Request` into an `Ask`; `script_for` joins it with the options into a
`Script`; the same wire format writes the `Script` down. Pure, and it knows neither a vendor's
field names nor HTTP.
"""

from typing import Any

from msgspec import Struct

from . import made_up
from .options import Finish, Options

# Stands wherever an id needs what is unique to a call, and is replaced in the finished bytes:
# so that the bytes can be kept, and every call still has ids of its own. As long as a serial.
SERIAL = "SerialSerialSerial00"
DEFAULT_CHUNKS = 10


class Refusal(Exception):  # noqa: N818 - a vendor's refusal is an answer, not a defect of ours
    """A vendor would answer this with an error.

    Without a message it is the vendor's usual one for the status. `param` and `code` are for
    vendors that tell them.
    """

    def __init__(
        self, status: int, message: str = "", *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


class Request(Struct, frozen=True):
    """One HTTP request; `target` is the path with its query, header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    oversized: bool = False

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


class Tool(Struct, frozen=True):
    """The tool that a request lets itself be answered with."""

    name: str
    schema: dict[str, Any]


class Ask(Struct, frozen=True, kw_only=True):
    """`tool` is None if no call may be made now. `variant`: what only this wire format knows."""

    model: str
    streamed: bool
    tool: Tool | None = None
    tool_required: bool = False
    parallel: bool = True
    thinking: bool = False
    limit: int | None = None
    variant: frozenset[str] = frozenset()


class ToolCall(Struct, frozen=True):
    """`fragments` are the pieces in which a stream tells the arguments."""

    name: str
    fragments: tuple[str, ...]

    @property
    def arguments(self) -> str:
        return "".join(self.fragments)


class Usage(Struct, frozen=True, kw_only=True):
    """Disjoint input classes; `reasoning` is a part of `output`."""

    input: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    output: int
    reasoning: int


class Script(Struct, frozen=True, kw_only=True):
    """A whole answer. Hashable: the bytes made from it are kept under it."""

    model: str
    thinking: tuple[str, ...]
    text: tuple[str, ...]
    calls: tuple[ToolCall, ...]
    usage: Usage
    finish: Finish
    variant: frozenset[str]

    @property
    def chunks(self) -> int:
        """Content chunks in a stream of it: what `pace` and the faults count."""
        return len(self.thinking) + len(self.text) + sum(len(call.fragments) for call in self.calls)


def script_for(ask: Ask, options: Options, body_bytes: int) -> Script:
    calls = _calls(ask, options)
    wanted = options.chunks
    if wanted is None:
        wanted = 0 if calls else DEFAULT_CHUNKS
    # Only an answer of the default length obeys the caller's limit: `chunks` says what it says.
    cut = options.chunks is None and ask.limit is not None and ask.limit < wanted
    text = made_up.text(ask.limit if cut and ask.limit is not None else wanted, options.size)
    thinking = made_up.thinking(options.thinking) if ask.thinking else ()
    reasoning = len(thinking) if options.reasoning is None else options.reasoning
    said = len(text) + sum(len(call.fragments) for call in calls)
    return Script(
        model=ask.model,
        thinking=thinking,
        text=text,
        calls=calls,
        usage=Usage(
            input=max(body_bytes // 4, 1) if options.input is None else options.input,
            cache_read=options.cache_read,
            cache_write=options.cache_write,
            cache_write_1h=options.cache_write_1h,
            output=said + reasoning,
            reasoning=reasoning,
        ),
        finish=options.finish or ("tool_calls" if calls else "length" if cut else "stop"),
        variant=ask.variant,
    )


def _calls(ask: Ask, options: Options) -> tuple[ToolCall, ...]:
    if ask.tool is None:
        return ()
    count = int(ask.tool_required) if options.tools is None else options.tools
    if not ask.parallel:
        count = min(count, 1)
    if not count:
        return ()
    return (ToolCall(ask.tool.name, made_up.fragments(ask.tool.schema)),) * count
