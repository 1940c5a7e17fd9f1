"""A vendor's stream -> canonical events.

One table {event type: method}. `message_delta` reports usage and the reason; Finished comes
with `message_stop`. No event waits for a later frame.
"""

from collections.abc import Callable
from typing import ClassVar, Self

import msgspec
from msgspec.structs import replace

from shared.canonical.events import (
    Event,
    Failed,
    Finished,
    FinishReason,
    PartEnded,
    PartStarted,
    Unrecognized,
    UsageReported,
)
from shared.canonical.failures import FailureClass, MalformedAnswerError
from shared.canonical.parts import JsonValue, Shape
from shared.canonical.usage import Usage
from shared.framing.sse import SseFrame

from .errors import decode_error_object
from .response import ENDING, answer_extra, take_started
from .stream_blocks import DeltaFrame, OpenBlock, decode_delta_frame
from .usage import decode_usage
from .wire import FINISH_REASONS, OWN, Wire, decode_json, is_object


class AnthropicStreamDecoder:
    def __init__(self) -> None:
        self._blocks: dict[int, OpenBlock] = {}
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
                    return self._feed_delta(decode_delta_frame(frame.data))
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
        if is_object(delta) and (delta.get("stop_reason") or self._finished is None):
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
        opened = self._blocks[index] = OpenBlock(index, block)
        extra, shape = _beyond(wire, ("type", "index", "content_block"))
        return [PartStarted(index=index, part=opened.part, extra=extra, shape=shape)]

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
        self._ended.add(index)
        return self._blocks.pop(index).end()

    def _feed_delta(self, frame: DeltaFrame) -> list[Event]:
        block = self._blocks.get(frame.index)
        if block is None:
            raise MalformedAnswerError("content_block_delta for a block that is not open")
        return [block.add(frame.delta)]

    def _feed_any_delta(self, wire: Wire) -> list[Event]:
        """A delta with an unknown field, of a kind without a struct, or of an unnamed event."""
        index, delta = wire.get("index"), wire.get("delta")
        if type(index) is not int or not is_object(delta) or index not in self._blocks:
            raise MalformedAnswerError("content_block_delta for a block that is not open")
        first, *more = self._blocks[index].add_any(delta)
        extra, _ = _beyond(wire, ("type", "index", "delta"))
        if extra:
            first = replace(first, extra={**first.extra, "frame": extra}, shape=OWN)
        return [first, *more]

    _EVENTS: ClassVar[dict[str, Callable[[Self, Wire], list[Event]]]] = {
        "message_start": _start,
        "content_block_start": _start_block,
        "content_block_delta": _feed_any_delta,
        "content_block_stop": _stop_block,
        "message_delta": _end_message,
        "message_stop": _stop,
        "error": _fail,
    }


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


def _beyond(wire: Wire, known: tuple[str, ...]) -> tuple[Wire, Shape | None]:
    """What an object holds beyond its known keys; the shape only if there is any."""
    if len(wire) == len(known):
        return {}, None
    extra = {key: value for key, value in wire.items() if key not in known}
    return extra, Shape(tuple(wire), OWN.forms)


_BEFORE_START = ("message_start", "error")
