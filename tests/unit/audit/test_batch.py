"""Batches and rows: what a range of the stream becomes."""

import re
from collections.abc import Callable
from decimal import Decimal

import pytest

from services.audit.batch import NO_RECORD, WRONG_SHARD, Stored, read_batch
from services.audit.migrate import read_migrations
from services.audit.rows import ADMISSIONS, CALLS, Table, find_fault
from shared.bus.records import Admitted, CallRecord, encode_record, shard_of
from shared.canonical.usage import Usage
from tests.records import NOON, admitted, finished

TENANT = "tenant-1"
SHARD = shard_of(TENANT)


def stored(sequence: int, record: Admitted | CallRecord | bytes) -> Stored:
    data = record if isinstance(record, bytes) else encode_record(record)
    return Stored(sequence, "weir.v1.audit.x", data)


def test_a_range_is_sorted_into_calls_admissions_and_dead_letters() -> None:
    stray = next(record for record in map(finished, range(7)) if shard_of(record.tenant) != SHARD)
    messages = [
        stored(3, admitted(1)),
        stored(7, finished(1)),
        stored(8, b"\xc1"),
        stored(9, stray),
        stored(12, finished(8, call_id="x")),
    ]
    batch = read_batch(5, SHARD, 2, messages)
    assert [sequence for sequence, _ in batch.admissions] == [3]
    assert [sequence for sequence, _ in batch.calls] == [7]
    assert [(dead.message.sequence, dead.reason) for dead in batch.dead] == [
        (8, NO_RECORD),
        (9, WRONG_SHARD),
        (12, "call_id is not a UUID"),
    ]
    assert batch.end == 12
    assert batch.token == f"5-{SHARD}-3-12"


def test_the_same_range_makes_the_same_batch() -> None:
    messages = [stored(number, finished(7 * number + 1)) for number in range(1, 50)]
    assert read_batch(5, SHARD, 0, messages) == read_batch(5, SHARD, 0, messages)


@pytest.mark.parametrize(
    "changes",
    [
        {"call_id": ""},
        {"call_id": "0190163d8694739baea5966c26f8ad91"},
        {"started": -1},
        {"ended": 2**63},
        {"first_token": 1},
        {"usage": Usage(output=-1)},
        {"usage": Usage(input=2**63)},
        {"usage": Usage(tool_fees={"x": -1})},
        {"status": -1},
        {"attempts": 70_000},
        {"cost_nano": 10**18},
        {"cost_nano": -(10**18)},
    ],
)
def test_a_record_that_can_not_be_a_row_is_found_out(changes: dict[str, object]) -> None:
    assert find_fault(finished(1)) is None
    assert find_fault(finished(1, **changes)) is not None


def test_an_admission_that_can_not_be_a_row_is_found_out() -> None:
    assert find_fault(admitted(1)) is None
    assert find_fault(admitted(1, lease_until=0)) is not None


def test_money_is_exact() -> None:
    columns = CALLS.to_columns([(1, finished(1, cost_nano=123_456_789_012_345_678))], 5, SHARD)
    assert columns[CALLS.names.index("cost")] == [Decimal("123456789.012345678")]
    columns = CALLS.to_columns([(1, finished(1, cost_nano=None))], 5, SHARD)
    assert columns[CALLS.names.index("cost")] == [None]


@pytest.mark.parametrize(("table", "make"), [(CALLS, finished), (ADMISSIONS, admitted)])
def test_every_column_of_the_table_is_filled(
    table: Table, make: Callable[[int], CallRecord | Admitted]
) -> None:
    text = next(m.text for m in read_migrations() if m.name == table.name)
    sql = text.partition("ENGINE")[0]
    declared = dict(re.findall(r"^    (\w+) (\S.*?)(?: CODEC.*| COMMENT.*|,)?$", sql, re.MULTILINE))
    stands = [
        name
        for name, kind in declared.items()
        if name != "INDEX" and " ALIAS " not in kind and " DEFAULT " not in kind
    ]
    assert table.names == stands
    columns = table.to_columns([(1, make(1)), (2, make(8))], 5, 2)
    assert len(columns) == len(table.names) == len(table.types)
    assert [list(column) for column in columns[-3:]] == [[5, 5], [2, 2], [1, 2]]
    assert columns[table.names.index("started")] == [NOON + 700_000, NOON + 8 * 700_000]
