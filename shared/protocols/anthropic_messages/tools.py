"""`tools` and `tool_choice` <-> canonical tools.

A tool with a `type` other than "custom" is one of Anthropic's own (web search, code
execution...): it goes through in this protocol and no other.
"""

from shared.canonical.failures import InvalidRequestError
from shared.canonical.parts import JsonValue
from shared.canonical.request import Request, Tool, ToolChoice, ToolMode
from shared.protocols.codec import Losses

from .media import encode_cache, take_cache
from .wire import NAME, Wire, form, is_object, leftover, rebuilt, shaped, take

_TOOL = (("name", "description", "input_schema"), ("name", "input_schema"))
_CHOICE = (("type",), ("type", "name"))
_MODES = {
    "auto": ToolMode.AUTO,
    "any": ToolMode.REQUIRED,
    "tool": ToolMode.NAMED,
    "none": ToolMode.NONE,
}
_CHOICE_TYPES = {mode: name for name, mode in _MODES.items()}


def decode_tool(wire: JsonValue, path: str) -> Tool:
    if wire is None:
        raise InvalidRequestError(f"{path}: must be an object", field=path)
    if not is_object(wire) or wire.get("type") not in (None, "custom"):
        name = wire.get("name") if is_object(wire) else None
        return Tool(name=name if type(name) is str else "", opaque=wire)
    rest = dict(wire)
    name = take(rest, "name", str)
    if name is None:
        return Tool(name="", opaque=wire)
    forms = {"type": "custom"} if rest.pop("type", None) else None
    return Tool(
        name=name,
        description=take(rest, "description", str),
        parameters=rest.pop("input_schema", None),
        strict=take(rest, "strict", bool),
        cache=take_cache(rest),
        extra=leftover(rest),
        shape=shaped(wire, _TOOL, forms),
    )


def encode_tools(request: Request, losses: Losses) -> list[JsonValue] | None:
    if request.tools is None:
        return None
    if request.protocol == NAME:
        return [
            _encode_tool(tool, own=True) if tool.opaque is None else tool.opaque
            for tool in request.tools
        ]
    tools = [
        _encode_foreign_tool(tool, f"tools.{index}", losses)
        for index, tool in enumerate(request.tools)
    ]
    return tools or None


def _encode_tool(tool: Tool, *, own: bool) -> Wire:
    fields: Wire = {
        "type": form(tool, "type") if own else None,
        "name": tool.name,
        "description": tool.description,
        "input_schema": tool.parameters,
        "strict": tool.strict,
        "cache_control": encode_cache(tool.cache, own=own),
    }
    return rebuilt(fields, tool, own=own)


def _encode_foreign_tool(tool: Tool, path: str, losses: Losses) -> JsonValue:
    if tool.opaque is not None:
        raise InvalidRequestError(
            f"{path}: Anthropic's Messages protocol does not have this vendor's tool", field=path
        )
    losses.drop_extra(path, tool.extra)
    wire = _encode_tool(tool, own=False)
    wire["input_schema"] = _object_schema(tool.parameters)
    if not tool.strict:
        wire.pop("strict", None)  # the default
    return wire


def _object_schema(schema: JsonValue) -> JsonValue:
    """Anthropic wants `type: object` said, where others let a tool without arguments be."""
    if not is_object(schema):
        return {"type": "object", "properties": {}}
    return schema if "type" in schema else {"type": "object", **schema}


def take_choice(rest: Wire) -> tuple[ToolChoice | None, bool | None]:
    """Removes and gives `tool_choice`, and whether tools may be called in parallel."""
    wire = rest.get("tool_choice")
    if not is_object(wire):
        return None, None
    inner = dict(wire)
    mode = _MODES.get(take(inner, "type", str) or "")
    if mode is None:
        return None, None
    del rest["tool_choice"]
    disabled = take(inner, "disable_parallel_tool_use", bool)
    choice = ToolChoice(
        mode=mode,
        name=take(inner, "name", str),
        extra=leftover(inner),
        shape=shaped(wire, _CHOICE),
    )
    return choice, None if disabled is None else not disabled


def encode_choice(request: Request, losses: Losses) -> Wire | None:
    choice, parallel = request.tool_choice, request.parallel_tool_calls
    own = request.protocol == NAME
    if not own:
        if not request.tools:
            return None  # Anthropic takes a choice only among tools; without any it says nothing
        if choice is not None:
            losses.drop_extra("tool_choice", choice.extra)
        if parallel or (choice is not None and choice.mode is ToolMode.NONE):
            parallel = None  # the default; and nothing to say of calls that must not be
    if choice is None:
        if parallel is None:
            return None
        choice = ToolChoice(mode=ToolMode.AUTO)
    fields: Wire = {
        "type": _CHOICE_TYPES[choice.mode],
        "name": choice.name,
        "disable_parallel_tool_use": None if parallel is None else not parallel,
    }
    return rebuilt(fields, choice, own=own)
