"""A vendor's stream -> canonical events.

One table {event type: method} and one {block: {delta: method}}. Deltas are the hot path:
they are decoded by typed structs that refuse whatever they do not know, and what they refuse
goes the general way. `message_delta` reports usage and the reason; Finished comes with
`message_stop`. No event waits for a later frame.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from shared.canonical.events import (
    DeltaKind,
    Event,
    Failed,
    Finished,
    FinishReason,
    PartDelta,
    PartEnded,
    PartStarted,
    Unrecognized,
    UsageReported,
)
from shared.canonical.failures import FailureClass, MalformedAnswerError
from shared.canonical.parts import JsonValue, Node, Opaque, Part, Shape, Text, Thinking, ToolCall
from shared.canonical.usage import Usage
from shared.framing.sse import SseFrame

from .blocks import decode_block
from .errors import decode_error_object
from .response import ENDING, answer_extra, take_started
from .usage import decode_usage
from .wire import FINISH_REASONS, OWN, Wire, decode_json, is_object

MADE_UP = Shape((), {**OWN.forms, "made_up": "yes"})
"""Marks a delta that no frame held: it completes a part for those who fold the stream."""

WHOLE = "start"
"""The form of a part whose text stood in `content_block_start` already."""


class _TextDelta(Struct, tag_field="type", tag="text_delta", forbid_unknown_fields=True):
    text: str


class _ThinkingDelta(Struct, tag_field="type", tag="thinking_delta", forbid_unknown_fields=True):
    thinking: str


class _JsonDelta(Struct, tag_field="type", tag="input_json_delta", forbid_unknown_fields=True):
    partial_json: str


class _SignatureDelta(Struct, tag_field="type", tag="signature_delta", forbid_unknown_fields=True):
    signature: str


_Delta = _TextDelta | _ThinkingDelta | _JsonDelta | _SignatureDelta


class _DeltaFrame(Struct, tag_field="type", tag="content_block_delta", forbid_unknown_fields=True):
    index: int
    delta: _Delta


_decode_delta = msgspec.json.Decoder(_DeltaFrame).decode


class _Block:
    """An open block: which deltas it takes, and what is needed at its end."""

    __slots__ = ("json", "part", "takes")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.json: list[str] = []
        self.takes = _TAKES.get(type(part), {})


class AnthropicStreamDecoder:
    def __init__(self) -> None:
        self._blocks: dict[int, _Block] = {}
        self._ended: set[int] = set()
        self._usage: Usage | None = None
        self._finished: Finished | None = None
        self._started = False
        self._done = False

    def feed(self, frame: SseFrame) -> list[Event]:
        if self._done or not frame.data:
            return []
        try:
            if frame.event == "content_block_delta":
                try:
                    return self._feed_delta(_decode_delta(frame.data))
                except msgspec.ValidationError:
                    pass  # a kind of delta, or a field, that only the general way knows
            wire: JsonValue = decode_json(frame.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MalformedAnswerError("a frame of the vendor's stream is not JSON") from None
        if not is_object(wire):
            raise MalformedAnswerError("a frame of the vendor's stream is not a JSON object")
        return self._feed_object(wire, frame.event)

    def close(self) -> list[Event]:
        if self._done:
            return []
        self._done = True
        message = "the vendor's stream ended without message_stop"
        return [Failed(failure=FailureClass.UPSTREAM_ERROR, message=message)]

    def _feed_object(self, wire: Wire, event: str | None) -> list[Event]:
        kind = wire.get("type")
        name = kind if type(kind) is str else event or "unknown"
        method = self._EVENTS.get(name)
        if method is None:
            return [Unrecognized(type=name, value=wire, shape=OWN)]
        if not self._started and name not in _BEFORE_START:
            raise MalformedAnswerError(f"{name} before message_start in the vendor's stream")
        return method(self, wire)

    # -- the message --------------------------------------------------------------------------

    def _start(self, wire: Wire) -> list[Event]:
        message = wire.get("message")
        if not is_object(message) or self._started:
            raise MalformedAnswerError("message_start without a message, or a second one")
        self._started = True
        rest = dict(message)
        started = take_started(rest)
        if rest.get("content") == []:
            del rest["content"]
        shape = Shape(tuple(message), OWN.forms)
        events: list[Event] = [replace(started, extra=answer_extra(rest), shape=shape)]
        usage = message.get("usage")
        if is_object(usage):
            self._usage = decode_usage(usage)
            events.append(UsageReported(usage=self._usage))
        return events

    def _end_message(self, wire: Wire) -> list[Event]:
        """`message_delta`: the whole frame goes along, for it holds no content."""
        delta = wire.get("delta")
        if is_object(delta):
            self._finished = _decode_ending(delta, wire)
        usage = wire.get("usage")
        if not is_object(usage):
            return [Unrecognized(type="message_delta", value=wire, shape=OWN)]
        self._usage = decode_usage(usage, self._usage)
        return [UsageReported(usage=self._usage, extra={"frame": wire}, shape=OWN)]

    def _stop(self, wire: Wire) -> list[Event]:
        events = self._finish()
        if len(wire) > 1:
            extra = {**events[-1].extra, "frame": wire}
            events[-1] = replace(events[-1], extra=extra)
        return events

    def _fail(self, wire: Wire) -> list[Event]:
        self._done = True
        error = wire.get("error")
        return [decode_error_object(error if is_object(error) else {})]

    def _finish(self) -> list[Event]:
        self._done = True
        events: list[Event] = []
        for index in list(self._blocks):
            events += self._end_block(index)
        events.append(self._finished or Finished(reason=FinishReason.OTHER, shape=OWN))
        return events

    # -- blocks -------------------------------------------------------------------------------

    def _start_block(self, wire: Wire) -> list[Event]:
        index, block = wire.get("index"), wire.get("content_block")
        if type(index) is not int or not is_object(block):
            raise MalformedAnswerError("content_block_start without an index or a block")
        if index in self._blocks or index in self._ended:
            raise MalformedAnswerError("a content block of the vendor's stream started twice")
        part = _decode_start(block)
        self._blocks[index] = _Block(part)
        extra, shape = _beyond(wire, ("type", "index", "content_block"))
        return [PartStarted(index=index, part=part, extra=extra, shape=shape)]

    def _stop_block(self, wire: Wire) -> list[Event]:
        index = wire.get("index")
        if type(index) is not int or index not in self._blocks:
            raise MalformedAnswerError("content_block_stop for a block that is not open")
        events = self._end_block(index)
        extra, shape = _beyond(wire, ("type", "index"))
        if shape is not None:
            events[-1] = PartEnded(index=index, extra=extra, shape=shape)
        return events

    def _end_block(self, index: int) -> list[Event]:
        block = self._blocks.pop(index)
        self._ended.add(index)
        events: list[Event] = []
        if isinstance(block.part, ToolCall) and not block.part.arguments and not any(block.json):
            # A call without arguments streams an empty text; unstreamed it is {}.
            events.append(_made_up(index, DeltaKind.ARGUMENTS, text="{}"))
        elif isinstance(block.part, Opaque) and any(block.json):
            value = {"input": _parsed("".join(block.json))}
            events.append(_made_up(index, DeltaKind.VENDOR_DATA, value=value))
        events.append(PartEnded(index=index))
        return events

    def _feed_delta(self, frame: _DeltaFrame) -> list[Event]:
        index, delta = frame.index, frame.delta
        block = self._blocks.get(index)
        if block is None:
            raise MalformedAnswerError("content_block_delta for a block that is not open")
        method = block.takes.get(type(delta))
        if method is None:
            return [_opaque(index, msgspec.to_builtins(delta))]
        return [method(block, index, delta)]

    def _feed_any_delta(self, wire: Wire) -> list[Event]:
        """A delta with an unknown field, of a kind without a struct, or of an unnamed event."""
        index, delta = wire.get("index"), wire.get("delta")
        if type(index) is not int or not is_object(delta) or index not in self._blocks:
            raise MalformedAnswerError("content_block_delta for a block that is not open")
        block = self._blocks[index]
        kind = delta.get("type")
        known = _KNOWN_DELTAS.get(kind) if type(kind) is str else None
        frame_extra, _ = _beyond(wire, ("type", "index", "delta"))
        event = _any_delta(block, index, delta)
        extra: Wire = {}
        if known is not None and event.kind is not DeltaKind.OPAQUE:
            delta_extra, _ = _beyond(delta, ("type", known[0]))
            extra = {"delta": delta_extra} if delta_extra else {}
        if frame_extra:
            extra["frame"] = frame_extra
        event = replace(event, extra=extra, shape=OWN) if extra else event
        if kind == "compaction_delta" and isinstance(block.part, Opaque):
            value = {key: delta[key] for key in delta if key != "type"}
            return [event, _made_up(index, DeltaKind.VENDOR_DATA, value=value)]
        return [event]

    _EVENTS: ClassVar[dict[str, Callable[[Self, Wire], list[Event]]]] = {
        "message_start": _start,
        "content_block_start": _start_block,
        "content_block_delta": _feed_any_delta,
        "content_block_stop": _stop_block,
        "message_delta": _end_message,
        "message_stop": _stop,
        "error": _fail,
    }


def _any_delta(block: _Block, index: int, delta: Wire) -> PartDelta:
    kind = delta.get("type")
    if kind == "citations_delta" and isinstance(block.part, Text):
        return PartDelta(index=index, kind=DeltaKind.CITATION, value=delta.get("citation"))
    known = _KNOWN_DELTAS.get(kind) if type(kind) is str else None
    if known is not None and type(delta.get(known[0])) is str:
        method = block.takes.get(known[1])
        if method is not None:
            return method(block, index, known[1](delta[known[0]]))
    return _opaque(index, delta)


# -- one delta each -----------------------------------------------------------------------------


def _text(block: _Block, index: int, delta: _TextDelta) -> PartDelta:
    return PartDelta(index=index, kind=DeltaKind.TEXT, text=delta.text)


def _thinking(block: _Block, index: int, delta: _ThinkingDelta) -> PartDelta:
    return PartDelta(index=index, kind=DeltaKind.TEXT, text=delta.thinking)


def _signature(block: _Block, index: int, delta: _SignatureDelta) -> PartDelta:
    value = {"signature": delta.signature}
    return PartDelta(index=index, kind=DeltaKind.VENDOR_DATA, value=value)


def _arguments(block: _Block, index: int, delta: _JsonDelta) -> PartDelta:
    if not block.json and delta.partial_json:
        block.json.append(delta.partial_json)  # one is enough to know that there were any
    return PartDelta(index=index, kind=DeltaKind.ARGUMENTS, text=delta.partial_json)


def _opaque_json(block: _Block, index: int, delta: _JsonDelta) -> PartDelta:
    block.json.append(delta.partial_json)
    return _opaque(index, msgspec.to_builtins(delta))


def _opaque(index: int, delta: Wire) -> PartDelta:
    return PartDelta(index=index, kind=DeltaKind.OPAQUE, value=delta)


def _made_up(index: int, kind: DeltaKind, text: str = "", value: JsonValue = None) -> PartDelta:
    return PartDelta(index=index, kind=kind, text=text, value=value, shape=MADE_UP)


# -- pieces of frames ---------------------------------------------------------------------------


def _decode_ending(delta: Wire, frame: Wire) -> Finished:
    reason, sequence = delta.get("stop_reason"), delta.get("stop_sequence")
    reason = reason if type(reason) is str else None
    return Finished(
        reason=FINISH_REASONS.get(reason or "", FinishReason.OTHER),
        vendor_reason=reason,
        stop_sequence=sequence if type(sequence) is str else None,
        extra={
            key: source[key]
            for source in (frame, delta)
            for key in ENDING
            if source.get(key) is not None
        },
        shape=OWN,
    )


def _decode_start(block: Wire) -> Part:
    """The part as it begins. `input` is an empty object there, which deltas write anew."""
    part = decode_block(block)
    match part:
        case ToolCall(arguments="{}"):
            return replace(part, arguments="")
        case ToolCall() | Text() | Thinking(redacted=False) if _said(part):
            keys = part.shape.keys if part.shape is not None else tuple(block)
            return replace(part, shape=Shape(keys, {WHOLE: "whole"}))
        case _:
            return part


def _said(part: Node) -> str:
    return part.arguments if isinstance(part, ToolCall) else getattr(part, "text", "")


def _beyond(wire: Wire, known: tuple[str, ...]) -> tuple[Wire, Shape | None]:
    """What an object holds beyond its known keys; the shape only if there is any."""
    if len(wire) == len(known):
        return {}, None
    extra = {key: value for key, value in wire.items() if key not in known}
    return extra, Shape(tuple(wire), OWN.forms)


def _parsed(text: str) -> JsonValue:
    try:
        return decode_json(text)
    except (msgspec.DecodeError, RecursionError):
        return text


_TAKES: dict[type, dict[type, Callable[..., PartDelta]]] = {
    Text: {_TextDelta: _text},
    Thinking: {_ThinkingDelta: _thinking, _SignatureDelta: _signature},
    ToolCall: {_JsonDelta: _arguments},
    Opaque: {_JsonDelta: _opaque_json},
}

_KNOWN_DELTAS: dict[str, tuple[str, type[Any]]] = {
    "text_delta": ("text", _TextDelta),
    "thinking_delta": ("thinking", _ThinkingDelta),
    "input_json_delta": ("partial_json", _JsonDelta),
    "signature_delta": ("signature", _SignatureDelta),
}

_BEFORE_START = ("message_start", "error")
