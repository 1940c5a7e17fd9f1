"""One call: the steps, the target, the attempt, the relay, and the one finalizer.

Whatever happens, a call leaves `run` through `_finalize`: with one record and one END. The
relay forwards frames as they came, without decoding them, unless a step wants to see events.
"""

import asyncio
import logging

from msgspec.structs import replace

from services.pipeline.audit_log import Admission, AuditLog, NotRecordedError
from services.pipeline.record import admitted, call_record
from services.pipeline.router import Router, Target
from services.pipeline.step import CallView, Proceed, Reject, Steps
from shared.bus import claims, topology
from shared.bus.bus import Bus
from shared.bus.dispatch import dispatch
from shared.bus.envelope import (
    AttemptEnvelope,
    CallEnvelope,
    Chunk,
    End,
    decode_delivery,
    decode_end,
    decode_request,
    encode,
    encode_request,
)
from shared.bus.frames import Frame, Kind
from shared.bus.replies import (
    BusyError,
    NoResponderError,
    ReplyLostError,
    ReplyReceiver,
    ReplySender,
)
from shared.bus.tap import Tap
from shared.canonical.answer import unfold
from shared.canonical.events import Cancelled, Event, Failed, Finished, FinishReason
from shared.canonical.failures import FailureClass
from shared.canonical.request import Request
from shared.clock import now_us
from shared.config import Timeouts
from shared.protocols.registry import CODECS

log = logging.getLogger("weir.pipeline")

RETRY_AFTER = 1.0
"""What a client is told to wait where only our own workers were missing, in seconds."""
CANCEL_GRACE = 2.0
"""How long a cancelled attempt may take to report its usage, in seconds."""


class CallFailed(Exception):  # noqa: N818 - a verdict on its way out, not a defect
    """Ends a call early with what the client and the record shall see."""

    def __init__(self, failure: FailureClass, message: str) -> None:
        super().__init__(message)
        passes = failure in (FailureClass.UNAVAILABLE, FailureClass.OVERLOADED)
        self.failed = Failed(
            failure=failure, message=message, retry_after=RETRY_AFTER if passes else None
        )


class Services:
    """What all calls of a pipeline process share."""

    def __init__(
        self,
        bus: Bus,
        router: Router,
        steps: Steps,
        audit: AuditLog,
        tap: Tap,
        timeouts: Timeouts,
    ) -> None:
        self.bus = bus
        self.tap = tap
        self.js = bus.nc.jetstream()
        self.router = router
        self.steps = steps
        self.audit = audit
        self.timeouts = timeouts

    async def load_request(self, call: CallEnvelope) -> Request:
        """The canonical form: enclosed, or for a large body decoded from where it lies."""
        if call.request:
            return decode_request(call.request)
        raw = call.raw or await claims.collect(self.js, call.claim)
        return CODECS[call.protocol].decode_request(raw)


class Call:
    """Runs one call. `run` never raises: the task may be forgotten."""

    def __init__(self, envelope: CallEnvelope, sender: ReplySender, services: Services) -> None:
        self._envelope = envelope
        self._sender = sender
        self._services = services
        self._view = CallView(envelope, services.load_request)
        self._admission: Admission | None = None
        self._target: Target | None = None
        self._attempts = 0
        self._first_token: int | None = None

    async def run(self) -> None:
        end_bytes: bytes | None = None
        try:
            end, end_bytes = await self._serve()
        except CallFailed as error:
            end = End(outcome=error.failed)
        except NotRecordedError as error:
            end = End(outcome=Failed(failure=FailureClass.UNAVAILABLE, message=str(error)))
        except asyncio.CancelledError:
            end = self._stopped(End(outcome=Cancelled()))
        except Exception:
            log.exception("call %s", self._envelope.call_id)
            end = End(outcome=Failed(failure=FailureClass.INTERNAL, message="the call failed"))
        self._sender.on_cancel = None  # from here on nothing may keep the record from its way
        await self._finalize(end, end_bytes)

    async def _serve(self) -> tuple[End, bytes | None]:
        """How the call ended, and the END frame as it came where it can go on as it is."""
        if self._envelope.refused is not None:
            return End(outcome=self._envelope.refused), None
        early = await self._before()
        if early is not None:
            return early, None
        self._target = self._services.router.resolve(self._envelope.model)
        if self._target is None:
            raise CallFailed(
                FailureClass.NOT_FOUND, f"there is no model named {self._envelope.model[:200]!r}"
            )
        self._admission = await self._services.audit.admit(
            admitted(self._envelope, self._services.bus.instance)
        )
        return await self._attempt(self._target)

    async def _before(self) -> End | None:
        """Runs the steps; an End means that one of them has decided the call."""
        for step in self._services.steps.before:
            match await step.before(self._view):
                case Proceed(request=request):
                    self._view.changed = request or self._view.changed
                case Reject(failed=failed):
                    return End(outcome=failed)
                case reply:
                    answer = reply.answer
                    outcome = answer.finished or Finished(reason=FinishReason.STOP)
                    chunk = Chunk(b"", tuple(unfold(answer)))
                    return End(outcome=outcome, chunks=(chunk,), usage=answer.usage)
        return None

    async def _attempt(self, target: Target) -> tuple[End, bytes | None]:
        self._attempts += 1
        receiver = await self._dispatch(target)
        try:
            return await self._relay(receiver)
        except ReplyLostError as error:
            raise CallFailed(FailureClass.TRANSPORT, str(error)) from None
        except NotRecordedError as error:
            await receiver.cancel()
            raise CallFailed(FailureClass.UNAVAILABLE, str(error)) from None
        except asyncio.CancelledError:
            return await self._cancelled(receiver), None
        finally:
            if not receiver.ended:
                await receiver.cancel()
            self._services.bus.forget(receiver)

    async def _dispatch(self, target: Target) -> ReplyReceiver:
        try:
            return await dispatch(
                self._services.bus,
                topology.attempt_subject(target.vendor),
                encode(self._attempt_envelope(target)),
                self._services.timeouts.dispatch,
            )
        except BusyError:
            message = f"all workers for {target.vendor} are busy"
            raise CallFailed(FailureClass.OVERLOADED, message) from None
        except NoResponderError as error:
            message = f"no worker for {target.vendor}: {error}"
            raise CallFailed(FailureClass.UNAVAILABLE, message) from None

    def _attempt_envelope(self, target: Target) -> AttemptEnvelope:
        call, changed = self._envelope, self._view.changed
        return AttemptEnvelope(
            call_id=call.call_id,
            number=self._attempts,
            provider=target.provider,
            model=target.model,
            protocol=call.protocol,
            streamed=call.streamed,
            stream_usage=call.stream_usage,
            deadline=call.deadline,
            request=b"" if changed is None else encode_request(changed),
            raw=call.raw if changed is None else b"",
            claim=call.claim if changed is None else "",
            headers=call.headers,
            traceparent=call.traceparent,
            want_events=bool(self._services.steps.on_event),
        )

    async def _relay(self, receiver: ReplyReceiver) -> tuple[End, bytes | None]:
        """Forwards frame by frame. Content waits for the admission to be safe."""
        while True:
            frame = await receiver.next()
            if self._admission is not None:
                await self._services.audit.admitted(self._admission)
                self._admission = None
            if frame.kind is Kind.END:
                return self._last(frame)
            if self._first_token is None:
                self._first_token = now_us()
            payload = self._passed(frame)
            if self._services.tap.listening:
                await self._services.tap.show(self._envelope, Kind.EVENTS, payload)
            await self._sender.send(payload)

    def _passed(self, frame: Frame) -> bytes:
        if not self._services.steps.on_event:
            return frame.payload
        delivery = decode_delivery(frame.payload)
        return encode(replace(delivery, chunks=self._seen(delivery.chunks)))

    def _last(self, frame: Frame) -> tuple[End, bytes | None]:
        end = decode_end(frame.payload)
        if not self._services.steps.on_event:
            return end, frame.payload
        return replace(end, chunks=self._seen(end.chunks)), None

    def _seen(self, chunks: tuple[Chunk, ...]) -> tuple[Chunk, ...]:
        return tuple(self._seen_chunk(chunk) for chunk in chunks)

    def _seen_chunk(self, chunk: Chunk) -> Chunk:
        """The chunk after the steps; a change drops its raw bytes."""
        events: tuple[Event, ...] = chunk.events
        for step in self._services.steps.on_event:
            events = tuple(
                passed for event in events for passed in step.on_event(self._view, event)
            )
        if events == chunk.events:
            return chunk
        return Chunk(b"", events)

    async def _cancelled(self, receiver: ReplyReceiver) -> End:
        """Stops the attempt and waits, briefly, for the usage that it had come to."""
        await receiver.cancel()
        try:
            async with asyncio.timeout(CANCEL_GRACE):
                while (frame := await receiver.next()).kind is not Kind.END:
                    pass
        except (TimeoutError, ReplyLostError, asyncio.CancelledError):
            return self._stopped(End(outcome=Cancelled()))
        return self._stopped(decode_end(frame.payload))

    def _stopped(self, end: End) -> End:
        """The end of a call whose client is gone, or that was cut because this worker ends."""
        outcome = (
            Cancelled()
            if self._sender.cancelled
            else Failed(failure=FailureClass.UNAVAILABLE, message="the pipeline is shutting down")
        )
        return replace(end, outcome=outcome, chunks=(), raw=b"")

    async def _finalize(self, end: End, end_bytes: bytes | None) -> None:
        """The one way out. The record is on its way before the client hears of the end: what a
        vendor has answered is on record, whether or not the client reads the last of it."""
        if self._admission is not None:
            self._admission.cancel()
        record = call_record(
            self._envelope,
            end,
            target=self._target,
            attempts=self._attempts,
            first_token=self._first_token,
            instance=self._services.bus.instance,
        )
        await self._services.audit.finish(record)
        payload = encode(end) if end_bytes is None else end_bytes
        if self._services.tap.listening:
            await self._services.tap.show(self._envelope, Kind.END, payload)
        try:
            await self._sender.end(payload)
            if self._envelope.claim:
                await claims.discard(self._services.js, self._envelope.claim)
        finally:
            for step in self._services.steps.after:
                try:
                    await step.after(self._view, record)
                except Exception:
                    log.exception("step %s after call %s", step, record.call_id)
