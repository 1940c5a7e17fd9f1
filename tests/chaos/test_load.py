"""Under load: no process stops listening, and none grows."""

import asyncio
import os
from collections.abc import Callable
from time import monotonic, sleep

import pytest

from tests.chaos import load
from tests.chaos.conftest import TABLE
from tests.chaos.fleet import MIB, Fleet
from tests.chaos.memory import resident

LAG = 0.05
SOAK_SECONDS = float(os.environ.get("WEIR_SOAK_SECONDS", "600"))
SAMPLES = 60


def watch_lags(
    fleet: Fleet, seconds: float, record: Callable[[str, object], None]
) -> dict[str, list[float]]:
    with (
        load.beside(load.streams, fleet.urls, fleet.key, 100, seconds + 2) as streams,
        load.beside(load.large_bodies, fleet.urls, fleet.key, seconds + 2) as bodies,
    ):
        sleep(2)  # until both run
        found = asyncio.run(load.lags(fleet, seconds))
        judged = streams.result(), bodies.result()
    record(TABLE, f"100 streams beside 4 MB bodies: {judged}")
    for verdicts in judged:
        assert set(verdicts) == {"unharmed"}
    for name, values in sorted(found.items()):
        values.sort()
        p99, most = values[len(values) * 99 // 100], values[-1]
        record(TABLE, f"  lag of {name}: p99 {p99 * 1000:.1f} ms, most {most * 1000:.1f} ms")
    return found


def test_no_loop_lags_with_100_streams_and_large_bodies(
    single: Fleet, record_property: Callable[[str, object], None]
) -> None:
    """The median alone, for other tests have the machine's cores too."""
    for name, values in watch_lags(single, 3, record_property).items():
        assert values[len(values) // 2] < LAG, name


@pytest.mark.chaos
def test_no_loop_lags_at_all_where_nothing_else_runs(
    single: Fleet, record_property: Callable[[str, object], None]
) -> None:
    for name, values in watch_lags(single, 20, record_property).items():
        assert values[len(values) * 99 // 100] < LAG, name


def test_large_bodies_are_forgotten_with_their_calls(
    single: Fleet, record_property: Callable[[str, object], None]
) -> None:
    load.large_bodies(single.urls, single.key, 1)
    before = resident(single.pids())
    judged = load.large_bodies(single.urls, single.key, 3)
    grown = {name: (size - before[name]) // MIB for name, size in resident(single.pids()).items()}
    record_property(TABLE, f"4 MB bodies: {judged}, grown by MiB {grown}")
    assert judged["unharmed"] >= 10
    for role in ("provider-0", "pipeline-0", "ingress-0"):
        assert grown[role] < 20, grown


@pytest.mark.chaos
@pytest.mark.timeout(SOAK_SECONDS + 300)
def test_memory_is_flat_in_a_soak(
    single: Fleet, record_property: Callable[[str, object], None]
) -> None:
    samples: list[dict[str, int]] = []
    began = monotonic()
    with load.beside(load.streams, single.urls, single.key, 60, SOAK_SECONDS) as streams:
        while monotonic() - began < SOAK_SECONDS:
            sleep(SOAK_SECONDS / SAMPLES)
            samples.append(resident(single.pids()))
        judged = streams.result()
    assert set(judged) == {"unharmed"}, judged
    record_property(TABLE, f"soak of {SOAK_SECONDS:g} s: {judged}")
    warm = samples[SAMPLES // 3 : SAMPLES // 3 + SAMPLES // 6]
    last = samples[-SAMPLES // 6 :]
    for name in samples[0]:
        early = sum(sample[name] for sample in warm) / len(warm) / MIB
        late = sum(sample[name] for sample in last) / len(last) / MIB
        record_property(TABLE, f"  {name}: {early:.1f} MiB warm, {late:.1f} MiB at the end")
        # NATS and audit keep caches of what they store, which grows.
        if name.partition("-")[0] in ("provider", "pipeline", "ingress"):
            assert late < early * 1.05 + 2, name
