"""One choice of a stream: its deltas -> the events of its parts.

Called by the stream decoder for each frame. Prose (text, thinking, a refusal) is one part at a
time, and another kind ends it; tool calls stay open until the choice ends, since their pieces
may interleave.
"""

from collections.abc import Callable, Iterator
from typing import ClassVar

from msgspec.structs import replace

from shared.canonical.events import DeltaKind, Event, PartDelta, PartEnded, PartStarted
from shared.canonical.parts import JsonValue, Part, Refusal, Shape, Text, Thinking, ToolCall

from .content import thinking_text
from .response import mark_choice
from .wire import NAME, REASONING_FIELDS, Wire, flatten, is_list, is_object

_LISTED_THINKING = Thinking(shape=Shape((), {"at": "content"}))


class StreamedChoice:
    """`text` is the index of the open text, `word` the vendor's finish reason, if any."""

    def __init__(self, number: int, indexes: Iterator[int]) -> None:
        self.text: int | None = None
        self.word: str | None = None
        self.calls = 0
        self._number = number
        self._indexes = indexes
        self._prose: tuple[type, int] | None = None
        self._open_calls: dict[int, tuple[int, str]] = {}  # the wire's index -> part, call id
        self._field: str | None = None  # where this vendor puts thinking

    def read(self, delta: Wire, events: list[Event]) -> Wire:
        """Adds the events of a delta; gives the members that they do not tell of."""
        untold = dict(delta)
        for member, value in delta.items():
            reader = self._READERS.get(member) if value else None
            if reader is not None and reader(self, member, value, events):
                del untold[member]
        return untold

    def end(self, events: list[Event]) -> None:
        self._end_prose(events)
        events.extend(PartEnded(index=part) for part, _ in self._open_calls.values())
        self._open_calls = {}

    # ------------------------------------------------- members of a delta: True if told

    def _read_content(self, member: str, value: JsonValue, events: list[Event]) -> bool:
        if type(value) is str:
            self._add_prose(Text(text=""), value, events)
            return True
        items = [_item(item) for item in value] if is_list(value) else [None]
        known = [item for item in items if item is not None]
        if len(known) < len(items):
            return False
        for part, text, rest in known:
            self._add_prose(part, text, events, {"item": rest})
        return True

    def _read_thinking(self, member: str, value: JsonValue, events: list[Event]) -> bool:
        """Some vendors say it twice, under both names; the first to come counts."""
        self._field = self._field or member
        if type(value) is not str or self._field != member:
            return False
        usual = member == REASONING_FIELDS[0]
        shape = None if usual else Shape((), {"field": member})
        self._add_prose(Thinking(shape=shape), value, events)
        return True

    def _read_refusal(self, member: str, value: JsonValue, events: list[Event]) -> bool:
        if type(value) is not str:
            return False
        self._add_prose(Refusal(text=""), value, events)
        return True

    def _read_calls(self, member: str, value: JsonValue, events: list[Event]) -> bool:
        items = value if is_list(value) else [None]
        flat = [flatten(item, "function") if is_object(item) else None for item in items]
        known = [item for item in flat if item is not None]
        if len(known) < len(items):
            return False
        for position, item in enumerate(known):
            index = item.get("index")
            index = index if type(index) is int else position
            self._read_call(item, index, events, is_first=position == 0)
        return True

    def _read_call(self, item: Wire, index: int, events: list[Event], *, is_first: bool) -> None:
        """A new call has an id of its own; some vendors repeat the id, some the index."""
        call_id, name, arguments = (
            _text_of(item, key) for key in ("id", "function.name", "function.arguments")
        )
        known = self._open_calls.get(index)
        if known is not None and not (call_id and name and call_id != known[1]):
            note = _call_note(item, {"index": index, "function.arguments": arguments})
            if not is_first:
                note.setdefault("call", {})  # an item of its own, whatever stands before it
            self._add_arguments(known[0], arguments, events, note)
            return
        self._end_prose(events)
        if known is not None:
            events.append(PartEnded(index=known[0]))
        told = {
            "index": self.calls,
            "id": call_id,
            "type": "function",
            "function.name": name,
            "function.arguments": arguments,
        }
        part = self._open(ToolCall(id=call_id, name=name), events, _call_note(item, told))
        self._open_calls[index] = (part, call_id)
        self.calls += 1
        if arguments:
            self._add_arguments(part, arguments, events, {})

    _READERS: ClassVar[dict[str, Callable[..., bool]]] = {
        "content": _read_content,
        "reasoning_content": _read_thinking,
        "reasoning": _read_thinking,
        "refusal": _read_refusal,
        "tool_calls": _read_calls,
    }

    # -------------------------------------------------------------------------- parts

    def _open(self, part: Part, events: list[Event], note: Wire) -> int:
        index = next(self._indexes)
        if self._number:
            part = replace(part, extra=mark_choice(self._number))
        events.append(PartStarted(index=index, part=part, extra=_noted(note)))
        return index

    def _add_prose(
        self, part: Part, text: str, events: list[Event], note: Wire | None = None
    ) -> None:
        """More of the open part of this kind, or the beginning of one."""
        if self._prose is None or self._prose[0] is not type(part):
            self._end_prose(events)
            self._prose = (type(part), self._open(part, events, {}))
            self.text = self._prose[1] if type(part) is Text else None
        index = self._prose[1]
        extra = _noted(note or {})
        events.append(PartDelta(index=index, kind=DeltaKind.TEXT, text=text, extra=extra))

    def _end_prose(self, events: list[Event]) -> None:
        if self._prose is not None:
            events.append(PartEnded(index=self._prose[1]))
            self._prose = self.text = None

    def _add_arguments(self, part: int, text: str, events: list[Event], note: Wire) -> None:
        kind = DeltaKind.ARGUMENTS
        events.append(PartDelta(index=part, kind=kind, text=text, extra=_noted(note)))


def _noted(note: Wire) -> Wire:
    return {NAME: note} if note else {}


def _text_of(item: Wire, key: str) -> str:
    value = item.get(key)
    return value if type(value) is str else ""


def _call_note(item: Wire, told: Wire) -> Wire:
    """How a call's item differs from what the encoder would make of the event."""
    rest = {key: value for key, value in item.items() if key not in told or told[key] != value}
    unset = [key for key in told if key not in item]
    note = {key: value for key, value in (("rest", rest), ("unset", unset)) if value}
    return {"call": note} if note else {}


def _item(item: JsonValue) -> tuple[Part, str, Wire] | None:
    """An item of a `content` list (Mistral's): its kind of part, its text, what else it holds."""
    if not is_object(item):
        return None
    kind, text = item.get("type"), item.get("text")
    if kind == "text" and type(text) is str:
        return Text(text=""), text, _without(item, "text")
    text = thinking_text(item.get("thinking")) if kind == "thinking" else None
    return None if text is None else (_LISTED_THINKING, text, _without(item, "thinking"))


def _without(wire: Wire, key: str) -> Wire:
    return {name: value for name, value in wire.items() if name != key}
