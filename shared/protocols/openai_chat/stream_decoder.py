"""A vendor's stream of chunks -> canonical events.

Chunks of a stream repeat one another but for a few words. `Started` keeps what the first chunk
held beside its content; a later frame that holds the same needs no note, and the common one, a
piece of text, takes a short way. Else the first event of a frame bears in `extra`, under this
protocol's name, how the frame differs:

    set, unset   members of the chunk
    entries      {number: {"rest": members of the choice, "delta": what no event tells of it}}

and the other events of that frame say `joined`. From these the encoder rebuilds every frame.
What a vendor adds to a chunk (token probabilities, thinking said twice) may repeat the text: a
step that must not let a word through has to look into `extra`, too, or to drop it.
"""

from itertools import count
from typing import Any

import msgspec
from msgspec.structs import replace

from shared.canonical.events import (
    DeltaKind,
    Event,
    Failed,
    Finished,
    PartDelta,
    Unrecognized,
    UsageReported,
)
from shared.canonical.failures import FailureClass, MalformedAnswerError
from shared.canonical.parts import JsonValue
from shared.framing.sse import SseFrame

from .errors import decode_stream_error
from .response import decode_started, started_fields
from .stream_choice import StreamedChoice
from .usage import decode_usage
from .wire import NAME, OWN, Wire, decode_reason, is_list, is_object

_decode_chunk = msgspec.json.Decoder(dict[str, Any]).decode

_DONE = b"[DONE]"
_NEUTRAL: Wire = {"index": 0, "finish_reason": None}


class ChatStreamDecoder:
    def __init__(self) -> None:
        self._indexes = count()
        self._first = StreamedChoice(0, self._indexes)
        self._choices = {0: self._first}
        self._members: Wire = {}  # what a chunk is expected to hold beside its choices
        self._rest: Wire = {}  # what a choice is, beside its delta
        self._is_started = False
        self._is_over = False

    def feed(self, frame: SseFrame) -> list[Event]:
        data = frame.data
        if not data or self._is_over:
            return []  # a comment, or words after the last one
        if data.startswith(_DONE):
            return self._end()
        try:
            chunk = _decode_chunk(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedAnswerError(f"a stream frame is not a JSON object: {error}") from None
        if self._first.text is not None:
            piece = self._piece_of_text(chunk, self._first.text)
            if piece is not None:
                return [piece]
        return self._read(chunk)

    def close(self) -> list[Event]:
        """Some vendors end without [DONE]; a finish reason then tells that it is the end."""
        if self._is_over:
            return []
        if any(choice.word for choice in self._choices.values()):
            return self._end()
        self._is_over = True
        return [_broken("the vendor's stream ended without a finish reason and without [DONE]")]

    def _piece_of_text(self, chunk: Wire, text_index: int) -> PartDelta | None:
        """The event of a chunk that holds one more piece of the open text and nothing else that
        is new; a role that is said again, and members of the chunk, need a note at most."""
        choices = chunk.get("choices")
        if not is_list(choices) or len(choices) != 1 or not is_object(choices[0]):
            return None
        choice: Wire = choices[0]
        delta = choice.get("delta")
        if not is_object(delta) or (len(delta) != 1 and ("role" not in delta or len(delta) != 2)):
            return None
        text = delta.get("content")
        if type(text) is not str or not text or type(chunk.get("usage")) is dict:
            return None
        del choice["delta"]
        if choice != self._rest or "error" in chunk:
            choice["delta"] = delta
            return None
        del chunk["choices"]
        note = self._difference(chunk)
        if len(delta) == 2:
            note["entries"] = {"0": {"delta": {"role": delta["role"]}}}
        extra = {NAME: note} if note else {}
        return PartDelta(index=text_index, kind=DeltaKind.TEXT, text=text, extra=extra)

    def _read(self, chunk: Wire) -> list[Event]:
        if chunk.get("error"):
            return self._fail(chunk)
        choices, usage = chunk.get("choices"), chunk.get("usage")
        taken = {name for name, there in _taken(choices, usage) if there}
        members = {key: value for key, value in chunk.items() if key not in taken}
        events: list[Event] = []
        notes: Wire = {}
        if is_list(choices) and choices:
            self._begin(members, choices[0], events)
            for position, choice in enumerate(choices):
                self._read_choice(choice, position, events, notes)
        if is_object(usage):
            events.append(_usage(usage, chunk))
        if not events:
            return [_unrecognized("chunk", chunk)]
        note = self._difference(members)
        if "choices" not in chunk:
            note["unset"] = [*note.get("unset", []), "choices"]
        if notes:
            note["entries"] = notes
        return _noted(events, note)

    def _begin(self, members: Wire, choice: JsonValue, events: list[Event]) -> None:
        if self._is_started:
            return
        self._is_started = True
        self._members = members
        if is_object(choice):
            self._rest = _plain(choice)
        started = decode_started(members)
        told = started_fields(started)
        chunk = {key: value for key, value in members.items() if key not in told}
        extra = {NAME: {"chunk": chunk, "rest": self._rest}}
        events.append(replace(started, extra=extra, shape=OWN))

    def _difference(self, members: Wire) -> Wire:
        """How a chunk's members differ from those of the first."""
        if members == self._members:
            return {}
        old = self._members
        changed = {k: v for k, v in members.items() if k not in old or old[k] != v}
        missing = [key for key in old if key not in members]
        return {key: value for key, value in (("set", changed), ("unset", missing)) if value}

    def _read_choice(
        self, wire: JsonValue, position: int, events: list[Event], notes: Wire
    ) -> None:
        delta = wire.get("delta") if is_object(wire) else None
        if not is_object(wire) or not is_object(delta):
            events.append(_unrecognized("choice", wire))
            return
        number = wire.get("index")
        number = number if type(number) is int else position
        choice = self._choice(number)
        before = len(events)
        untold = choice.read(delta, events)
        word = wire.get("finish_reason")
        if type(word) is str and word:
            choice.word = word
            choice.end(events)
        if len(events) == before and (position or not before):  # else Started stands for it
            events.append(_unrecognized("choice", wire))
            return
        rest = {key: value for key, value in wire.items() if key != "delta"}
        expected = {**self._rest, "index": number} if number else self._rest
        note: Wire = {} if rest == expected else {"rest": rest}
        if untold or len(events) == before:
            note["delta"] = untold
        if note:
            notes[str(number)] = note

    def _choice(self, number: int) -> StreamedChoice:
        if number not in self._choices:
            self._choices[number] = StreamedChoice(number, self._indexes)
        return self._choices[number]

    def _fail(self, chunk: Wire) -> list[Event]:
        self._is_over = True
        usage = chunk.get("usage")
        told: list[Event] = []
        if is_object(usage):
            told.append(replace(_usage(usage, chunk), extra={NAME: {"held": True}}))
        failed = decode_stream_error(chunk["error"])
        return [*told, replace(failed, extra={NAME: {"whole": chunk}}, shape=OWN)]

    def _end(self) -> list[Event]:
        self._is_over = True
        if not self._is_started:
            return [_broken("the vendor's stream ended before it began")]
        events: list[Event] = []
        for choice in self._choices.values():
            choice.end(events)
        word = self._first.word
        reason = decode_reason(word, calls=self._first.calls > 0)
        note = {} if word is not None else {NAME: {"unsaid": True}}
        return [*events, Finished(reason=reason, vendor_reason=word, extra=note)]


def _taken(choices: JsonValue, usage: JsonValue) -> tuple[tuple[str, bool], ...]:
    """The members that events tell of."""
    return ("choices", is_list(choices)), ("usage", is_object(usage))


def _plain(choice: Wire) -> Wire:
    """What every choice of a stream may be expected to hold: of the first, the simple values."""
    rest = {
        key: value
        for key, value in choice.items()
        if key != "delta" and not isinstance(value, dict | list)
    }
    return {**rest, **{key: value for key, value in _NEUTRAL.items() if key in rest}}


def _usage(wire: Wire, chunk: Wire) -> UsageReported:
    tier = chunk.get("service_tier")
    return UsageReported(usage=decode_usage(wire, tier if type(tier) is str else None), shape=OWN)


def _broken(message: str) -> Failed:
    return Failed(failure=FailureClass.UPSTREAM_ERROR, message=message)


def _unrecognized(kind: str, wire: JsonValue) -> Event:
    return Unrecognized(type=kind, value=wire, extra={NAME: {"whole": kind}}, shape=OWN)


def _noted(events: list[Event], note: Wire) -> list[Event]:
    if note:
        events[0] = _annotated(events[0], note)
    for position in range(1, len(events)):
        events[position] = _annotated(events[position], {"joined": True})
    return events


def _annotated(event: Event, note: Wire) -> Event:
    return replace(event, extra={NAME: {**event.extra.get(NAME, {}), **note}})
