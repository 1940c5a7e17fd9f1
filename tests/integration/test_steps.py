"""Steps through a real pipeline on a real bus: proceed, change, reply, reject, see events."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from services.pipeline.audit_log import AuditLog
from services.pipeline.call import Call, Services
from services.pipeline.router import Router
from services.pipeline.step import CallView, Proceed, Reject, Reply, Steps, Verdict
from shared.bus import topology
from shared.bus.bus import Bus
from shared.bus.dispatch import dispatch
from shared.bus.envelope import (
    AttemptEnvelope,
    CallEnvelope,
    Chunk,
    Delivery,
    End,
    Head,
    Principal,
    decode_attempt,
    decode_call,
    decode_delivery,
    decode_end,
    decode_request,
    encode,
    encode_request,
)
from shared.bus.frames import Kind
from shared.bus.records import CallRecord, Outcome
from shared.bus.replies import ReplySender
from shared.bus.tap import Tap
from shared.bus.worker import Worker
from shared.canonical.answer import Answer
from shared.canonical.events import (
    DeltaKind,
    Event,
    Failed,
    Finished,
    FinishReason,
    PartDelta,
    Started,
)
from shared.canonical.failures import FailureClass
from shared.canonical.parts import Text
from shared.canonical.request import Message, Request, Role
from shared.canonical.usage import Usage
from shared.clock import new_call_id, now_us
from shared.config import Settings
from tests.servers import Nats

RAW = b'{"model": "gpt-x", "messages": []}'
DELTA = PartDelta(index=0, kind=DeltaKind.TEXT, text="secret")
FINISHED = Finished(reason=FinishReason.STOP)


class Scene:
    """A pipeline with some steps, and a provider that keeps what it was asked."""

    def __init__(self, bus: Bus, tenant: str) -> None:
        self.bus = bus
        self.tenant = tenant
        self.attempts: list[AttemptEnvelope] = []

    async def call(self) -> tuple[list[Chunk], End]:
        request = Request(
            protocol="openai_chat",
            model="gpt-x",
            messages=(Message(role=Role.USER, parts=(Text(text="hi"),)),),
        )
        envelope = CallEnvelope(
            call_id=new_call_id(),
            principal=Principal(self.tenant, "agent", "key"),
            protocol="openai_chat",
            model="gpt-x",
            streamed=True,
            started=now_us(),
            deadline=now_us() + 10_000_000,
            request=encode_request(request),
            raw=RAW,
        )
        receiver = await dispatch(
            self.bus, topology.call_subject(self.tenant), encode(envelope), 2.0
        )
        chunks: list[Chunk] = []
        while (frame := await receiver.next()).kind is not Kind.END:
            chunks += decode_delivery(frame.payload).chunks
        end = decode_end(frame.payload)
        self.bus.forget(receiver)
        return chunks + list(end.chunks), end


@asynccontextmanager
async def scene(nats: Nats, tenant: str, steps: Sequence[Any]) -> AsyncGenerator[Scene]:
    vendor = "openai"
    settings = Settings.from_env({"NATS_URL": nats.url, "OPENAI_API_KEY": "k"})
    bus = Bus("asker")
    await bus.connect(nats.url)
    await topology.declare(bus.nc.jetstream())
    acting = Scene(bus, tenant)
    provider, pipeline = Worker("provider", settings), Worker("pipeline", settings)

    async def attempt(body: bytes, sender: ReplySender) -> None:
        acting.attempts.append(decode_attempt(body))
        head = Head(status=200, protocol="openai_chat")
        chunk = Chunk(
            b"data: raw\n\n", (Started(id="1"), DELTA) if acting.attempts[-1].want_events else ()
        )
        await sender.send(encode(Delivery(head=head, chunks=(chunk,))))
        await sender.end(encode(End(outcome=FINISHED, usage=Usage(input=1, output=2))))

    await pipeline.connect()
    audit = AuditLog(pipeline.bus.nc, pipeline.bus.instance)
    await audit.open()
    services = Services(
        pipeline.bus, Router(settings), Steps(steps), audit, Tap(pipeline.bus.nc), settings.timeouts
    )

    async def run(body: bytes, sender: ReplySender) -> None:
        await Call(decode_call(body), sender, services).run()

    provider.subscribe(topology.attempt_subject(vendor), f"provider-{tenant}", attempt, "")
    pipeline.subscribe(topology.call_subject(tenant), "pipeline", run, "")
    await provider.connect()
    await provider.start()
    await pipeline.start()
    await pipeline.bus.nc.flush()
    await provider.bus.nc.flush()
    try:
        yield acting
    finally:
        assert await audit.flush(5) == 0
        for worker in (pipeline, provider):
            await worker.close()
        await bus.close()


class Watch:
    """Keeps the order in which it and others ran."""

    def __init__(self, name: str, position: int, seen: list[str]) -> None:
        self.name, self.position, self._seen = name, position, seen

    async def before(self, call: CallView) -> Verdict:
        self._seen.append(f"before {self.name}")
        return Proceed()

    async def after(self, call: CallView, record: CallRecord) -> None:
        self._seen.append(f"after {self.name} {record.outcome}")


class Shout:
    name, position = "shout", 10

    async def before(self, call: CallView) -> Verdict:
        request = await call.request()
        said = Message(role=Role.USER, parts=(Text(text="HI"),))
        return Proceed(replace(request, messages=(said,)))


class Decide:
    name, position = "decide", 20

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict

    async def before(self, call: CallView) -> Verdict:
        return self._verdict


class Mask:
    name, position = "mask", 30

    def on_event(self, call: CallView, event: Event) -> Iterable[Event]:
        if isinstance(event, PartDelta):
            return [replace(event, text="***")]
        return [event]


class Look:
    name, position = "look", 5

    def on_event(self, call: CallView, event: Event) -> Iterable[Event]:
        return [event]


class Broken:
    name, position = "broken", 1

    async def before(self, call: CallView) -> Verdict:
        raise RuntimeError("a defect")


async def test_without_steps_the_clients_bytes_and_the_vendors_go_through(
    nats_server: Nats,
) -> None:
    async with scene(nats_server, "plain", []) as acting:
        chunks, end = await acting.call()
    assert acting.attempts[0].raw == RAW
    assert not acting.attempts[0].want_events
    assert [chunk.raw for chunk in chunks] == [b"data: raw\n\n"]
    assert end.outcome == FINISHED


async def test_steps_run_in_the_order_of_their_positions_and_back(nats_server: Nats) -> None:
    seen: list[str] = []
    steps = [Watch("second", 20, seen), Watch("first", 10, seen)]
    async with scene(nats_server, "ordered", steps) as acting:
        await acting.call()
    assert seen == ["before first", "before second", "after second ok", "after first ok"]


async def test_a_changed_request_drops_the_raw_bytes(nats_server: Nats) -> None:
    async with scene(nats_server, "changed", [Shout()]) as acting:
        await acting.call()
    (attempt,) = acting.attempts
    assert attempt.raw == b""
    assert decode_request(attempt.request).messages[0].parts == (Text(text="HI"),)


async def test_a_reply_in_the_vendors_place_calls_nobody(nats_server: Nats) -> None:
    answer = Answer(started=Started(id="c"), parts=(Text(text="cached"),), finished=FINISHED)
    async with scene(nats_server, "replied", [Decide(Reply(answer))]) as acting:
        chunks, end = await acting.call()
    assert acting.attempts == []
    assert "cached" in str(chunks)
    assert end.outcome == FINISHED


async def test_a_rejection_ends_the_call_with_its_reason(nats_server: Nats) -> None:
    seen: list[str] = []
    failed = Failed(failure=FailureClass.PERMISSION, message="not this model")
    steps = [Watch("w", 1, seen), Decide(Reject(failed))]
    async with scene(nats_server, "rejected", steps) as acting:
        _, end = await acting.call()
    assert acting.attempts == []
    assert end.outcome == failed
    assert seen[-1] == f"after w {Outcome.REJECTED}"


async def test_a_changed_event_drops_its_raw_bytes_and_an_unchanged_one_keeps_them(
    nats_server: Nats,
) -> None:
    async with scene(nats_server, "looked", [Look()]) as acting:
        chunks, _ = await acting.call()
    assert [chunk.raw for chunk in chunks] == [b"data: raw\n\n"]
    async with scene(nats_server, "masked", [Look(), Mask()]) as acting:
        chunks, _ = await acting.call()
    assert [chunk.raw for chunk in chunks] == [b""]
    assert "***" in str(chunks)
    assert "secret" not in str(chunks)


@pytest.mark.parametrize("step", [Broken()])
async def test_a_defect_in_a_step_fails_the_call_and_nothing_else(
    nats_server: Nats, step: Broken
) -> None:
    async with scene(nats_server, "broken", [step]) as acting:
        for _ in range(2):
            _, end = await acting.call()
            assert isinstance(end.outcome, Failed)
            assert end.outcome.failure is FailureClass.INTERNAL
            assert "defect" not in end.outcome.message
    assert acting.attempts == []
