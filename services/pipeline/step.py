"""Steps: what policy does to a call before, during and after it.

A step is one class with a name, a position and any of three hooks. Steps of third parties
come from the entry-point group `weir.steps`. `before` runs in the order of the positions,
`after` in the reverse order; `on_event` sees every canonical event of the answer and costs
its callers the raw path, so a step only has it where it needs it.
"""

from collections.abc import Awaitable, Callable, Iterable
from importlib.metadata import entry_points
from typing import Protocol, runtime_checkable

from msgspec import Struct

from shared.bus.envelope import CallEnvelope
from shared.bus.records import CallRecord
from shared.canonical.answer import Answer
from shared.canonical.events import Event, Failed
from shared.canonical.request import Request

ENTRY_POINTS = "weir.steps"


class Proceed(Struct, frozen=True):
    """Go on; with another request, if one is given."""

    request: Request | None = None


class Reply(Struct, frozen=True):
    """Answer the call with this instead of calling a vendor."""

    answer: Answer


class Reject(Struct, frozen=True):
    """Refuse the call."""

    failed: Failed


Verdict = Proceed | Reply | Reject


class CallView:
    """What a step may know of a call. `changed` is the request as a step has changed it."""

    def __init__(self, envelope: CallEnvelope, load_request: "LoadRequest") -> None:
        self.envelope = envelope
        self.changed: Request | None = None
        self._load = load_request
        self._original: Request | None = None

    async def request(self) -> Request:
        """The request as it stands, decoded when somebody asks for it first."""
        if self.changed is not None:
            return self.changed
        if self._original is None:
            self._original = await self._load(self.envelope)
        return self._original


LoadRequest = Callable[[CallEnvelope], Awaitable[Request]]


class Step(Protocol):
    name: str
    position: int


@runtime_checkable
class BeforeStep(Protocol):
    async def before(self, call: CallView) -> Verdict: ...


@runtime_checkable
class EventStep(Protocol):
    def on_event(self, call: CallView, event: Event) -> Iterable[Event]:
        """The events to pass on in its place: itself, others, or none."""
        ...


@runtime_checkable
class AfterStep(Protocol):
    async def after(self, call: CallView, record: CallRecord) -> None:
        """Sees how the call ended. What it raises is logged and changes nothing."""
        ...


class Steps:
    """The steps of this pipeline, sorted once by hook and position."""

    def __init__(self, steps: Iterable[Step]) -> None:
        ordered = sorted(steps, key=lambda step: (step.position, step.name))
        self.before = [step for step in ordered if isinstance(step, BeforeStep)]
        self.on_event = [step for step in ordered if isinstance(step, EventStep)]
        self.after = [step for step in reversed(ordered) if isinstance(step, AfterStep)]


def load() -> Steps:
    """Every installed step. Each entry point names a class that takes no arguments."""
    return Steps(entry_point.load()() for entry_point in entry_points(group=ENTRY_POINTS))
