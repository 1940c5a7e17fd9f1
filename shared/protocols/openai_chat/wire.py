"""The words of OpenAI's Chat Completions, and how its JSON objects are taken apart and rebuilt.

Every module of this codec uses it. Taking apart: what is understood becomes a canonical field,
the rest stays in `extra`, and `shape` notes the order where it is not the usual one. Sources:
the types of OpenAI's Python SDK, and recorded traffic of some thirty vendors that speak this
protocol each in its own way.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any, TypeGuard

import msgspec

from shared.canonical.events import FinishReason
from shared.canonical.parts import CacheControl, JsonValue, Node, Shape
from shared.protocols.codec import arrange

NAME = "openai_chat"

OWN = Shape((), {"protocol": NAME})
"""Marks an answer or event that came from this protocol, so that its `extra` has a meaning."""

Wire = dict[str, Any]
"""A JSON object as it stands on the wire."""

encode_json = msgspec.json.Encoder().encode

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": FinishReason.STOP,
    "eos": FinishReason.STOP,  # Together
    "length": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,  # Mistral: the context is full
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}

_WORDS: dict[FinishReason, str] = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.REFUSAL: "content_filter",
    FinishReason.PAUSE: "stop",
    FinishReason.OTHER: "stop",
}

REASONING_FIELDS = ("reasoning_content", "reasoning")
"""Where vendors put thinking: DeepSeek, vLLM, llama.cpp the first; OpenRouter, Groq the second."""


def is_own(node: Node) -> bool:
    """Whether an answer or event came from this protocol."""
    return node.shape is not None and node.shape.forms.get("protocol") == NAME


def is_object(value: object) -> TypeGuard[Wire]:
    return type(value) is dict


def is_list(value: object) -> TypeGuard[list[JsonValue]]:
    return type(value) is list


def decode_reason(word: str | None, *, calls: bool) -> FinishReason:
    """The reason behind a vendor's `finish_reason`, which some leave out, and some call "stop"
    after tool calls."""
    reason = FINISH_REASONS.get(word, FinishReason.OTHER) if word else FinishReason.STOP
    return FinishReason.TOOL_CALLS if calls and reason is FinishReason.STOP else reason


def encode_reason(reason: FinishReason, word: str | None, *, calls: bool) -> str:
    """The vendor's own word where it still says the same; else OpenAI's."""
    if word is not None and decode_reason(word, calls=calls) is reason:
        return word
    return _WORDS[reason]


def flatten(wire: Wire, member: str) -> Wire | None:
    """`{"type": t, "function": {"name": n}}` as `{"type": t, "function.name": n}`.

    Two levels of keys, and their order, thus fit one node's `extra` and `shape`. None where
    the object is not of that form, or has dotted keys already.
    """
    flat: Wire = {}
    for key, value in wire.items():
        if "." in key:
            return None
        if key != member:
            flat[key] = value
        elif not is_object(value) or not value:
            return None
        else:
            for inner, inner_value in value.items():
                flat[f"{member}.{inner}"] = inner_value
    return flat


def nest(flat: Mapping[str, JsonValue]) -> Wire:
    """The opposite of `flatten`."""
    wire: Wire = {}
    for key, value in flat.items():
        outer, dot, inner = key.partition(".")
        if dot:
            wire.setdefault(outer, {})[inner] = value
        else:
            wire[key] = value
    return wire


def leftover(wire: Wire, taken: Container[str]) -> Wire:
    """What nobody took, for `extra`; an explicit null is remembered by the shape alone."""
    return {key: value for key, value in wire.items() if value is not None and key not in taken}


def shaped(
    wire: Iterable[str], usual: Iterable[str], forms: dict[str, str] | None = None
) -> Shape | None:
    """The shape of an object, or None if its keys stand in the usual order."""
    keys = tuple(wire)
    if not forms and keys == tuple(usual):
        return None
    return Shape(keys, forms or {})


def given(fields: Wire) -> Iterator[str]:
    """The names of the fields that are there, in the order in which this codec writes them."""
    return (name for name, value in fields.items() if value is not None)


def rebuilt(fields: Wire, node: Node) -> Wire:
    """The wire object of a node of this protocol."""
    if node.shape is None and not node.extra:
        return {key: value for key, value in fields.items() if value is not None}
    return arrange(fields, node.extra, node.shape)


def form(node: Node, name: str) -> str | None:
    """How the source spelled something that has several spellings."""
    return node.shape.forms.get(name) if node.shape is not None else None


def decode_cache(value: JsonValue) -> CacheControl | None:
    """A `cache_control` mark, which OpenRouter and other resellers of Anthropic's models take."""
    if not is_object(value) or value.get("type") != "ephemeral":
        return None
    ttl = value.get("ttl")
    fields = {"type": "ephemeral", "ttl": ttl}
    if not fields.keys() >= value.keys() or ("ttl" in value and type(ttl) is not str):
        return None
    return CacheControl(ttl=ttl, shape=shaped(value, given(fields)))


def encode_cache(cache: CacheControl | None) -> Wire | None:
    return None if cache is None else rebuilt({"type": "ephemeral", "ttl": cache.ttl}, cache)
