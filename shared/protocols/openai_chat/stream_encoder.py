"""Canonical events -> the chunks of a stream, for a client of Chat.

Events of another protocol make a chunk each. Events that came from this protocol are put
together into the frames that they came in, after the decoder's notes (see `stream_decoder`),
with whatever text the events hold by now.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

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
from shared.canonical.failures import FailureClass
from shared.canonical.parts import JsonValue, Part, Refusal, Text, Thinking, ToolCall
from shared.canonical.usage import Usage
from shared.framing.sse import encode_frame
from shared.protocols.codec import AnswerContext

from .errors import encode_stream_error
from .response import NO_ARGUMENTS, answer_id, choice_of, started_fields
from .usage import encode_usage
from .wire import (
    NAME,
    REASONING_FIELDS,
    Wire,
    encode_json,
    encode_reason,
    form,
    is_object,
    is_own,
    nest,
)

OBJECT = "chat.completion.chunk"

_DONE = b"data: [DONE]\n\n"
_REST: Wire = {"index": 0, "logprobs": None, "finish_reason": None}


class _Place:
    """Where in a chunk a part's pieces go."""

    def __init__(self, choice: int, field: str, index: int = 0) -> None:
        self.choice = choice
        self.field = field
        self.index = index  # a tool call's
        self.item: Wire | None = None  # what of it stands in the chunk under construction
        self.is_empty = True


class ChatStreamEncoder:
    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._own = False
        self._chunk: Wire = {}  # the members of every chunk
        self._rest = _REST  # those of every choice
        self._places: dict[int, _Place] = {}
        self._calls: dict[int, int] = {}  # tool calls so far, by choice
        self._frames: list[bytes] = []
        self._note: Wire = {}  # of the frame under construction
        self._building: Wire | None = None
        self._entries: dict[int, Wire] = {}
        self._usage: Usage | None = None
        self._usage_shown = False
        self._reason_shown = False

    def encode(self, events: Sequence[Event]) -> bytes:
        for event in events:
            self._WRITERS[type(event)](self, event, self._begin(event))
        self._flush()
        frames, self._frames = self._frames, []
        return b"".join(frames)

    # ------------------------------------------------------------------------- frames

    def _begin(self, event: Event) -> Wire:
        """The note of an event. One that joins no other ends the frame before it."""
        is_noted = event.extra and (self._own or is_own(event))
        found: JsonValue = event.extra.get(NAME) if is_noted else None
        note: Wire = found if is_object(found) else {}
        if not note.get("joined"):
            if self._building is not None:
                self._flush()
            self._note = note
        return note

    def _flush(self) -> None:
        if self._building is not None:
            self._frames.append(encode_frame(encode_json(self._building)))
            self._building = None
            self._entries = {}
            self._note = {}

    def _build(self) -> Wire:
        """The chunk under construction, with the choices that its note tells of."""
        if self._building is None:
            note = self._note
            chunk: Wire = {**self._chunk, "choices": [], **note.get("set", {})}
            for key in note.get("unset", ()):
                chunk.pop(key, None)
            self._building = chunk
            for number in note.get("entries", ()):
                self._entry(int(number))
        return self._building

    def _entry(self, number: int) -> Wire:
        """A choice of the chunk under construction."""
        chunk = self._build()
        entry = self._entries.get(number)
        if entry is None:
            note = self._note.get("entries", {}).get(str(number), {})
            entry = dict(note.get("rest") or {**self._rest, "index": number})
            entry["delta"] = dict(note.get("delta", {}))
            self._entries[number] = entry
            chunk["choices"].append(entry)
            self._see_reason(entry)
        return entry

    def _see_reason(self, entry: JsonValue) -> None:
        if is_object(entry) and entry.get("finish_reason"):
            self._reason_shown = True

    # ------------------------------------------------------------------------- events

    def _start(self, event: Started, note: Wire) -> None:
        context = self._context
        self._own = is_own(event)
        if "chunk" in note:
            self._chunk = {**note["chunk"], **started_fields(event)}
            self._rest = note["rest"]
            self._build()
            return
        self._chunk = {
            "id": answer_id(event, context, own=self._own),
            "object": OBJECT,
            "created": event.created or context.created,
            "model": event.model or context.model,
        }
        self._entry(0)["delta"].update(role="assistant", content="")

    def _open(self, event: PartStarted, note: Wire) -> None:
        part = event.part
        opener = self._OPENERS.get(type(part))
        if opener is None:
            return  # a piece of another protocol that Chat has no word for
        choice = choice_of(part) if self._own else 0
        place = self._places[event.index] = opener(self, part, choice, note)
        text = "" if isinstance(part, ToolCall) else getattr(part, "text", "")
        if text:
            self._write(place, text, note)

    def _open_text(self, part: Part, choice: int, note: Wire) -> _Place:
        return _Place(choice, "content")

    def _open_refusal(self, part: Part, choice: int, note: Wire) -> _Place:
        return _Place(choice, "refusal")

    def _open_thinking(self, part: Part, choice: int, note: Wire) -> _Place:
        return _Place(choice, (self._own and form(part, "field")) or REASONING_FIELDS[0])

    def _open_call(self, part: ToolCall, choice: int, note: Wire) -> _Place:
        index = self._calls.get(choice, 0)
        self._calls[choice] = index + 1
        said = {
            "index": index,
            "id": part.id,
            "type": "function",
            "function.name": part.name,
            "function.arguments": part.arguments,
        }
        place = _Place(choice, "tool_calls")
        place.is_empty = not part.arguments
        item = self._add_item(place, said, note)
        place.index = item["index"] if type(item.get("index")) is int else index
        return place

    _OPENERS: ClassVar[dict[type, Callable[..., _Place]]] = {
        Text: _open_text,
        Refusal: _open_refusal,
        Thinking: _open_thinking,
        ToolCall: _open_call,
    }

    def _add(self, event: PartDelta, note: Wire) -> None:
        place = self._places.get(event.index)
        if place is not None and event.kind in (DeltaKind.TEXT, DeltaKind.ARGUMENTS):
            self._write(place, event.text, note)

    def _write(self, place: _Place, text: str, note: Wire) -> None:
        place.is_empty = place.is_empty and not text
        if place.field == "tool_calls":
            self._write_arguments(place, text, note)
            return
        delta = self._entry(place.choice)["delta"]
        item = note.get("item")
        if item is None:
            delta[place.field] = (delta.get(place.field) or "") + text
        else:
            delta.setdefault("content", []).append(_listed(item, text))

    def _write_arguments(self, place: _Place, text: str, note: Wire) -> None:
        item = place.item
        if not note.get("joined") or "call" in note or not self._is_building(item):
            said = {"index": place.index, "function.arguments": text}
            self._add_item(place, said, note)
        elif item is not None:
            function = item.setdefault("function", {})
            function["arguments"] = (function.get("arguments") or "") + text

    def _is_building(self, item: Wire | None) -> bool:
        return any(
            item is known
            for entry in self._entries.values()
            for known in entry["delta"].get("tool_calls") or ()
        )

    def _add_item(self, place: _Place, said: Wire, note: Wire) -> Wire:
        own = note.get("call", {})
        flat = {**said, **own.get("rest", {})}
        for key in own.get("unset", ()):
            flat.pop(key, None)
        place.item = nest(flat)
        self._entry(place.choice)["delta"].setdefault("tool_calls", []).append(place.item)
        return place.item

    def _close(self, event: PartEnded, note: Wire) -> None:
        place = self._places.pop(event.index, None)
        if note and not note.get("joined"):
            self._build()
        if place is not None and place.field == "tool_calls" and place.is_empty and not self._own:
            self._write_arguments(place, NO_ARGUMENTS, note)

    def _count(self, event: UsageReported, note: Wire) -> None:
        self._usage = event.usage if self._usage is None else self._usage.merged(event.usage)
        if note.get("held") or not is_own(event):
            return  # shown at the end
        if note.get("joined") or self._context.stream_usage:
            self._build()["usage"] = encode_usage(event.usage)
            self._usage_shown = True

    def _pass(self, event: Unrecognized, note: Wire) -> None:
        """A frame or a choice that was kept whole; other protocols' mean nothing here."""
        whole = note.get("whole")
        if whole == "chunk":
            self._building = event.value
        elif whole == "choice":
            self._build()["choices"].append(event.value)
            self._see_reason(event.value)

    def _finish(self, event: Finished, note: Wire) -> None:
        if not self._reason_shown and not note.get("unsaid"):
            word = event.vendor_reason if self._own else None
            calls = self._calls.get(0, 0) > 0
            self._entry(0)["finish_reason"] = encode_reason(event.reason, word, calls=calls)
            self._flush()
        if self._context.stream_usage and not self._usage_shown and self._usage is not None:
            self._build()["usage"] = encode_usage(self._usage)
            self._flush()
        self._frames.append(_DONE)

    def _fail(self, event: Failed, note: Wire) -> None:
        """The vendor's own words, unless they are about the gateway's credential."""
        whole = note.get("whole")
        if whole is not None and event.failure is not FailureClass.UPSTREAM_CREDENTIAL:
            self._frames.append(encode_frame(encode_json(whole)))
        else:
            self._frames.append(encode_stream_error(event, self._context.call_id))

    def _cancel(self, event: Cancelled, note: Wire) -> None:
        """Nobody is left to read."""

    _WRITERS: ClassVar[dict[type, Callable[..., None]]] = {
        Started: _start,
        PartStarted: _open,
        PartDelta: _add,
        PartEnded: _close,
        UsageReported: _count,
        Unrecognized: _pass,
        Finished: _finish,
        Failed: _fail,
        Cancelled: _cancel,
    }


def _listed(item: Wire, text: str) -> Wire:
    if item.get("type") == "thinking":
        return {**item, "thinking": [{"type": "text", "text": text}]}
    return {**item, "text": text}
