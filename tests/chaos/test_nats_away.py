"""The NATS server goes away and comes back: streams go on where they were, and so does all else."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.chaos.clients import PAIRS, Answer, Verdict, call, expected_text, many, tally
from tests.chaos.conftest import CLUSTER, TABLE
from tests.chaos.fleet import Fleet
from tests.stack import eventually

pytestmark = pytest.mark.skipif(bool(CLUSTER), reason="a cluster is not away with one server")

CHUNKS, PACE = 60, 50  # 3 s of content
SOON = 1.0
"""What is answered without the bus is answered within this many seconds."""


def streams(fleet: Fleet, chunks: int = CHUNKS) -> Callable[[int], Awaitable[Answer]]:
    async def one(number: int) -> Answer:
        path, vendor = PAIRS[number % len(PAIRS)]
        url = fleet.urls[number % len(fleet.urls)]
        return await call(url, fleet.key, path, f"{vendor}/sim:chunks={chunks},pace={PACE}")

    return one


def test_nats_away_for_two_seconds_harms_no_stream(
    single: Fleet, record_property: Callable[[str, object], None]
) -> None:
    async def away() -> list[Answer]:
        running = asyncio.create_task(many(100, streams(single), over=0.2))
        await asyncio.sleep(1.2)
        single.nats.kill()
        await asyncio.sleep(2)
        single.nats.start()
        return await running

    answers = asyncio.run(away())
    counted = tally(answers, expected_text(CHUNKS))
    longest = max(answer.took for answer in answers)
    record_property(TABLE, f"NATS away 2 s: {dict(counted)}, longest {longest:.1f} s")
    assert counted == {Verdict.UNHARMED: 100}, [a.error() for a in answers if a.error()]
    single.await_rows([answer.call_id for answer in answers])


def away_and_back(fleet: Fleet, seconds: float) -> Answer:
    """What is right while the server is away, and after it; returns the stream that saw it all."""

    async def one(stream: bool = True, chunks: int = 3) -> Answer:
        model = f"anthropic/sim:chunks={chunks},pace={PACE}"
        return await call(fleet.urls[0], fleet.key, "/v1/messages", model, stream=stream)

    async def meanwhile() -> tuple[Answer, list[Answer]]:
        long = asyncio.create_task(one(chunks=CHUNKS))
        await asyncio.sleep(1)
        fleet.nats.kill()
        await asyncio.sleep(0.2)
        refused = [await one(), await one(stream=False)]
        assert await asyncio.to_thread(fleet.status, "/livez") == 200
        assert await asyncio.to_thread(fleet.status, "/readyz") == 503
        await asyncio.sleep(seconds)
        refused += [await one(), await one(stream=False)]
        fleet.nats.start()
        return await long, refused

    long, refused = asyncio.run(meanwhile())
    for answer in refused:
        assert answer.status == 503
        assert answer.error()
        assert float(answer.headers["retry-after"]) <= 1
        assert answer.took < SOON
    back = time.monotonic()
    eventually(lambda: fleet.status("/readyz") == 200, 10)
    eventually(lambda: asyncio.run(one()).finished(), 10)
    assert time.monotonic() - back < 10
    after = asyncio.run(many(20, streams(fleet, 5)))
    assert tally(after, expected_text(5)) == {Verdict.UNHARMED: 20}
    fleet.await_rows([answer.call_id for answer in [long, *after]])
    assert fleet.outcomes([answer.call_id for answer in refused]) == {}
    return long


def test_after_eight_seconds_without_nats_everything_resumes(single: Fleet) -> None:
    long = away_and_back(single, 8)
    assert long.verdict(expected_text(CHUNKS)) is Verdict.UNHARMED


@pytest.mark.chaos
def test_after_a_minute_without_nats_everything_resumes(single: Fleet) -> None:
    long = away_and_back(single, 60)
    assert long.verdict(expected_text(CHUNKS)) in (Verdict.UNHARMED, Verdict.ERROR), long.body
