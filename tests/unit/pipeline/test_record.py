"""What a row says of how a call ended, and what it costs."""

import pytest

from services.pipeline.record import call_record
from services.pipeline.router import Target
from shared.bus.envelope import CallEnvelope, End, Head, Principal
from shared.bus.records import CallRecord, Outcome
from shared.canonical.events import Cancelled, Failed, Finished, FinishReason
from shared.canonical.failures import FailureClass
from shared.canonical.usage import Usage

TARGET = Target("openai", "openai", "gpt-4o-mini")
USAGE = Usage(input=1000, output=100)
CALL = CallEnvelope(
    call_id="c",
    principal=Principal("t", "a", "k"),
    protocol="openai_chat",
    model="gpt-4o-mini",
    streamed=True,
    started=1_760_000_000_000_000,
    deadline=1_760_000_900_000_000,
)


def record(end: End, target: Target | None = TARGET, attempts: int = 1) -> CallRecord:
    return call_record(CALL, end, target=target, attempts=attempts, first_token=None, instance="i")


def failed(failure: FailureClass, **fields: object) -> Failed:
    return Failed(failure=failure, message="m", **fields)  # pyright: ignore[reportArgumentType]


def test_a_finished_call_costs_what_it_used() -> None:
    row = record(End(outcome=Finished(reason=FinishReason.STOP), usage=USAGE))
    assert (row.outcome, row.status, row.priced) == (Outcome.OK, 200, True)
    assert row.cost_nano == 1000 * 150 + 100 * 600  # $0.15 and $0.60 a million


@pytest.mark.parametrize(
    "failure", [FailureClass.UNAVAILABLE, FailureClass.OVERLOADED, FailureClass.UPSTREAM_ERROR]
)
def test_what_was_used_before_a_failure_is_charged(failure: FailureClass) -> None:
    row = record(End(outcome=failed(failure), usage=USAGE, head=Head(status=200, protocol="p")))
    assert row.outcome is Outcome.FAILED
    assert row.cost_nano == 210_000


@pytest.mark.parametrize(
    ("end", "target"),
    [
        (End(outcome=failed(FailureClass.NOT_FOUND)), None),
        (End(outcome=failed(FailureClass.UNAVAILABLE)), TARGET),
        (End(outcome=failed(FailureClass.CONNECT)), TARGET),
        (
            End(
                outcome=failed(FailureClass.UPSTREAM_RATE_LIMITED),
                head=Head(status=429, protocol="p"),
            ),
            TARGET,
        ),
    ],
)
def test_what_no_vendor_can_have_charged_for_costs_nothing(end: End, target: Target | None) -> None:
    row = record(end, target)
    assert (row.cost_nano, row.priced) == (0, True)


def test_a_cost_that_is_not_known_is_not_nothing() -> None:
    row = record(End(outcome=failed(FailureClass.TIMEOUT)))
    assert (row.cost_nano, row.priced) == (None, False)
    unknown = Target("openai", "openai", "no-such-model")
    row = record(End(outcome=Finished(reason=FinishReason.STOP), usage=USAGE), unknown)
    assert (row.cost_nano, row.priced) == (None, False)


def test_a_client_that_left_is_neither_success_nor_failure() -> None:
    row = record(End(outcome=Cancelled(), usage=USAGE))
    assert (row.outcome, row.status) == (Outcome.CLIENT_GONE, 499)


def test_a_call_without_any_attempt_was_rejected() -> None:
    row = record(End(outcome=failed(FailureClass.INVALID_REQUEST, status=400)), None, attempts=0)
    assert (row.outcome, row.status) == (Outcome.REJECTED, 400)
