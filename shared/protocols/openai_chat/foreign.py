"""What another protocol's client asked for, made sayable in Chat's words.

Called by the request encoder for requests that did not come from this protocol; what comes
out is canonical still, as Chat's own decoder would have given it. Each field is kept, changed,
or left out and reported in `Losses`; what must not be lost is refused, by the client's path.
"""

from msgspec.structs import replace

from shared.canonical.failures import InvalidRequestError
from shared.canonical.parts import JsonValue
from shared.canonical.request import (
    OutputFormat,
    Request,
    ThinkingConfig,
    Tool,
    ToolChoice,
    ToolMode,
)
from shared.protocols.codec import Losses
from shared.protocols.paths import field_path

from .foreign_messages import Conversation
from .wire import NAME, Wire

_EFFORTS = ((4_096, "low"), (16_384, "medium"))
"""Below so many thinking tokens the effort is this; above, it is "high"."""

_TIERS = {"standard_only": "default"}  # Anthropic's word and ours
_OWN_TIERS = {"auto", "default", "fast", "flex", "priority", "scale"}

_NO_PARAMETERS: Wire = {"type": "object", "properties": {}}


def adopt(request: Request, losses: Losses) -> Request:
    """The request in Chat's terms. Raises InvalidRequestError."""
    losses.drop_extra("", request.extra)
    if request.top_k is not None:
        losses.drop(field_path(request.protocol, "top_k"))
    conversation = Conversation(request, losses)
    tools = _adopt_tools(request, losses, conversation)
    return replace(
        request,
        protocol=NAME,
        messages=tuple(conversation.messages()),
        stream_usage=True if request.stream else None,
        top_k=None,
        tools=tools,
        tool_choice=_adopt_choice(request, losses),
        parallel_tool_calls=request.parallel_tool_calls if tools else None,
        output_format=_adopt_format(request, losses),
        thinking=_adopt_thinking(request, losses),
        service_tier=_adopt_tier(request, losses),
        metadata=_drop_metadata(request, losses),
        extra={},
        shape=None,
    )


def _adopt_tools(
    request: Request, losses: Losses, conversation: Conversation
) -> tuple[Tool, ...] | None:
    if request.tools is None:
        return None
    tools: list[Tool] = []
    for index, tool in enumerate(request.tools):
        path = f"tools.{index}"
        if tool.opaque is not None:
            name = tool.name or "this"
            message = f"{path}: {name} is its vendor's own tool, and Chat has none like it"
            raise InvalidRequestError(message, field=path)
        conversation.drop_notes(tool, path)
        parameters: JsonValue = _NO_PARAMETERS if tool.parameters is None else tool.parameters
        tools.append(replace(tool, parameters=parameters, cache=None, extra={}, shape=None))
    return tuple(tools)


def _adopt_choice(request: Request, losses: Losses) -> ToolChoice | None:
    """Without tools OpenAI refuses any choice, also one that means nothing then."""
    choice = request.tool_choice
    if choice is None or (not request.tools and choice.mode in (ToolMode.AUTO, ToolMode.NONE)):
        return None
    losses.drop_extra("tool_choice", choice.extra)
    return replace(choice, extra={}, shape=None)


def _adopt_format(request: Request, losses: Losses) -> OutputFormat | None:
    """Chat wants a name. `strict` is not made up: OpenAI's refuses optional properties."""
    wanted = request.output_format
    if wanted is None:
        return None
    losses.drop_extra(field_path(request.protocol, "output_format"), wanted.extra)
    name = wanted.name or ("answer" if wanted.kind == "json_schema" else None)
    return replace(wanted, name=name, extra={}, shape=None)


def _adopt_thinking(request: Request, losses: Losses) -> ThinkingConfig | None:
    """Chat knows an effort only; "disabled" is not said, as most models refuse the word."""
    wanted = request.thinking
    if wanted is None:
        return None
    path = field_path(request.protocol, "thinking")
    losses.drop_extra(path, wanted.extra)
    if wanted.mode == "disabled":
        losses.drop(path)
        return None
    effort = wanted.effort
    if wanted.budget_tokens is not None:
        losses.drop(field_path(request.protocol, "thinking.budget_tokens"))
        effort = effort or _effort(wanted.budget_tokens)
    return ThinkingConfig(effort=effort)


def _effort(budget_tokens: int) -> str:
    return next((effort for limit, effort in _EFFORTS if budget_tokens < limit), "high")


def _adopt_tier(request: Request, losses: Losses) -> str | None:
    wanted = request.service_tier
    tier = None if wanted is None else _TIERS.get(wanted, wanted)
    if tier is None or tier in _OWN_TIERS:
        return tier
    losses.drop(field_path(request.protocol, "service_tier"))
    return None


def _drop_metadata(request: Request, losses: Losses) -> None:
    """OpenAI takes it with `store` alone, which is nothing that a gateway may switch on."""
    path = field_path(request.protocol, "metadata")
    for key in request.metadata or {}:
        losses.drop(f"{path}.{key}")
