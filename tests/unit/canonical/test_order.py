import pytest

from shared.canonical.events import (
    TERMINAL,
    Cancelled,
    DeltaKind,
    Event,
    Failed,
    Finished,
    FinishReason,
    PartDelta,
    PartEnded,
    PartStarted,
    Started,
    Unrecognized,
    UsageReported,
)
from shared.canonical.failures import FailureClass
from shared.canonical.order import DONE, ORDER, IllegalOrderError, OrderCheck
from shared.canonical.parts import Text
from shared.canonical.usage import Usage

FINISHED = Finished(reason=FinishReason.STOP)
FAILED = Failed(failure=FailureClass.UPSTREAM_ERROR, message="")
USAGE = UsageReported(usage=Usage(output=1))
PING = Unrecognized(type="ping")


def begun(index: int) -> PartStarted:
    return PartStarted(index=index, part=Text(text=""))


def delta(index: int) -> PartDelta:
    return PartDelta(index=index, kind=DeltaKind.TEXT, text="a")


def ended(index: int) -> PartEnded:
    return PartEnded(index=index)


@pytest.mark.parametrize(
    "events",
    [
        [Started(), FINISHED],
        [Started(), begun(0), delta(0), ended(0), FINISHED],
        [Started(), begun(0), begun(1), delta(1), delta(0), ended(1), ended(0), FINISHED],
        [PING, USAGE, Started(), USAGE, PING, begun(3), PING, USAGE, ended(3), USAGE, FINISHED],
        [Started(), begun(0), delta(0), FAILED],
        [Started(), begun(0), delta(0), Cancelled()],
        [FAILED],
        [Cancelled()],
    ],
)
def test_legal_streams_are_accepted_and_end_once(events: list[Event]) -> None:
    check = OrderCheck()
    for event in events:
        check.see(event)
    assert check.state == DONE


@pytest.mark.parametrize(
    "events",
    [
        [FINISHED],
        [begun(0)],
        [Started(), Started()],
        [Started(), delta(0)],
        [Started(), ended(0)],
        [Started(), begun(0), begun(0)],
        [Started(), begun(0), ended(0), begun(0)],
        [Started(), begun(0), ended(0), delta(0)],
        [Started(), begun(0), ended(0), ended(0)],
        [Started(), begun(0), FINISHED],
        [Started(), FINISHED, FINISHED],
        [Started(), FINISHED, USAGE],
        [Started(), FINISHED, PING],
        [FAILED, FAILED],
        [Started(), FAILED, FINISHED],
    ],
)
def test_the_first_illegal_event_is_named(events: list[Event]) -> None:
    check = OrderCheck()
    for event in events[:-1]:
        check.see(event)
    with pytest.raises(IllegalOrderError):
        check.see(events[-1])


def test_the_table_names_every_event_and_nothing_follows_an_end() -> None:
    named = {kind for following in ORDER.values() for kind in following}
    assert named == set(Event.__args__)
    assert ORDER[DONE] == {}
    assert all(
        ORDER[state][kind] == DONE for state in ORDER for kind in TERMINAL if kind in ORDER[state]
    )
