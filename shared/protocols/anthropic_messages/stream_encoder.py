"""Canonical events -> the frames of a stream that Anthropic's SDKs accept.

One table {event: method}. Anthropic sends one block after another, so a part that begins
while another is open waits until that one has ended. Events of this protocol's own vendor
give back the frames that they came from.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

from msgspec.structs import replace

from shared.canonical.events import (
    Cancelled,
    DeltaKind,
    Event,
    Failed,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    Started,
    Unrecognized,
    UsageReported,
)
from shared.canonical.parts import (
    JsonValue,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from shared.canonical.usage import Usage
from shared.framing.sse import encode_frame
from shared.protocols.codec import AnswerContext, arrange

from .blocks import encode_block
from .errors import encode_stream_error
from .response import ENDING, message_head, shown_part, stop_reason
from .usage import encode_delta_usage, encode_usage
from .wire import Wire, encode_json, form, is_object, is_own, rebuilt

_DELTA = (
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":%b}}\n\n'
)
_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'

# The wire's type and key of the text that a part's deltas bear.
_TEXT_DELTAS: dict[type, tuple[bytes, bytes]] = {
    Text: (b"text_delta", b"text"),
    Refusal: (b"text_delta", b"text"),
    Thinking: (b"thinking_delta", b"thinking"),
    ToolCall: (b"input_json_delta", b"partial_json"),
}

_SEAL_DELTA = (b"signature_delta", b"signature")
_TEXT_KINDS = (DeltaKind.TEXT, DeltaKind.ARGUMENTS)


class AnthropicStreamEncoder:
    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._own = False
        self._out: list[bytes] = []
        self._head: Started | None = None  # message_start waits for the usage of its batch
        self._usage: Usage | None = None
        self._ending_sent = False
        self._kinds: set[type] = set()
        self._waiting: dict[int, list[Event]] = {}  # parts that began while another was open
        self._open: int | None = None  # the canonical index of the part being written
        self._part: Part | None = None
        self._begun = False  # the open part's content_block_start is written
        self._blocks = 0

    def encode(self, events: Sequence[Event]) -> bytes:
        for event in events:
            self._EVENTS[type(event)](self, event)
        self._write_head()
        frames = b"".join(self._out)
        self._out.clear()
        return frames

    # -- the message --------------------------------------------------------------------------

    def _start(self, event: Started) -> None:
        self._own = is_own(event)
        self._head = event

    def _write_head(self) -> None:
        started = self._head
        if started is None:
            return
        self._head = None
        fields: Wire = {
            **message_head(started, started if self._own else None, self._context),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": None,
        }
        if self._own:
            # The vendor's own usage is in `extra`, as the rest that only it knows.
            fields["content"] = None if "content" in started.extra else []
            message = arrange(fields, started.extra, started.shape)
        else:
            usage = self._usage or Usage()
            message = {**fields, "usage": encode_usage(usage, own=False)}
        self._write("message_start", {"type": "message_start", "message": message})

    def _report(self, event: UsageReported) -> None:
        usage = event.usage
        self._usage = usage if self._usage is None else self._usage.merged(usage)
        frame = event.extra.get("frame") if is_own(event) else None
        if frame is not None:
            self._ending_sent = True
            self._write("message_delta", frame)

    def _finish(self, event: Finished) -> None:
        self._write_head()
        for index in [] if self._open is None else [self._open, *self._waiting]:
            self._end_part(PartEnded(index=index))
        own = is_own(event)
        if not self._ending_sent:
            self._write("message_delta", self._ending(event, own=own))
        frame = event.extra.get("frame") if own else None
        self._write("message_stop", frame or {"type": "message_stop"})

    def _ending(self, event: Finished, *, own: bool) -> Wire:
        said = {key: event.extra[key] for key in ENDING if key in event.extra} if own else {}
        management = said.pop("context_management", None)
        frame: Wire = {
            "type": "message_delta",
            "delta": {
                "stop_reason": stop_reason(event, self._kinds),
                "stop_sequence": event.stop_sequence,
                **said,
            },
            "usage": encode_delta_usage(self._usage or Usage(), own=own),
        }
        if management is not None:
            frame["context_management"] = management
        return frame

    def _fail(self, event: Failed) -> None:
        self._write_head()
        self._out.append(encode_stream_error(event, self._context.call_id))

    def _cancel(self, event: Cancelled) -> None:
        """Nobody reads on."""

    def _repeat(self, event: Unrecognized) -> None:
        """A ping or an event from the future, as it came; another protocol's means nothing."""
        if is_own(event):
            self._write_head()
            if event.type == "message_delta":
                self._ending_sent = True
            self._write(event.type, event.value)

    # -- parts --------------------------------------------------------------------------------

    def _start_part(self, event: PartStarted) -> None:
        self._write_head()
        if self._open is not None:
            self._waiting[event.index] = [event]
            return
        self._open, self._begun = event.index, False
        self._kinds.add(type(event.part))
        if self._own:
            self._begin_own(event)
            return
        self._part = shown_part(event.part, self._blocks, self._context)
        if isinstance(self._part, ToolCall) or _text_of(self._part):
            self._begin()
        # A text block begins with its first letter: Anthropic takes no empty one back.

    def _begin_own(self, event: PartStarted) -> None:
        part = self._part = event.part
        if form(part, "start") == "whole":
            block: JsonValue = encode_block(part, own=True)
            text = ""
        else:
            text, empty = _text_of(part), _emptied(part)
            block = part.value if isinstance(part, Opaque) else encode_block(empty, own=True)
        frame: Wire = {
            "type": "content_block_start",
            "index": self._blocks,
            "content_block": block,
        }
        self._begun = True
        self._write("content_block_start", rebuilt(frame, event, own=True))
        if text:
            self._write_text(text)

    def _begin(self) -> None:
        """Writes the start of the open part, and the text that came with it as one delta."""
        part = self._part
        if part is None:
            return
        self._begun = True
        block = encode_block(_emptied(part), own=False)
        frame: Wire = {
            "type": "content_block_start",
            "index": self._blocks,
            "content_block": block,
        }
        self._write("content_block_start", frame)
        if text := _text_of(part):
            self._write_text(text)

    def _add_delta(self, event: PartDelta) -> None:
        if event.index != self._open:
            if event.index in self._waiting:
                self._waiting[event.index].append(event)
        elif self._own and (event.shape is not None or event.kind not in _TEXT_KINDS):
            self._write_own_delta(event)
        elif event.kind not in _TEXT_KINDS:
            self._write_seal(event)
        elif self._begun and (event.text or self._own):
            self._write_text(event.text)
        elif event.text and self._part is not None:
            self._begin()
            self._write_text(event.text)

    def _write_text(self, text: str) -> None:
        names = _TEXT_DELTAS.get(type(self._part))
        if names is not None:
            self._out.append(_DELTA % (self._blocks, *names, encode_json(text)))

    def _write_own_delta(self, event: PartDelta) -> None:
        """What the decoder made up to complete a part stood in no frame and stays out."""
        delta = self._own_delta(event) if form(event, "made_up") is None else None
        if delta is not None:
            frame: Wire = {"type": "content_block_delta", "index": self._blocks, "delta": delta}
            self._write("content_block_delta", {**frame, **event.extra.get("frame", {})})

    def _write_seal(self, event: PartDelta) -> None:
        """Of another protocol's own deltas only a signature has a place, as Bedrock sends it."""
        seal = event.value.get("signature") if is_object(event.value) else None
        if isinstance(self._part, Thinking) and type(seal) is str:
            if not self._begun:
                self._begin()
            self._out.append(_DELTA % (self._blocks, *_SEAL_DELTA, encode_json(seal)))

    def _own_delta(self, event: PartDelta) -> JsonValue:
        extra: Wire = event.extra.get("delta", {})
        match event.kind:
            case DeltaKind.CITATION:
                return {"type": "citations_delta", "citation": event.value, **extra}
            case DeltaKind.VENDOR_DATA:
                return {"type": "signature_delta", **event.value, **extra}
            case DeltaKind.OPAQUE:
                return event.value
            case _:
                names = _TEXT_DELTAS.get(type(self._part))
                if names is None:
                    return None
                return {"type": names[0].decode(), names[1].decode(): event.text, **extra}

    def _end_part(self, event: PartEnded) -> None:
        if event.index != self._open:
            if event.index in self._waiting:
                self._waiting[event.index].append(event)
            return
        self._write_end(event)
        while self._open is None and self._waiting:
            index = next(iter(self._waiting))
            for waited in self._waiting.pop(index):
                if isinstance(waited, PartEnded):
                    self._write_end(waited)
                else:
                    self._EVENTS[type(waited)](self, waited)

    def _write_end(self, event: PartEnded) -> None:
        if self._begun:
            if event.extra and self._own:
                frame: Wire = {"type": "content_block_stop", "index": self._blocks}
                self._write("content_block_stop", rebuilt(frame, event, own=True))
            else:
                self._out.append(_STOP % self._blocks)
            self._blocks += 1
        self._open = self._part = None
        self._begun = False

    def _write(self, event: str, wire: JsonValue) -> None:
        self._out.append(encode_frame(encode_json(wire), event))

    _EVENTS: ClassVar[dict[type, Callable[[Self, Any], None]]] = {
        Started: _start,
        PartStarted: _start_part,
        PartDelta: _add_delta,
        PartEnded: _end_part,
        UsageReported: _report,
        Unrecognized: _repeat,
        Finished: _finish,
        Failed: _fail,
        Cancelled: _cancel,
    }


def _text_of(part: Part | None) -> str:
    """What of a part is written as deltas."""
    match part:
        case Text() | Refusal() | Thinking():
            return part.text
        case ToolCall():
            return part.arguments
        case _:
            return ""


def _emptied(part: Part) -> Part:
    match part:
        case Text() | Refusal() | Thinking():
            return replace(part, text="")
        case ToolCall():
            return replace(part, arguments="")
        case _:
            return part
