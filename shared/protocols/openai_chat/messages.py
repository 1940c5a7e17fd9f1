"""`messages` <-> canonical messages, and an answer's `message`, which is one of them.

Thinking, refusals and tool calls stand beside `content` on the wire and are parts like any
other here. A message of unknown role or unexpected shape is kept whole.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from shared.canonical.parts import (
    CacheControl,
    Document,
    Image,
    JsonValue,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolResult,
)
from shared.canonical.request import Message, Role

from .calls import decode_calls, encode_calls, is_call
from .content import decode_content, encode_content
from .wire import (
    REASONING_FIELDS,
    Wire,
    decode_cache,
    encode_cache,
    form,
    given,
    is_object,
    leftover,
    rebuilt,
    shaped,
)

_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.DEVELOPER,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}
_PLAIN_KEYS = ("role", "content")


def decode_message(wire: JsonValue) -> Message:
    message: Message | None = None
    if is_object(wire):
        name = wire.get("role")
        role = _ROLES.get(name) if type(name) is str else None
        if role is not None:
            message = decode_turn(wire, role)
        elif name == "tool":
            message = _decode_tool_message(wire)
    return message or Message(role=Role.OPAQUE, parts=(Opaque(type="message", value=wire),))


def encode_messages(messages: tuple[Message, ...]) -> list[JsonValue]:
    return [wire for message in messages for wire in _encode_message(message)]


def _encode_message(message: Message) -> Iterator[JsonValue]:
    if message.role is Role.OPAQUE:
        yield from (part.value for part in message.parts if isinstance(part, Opaque))
    elif message.role is Role.TOOL:
        yield from _encode_tool_messages(message)
    else:
        yield encode_turn(message, message.role.value)


def decode_turn(wire: Wire, role: Role) -> Message:
    """A message of any role but `tool`."""
    content = wire.get("content")
    if tuple(wire) == _PLAIN_KEYS and type(content) is str and content:
        return Message(role=role, parts=(Text(text=content),))  # nearly all of them
    parts: list[Part] = []
    taken, forms = {"role"}, dict[str, str]()
    if role is Role.ASSISTANT:
        _decode_thinking(wire, parts, taken, forms)
    _decode_parts(wire, parts, taken, forms)
    if role is Role.ASSISTANT:
        _decode_beside(wire, parts, taken)
    _decode_message_cache(wire, parts, taken, forms)
    name = wire.get("name")
    name = name if type(name) is str else None
    if name is not None:
        taken.add("name")
    extra = leftover(wire, taken)
    usual = _PLAIN_KEYS if "content" in taken else ("role",)
    shape = shaped(wire, usual, forms)
    return Message(role=role, parts=tuple(parts), name=name, extra=extra, shape=shape)


def encode_turn(message: Message, role: str | None) -> Wire:
    thinking, refusal, content, calls = _sorted_parts(message)
    field = form(message, "thinking") or REASONING_FIELDS[0]
    cache, content = _lifted_cache(message, content)
    fields = {
        "role": role,
        "content": encode_content(content, form(message, "content")),
        "name": message.name,
        field: _joined(thinking),
        "refusal": _joined(refusal),
        "tool_calls": encode_calls(calls) if calls else None,
        "cache_control": encode_cache(cache),
    }
    return rebuilt(fields, message)


def _sorted_parts(
    message: Message,
) -> tuple[list[Thinking], list[Refusal], list[Part], list[Part]]:
    thinking: list[Thinking] = []
    refusal: list[Refusal] = []
    content: list[Part] = []
    calls: list[Part] = []
    for part in message.parts:
        if is_call(part):
            calls.append(part)
        elif isinstance(part, Thinking) and form(part, "at") != "content":
            thinking.append(part)
        elif isinstance(part, Refusal) and form(part, "at") != "content":
            refusal.append(part)
        else:
            content.append(part)
    return thinking, refusal, content, calls


def _joined(parts: list[Thinking] | list[Refusal]) -> str | None:
    return "".join(part.text for part in parts) if parts else None


def _decode_thinking(wire: Wire, parts: list[Part], taken: set[str], forms: dict[str, str]) -> None:
    for field in REASONING_FIELDS:
        text = wire.get(field)
        if type(text) is str and text:
            parts.append(Thinking(text=text))
            taken.add(field)
            if field != REASONING_FIELDS[0]:
                forms["thinking"] = field
            return


def _decode_parts(wire: Wire, parts: list[Part], taken: set[str], forms: dict[str, str]) -> None:
    decoded = decode_content(wire.get("content"))
    if decoded is not None:
        parts.extend(decoded[0])
        taken.add("content")
        if decoded[1] is not None:
            forms["content"] = decoded[1]


def _decode_beside(wire: Wire, parts: list[Part], taken: set[str]) -> None:
    refusal = wire.get("refusal")
    if type(refusal) is str and refusal:
        parts.append(Refusal(text=refusal))
        taken.add("refusal")
    calls = decode_calls(wire.get("tool_calls"))
    if calls:
        parts.extend(calls)
        taken.add("tool_calls")


def _decode_message_cache(
    wire: Wire, parts: list[Part], taken: set[str], forms: dict[str, str]
) -> None:
    """A mark on the message caches the prompt up to its end: it is the last part's."""
    cache = decode_cache(wire.get("cache_control"))
    last = parts[-1] if parts else None
    if not isinstance(last, Text | Image | Document | ToolResult):
        return
    if cache is not None and last.cache is None:
        parts[-1] = replace(last, cache=cache)
        taken.add("cache_control")
        forms["cache_control"] = "message"


def _lifted_cache(message: Message, content: list[Part]) -> tuple[CacheControl | None, list[Part]]:
    last = content[-1] if content else None
    if form(message, "cache_control") == "message" and isinstance(last, Text | Image | Document):
        return last.cache, [*content[:-1], replace(last, cache=None)]
    return None, content


def _decode_tool_message(wire: Wire) -> Message | None:
    call_id, value, name = (wire.get(key) for key in ("tool_call_id", "content", "name"))
    content = ((), None) if value is None else decode_content(value)
    if type(call_id) is not str or content is None:
        return None
    name = name if type(name) is str else None
    fields = {"role": "tool", "tool_call_id": call_id, "content": value, "name": name}
    forms = {} if content[1] is None else {"content": content[1]}
    parts: list[Part] = [ToolResult(call_id=call_id, parts=content[0], name=name)]
    taken = set(given(fields))
    _decode_message_cache(wire, parts, taken, forms)
    extra, shape = leftover(wire, taken), shaped(wire, given(fields), forms)
    return Message(role=Role.TOOL, parts=tuple(parts), extra=extra, shape=shape)


def _encode_tool_messages(message: Message) -> Iterator[JsonValue]:
    for part in message.parts:
        if isinstance(part, ToolResult):
            fields = {
                "role": "tool",
                "tool_call_id": part.call_id,
                "content": encode_content(list(part.parts), form(message, "content")),
                "name": part.name,
                "cache_control": encode_cache(part.cache),
            }
            yield rebuilt(fields, message)
