"""SIGTERM: a role that ends finishes what it has begun, and takes nothing that it can't finish."""

import asyncio
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
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
    request_bytes,
)
from tests.chaos.conftest import TABLE
from tests.chaos.fleet import Fleet, running
from tests.servers import Role

CHUNKS, PACE = 15, 50
CALLERS = 24


class Load:
    """Callers that call again as soon as their answer is there, at the ingresses in turn; one that
    takes no connections is passed over, as by any load balancer."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._ended = False
        self.answers: list[Answer] = []

    async def run(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(self._caller(number))
            try:
                await asyncio.sleep(0.5)
                await meanwhile()
                await asyncio.sleep(0.5)
            finally:
                self._ended = True

    async def _caller(self, number: int) -> None:
        while not self._ended:
            number += 1
            path, vendor = PAIRS[number % len(PAIRS)]
            url = self._fleet.urls[number // 4 % len(self._fleet.urls)]
            model = f"{vendor}/sim:chunks={CHUNKS},pace={PACE}"
            answer = await call(url, self._fleet.key, path, model, stream=number % 3 > 0)
            if not answer.refused:
                self.answers.append(answer)


async def _ended(role: Role) -> int:
    while role.process.poll() is None:
        await asyncio.sleep(0.02)
    return role.process.returncode


@pytest.mark.parametrize("name", ["provider", "pipeline", "ingress"])
def test_a_rolling_restart_under_load_loses_no_call(
    pair: Fleet, name: str, record_property: Callable[[str, object], None]
) -> None:
    load = Load(pair)

    async def restart_all() -> None:
        for role in pair.named(name):
            role.process.send_signal(signal.SIGTERM)
            assert await _ended(role) == 0, role.log
            role.start()
            await asyncio.sleep(0.2)

    asyncio.run(load.run(restart_all))
    expected = expected_text(CHUNKS)
    counted = Counter(answer.verdict(expected) for answer in load.answers)
    record_property(TABLE, f"rolling restart of {name}: {dict(counted)}")
    assert counted == {Verdict.UNHARMED: len(load.answers)}, [
        (answer.status, answer.error(), answer.took)
        for answer in load.answers
        if answer.verdict(expected) is not Verdict.UNHARMED
    ]
    found = pair.await_rows([answer.call_id for answer in load.answers])
    assert set(found.values()) == {"ok"}


def test_who_has_just_connected_is_still_answered(pair: Fleet) -> None:
    role, url, path = pair.ingresses[0], pair.urls[0], "/v1/messages"
    body = body_of(path, "anthropic/sim:chunks=3", stream=False)
    answer = Answer(path)

    async def connect_first() -> None:
        async with calling(url, b"", answer) as caller:
            await asyncio.sleep(0.02)
            role.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.05)
            caller.transport.write(request_bytes(url, path, pair.key, body))
            await caller.done
            assert await _ended(role) == 0

    asyncio.run(connect_first())
    role.start()
    assert answer.verdict(expected_text(3)) is Verdict.UNHARMED


async def cut(fleet: Fleet, name: str, *, again: bool) -> list[Answer]:
    """Ends every process of a role, long before its calls are over."""
    calls = [
        asyncio.create_task(call(url, fleet.key, path, f"{vendor}/sim:chunks=500,pace=50"))
        for path, vendor in PAIRS
        for url in fleet.urls
    ]
    await asyncio.sleep(1)
    roles = fleet.named(name)
    for role in roles:
        role.process.send_signal(signal.SIGTERM)
    if again:
        await asyncio.sleep(0.3)
        for role in roles:
            role.process.send_signal(signal.SIGTERM)
    began = monotonic()
    for role in roles:
        assert await _ended(role) == 0, role.log
    assert monotonic() - began < 5
    return await asyncio.gather(*calls)


def judge_cut(fleet: Fleet, answers: list[Answer]) -> None:
    verdicts = Counter(answer.verdict(expected_text(500)) for answer in answers)
    assert verdicts == {Verdict.ERROR: len(answers)}, [answer.body[-200:] for answer in answers]
    found = fleet.await_rows([answer.call_id for answer in answers])
    assert "ok" not in found.values()


@pytest.mark.parametrize("name", ["provider", "pipeline", "ingress"])
def test_a_second_sigterm_cuts_with_the_protocols_error(pair: Fleet, name: str) -> None:
    answers = asyncio.run(cut(pair, name, again=True))
    for role in pair.named(name):
        role.start()
    judge_cut(pair, answers)


@pytest.mark.chaos
@pytest.mark.parametrize("name", ["provider", "pipeline", "ingress"])
def test_the_end_of_the_grace_cuts_with_the_protocols_error(tmp_path: Path, name: str) -> None:
    with running(tmp_path, env={"WEIR_TIMEOUT_DRAIN": "0.5"}) as fleet:
        judge_cut(fleet, asyncio.run(cut(fleet, name, again=False)))
