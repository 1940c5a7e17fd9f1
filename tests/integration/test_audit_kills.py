"""Whatever is killed, at whatever instant: each record has one row, and the rollup adds up."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.bus import topology
from shared.bus.records import AUDIT_SHARDS
from tests.integration.audit_role import Audit
from tests.records import Publisher, admitted, finished
from tests.servers import ClickHouse, Nats, Role

COUNT = 6000
KILLS = 6


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Nats]:
    server = Nats(tmp_path / "nats")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_clickhouse(tmp_path: Path) -> Iterator[ClickHouse]:
    """One that the test may kill."""
    server = ClickHouse(tmp_path / "own")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def publisher(bus: Nats) -> AsyncIterator[Publisher]:
    async with await Publisher.connect(bus.url) as connected:
        yield connected


async def publish_all(publisher: Publisher, count: int = COUNT) -> None:
    for start in range(0, count, 200):
        numbers = range(start, min(start + 200, count))
        await publisher.publish(*map(admitted, numbers))
        await publisher.publish(*map(finished, numbers))


async def in_thread(run: Any, *words: Any) -> Any:
    """The servers' methods block, and the publisher must go on."""
    return await asyncio.to_thread(run, *words)


async def test_kill_9_of_audit_amid_batches(
    tmp_path: Path, bus: Nats, clickhouse: ClickHouse, publisher: Publisher
) -> None:
    audit = Audit(tmp_path, bus, clickhouse)
    await in_thread(audit.start)
    rng = random.Random(7)  # noqa: S311 - instants
    async with asyncio.TaskGroup() as group:
        group.create_task(publish_all(publisher))
        for _ in range(KILLS):
            await asyncio.sleep(rng.uniform(0.05, 0.6))
            await in_thread(audit.kill)
            await in_thread(audit.start)
    await in_thread(audit.check, COUNT, COUNT)
    assert await in_thread(audit.stop) == 0


async def test_kill_9_of_clickhouse_amid_inserts(
    tmp_path: Path, bus: Nats, own_clickhouse: ClickHouse, publisher: Publisher
) -> None:
    audit = Audit(tmp_path, bus, own_clickhouse)
    await in_thread(audit.start)
    rng = random.Random(11)  # noqa: S311 - instants
    async with asyncio.TaskGroup() as group:
        group.create_task(publish_all(publisher))
        for _ in range(KILLS):
            await asyncio.sleep(rng.uniform(0.1, 0.8))
            await in_thread(own_clickhouse.kill)
            await in_thread(own_clickhouse.start)
    await in_thread(audit.check, COUNT, COUNT)
    assert await in_thread(audit.stop) == 0


async def test_kill_9_of_nats_and_everything_resumes(
    tmp_path: Path, bus: Nats, clickhouse: ClickHouse
) -> None:
    audit = Audit(tmp_path, bus, clickhouse)
    await in_thread(audit.start)
    for start in range(0, 3000, 1000):
        numbers = range(start, start + 1000)
        async with await Publisher.connect(bus.url) as publisher:
            await publisher.publish(*map(admitted, numbers), *map(finished, numbers))
        await in_thread(bus.kill)
        await asyncio.sleep(0.5)
        await in_thread(bus.start)
    await in_thread(audit.check, 3000, 3000)
    async with await Publisher.connect(bus.url) as publisher:
        await publisher.publish(finished(5000))
    await in_thread(audit.check, 3001, 3000)
    assert await in_thread(audit.stop) == 0


async def test_clickhouse_down_loses_nothing_and_memory_stays(
    tmp_path: Path, bus: Nats, own_clickhouse: ClickHouse, publisher: Publisher
) -> None:
    audit = Audit(tmp_path, bus, own_clickhouse)
    await in_thread(audit.start)
    await publisher.publish(finished(50_000))
    await in_thread(audit.wait_for, 1)
    before = resident_kib(audit)
    await in_thread(own_clickhouse.stop)
    await publish_all(publisher, 20_000)
    assert resident_kib(audit) - before < 60 * 1024
    await in_thread(own_clickhouse.start)
    await in_thread(audit.check, 20_001, 20_000)
    assert await in_thread(audit.stop) == 0


def resident_kib(role: Role) -> int:
    status = Path(f"/proc/{role.pid}/status")
    if not status.exists():
        pytest.skip("no /proc on this machine")
    return int(status.read_text().partition("VmRSS:")[2].split()[0])


async def test_audit_starts_before_clickhouse(
    tmp_path: Path, bus: Nats, own_clickhouse: ClickHouse, publisher: Publisher
) -> None:
    await in_thread(own_clickhouse.stop)
    audit = Audit(tmp_path, bus, own_clickhouse)
    starting = asyncio.create_task(in_thread(audit.start))
    await publisher.publish(*map(finished, range(100)))
    await in_thread(own_clickhouse.start)
    await starting
    await in_thread(audit.check, 100)
    assert await in_thread(audit.stop) == 0


async def test_every_record_delivered_again_three_times_changes_nothing(
    tmp_path: Path, bus: Nats, clickhouse: ClickHouse, publisher: Publisher
) -> None:
    audit = Audit(tmp_path, bus, clickhouse)
    await publisher.publish(*map(admitted, range(3000)), *map(finished, range(3000)))
    await in_thread(audit.start)
    await in_thread(audit.check, 3000, 3000)
    bucket = await publisher.js.key_value(topology.AUDIT_BUCKET)
    for time in range(1, 4):
        assert await in_thread(audit.stop) == 0
        for shard in range(AUDIT_SHARDS):  # its notes are lost: it begins at the beginning
            await bucket.delete(f"shard-{shard}")
        await in_thread(audit.start)
        await publisher.publish(*(finished(10_000 + 4 * time + more) for more in range(4)))
        await in_thread(audit.check, 3000 + 4 * time, 3000)
    assert await in_thread(audit.stop) == 0
