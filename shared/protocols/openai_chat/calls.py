"""Tools on offer, the choice among them, and the calls that a model makes.

Called by the request codec for `tools` and `tool_choice`, and for the `tool_calls` of
messages in requests and answers.
"""

from collections.abc import Iterable

from shared.canonical.parts import JsonValue, Opaque, Part, Shape, ToolCall
from shared.canonical.request import Tool, ToolChoice, ToolMode

from .wire import (
    Wire,
    decode_cache,
    encode_cache,
    flatten,
    form,
    given,
    is_list,
    is_object,
    leftover,
    nest,
    rebuilt,
    shaped,
)

_MODES = {
    "auto": ToolMode.AUTO,
    "none": ToolMode.NONE,
    "required": ToolMode.REQUIRED,
    "any": ToolMode.REQUIRED,  # Mistral's word
}
_AT_CALLS = Shape((), {"at": "tool_calls"})


def decode_calls(value: JsonValue) -> tuple[Part, ...]:
    """The calls of a message; none if `tool_calls` is not a list, and stays as it is."""
    return tuple(map(_decode_call, value)) if is_list(value) else ()


def is_call(part: Part) -> bool:
    """Whether a part belongs into `tool_calls`."""
    return type(part) is ToolCall or (type(part) is Opaque and form(part, "at") == "tool_calls")


def encode_calls(parts: Iterable[Part]) -> list[JsonValue]:
    return [_encode_call(part) if type(part) is ToolCall else _value(part) for part in parts]


def _decode_call(wire: JsonValue) -> Part:
    call = _decode_function_call(wire) if is_object(wire) else None
    return call or Opaque(type="tool call", value=wire, shape=_AT_CALLS)


def _decode_function_call(wire: Wire) -> Part | None:
    flat = flatten(wire, "function")
    if flat is None or flat.get("type", "function") != "function":
        return None
    call_id, name, arguments = (
        flat.get(key) for key in ("id", "function.name", "function.arguments")
    )
    if type(call_id) is not str or type(name) is not str or type(arguments) is not str:
        return None
    cache = decode_cache(flat.get("cache_control"))
    fields = {
        "id": call_id,
        "type": flat.get("type"),
        "function.name": name,
        "function.arguments": arguments,
        "cache_control": cache,
    }
    usual = dict(fields, type="function")
    return ToolCall(
        id=call_id,
        name=name,
        arguments=arguments,
        cache=cache,
        extra=leftover(flat, set(given(fields))),
        shape=shaped(flat, given(usual), None if "type" in flat else {"type": "unsaid"}),
    )


def _encode_call(call: ToolCall) -> JsonValue:
    fields = {
        "id": call.id,
        "type": None if form(call, "type") == "unsaid" else "function",
        "function.name": call.name,
        "function.arguments": call.arguments,
        "cache_control": encode_cache(call.cache),
    }
    return nest(rebuilt(fields, call))


def _value(part: Part) -> JsonValue:
    return part.value if type(part) is Opaque else None


def decode_tools(value: list[JsonValue]) -> tuple[Tool, ...] | None:
    """None for a list with anything but objects in it: the vendor judges it."""
    tools = [_decode_tool(wire) for wire in value if is_object(wire)]
    return tuple(tools) if len(tools) == len(value) else None


def _decode_tool(wire: Wire) -> Tool:
    flat = flatten(wire, "function") if wire.get("type", "function") == "function" else None
    name = flat.get("function.name") if flat is not None else None
    if flat is None or type(name) is not str:
        return Tool(name=_opaque_name(wire), opaque=wire)
    description, strict = flat.get("function.description"), flat.get("function.strict")
    tool = Tool(
        name=name,
        description=description if type(description) is str else None,
        parameters=flat.get("function.parameters"),
        strict=strict if type(strict) is bool else None,
        cache=decode_cache(flat.get("cache_control")),
    )
    fields = _tool_fields(tool, unsaid="type" not in flat)
    return Tool(
        name=name,
        description=tool.description,
        parameters=tool.parameters,
        strict=tool.strict,
        cache=tool.cache,
        extra=leftover(flat, set(given(fields))),
        shape=shaped(flat, given(fields), None if "type" in flat else {"type": "unsaid"}),
    )


def _opaque_name(wire: Wire) -> str:
    kind = wire.get("type")
    return kind if type(kind) is str else "tool"


def encode_tool(tool: Tool) -> JsonValue:
    if tool.opaque is not None:
        return tool.opaque
    return nest(rebuilt(_tool_fields(tool, unsaid=form(tool, "type") == "unsaid"), tool))


def _tool_fields(tool: Tool, *, unsaid: bool) -> Wire:
    return {
        "type": None if unsaid else "function",
        "function.name": tool.name,
        "function.description": tool.description,
        "function.parameters": tool.parameters,
        "function.strict": tool.strict,
        "cache_control": encode_cache(tool.cache),
    }


def decode_tool_choice(value: JsonValue) -> ToolChoice | None:
    """None for what only OpenAI knows, such as allowed or custom tools: it stays as it is."""
    if type(value) is str:
        mode = _MODES.get(value)
        shape = None if mode == value else Shape((), {"mode": value})
        return None if mode is None else ToolChoice(mode=mode, shape=shape)
    flat = flatten(value, "function") if is_object(value) else None
    if flat is None or flat.get("type", "function") != "function":
        return None
    name = flat.get("function.name")
    if type(name) is not str:
        return None
    extra = leftover(flat, ("type", "function.name"))
    return ToolChoice(mode=ToolMode.NAMED, name=name, extra=extra, shape=Shape(tuple(flat)))


def encode_tool_choice(choice: ToolChoice) -> JsonValue:
    if choice.mode is not ToolMode.NAMED:
        word = form(choice, "mode")
        return word if word is not None and _MODES.get(word) is choice.mode else choice.mode.value
    unsaid = choice.shape is not None and "type" not in choice.shape.keys
    fields = {"type": None if unsaid else "function", "function.name": choice.name}
    return nest(rebuilt(fields, choice))
