"""kill -9 of every role and of the NATS server, at every stage of a call.

No stream hangs, none ends as if all were well and is not whole, and each admitted call has one row.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from tests.chaos.clients import PAIRS, Answer, Verdict, call, expected_text, many
from tests.chaos.conftest import TABLE
from tests.chaos.fleet import Fleet
from tests.stack import eventually

VICTIMS = ("pipeline", "provider", "ingress", "nats")
NATS_AWAY = 0.5
KILL_AT = 1.5
"""Seconds after the first calls of a round."""
CHUNKS, PACE = 30, 50  # 1.5 s of content

# When calls of a stage begin, in seconds before the kill, over how long, and how long the vendor
# takes to its first chunk (ms).
STAGES: dict[str, tuple[float, float, int]] = {
    "before admission": (0.02, 0.04, 0),
    "before content": (0.6, 0.3, 1500),
    "in mid-stream": (0.9, 0.3, 0),
    "at the end": (1.5, 0.08, 0),
}
REPAIRED = 20.0
"""A dead process is noticed after about 10 s; no client waits much longer."""


class Round:
    """Calls at some stages, one kill, and what became of them."""

    def __init__(self, fleet: Fleet, victim: str, stages: tuple[str, ...], count: int) -> None:
        self._fleet = fleet
        self._victim = victim
        self._stages = stages
        self._count = count // len(stages)
        self.answers: dict[str, list[Answer]] = {}

    async def run(self) -> None:
        killing = asyncio.create_task(self._kill())
        groups = await asyncio.gather(*(self._stage(stage) for stage in self._stages))
        self.answers = dict(zip(self._stages, groups, strict=True))
        await killing

    async def _kill(self) -> None:
        await asyncio.sleep(KILL_AT)
        if self._victim == "nats":
            self._fleet.nats.kill()
            await asyncio.sleep(NATS_AWAY)
            self._fleet.nats.start()  # not in a thread: a child ends with the one that started it
        else:
            self._fleet.named(self._victim)[0].kill()

    async def _stage(self, stage: str) -> list[Answer]:
        before, over, first = STAGES[stage]
        await asyncio.sleep(KILL_AT - before)

        async def one(number: int) -> Answer:
            path, vendor = PAIRS[number % len(PAIRS)]
            url = self._fleet.urls[number // len(PAIRS) % len(self._fleet.urls)]
            model = f"{vendor}/sim:chunks={CHUNKS},pace={PACE},first={first}"
            return await call(url, self._fleet.key, path, model)

        return await many(self._count, one, over=over)

    def judge(self, record: Callable[[str, object], None]) -> None:
        expected = expected_text(CHUNKS)
        for stage, answers in self.answers.items():
            counted = Counter(answer.verdict(expected) for answer in answers)
            longest = max(answer.took for answer in answers)
            record(TABLE, _line(self._victim, stage, counted, longest))
            lost = Verdict.CONNECTION in counted
            assert not lost or self._victim == "ingress", counted
            for never in (Verdict.HUNG, Verdict.TRUNCATED, Verdict.DAMAGED):
                assert counted[never] == 0, (self._victim, stage, counted)
            assert longest < REPAIRED
            if self._victim == "nats" and stage in ("in mid-stream", "at the end"):
                assert counted == {Verdict.UNHARMED: len(answers)}, [
                    answer.error() for answer in answers if answer.error()
                ]

    def call_ids(self) -> list[str]:
        """Of the calls that have certainly been admitted: the others, as their rows say."""
        answers = [answer for group in self.answers.values() for answer in group]
        return [answer.call_id for answer in answers if answer.streamed]


def _line(victim: str, stage: str, counted: Counter[Verdict], longest: float) -> str:
    columns = "  ".join(f"{verdict} {counted[verdict]:3}" for verdict in Verdict)
    return f"kill {victim:9} {stage:16}  {columns}  longest {longest:4.1f} s"


def kill_and_see(
    fleet: Fleet,
    victim: str,
    stages: tuple[str, ...],
    count: int,
    record: Callable[[str, object], None],
) -> None:
    assert all(fleet.answered(url) for url in fleet.urls)
    kill = Round(fleet, victim, stages, count)
    asyncio.run(kill.run())
    if victim != "nats":
        fleet.named(victim)[0].start()
    kill.judge(record)
    fleet.await_rows(kill.call_ids(), 60)
    eventually(lambda: fleet.in_flight_at_vendor() == 0, 20)
    eventually(lambda: all(fleet.answered(url) for url in fleet.urls))


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_kill_at_any_stage_leaves_no_stream_hanging_or_cut_short(
    pair: Fleet, victim: str, record_property: Callable[[str, object], None]
) -> None:
    kill_and_see(pair, victim, tuple(STAGES), 20, record_property)


@pytest.mark.chaos
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("victim", VICTIMS)
def test_200_streams_outlive_a_kill_or_end_with_an_error(
    single: Fleet, victim: str, stage: str, record_property: Callable[[str, object], None]
) -> None:
    kill_and_see(single, victim, (stage,), 200, record_property)


@pytest.mark.chaos
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("victim", VICTIMS)
def test_200_streams_with_survivors_outlive_a_kill_or_end_with_an_error(
    pair: Fleet, victim: str, stage: str, record_property: Callable[[str, object], None]
) -> None:
    kill_and_see(pair, victim, (stage,), 200, record_property)
