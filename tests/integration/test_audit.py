"""The audit role on a real NATS server and a real ClickHouse: what becomes of a record."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from nats.js.errors import APIError

from shared.bus import topology
from shared.bus.records import AUDIT_SHARDS, encode_record, shard_of
from shared.canonical.usage import Usage
from shared.clock import now_us
from tests.integration.audit_role import Audit
from tests.records import SECOND, Publisher, admitted, call_id, finished
from tests.servers import ClickHouse, Nats, Role
from tests.stack import eventually

COUNT = 3000


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Nats]:
    server = Nats(tmp_path / "nats")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def audit(tmp_path: Path, bus: Nats, clickhouse: ClickHouse) -> Iterator[Audit]:
    role = Audit(tmp_path, bus, clickhouse)
    role.start()
    yield role
    if role.process.poll() is None:
        assert role.stop() == 0, role.log
    assert "Traceback" not in role.log, role.log


@pytest.fixture
async def publisher(bus: Nats) -> AsyncIterator[Publisher]:
    async with await Publisher.connect(bus.url) as connected:
        yield connected


async def test_every_record_is_a_row_and_the_rollup_is_their_sum(
    audit: Audit, publisher: Publisher
) -> None:
    records = [finished(number) for number in range(COUNT)]
    for record, number in zip(records, range(COUNT), strict=True):
        await publisher.publish(admitted(number), record)
    audit.check(COUNT, COUNT)
    known = [record.cost_nano for record in records if record.cost_nano is not None]
    assert audit.query("SELECT sum(cost), sum(calls) FROM cost_hourly") == [
        (sum(known) * Decimal("1e-9"), COUNT)
    ]


async def test_a_row_says_what_the_record_says(audit: Audit, publisher: Publisher) -> None:
    usage = Usage(
        input=1,
        cache_read=0,
        cache_write_5m=3,
        cache_write_1h=None,
        output=5,
        reasoning=4,
        audio_input=1,
        audio_output=None,
        tool_fees={"web_search": 2},
        service_tier="priority",
        estimated=True,
    )
    record = finished(
        1,
        usage=usage,
        cost_nano=1_000_000_007,
        priced=True,
        tags={"workflow": "it's", "empty": ""},
        error_message="ünï\n'\\",
        vendor_request_id="req_1",
        config_version="7",
        finish_reason="stop",
    )
    await publisher.publish(record)
    audit.wait_for(1)
    columns = {
        "toString(call_id)": record.call_id,
        "tenant": "tenant-1",
        "agent": "agent-1",
        "key_id": "key-1",
        "model": "model-1",
        "provider": "openai",
        "vendor": "openai",
        "vendor_model": "gpt-4o",
        "protocol": "openai_chat",
        "streamed": False,
        "outcome": record.outcome.value,
        "status": record.status,
        "error_class": record.error_class,
        "error_message": "ünï\n'\\",
        "finish_reason": "stop",
        "input_tokens": 1,
        "cache_read_tokens": 0,
        "cache_write_5m_tokens": 3,
        "cache_write_1h_tokens": None,
        "output_tokens": 5,
        "reasoning_tokens": 4,
        "audio_input_tokens": 1,
        "audio_output_tokens": None,
        "tool_fees": {"web_search": 2},
        "service_tier": "priority",
        "usage_estimated": True,
        "cost": Decimal("1.000000007"),
        "currency": "USD",
        "priced": True,
        "price_version": "genai-prices/0",
        "config_version": "7",
        "toUnixTimestamp64Micro(started)": record.started,
        "first_token": None,
        "toUnixTimestamp64Micro(ended)": record.ended,
        "ttft_ms": None,
        "duration_ms": (record.ended - record.started) / 1000,
        "attempts": 1,
        "tags": {"workflow": "it's", "empty": ""},
        "vendor_request_id": "req_1",
        "instance": "pipeline-1",
        "audit_shard": shard_of("tenant-1"),
        "audit_seq": 1,
    }
    (row,) = audit.query(f"SELECT {', '.join(columns)} FROM calls")  # noqa: S608
    assert dict(zip(columns, row, strict=True)) == columns


async def test_a_newcomer_sees_a_row_at_once(audit: Audit, publisher: Publisher) -> None:
    for number in range(3):
        await publisher.publish(finished(number))
        audit.wait_for(number + 1, timeout=3)


async def test_it_acknowledges_what_is_written(audit: Audit, publisher: Publisher) -> None:
    await publisher.publish(*(finished(number) for number in range(100)))
    audit.wait_for(100)

    async def unacknowledged() -> int:
        names = [topology.audit_consumer(shard) for shard in range(AUDIT_SHARDS)]
        infos = [await publisher.js.consumer_info("WEIR_AUDIT", name) for name in names]
        return sum((info.num_ack_pending or 0) + (info.num_pending or 0) for info in infos)

    async with asyncio.timeout(10):
        while await unacknowledged():
            pass


async def test_what_can_not_be_a_row_is_a_dead_letter_and_holds_nothing_up(
    audit: Audit, publisher: Publisher
) -> None:
    good = [finished(number) for number in range(200)]
    bad = [
        finished(201, call_id="not-a-uuid"),
        finished(202, started=0),
        finished(203, ended=2**62),
        finished(204, usage=Usage(input=-1)),
        finished(205, cost_nano=10**18),
        finished(206, status=70_000),
    ]
    await publisher.publish(*good[:100], *bad)
    subject = topology.audit_subject("tenant-1", call_id(300), "finished")
    await publisher.js.publish(subject, b"\xff not msgpack")
    stray = finished(301)
    wrong = topology.AUDIT_SUBJECTS.replace(">", f"{(shard_of(stray.tenant) + 1) % AUDIT_SHARDS}")
    await publisher.js.publish(f"{wrong}.{stray.call_id}.finished", encode_record(stray))
    await publisher.publish(*good[100:])
    audit.check(len(good))
    letters = await dead_letters(publisher, 8)
    assert sorted(letters) == sorted(
        {
            "call_id is not a UUID": 1,
            "a time is out of range": 2,
            "a count is out of range": 1,
            "the cost is out of range": 1,
            "status or attempts are out of range": 1,
            "it is not an audit record": 1,
            "its tenant belongs to another shard": 1,
        }.items()
    )


async def dead_letters(publisher: Publisher, count: int) -> list[tuple[str, int]]:
    reasons = Counter[str]()
    subscription = await publisher.js.pull_subscribe(
        topology.DEAD_SUBJECTS, stream=topology.DEAD_STREAM
    )
    for message in await subscription.fetch(count, timeout=10):
        assert message.headers is not None
        assert message.headers["Weir-Subject"].startswith("weir.v1.audit.")
        assert message.data
        reasons[message.headers["Weir-Reason"]] += 1
    info = await publisher.js.stream_info(topology.DEAD_STREAM)
    assert info.state.messages == count
    return list(reasons.items())


async def test_rows_that_only_clickhouse_refuses_are_found_among_the_others(
    audit: Audit, publisher: Publisher
) -> None:
    audit.command("ALTER TABLE calls ADD CONSTRAINT no_poison CHECK agent != 'poison'")
    good = [finished(number) for number in range(500)]
    bad = [finished(number, agent="poison") for number in range(600, 604)]
    mixed = sorted([*good, *bad], key=lambda record: hash(record.call_id))
    await publisher.publish(*mixed)
    audit.check(len(good))
    ((reason, count),) = await dead_letters(publisher, len(bad))
    assert "no_poison" in reason
    assert count == len(bad)


async def test_an_abandoned_call_is_closed_once(audit: Audit, publisher: Publisher) -> None:
    late = now_us() - SECOND
    calls = [admitted(number, lease_until=late, started=late - SECOND) for number in range(5)]
    await publisher.publish(*calls)
    open_call = admitted(9, lease_until=now_us() + 600 * SECOND)
    await publisher.publish(open_call)
    await publisher.publish(finished(4, started=late))  # the pipeline was only slow
    audit.check(5, 6)
    rows = audit.query(
        "SELECT outcome, status, error_class, cost, priced, toString(call_id), tags "
        "FROM calls WHERE outcome = 'abandoned' AND status = 502 ORDER BY call_id"
    )
    assert [row[5] for row in rows if row[2] == "transport" and row[3] is None] == [
        call_id(number) for number in range(4)
    ]
    assert rows[1][6] == finished(1).tags
    with pytest.raises(APIError) as refused:
        await publisher.publish(finished(0))
    assert refused.value.err_code == 10071


async def test_a_call_abandoned_while_audit_was_away_is_closed_by_the_next(
    audit: Audit, publisher: Publisher
) -> None:
    lease = now_us() + 3 * SECOND
    await publisher.publish(admitted(1, lease_until=lease, started=lease - 60 * SECOND))
    await publisher.publish(admitted(8, lease_until=lease, started=lease - 60 * SECOND))
    await publisher.publish(finished(8, started=lease - 60 * SECOND))
    eventually(lambda: audit.count("admissions") == 2)
    audit.wait_for(1)
    audit.kill()
    audit.start()
    audit.check(2, 2)
    query = "SELECT toString(call_id), outcome FROM calls WHERE call_id = {id:UUID}"
    assert audit.query(query, id=call_id(1)) == [(call_id(1), "abandoned")]


async def test_a_second_process_takes_over_and_the_first_stands_by_for_it(
    audit: Audit, publisher: Publisher, tmp_path: Path
) -> None:
    await publisher.publish(*(finished(number) for number in range(100)))
    audit.wait_for(100)
    second = Audit(tmp_path / "second", audit.nats, audit.clickhouse, audit.database)
    second.start()
    await publisher.publish(*(finished(number) for number in range(100, 200)))
    audit.check(200)
    eventually(lambda: audit.log.count("another process writes it now") == AUDIT_SHARDS)
    second.kill()
    await publisher.publish(*(finished(number) for number in range(200, 300)))
    audit.check(300)
    assert "another process" not in second.log


async def test_an_orderly_end_leaves_nothing_to_be_written_again(
    audit: Audit, publisher: Publisher
) -> None:
    await publisher.publish(*(finished(number) for number in range(1000)))
    audit.wait_for(1)
    assert audit.stop() == 0
    written = audit.count()
    bucket = await publisher.js.key_value(topology.AUDIT_BUCKET)
    for shard in range(AUDIT_SHARDS):
        value = (await bucket.get(f"shard-{shard}")).value
        assert value is not None
        position = json.loads(value)
        assert position["done"] == position["end"]
    audit.start()
    audit.check(1000)
    assert written <= 1000


def test_it_waits_for_a_nats_server_and_can_be_stopped_meanwhile(
    tmp_path: Path, clickhouse: ClickHouse
) -> None:
    role = Role(
        ["run", "audit"], tmp_path, NATS_URL="nats://127.0.0.1:1", CLICKHOUSE_URL=clickhouse.url
    )
    role.start(wait=False)
    eventually(lambda: "nats" in role.log)
    assert role.stop() == 0
