"""From a call and how it ended to its audit records. Pure, but for the time of its end."""

from http import HTTPStatus

from services.pipeline.router import Target
from shared.bus.envelope import CallEnvelope, End
from shared.bus.records import Admitted, CallRecord, Outcome
from shared.canonical.events import Cancelled, Failed, Finished
from shared.canonical.failures import STATUS, FailureClass
from shared.canonical.usage import Usage
from shared.catalog.prices import Charge, price
from shared.clock import now_us

LEASE_GRACE = 60 * 1_000_000
"""After a call's deadline, its pipeline has this long (us) to record how it ended."""
CLIENT_CLOSED_REQUEST = 499
MAX_MESSAGE = 500
NEVER_SENT = frozenset({FailureClass.CONNECT, FailureClass.UNAVAILABLE, FailureClass.OVERLOADED})
UNBILLED = Charge(cost_nano=0, currency="USD", priced=True, price_version="")


def admitted(call: CallEnvelope, instance: str) -> Admitted:
    return Admitted(
        call_id=call.call_id,
        tenant=call.principal.tenant,
        agent=call.principal.agent,
        key_id=call.principal.key_id,
        model=call.model,
        protocol=call.protocol,
        streamed=call.streamed,
        started=call.started,
        lease_until=call.deadline + LEASE_GRACE,
        instance=instance,
        tags=call.tags,
    )


def call_record(
    call: CallEnvelope,
    end: End,
    *,
    target: Target | None,
    attempts: int,
    first_token: int | None,
    instance: str,
) -> CallRecord:
    ended = now_us()
    outcome, status, failed = _judge(end, attempts)
    usage = end.usage or Usage()
    vendor = target.vendor if target else ""
    model = target.model if target else ""
    charge = UNBILLED if _unbilled(end, target) else price(vendor, model, usage, ended)
    return CallRecord(
        call_id=call.call_id,
        tenant=call.principal.tenant,
        agent=call.principal.agent,
        key_id=call.principal.key_id,
        model=call.model,
        protocol=call.protocol,
        streamed=call.streamed,
        outcome=outcome,
        status=status,
        started=call.started,
        first_token=first_token if call.streamed else None,
        ended=ended,
        provider=target.provider if target else "",
        vendor=vendor,
        vendor_model=end.vendor_model or model,
        vendor_request_id=end.vendor_request_id,
        error_class=failed.failure if failed else "",
        error_message=failed.message[:MAX_MESSAGE] if failed else "",
        finish_reason=end.outcome.reason if isinstance(end.outcome, Finished) else "",
        usage=usage,
        cost_nano=charge.cost_nano,
        currency=charge.currency,
        priced=charge.priced,
        price_version=charge.price_version,
        attempts=attempts,
        tags=call.tags,
        instance=instance,
    )


def _unbilled(end: End, target: Target | None) -> bool:
    """Whether no vendor can have charged for it: none was called, or it refused."""
    if target is None or end.usage is not None:
        return end.usage is None
    if isinstance(end.outcome, Failed) and end.outcome.failure in NEVER_SENT:
        return True
    return end.head is not None and end.head.status != HTTPStatus.OK


def _judge(end: End, attempts: int) -> tuple[Outcome, int, Failed | None]:
    match end.outcome:
        case Finished():
            return Outcome.OK, 200, None
        case Cancelled():
            return Outcome.CLIENT_GONE, CLIENT_CLOSED_REQUEST, None
        case Failed() as failed:
            refused = attempts == 0 and failed.failure is not FailureClass.INTERNAL
            outcome = Outcome.REJECTED if refused else Outcome.FAILED
            return outcome, failed.status or STATUS[failed.failure], failed
