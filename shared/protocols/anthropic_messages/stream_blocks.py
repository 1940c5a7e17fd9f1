"""One content block of a vendor's stream while it is open: its start, its deltas, its end.

Used by the stream decoder alone. Deltas are the hot path: typed structs decode them and
refuse whatever they do not know, which then goes the general way. A table says which deltas
a part takes; one that does not fit is kept as an opaque delta.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from shared.canonical.events import DeltaKind, Event, PartDelta, PartEnded
from shared.canonical.parts import JsonValue, Opaque, Part, Shape, Text, Thinking, ToolCall

from .blocks import decode_block
from .wire import OWN, Wire, decode_json

MADE_UP = Shape((), {**OWN.forms, "made_up": "yes"})
"""Marks a delta that no frame held: it completes a part for those who fold the stream."""

WHOLE = {"start": "whole"}
"""The forms of a part whose text stood in `content_block_start` already."""


class TextDelta(Struct, tag_field="type", tag="text_delta", forbid_unknown_fields=True):
    text: str


class ThinkingDelta(Struct, tag_field="type", tag="thinking_delta", forbid_unknown_fields=True):
    thinking: str


class JsonDelta(Struct, tag_field="type", tag="input_json_delta", forbid_unknown_fields=True):
    partial_json: str


class SignatureDelta(Struct, tag_field="type", tag="signature_delta", forbid_unknown_fields=True):
    signature: str


Delta = TextDelta | ThinkingDelta | JsonDelta | SignatureDelta


class DeltaFrame(Struct, tag_field="type", tag="content_block_delta", forbid_unknown_fields=True):
    index: int
    delta: Delta


decode_delta_frame = msgspec.json.Decoder(DeltaFrame).decode


class OpenBlock:
    __slots__ = ("_index", "_json", "_takes", "part")

    def __init__(self, index: int, wire: Wire) -> None:
        self.part = _decode_start(wire)
        self._index = index
        self._json: list[str] = []
        self._takes = self.TAKES.get(type(self.part), {})

    def add(self, delta: Delta) -> PartDelta:
        method = self._takes.get(type(delta))
        if method is None:
            return self._opaque(msgspec.to_builtins(delta))
        return method(self, delta)

    def add_any(self, wire: Wire) -> list[PartDelta]:
        """A delta with an unknown field, or of a kind that has no struct."""
        kind = wire.get("type")
        if kind == "citations_delta" and isinstance(self.part, Text):
            value = wire.get("citation")
            return [PartDelta(index=self._index, kind=DeltaKind.CITATION, value=value)]
        if kind == "compaction_delta" and isinstance(self.part, Opaque):
            value = {key: wire[key] for key in wire if key != "type"}
            return [self._opaque(wire), self._made_up(DeltaKind.VENDOR_DATA, value=value)]
        key, struct = _KNOWN.get(kind if type(kind) is str else "", ("", None))
        if struct is None or struct not in self._takes or type(wire.get(key)) is not str:
            return [self._opaque(wire)]
        event = self.add(struct(wire[key]))
        more = {name: wire[name] for name in wire if name not in ("type", key)}
        if not more or event.kind is DeltaKind.OPAQUE:
            return [event]
        return [replace(event, extra={"delta": more}, shape=OWN)]

    def end(self) -> list[Event]:
        events: list[Event] = []
        if isinstance(self.part, ToolCall) and not self.part.arguments and not self._json:
            # A call without arguments streams an empty text; unstreamed it is {}.
            events.append(self._made_up(DeltaKind.ARGUMENTS, text="{}"))
        elif isinstance(self.part, Opaque) and any(self._json):
            value = {"input": _parsed("".join(self._json))}
            events.append(self._made_up(DeltaKind.VENDOR_DATA, value=value))
        events.append(PartEnded(index=self._index))
        return events

    def _text(self, delta: TextDelta) -> PartDelta:
        return PartDelta(index=self._index, kind=DeltaKind.TEXT, text=delta.text)

    def _thinking(self, delta: ThinkingDelta) -> PartDelta:
        return PartDelta(index=self._index, kind=DeltaKind.TEXT, text=delta.thinking)

    def _signature(self, delta: SignatureDelta) -> PartDelta:
        value = {"signature": delta.signature}
        return PartDelta(index=self._index, kind=DeltaKind.VENDOR_DATA, value=value)

    def _arguments(self, delta: JsonDelta) -> PartDelta:
        if delta.partial_json and not self._json:
            self._json.append(delta.partial_json)  # one is enough to know that there were any
        return PartDelta(index=self._index, kind=DeltaKind.ARGUMENTS, text=delta.partial_json)

    def _opaque_json(self, delta: JsonDelta) -> PartDelta:
        self._json.append(delta.partial_json)
        return self._opaque(msgspec.to_builtins(delta))

    def _opaque(self, wire: Wire) -> PartDelta:
        return PartDelta(index=self._index, kind=DeltaKind.OPAQUE, value=wire)

    def _made_up(self, kind: DeltaKind, text: str = "", value: JsonValue = None) -> PartDelta:
        return PartDelta(index=self._index, kind=kind, text=text, value=value, shape=MADE_UP)

    TAKES: ClassVar[dict[type, dict[type, Callable[[Self, Any], PartDelta]]]] = {
        Text: {TextDelta: _text},
        Thinking: {ThinkingDelta: _thinking, SignatureDelta: _signature},
        ToolCall: {JsonDelta: _arguments},
        Opaque: {JsonDelta: _opaque_json},
    }


_KNOWN: dict[str, tuple[str, type[Any]]] = {
    "text_delta": ("text", TextDelta),
    "thinking_delta": ("thinking", ThinkingDelta),
    "input_json_delta": ("partial_json", JsonDelta),
    "signature_delta": ("signature", SignatureDelta),
}


def _decode_start(wire: Wire) -> Part:
    """The part as it begins. `input` is an empty object there, which deltas write anew."""
    part = decode_block(wire)
    if isinstance(part, ToolCall) and part.arguments == "{}":
        return replace(part, arguments="")
    said = part.arguments if isinstance(part, ToolCall) else getattr(part, "text", "")
    if not said or isinstance(part, Opaque):
        return part
    return replace(part, shape=Shape(tuple(wire), WHOLE))


def _parsed(text: str) -> JsonValue:
    try:
        return decode_json(text)
    except (msgspec.DecodeError, RecursionError):
        return text
