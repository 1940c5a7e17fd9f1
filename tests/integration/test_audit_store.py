"""What audit does to ClickHouse, step by step: migrations, repeated batches, and their repair."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats
import pytest

from services.audit.batch import Batch, Stored, read_batch
from services.audit.migrate import Migration, migrate, read_migrations
from services.audit.position import Position, PositionKeeper, SupersededError
from services.audit.rows import CALLS
from services.audit.store import RowsRefusedError, Store, StoreUnavailableError
from services.audit.writer import Known, Writer
from shared.bus import topology
from shared.bus.records import encode_record, shard_of
from shared.config import ConfigError
from tests.integration.audit_role import Audit
from tests.records import admitted, finished
from tests.servers import ClickHouse, Nats, free_port

SHARD = shard_of("tenant-1")
EPOCH = 1_700_000_000_000_000


class Database:
    """A database of its own, with its store."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self.name = f"store_{uuid4().hex[:8]}"
        self.clickhouse = clickhouse
        self.store = Store(f"{clickhouse.url}/{self.name}")
        self.store.prepare()

    def client(self) -> Any:
        return self.clickhouse.client(database=self.name)

    def command(self, sql: str) -> None:
        client = self.client()
        client.command(sql, settings={"mutations_sync": 2})
        client.close()

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        client = self.client()
        rows = [tuple(row) for row in client.query(sql).result_rows]
        client.close()
        return rows


@pytest.fixture
def database(clickhouse: ClickHouse) -> Iterator[Database]:
    made = Database(clickhouse)
    yield made
    made.store.close()


def batch_of(*numbers: int, after: int = 0) -> Batch:
    """Calls of one tenant, each admitted before it ended."""
    records = [make(7 * number + 1) for number in numbers for make in (admitted, finished)]
    messages = [
        Stored(after + place, "", encode_record(record)) for place, record in enumerate(records, 1)
    ]
    return read_batch(EPOCH, SHARD, after, messages)


@pytest.fixture
async def writer(database: Database, nats_server: Nats) -> AsyncIterator[Writer]:
    nc = await nats.connect(nats_server.url)
    await topology.declare(nc.jetstream())
    yield Writer(database.store, nc.jetstream(), asyncio.Event())
    await nc.close()


def check(database: Database, calls: int) -> None:
    counts = "SELECT (SELECT count() FROM calls), (SELECT count() FROM admissions)"
    assert database.query(counts) == [(calls, calls)]
    # The role's own check, on this database.
    role = Audit.__new__(Audit)
    role.clickhouse, role.database = database.clickhouse, database.name
    assert role.rollup() == role.sums()


async def test_a_batch_written_again_and_again_is_written_once(
    database: Database, writer: Writer
) -> None:
    first, second = batch_of(*range(40)), batch_of(*range(50, 60), after=80)
    for known in (Known.NOTHING, Known.NOTHING, Known.THIS_BATCH, Known.PERHAPS):
        await writer.write(first, known)
        await writer.write(second, known)
    check(database, 50)


async def test_other_batches_of_the_same_records_add_nothing_where_they_are_looked_for(
    database: Database, writer: Writer
) -> None:
    await writer.write(batch_of(*range(30)))
    await writer.write(batch_of(*range(20)), Known.PERHAPS)
    await writer.write(batch_of(*range(45)), Known.PERHAPS)
    check(database, 45)


@pytest.mark.parametrize(
    "damage",
    [
        ["ALTER TABLE calls DELETE WHERE cityHash64(call_id) % 2 = 0"],
        ["TRUNCATE TABLE admissions"],
        ["TRUNCATE TABLE cost_hourly"],
        ["TRUNCATE TABLE calls", "TRUNCATE TABLE cost_hourly"],
        ["INSERT INTO cost_hourly SELECT * FROM cost_hourly"],
    ],
)
async def test_what_a_killed_clickhouse_left_half_done_is_put_right(
    database: Database, writer: Writer, damage: list[str]
) -> None:
    """Its log of tokens remembers the batch, so that simply repeating it would add nothing."""
    batch = batch_of(*range(40))
    await writer.write(batch)
    for statement in damage:
        database.command(statement)
    await writer.write(batch, Known.THIS_BATCH)
    check(database, 40)


def test_another_tenants_rollup_is_left_alone(database: Database) -> None:
    batch = batch_of(*range(5))
    database.store.insert(CALLS, batch.calls, batch, "t")
    stranger = (
        "INSERT INTO cost_hourly (hour, tenant, calls) VALUES ('2026-11-30 12:00:00', 'x', 3)"
    )
    database.command(stranger)
    database.store.repair_rollup(batch)
    assert database.query("SELECT sum(calls) FROM cost_hourly WHERE tenant = 'x'") == [(3,)]
    assert database.query("SELECT sum(calls) FROM cost_hourly WHERE tenant != 'x'") == [(5,)]


def test_a_batch_may_cross_a_month(database: Database) -> None:
    december = 1_796_083_200_000_000
    records = [
        finished(1, started=december - 1),
        finished(8, started=december),
    ]
    messages = [Stored(n, "", encode_record(record)) for n, record in enumerate(records, 1)]
    batch = read_batch(EPOCH, SHARD, 0, messages)
    for _ in range(3):
        database.store.insert(CALLS, batch.calls, batch, batch.token)
    assert database.query("SELECT count() FROM calls") == [(2,)]
    assert database.query("SELECT sum(calls), uniq(hour) FROM cost_hourly") == [(2, 2)]


def test_refused_rows_and_an_absent_server_are_told_apart(database: Database) -> None:
    batch = batch_of(*range(3))
    database.command("ALTER TABLE calls ADD CONSTRAINT none CHECK attempts > 100")
    with pytest.raises(RowsRefusedError):
        database.store.insert(CALLS, batch.calls, batch, "t")
    database.command("ALTER TABLE calls DROP CONSTRAINT none")
    database.command("RENAME TABLE calls TO moved")
    with pytest.raises(StoreUnavailableError):
        database.store.insert(CALLS, batch.calls, batch, "t")
    database.command("RENAME TABLE moved TO calls")
    database.store.insert(CALLS, batch.calls, batch, "t")
    absent = Store(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailableError):
        absent.insert(CALLS, batch.calls, batch, "t")
    with pytest.raises(StoreUnavailableError):
        absent.prepare()


def test_migrations_run_once(database: Database) -> None:
    client = database.client()
    assert migrate(client) == []
    versions = [migration.version for migration in read_migrations()]
    applied = database.query("SELECT version, count() FROM weir_migrations GROUP BY 1 ORDER BY 1")
    assert applied == [(version, 1) for version in versions]
    client.close()


def test_a_migration_that_was_cut_short_is_run_again(database: Database) -> None:
    database.command("DROP TABLE cost_hourly_mv")
    database.command("ALTER TABLE weir_migrations DELETE WHERE version = 3")
    client = database.client()
    assert migrate(client) == [3]
    client.close()
    batch = batch_of(1)
    database.store.insert(CALLS, batch.calls, batch, "t")
    assert database.query("SELECT sum(calls) FROM cost_hourly") == [(1,)]


def test_a_changed_migration_is_an_error(database: Database) -> None:
    first, *others = read_migrations()
    changed = Migration(first.version, first.name, first.text + "-- and more\n")
    client = database.client()
    with pytest.raises(ConfigError, match=r"migration 1 .* has changed"):
        migrate(client, [changed, *others])
    assert migrate(client, [first]) == []  # an older version on a newer database
    client.close()


def test_migrations_are_numbered_without_a_gap(tmp_path: Path) -> None:
    (tmp_path / "001_a.sql").write_text("SELECT 1;\n")
    (tmp_path / "003_b.sql").write_text("SELECT 1;\n")
    with pytest.raises(ConfigError, match="not numbered"):
        read_migrations(tmp_path)


async def test_only_the_last_writer_may_note_its_position(nats_server: Nats) -> None:
    nc = await nats.connect(nats_server.url)
    await topology.declare(nc.jetstream())
    bucket = await nc.jetstream().key_value(topology.AUDIT_BUCKET)
    shard = uuid4().int % 10**9
    first, second = (PositionKeeper(bucket, shard, name) for name in ("first", "second"))
    assert await first.claim(EPOCH, from_others=True) == Position(epoch=EPOCH, writer="first")
    await first.begin(0, 10)
    await first.touch()
    with pytest.raises(SupersededError):
        await second.claim(EPOCH, from_others=False)
    taken = await second.claim(EPOCH, from_others=True)
    assert (taken.done, taken.end, taken.writer) == (0, 10, "second")
    for note in (first.begin(10, 20), first.touch(), first.claim(EPOCH, from_others=False)):
        with pytest.raises(SupersededError):
            await note
    await second.begin(10, 20)
    await second.finish()
    again = await second.claim(EPOCH, from_others=False)
    assert (again.done, again.end) == (20, 20)
    other_stream = await second.claim(EPOCH + 1, from_others=False)
    assert (other_stream.done, other_stream.end) == (0, 0)
    await nc.close()
