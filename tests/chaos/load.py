"""Load in a process of its own, so that who measures is not slowed by it; and the measuring."""

import asyncio
import multiprocessing
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from time import monotonic

import nats

from shared.bus import topology
from tests.chaos.clients import MESSAGES, PAIRS, Answer, call, expected_text
from tests.chaos.fleet import Fleet

CHUNKS, PACE = 50, 20
LARGE = 4_000_000


def streams(urls: list[str], key: str, in_flight: int, seconds: float) -> dict[str, int]:
    """Keeps so many streams in flight; returns how they were judged."""

    async def caller(number: int, until: float) -> list[Answer]:
        answers: list[Answer] = []
        await asyncio.sleep(number / in_flight)
        while monotonic() < until:
            number += 1
            path, vendor = PAIRS[number % len(PAIRS)]
            model = f"{vendor}/sim:chunks={CHUNKS},pace={PACE}"
            answers.append(await call(urls[number % len(urls)], key, path, model))
        return answers

    return _judged(caller, in_flight, seconds)


def large_bodies(urls: list[str], key: str, seconds: float) -> dict[str, int]:
    """Bodies of 4 MB, one after the other, to both vendors."""

    async def caller(number: int, until: float) -> list[Answer]:
        answers: list[Answer] = []
        while monotonic() < until:
            number += 1
            vendor = ("anthropic", "openai")[number % 2]
            model = f"{vendor}/sim:chunks={CHUNKS}"
            answers.append(await call(urls[0], key, MESSAGES, model, prompt="x y " * (LARGE // 4)))
        return answers

    return _judged(caller, 1, seconds)


def _judged(
    caller: Callable[[int, float], Awaitable[list[Answer]]], callers: int, seconds: float
) -> dict[str, int]:
    async def run() -> Counter[str]:
        until = monotonic() + seconds
        lists = await asyncio.gather(*(caller(number, until) for number in range(callers)))
        expected = expected_text(CHUNKS)
        return Counter(str(answer.verdict(expected)) for answers in lists for answer in answers)

    return dict(asyncio.run(run()))


@contextmanager
def beside(
    work: Callable[..., dict[str, int]], *arguments: object
) -> Generator[Future[dict[str, int]]]:
    """`work` in another process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        yield pool.submit(work, *arguments)


async def lags(fleet: Fleet, seconds: float, every: float = 0.01) -> dict[str, list[float]]:
    """How long each process takes to answer what costs it nothing: its loop's lag, in seconds,
    and the way there and back."""
    nc = await nats.connect(fleet.nats_url.split(","))
    names = [str(one.get("name", "")) for one in fleet.monitoring("connz")["connections"]]
    # The audit role has no inbox: it stands on nobody's path.
    instances = [
        name for name in names if name.partition("-")[0] in ("ingress", "pipeline", "provider")
    ]
    found: dict[str, list[float]] = {name: [] for name in instances}

    async def probe(instance: str) -> None:
        until = monotonic() + seconds
        while monotonic() < until:
            began = monotonic()
            await nc.request(topology.presence_subject(instance), b"", timeout=5)
            found[instance].append(monotonic() - began)
            await asyncio.sleep(every)

    try:
        await asyncio.gather(*map(probe, instances))
    finally:
        await nc.close()
    return found
