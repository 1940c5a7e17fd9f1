"""Content blocks <-> canonical parts, the same in requests and in answers.

Two tables, {wire type: decoder} and {part: encoder}. A block of unknown type or unexpected
shape is `Opaque` and goes back as it came. Nothing here reports losses: that is for the
request encoder, which looks at each part before it is encoded.
"""

import re
from collections.abc import Callable, Iterable

from shared.canonical.parts import (
    Document,
    Image,
    JsonValue,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

from .media import (
    decode_document,
    decode_image,
    encode_cache,
    encode_document,
    encode_image,
    take_cache,
)
from .wire import (
    Wire,
    decode_arguments,
    encode_json,
    form,
    is_object,
    leftover,
    rebuilt,
    shaped,
    take,
)

_TEXT = (("type", "text"),)
_TOOL_USE = (("type", "id", "name", "input"),)
_TOOL_RESULT = (("type", "tool_use_id", "content"),)
_THINKING = (("type", "thinking", "signature"),)
_REDACTED = (("type", "data"),)

_FOREIGN_IN_ID = re.compile(r"[^a-zA-Z0-9_-]")


def decode_block(wire: JsonValue) -> Part:
    kind = wire.get("type") if is_object(wire) else None
    decoder = _DECODERS.get(kind) if type(kind) is str else None
    part = decoder(wire) if decoder is not None else None
    if part is not None:
        return part
    return Opaque(type=kind if type(kind) is str else "block", value=wire)


def encode_blocks(parts: Iterable[Part], *, own: bool) -> list[JsonValue]:
    """The blocks of what this protocol has a block for; what it has none for is left out."""
    blocks: list[JsonValue] = []
    for part in parts:
        if type(part) is Opaque:
            if own:
                blocks.append(part.value)
        elif (block := encode_block(part, own=own)) is not None:
            blocks.append(block)
    return blocks


def encode_block(part: Part, *, own: bool) -> Wire | None:
    encoder = _ENCODERS.get(type(part))
    return encoder(part, own=own) if encoder is not None else None


def plain_text(parts: tuple[Part, ...]) -> str | None:
    """The text of content that may be written as a string: one text and nothing about it."""
    if len(parts) != 1:
        return None
    part = parts[0]
    if type(part) is not Text or part.cache is not None or part.citations is not None:
        return None
    return part.text


# -- decoding ---------------------------------------------------------------------------------


def _decode_text(wire: Wire) -> Part | None:
    text = wire.get("text")
    if type(text) is not str:
        return None
    if len(wire) == len(_TEXT[0]):
        return Text(text=text, shape=shaped(wire, _TEXT))
    rest = dict(wire)
    del rest["type"], rest["text"]
    citations = take(rest, "citations", list)
    return Text(
        text=text,
        citations=None if citations is None else tuple(citations),
        cache=take_cache(rest),
        extra=leftover(rest),
        shape=shaped(wire, _TEXT),
    )


def _decode_tool_use(wire: Wire) -> Part | None:
    rest = dict(wire)
    del rest["type"]
    call_id, name = take(rest, "id", str), take(rest, "name", str)
    arguments = take(rest, "input", dict)
    if call_id is None or name is None or arguments is None:
        return None
    return ToolCall(
        id=call_id,
        name=name,
        arguments=encode_json(arguments).decode(),
        cache=take_cache(rest),
        extra=leftover(rest),
        shape=shaped(wire, _TOOL_USE),
    )


def _decode_tool_result(wire: Wire) -> Part | None:
    rest = dict(wire)
    del rest["type"]
    call_id = take(rest, "tool_use_id", str)
    content = rest.pop("content", None)
    if call_id is None or type(content) not in (str, list, type(None)):
        return None
    forms: dict[str, str] = {}
    parts: tuple[Part, ...] = ()
    if type(content) is str:
        forms["content"] = "text"
        parts = (Text(text=content),)
    elif content is not None:
        parts = tuple(map(decode_block, content))
    else:
        forms["content"] = "none"
    return ToolResult(
        call_id=call_id,
        parts=parts,
        is_error=take(rest, "is_error", bool),
        cache=take_cache(rest),
        extra=leftover(rest),
        shape=shaped(wire, _TOOL_RESULT, forms),
    )


def _decode_thinking(wire: Wire) -> Part | None:
    rest = dict(wire)
    del rest["type"]
    text = take(rest, "thinking", str)
    if text is None:
        return None
    signature = take(rest, "signature", str)
    return Thinking(
        text=text,
        vendor_data={} if signature is None else {"signature": signature},
        extra=leftover(rest),
        shape=shaped(wire, _THINKING),
    )


def _decode_redacted_thinking(wire: Wire) -> Part | None:
    rest = dict(wire)
    del rest["type"]
    data = take(rest, "data", str)
    if data is None:
        return None
    return Thinking(
        redacted=True,
        vendor_data={"data": data},
        extra=leftover(rest),
        shape=shaped(wire, _REDACTED),
    )


_DECODERS: dict[str, Callable[[Wire], Part | None]] = {
    "text": _decode_text,
    "image": decode_image,
    "document": decode_document,
    "tool_use": _decode_tool_use,
    "tool_result": _decode_tool_result,
    "thinking": _decode_thinking,
    "redacted_thinking": _decode_redacted_thinking,
}


# -- encoding ---------------------------------------------------------------------------------


def _encode_text(part: Text, *, own: bool) -> Wire:
    if part.shape is None and part.cache is None and part.citations is None and not part.extra:
        return {"type": "text", "text": part.text}
    fields: Wire = {
        "type": "text",
        "text": part.text,
        "citations": list(part.citations) if own and part.citations is not None else None,
        "cache_control": encode_cache(part.cache, own=own),
    }
    return rebuilt(fields, part, own=own)


def _encode_refusal(part: Refusal, *, own: bool) -> Wire:
    return {"type": "text", "text": part.text}


def _encode_tool_call(part: ToolCall, *, own: bool) -> Wire:
    fields: Wire = {
        "type": "tool_use",
        "id": part.id if own else call_id(part.id),
        "name": part.name,
        "input": decode_arguments(part.arguments),
        "cache_control": encode_cache(part.cache, own=own),
    }
    return rebuilt(fields, part, own=own)


def _encode_tool_result(part: ToolResult, *, own: bool) -> Wire:
    text = plain_text(part.parts)
    content: JsonValue
    if text is not None and (not own or form(part, "content") == "text"):
        content = text
    elif not part.parts and (not own or form(part, "content") == "none"):
        content = None
    else:
        content = encode_blocks(part.parts, own=own)
    fields: Wire = {
        "type": "tool_result",
        "tool_use_id": part.call_id if own else call_id(part.call_id),
        "content": content,
        "is_error": part.is_error,
        "cache_control": encode_cache(part.cache, own=own),
    }
    return rebuilt(fields, part, own=own)


def _encode_thinking(part: Thinking, *, own: bool) -> Wire | None:
    """Only what bears Anthropic's own seal: it refuses reasoning without one."""
    signature, data = part.vendor_data.get("signature"), part.vendor_data.get("data")
    if not own and type(data if part.redacted else signature) is not str:
        return None
    fields: Wire
    if part.redacted:
        fields = {"type": "redacted_thinking", "data": data}
    else:
        fields = {"type": "thinking", "thinking": part.text, "signature": signature}
    return rebuilt(fields, part, own=own)


def call_id(foreign: str) -> str:
    """Another protocol's call id in the letters that Anthropic allows, [a-zA-Z0-9_-]."""
    return _FOREIGN_IN_ID.sub("_", foreign)


_ENCODERS: dict[type, Callable[..., Wire | None]] = {
    Text: _encode_text,
    Refusal: _encode_refusal,
    Image: encode_image,
    Document: encode_document,
    ToolCall: _encode_tool_call,
    ToolResult: _encode_tool_result,
    Thinking: _encode_thinking,
}
