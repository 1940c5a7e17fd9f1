"""The words of Anthropic's Messages protocol, and how a JSON object is taken apart and rebuilt.

Every module of this codec uses it. Taking apart: what is understood becomes a canonical
field, the rest stays in `extra`, and `shape` notes the order where it is not the usual one.
Source of the words: the types of Anthropic's Python SDK 2.11 and the documented API.
"""

from collections.abc import Iterable
from typing import Any, TypeGuard

import msgspec

from shared.canonical.events import FinishReason
from shared.canonical.parts import JsonValue, Node, Shape
from shared.protocols.codec import arrange

NAME = "anthropic_messages"

OWN = Shape((), {"protocol": NAME})
"""Marks an answer or event that came from this protocol, so that its `extra` has a meaning."""

Wire = dict[str, Any]
"""A JSON object as it stands on the wire."""

encode_json = msgspec.json.Encoder().encode
decode_json = msgspec.json.Decoder().decode

FINISH_REASONS: dict[str, FinishReason] = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.REFUSAL,
    "pause_turn": FinishReason.PAUSE,
    "compaction": FinishReason.PAUSE,
}

STOP_REASONS: dict[FinishReason, str] = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CONTENT_FILTER: "refusal",
    FinishReason.REFUSAL: "refusal",
    FinishReason.PAUSE: "pause_turn",
    FinishReason.OTHER: "end_turn",
}


def is_object(value: JsonValue) -> TypeGuard[Wire]:
    return type(value) is dict


def is_list(value: JsonValue) -> TypeGuard[list[JsonValue]]:
    return type(value) is list


def is_own(node: Node) -> bool:
    """Whether an answer or event came from this protocol."""
    shape = node.shape
    return shape is not None and shape.forms.get("protocol") == NAME


def take(rest: Wire, key: str, kind: type) -> Any:
    """Removes and gives the value of `key` if it is of just this type; else leaves it."""
    value = rest.get(key)
    if type(value) is kind:
        del rest[key]
        return value
    return None


def take_name(rest: Wire, key: str) -> str:
    """Removes and gives a text that is not empty; else leaves it and gives ""."""
    value = rest.get(key)
    if type(value) is str and value:
        del rest[key]
        return value
    return ""


def leftover(rest: Wire) -> Wire:
    """What nobody took, for `extra`; an explicit null is remembered by the shape alone."""
    return {key: value for key, value in rest.items() if value is not None} if rest else {}


def shaped(
    wire: Wire, usual: Iterable[tuple[str, ...]], forms: dict[str, str] | None = None
) -> Shape | None:
    """The shape of an object, or None if its keys stand in a usual order."""
    keys = tuple(wire)
    if not forms and keys in usual:
        return None
    return Shape(keys, forms or {})


def rebuilt(fields: Wire, node: Node, *, own: bool) -> Wire:
    """The wire object of a node; its `extra` and order count in their own protocol only."""
    if not own:
        return {key: value for key, value in fields.items() if value is not None}
    return arrange(fields, node.extra, node.shape)


def form(node: Node, name: str) -> str | None:
    """How the source spelled something that has several spellings."""
    return node.shape.forms.get(name) if node.shape is not None else None


def decode_arguments(text: str) -> JsonValue:
    """A tool call's JSON text as the object that `input` must be.

    What a model wrote malformed is wrapped as Anthropic's guide to fine-grained tool
    streaming advises, so that a conversation can go on after it.
    """
    if not text or text.isspace():
        return {}
    try:
        value = decode_json(text)
    except (msgspec.DecodeError, RecursionError):
        value = None
    return value if is_object(value) else {"INVALID_JSON": text}
