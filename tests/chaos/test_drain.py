"""SIGTERM: a role that ends finishes what it has begun, and takes nothing that it can't finish."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from tests.chaos.clients import PAIRS, Answer, Verdict, call, expected_text
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

    async def run(self, meanwhile: Callable[[], object]) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(self._caller(number))
            try:
                await asyncio.sleep(0.5)
                await meanwhile()  # pyright: ignore[reportGeneralTypeIssues]
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
            if answer.status == 0 and answer.took < 0.05:
                continue  # not taken at all
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


@pytest.mark.parametrize("name", ["provider", "pipeline", "ingress"])
@pytest.mark.parametrize("how", ["grace is over", "second SIGTERM"])
def test_what_is_cut_ends_with_the_protocols_error(tmp_path: Path, name: str, how: str) -> None:
    grace = "0.5" if how == "grace is over" else "30"
    with running(tmp_path, WEIR_TIMEOUT_DRAIN=grace) as fleet:
        (role,) = fleet.named(name)

        async def cut() -> list[Answer]:
            calls = [
                asyncio.create_task(
                    call(fleet.urls[0], fleet.key, path, f"{vendor}/sim:chunks=500,pace=50")
                )
                for path, vendor in PAIRS
            ]
            await asyncio.sleep(1)
            role.process.send_signal(signal.SIGTERM)
            if how == "second SIGTERM":
                await asyncio.sleep(0.3)
                os.kill(role.pid, signal.SIGTERM)
            began = monotonic()
            assert await _ended(role) == 0, role.log
            assert monotonic() - began < 5
            return await asyncio.gather(*calls)

        answers = asyncio.run(cut())
        expected = expected_text(500)
        verdicts = [answer.verdict(expected) for answer in answers]
        assert verdicts == [Verdict.ERROR] * len(PAIRS), [answer.body[-200:] for answer in answers]
        found = fleet.await_rows([answer.call_id for answer in answers])
        assert "ok" not in found.values()
