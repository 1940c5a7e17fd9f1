"""A whole answer, and its two directions: `fold` a stream into it, `unfold` it into one.

An unstreamed answer travels the bus as the events of `unfold`, so that steps, the finalizer
and the client's codec know one thing only. `fold(unfold(answer))` gives the answer back.
"""

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from .events import (
    DeltaKind,
    Event,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    Started,
    UsageReported,
)
from .parts import Node, Opaque, Part, Refusal, Text, Thinking, ToolCall
from .usage import Usage


class Answer(Node, frozen=True):
    """What the model said, complete. `finished` is None where the stream broke off."""

    started: Started
    parts: tuple[Part, ...] = ()
    finished: Finished | None = None
    usage: Usage | None = None


def unfold(answer: Answer) -> Iterator[Event]:
    """The events of an answer that came in one piece; parts arrive whole in PartStarted."""
    yield replace(answer.started, extra=answer.extra, shape=answer.shape)
    for index, part in enumerate(answer.parts):
        yield PartStarted(index=index, part=part)
        yield PartEnded(index=index)
    if answer.usage is not None:
        yield UsageReported(usage=answer.usage)
    if answer.finished is not None:
        yield answer.finished


def fold(events: Iterable[Event]) -> Answer:
    """The answer that a stream adds up to; parts come in the order of their first event."""
    folding = Folding()
    for event in events:
        folding.add(event)
    return folding.answer()


class Folding:
    """Adds up one stream's events. Linear: text is joined once, at the end."""

    def __init__(self) -> None:
        self._started = Started()
        self._finished: Finished | None = None
        self._usage: Usage | None = None
        self._parts: dict[int, Part] = {}
        self._texts: dict[int, list[str]] = {}

    def add(self, event: Event) -> None:
        match event:
            case PartDelta():
                self._add_delta(event)
            case PartStarted():
                self._parts[event.index] = event.part
            case Started():
                self._started = event
            case UsageReported():
                self._usage = (
                    event.usage if self._usage is None else self._usage.merged(event.usage)
                )
            case Finished():
                self._finished = event
            case _:
                pass

    def answer(self) -> Answer:
        return Answer(
            started=replace(self._started, extra={}, shape=None),
            parts=tuple(self._whole(index, part) for index, part in self._parts.items()),
            finished=self._finished,
            usage=self._usage,
            extra=self._started.extra,
            shape=self._started.shape,
        )

    def _add_delta(self, delta: PartDelta) -> None:
        if delta.kind in (DeltaKind.TEXT, DeltaKind.ARGUMENTS):
            self._texts.setdefault(delta.index, []).append(delta.text)
            return
        part = self._parts.get(delta.index)
        if delta.kind is DeltaKind.VENDOR_DATA and isinstance(part, Thinking | ToolCall):
            merged = {**part.vendor_data, **delta.value}
            self._parts[delta.index] = replace(part, vendor_data=merged)
        elif delta.kind is DeltaKind.VENDOR_DATA and isinstance(part, Opaque):
            if isinstance(part.value, dict):
                self._parts[delta.index] = replace(part, value={**part.value, **delta.value})
        elif delta.kind is DeltaKind.CITATION and isinstance(part, Text):
            cited = (*(part.citations or ()), delta.value)
            self._parts[delta.index] = replace(part, citations=cited)

    def _whole(self, index: int, part: Part) -> Part:
        more = "".join(self._texts.get(index, ()))
        match part:
            case Text() | Thinking() | Refusal():
                return replace(part, text=part.text + more) if more else part
            case ToolCall():
                return replace(part, arguments=part.arguments + more) if more else part
            case Opaque() | _:
                return part
