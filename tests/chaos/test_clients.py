"""Clients that read slowly, and clients that go away: nothing of theirs piles up or stays."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest

from tests.chaos.clients import (
    PAIRS,
    Answer,
    Verdict,
    body_of,
    call,
    calling,
    expected_text,
    many,
    request_bytes,
)
from tests.chaos.conftest import SLOTS, TABLE
from tests.chaos.fleet import MIB, Fleet
from tests.chaos.memory import resident
from tests.stack import eventually

SLOW_BYTES_PER_SECOND = 1024
SHORT, LONG = 4.0, 60.0


async def _read_slowly(fleet: Fleet, seconds: float, path: str) -> int:
    """A 32 MB answer, of which 1 KB a second is read; returns how much was."""
    vendor = "anthropic" if path == "/v1/messages" else "openai"
    body = body_of(path, f"{vendor}/sim:chunks=16000,size=2000", stream=True)
    answer = Answer(path)
    taken = 0
    async with calling(
        fleet.urls[0], request_bytes(fleet.urls[0], path, fleet.key, body), answer
    ) as caller:
        await caller.heard_something.wait()
        caller.transport.pause_reading()
        until = monotonic() + seconds
        while monotonic() < until:
            before = len(answer.body)
            caller.transport.resume_reading()
            await asyncio.sleep(0.001)
            caller.transport.pause_reading()
            taken += len(answer.body) - before
            # A read brings up to 256 KiB out of the socket: those were read ahead of time.
            await asyncio.sleep(min((len(answer.body) - before) / SLOW_BYTES_PER_SECOND, 1.0))
    return taken


async def _latency(fleet: Fleet, count: int = 40) -> float:
    """The median time of a short stream, one at a time, in seconds."""

    async def one(number: int) -> Answer:
        path, vendor = PAIRS[number % len(PAIRS)]
        return await call(fleet.urls[0], fleet.key, path, f"{vendor}/sim:chunks=20")

    times: list[float] = []
    for number in range(count):
        answer = await one(number)
        assert answer.verdict(expected_text(20)) is Verdict.UNHARMED
        times.append(answer.took)
    return sorted(times)[count // 2]


def slow_clients(
    fleet: Fleet, count: int, seconds: float, record: Callable[[str, object], None]
) -> None:
    async def compare() -> tuple[float, float, dict[str, int]]:
        await many(
            8,
            lambda number: call(
                fleet.urls[0],
                fleet.key,
                PAIRS[number % 4][0],
                "anthropic/sim:chunks=2000,size=2000",
            ),
        )
        alone = await _latency(fleet)
        before = resident(fleet.pids())
        slow = [
            asyncio.create_task(_read_slowly(fleet, seconds, PAIRS[number % len(PAIRS)][0]))
            for number in range(count)
        ]
        await asyncio.sleep(seconds / 2)
        beside = await _latency(fleet)
        after = resident(fleet.pids())
        await asyncio.gather(*slow)
        return alone, beside, {name: after[name] - before[name] for name in before}

    alone, beside, grown = asyncio.run(compare())
    a_call = {name: round(size / count / MIB, 2) for name, size in grown.items()}
    record(
        TABLE,
        f"{count} slow clients: MiB a call {a_call}; "
        f"others' median {alone * 1000:.1f} -> {beside * 1000:.1f} ms",
    )
    for role in ("provider-0", "pipeline-0", "ingress-0"):
        assert a_call[role] < 2, a_call
    assert beside < alone * 1.5 + 0.005, (alone, beside)
    eventually(lambda: fleet.in_flight_at_vendor() == 0, 10)


def test_a_slow_client_costs_little_and_slows_nobody(
    single: Fleet, record_property: Callable[[str, object], None]
) -> None:
    slow_clients(single, 8, SHORT, record_property)


@pytest.mark.chaos
def test_a_slow_client_costs_little_for_as_long_as_it_takes(
    single: Fleet, record_property: Callable[[str, object], None]
) -> None:
    slow_clients(single, 8, LONG, record_property)


async def _leave_at_random(fleet: Fleet, number: int, chance: random.Random, workflow: str) -> str:
    """The call's id, if its client lived to see it."""
    path, vendor = PAIRS[number % len(PAIRS)]
    options = "first=200,chunks=20,pace=20" if number % 3 else "chunks=40,pace=10"
    body = body_of(path, f"{vendor}/sim:{options}", stream=number % 2 == 0)
    tags = {"x-weir-tags": f"workflow={workflow}"}
    request = request_bytes(fleet.urls[0], path, fleet.key, body, tags)
    answer = Answer(path)
    async with calling(fleet.urls[0], request, answer) as caller:
        await asyncio.wait([caller.done], timeout=chance.random() * 0.7)
    return answer.call_id


def _counts(fleet: Fleet) -> dict[str, int]:
    varz = fleet.monitoring("varz")
    return {
        "connections": varz["connections"],
        "subscriptions": varz["subscriptions"],
        "at the vendor": fleet.in_flight_at_vendor(),
        "client sockets": sum(_open_sockets(pid) for pid in (role.pid for role in fleet.ingresses)),
    }


def _open_sockets(pid: int) -> int:
    found = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found += str(link.readlink()).startswith("socket:")
    return found


def disconnecting_clients(fleet: Fleet, count: int, record: Callable[[str, object], None]) -> None:
    chance = random.Random(1)  # noqa: S311 - when clients leave

    workflow = f"leaving-{count}"

    async def leave(how_many: int, workflow: str = "") -> list[str]:
        found: list[str] = []
        for first in range(0, how_many, 100):
            found += await asyncio.gather(
                *(
                    _leave_at_random(fleet, first + number, chance, workflow)
                    for number in range(100)
                )
            )
        return found

    asyncio.run(leave(100))  # what is kept from the first calls on is kept
    eventually(lambda: fleet.in_flight_at_vendor() == 0, 5)
    before, memory = _counts(fleet), resident(fleet.pids())
    call_ids = asyncio.run(leave(count, workflow))
    eventually(lambda: _counts(fleet) == before, 10)
    fleet.await_rows(call_ids)
    grown = {
        name: round((size - memory[name]) / MIB, 1) for name, size in resident(fleet.pids()).items()
    }
    made, outcomes = fleet.clickhouse.query(
        "SELECT count(), groupUniqArray(toString(outcome)) FROM calls "
        "WHERE tags['workflow'] = {workflow:String}",
        workflow=workflow,
    )[0]
    record(TABLE, f"{count} clients that left: {made} rows, grown by MiB {grown}")
    # One that left before its request was there has made no call.
    assert count * 0.9 < made <= count
    assert set(outcomes) <= {"ok", "client_gone"}
    assert count > SLOTS  # so that a slot that stays taken would be missed by now
    answers = asyncio.run(many(40, lambda number: call(fleet.urls[0], fleet.key, *_ask(number))))
    assert {answer.verdict(expected_text(3)) for answer in answers} == {Verdict.UNHARMED}


def _ask(number: int) -> tuple[str, str]:
    path, vendor = PAIRS[number % len(PAIRS)]
    return path, f"{vendor}/sim:chunks=3"


def test_of_clients_that_leave_at_any_moment_nothing_stays(
    single: Fleet, record_property: Callable[[str, object], None]
) -> None:
    disconnecting_clients(single, 300, record_property)


@pytest.mark.chaos
def test_of_thousands_that_leave_at_any_moment_nothing_stays(
    single: Fleet, record_property: Callable[[str, object], None]
) -> None:
    disconnecting_clients(single, 3000, record_property)
