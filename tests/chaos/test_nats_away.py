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


def one_of(fleet: Fleet, number: int, answer: Answer, chunks: int) -> Awaitable[Answer]:
    vendor = PAIRS[number % len(PAIRS)][1]
    url = fleet.urls[number % len(fleet.urls)]
    model = f"{vendor}/sim:chunks={chunks},pace={PACE}"
    return call(url, fleet.key, answer.path, model, answer=answer)


def fresh(count: int) -> list[Answer]:
    return [Answer(PAIRS[number % len(PAIRS)][0]) for number in range(count)]


def test_nats_away_for_two_seconds_harms_no_stream(
    single: Fleet, record_property: Callable[[str, object], None]
) -> None:
    answers = fresh(100)

    async def away() -> None:
        running = asyncio.gather(
            *(one_of(single, number, answer, CHUNKS) for number, answer in enumerate(answers))
        )
        while not all(answer.first_byte for answer in answers):
            await asyncio.sleep(0.01)
        single.nats.kill()
        await asyncio.sleep(2)
        single.nats.start()
        await running

    asyncio.run(away())
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
    after = fresh(20)
    asyncio.run(many(20, lambda number: one_of(fleet, number, after[number], 5)))
    assert tally(after, expected_text(5)) == {Verdict.UNHARMED: 20}
    fleet.await_rows([answer.call_id for answer in [long, *after]])
    assert fleet.outcomes([answer.call_id for answer in refused]) == {}
    return long


def test_after_some_seconds_without_nats_everything_resumes(single: Fleet) -> None:
    long = away_and_back(single, 4)
    assert long.verdict(expected_text(CHUNKS)) is Verdict.UNHARMED


@pytest.mark.chaos
def test_after_a_minute_without_nats_everything_resumes(single: Fleet) -> None:
    long = away_and_back(single, 60)
    assert long.verdict(expected_text(CHUNKS)) in (Verdict.UNHARMED, Verdict.ERROR), long.body


def test_streams_can_be_resumed_after_the_server_came_back(single: Fleet) -> None:
    """Their events lie in the server's memory: what was there is gone, what comes is kept."""

    async def one() -> Answer:
        model = "anthropic/sim:chunks=3"
        resumable = {"x-weir-resumable": "true"}
        return await call(single.urls[0], single.key, "/v1/messages", model, headers=resumable)

    def resumed() -> bool:
        answer = asyncio.run(one())
        return answer.finished() and single.status(f"/v1/streams/{answer.call_id}") == 200

    assert resumed()
    single.nats.kill()
    single.nats.start()
    eventually(resumed, 10)
