"""Pieces of content: what a message, a tool result and an answer are made of.

Every struct is frozen and carries `extra` (wire fields without a canonical name, kept for
their own protocol only) and `shape` (the order and the forms in which the client wrote the
known fields), so that a codec can give back what it was given. Neither is ever sent to
another protocol.
"""

from typing import Any

from msgspec import Struct

JsonValue = Any
"""A decoded JSON value: None, bool, int, float, str, list or dict with str keys."""


class Shape(Struct, frozen=True, array_like=True, omit_defaults=True):
    """How the source wrote an object: its keys in order, and forms that mean the same.

    `forms` notes where a protocol has several spellings of one value, such as
    `{"content": "text"}` for a string where a list of blocks is also allowed.
    """

    keys: tuple[str, ...] = ()
    forms: dict[str, str] = {}


class Node(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all canonical structs share."""

    extra: dict[str, JsonValue] = {}
    shape: Shape | None = None


class CacheControl(Node, frozen=True):
    """A mark that the prompt up to here may be cached by the vendor. `ttl`: "5m" or "1h"."""

    ttl: str | None = None


class Source(Node, frozen=True):
    """Where bytes of an image, a document or a sound come from; exactly one field is set."""

    url: str | None = None
    data: str | None = None  # base64, as every protocol carries it
    text: str | None = None
    file_id: str | None = None


class Text(Node, frozen=True, tag_field="is", tag="text"):
    text: str
    citations: tuple[JsonValue, ...] | None = None  # in the protocol's own form
    cache: CacheControl | None = None


class Image(Node, frozen=True, tag_field="is", tag="image"):
    source: Source
    media_type: str | None = None
    detail: str | None = None
    cache: CacheControl | None = None


class Audio(Node, frozen=True, tag_field="is", tag="audio"):
    source: Source
    format: str | None = None


class Document(Node, frozen=True, tag_field="is", tag="document"):
    source: Source
    media_type: str | None = None
    name: str | None = None
    context: str | None = None
    cache: CacheControl | None = None


class Thinking(Node, frozen=True, tag_field="is", tag="thinking"):
    """Reasoning shown by the vendor.

    `vendor_data` holds what must return to the same vendor byte for byte and means nothing
    to anybody else: a signature, or encrypted reasoning (then `redacted` is true).
    """

    text: str = ""
    redacted: bool = False
    vendor_data: dict[str, JsonValue] = {}


class ToolCall(Node, frozen=True, tag_field="is", tag="tool_call"):
    """The model asks for a tool. `arguments` is JSON text, possibly malformed by the model."""

    id: str
    name: str
    arguments: str = ""
    vendor_data: dict[str, JsonValue] = {}
    cache: CacheControl | None = None


class ToolResult(Node, frozen=True, tag_field="is", tag="tool_result"):
    call_id: str
    parts: "tuple[Part, ...]" = ()
    is_error: bool | None = None
    name: str | None = None
    cache: CacheControl | None = None


class Refusal(Node, frozen=True, tag_field="is", tag="refusal"):
    text: str


class Opaque(Node, frozen=True, tag_field="is", tag="opaque"):
    """A piece that has no canonical meaning: goes back within its protocol, or is refused.

    `type` names it for error messages; `value` is its JSON as it came.
    """

    type: str
    value: JsonValue = None


Part = Text | Image | Audio | Document | Thinking | ToolCall | ToolResult | Refusal | Opaque
