"""Audit records as columns for ClickHouse. Pure.

Called by `store`, which inserts what comes out, and by `batch`, which asks first whether a record
can be a row at all. A new column stands in the next migration and here.
"""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct

from shared.bus.records import Admitted, CallRecord

EARLIEST_US = 1_577_836_800_000_000  # 2020
LATEST_US = 4_102_444_800_000_000  # 2100
MOST = 2**63 - 1  # what sums of counts are kept in
MOST_NANO = 10**18  # Decimal(18, 9)
MOST_UINT16 = 2**16 - 1
NANO = Decimal("0.000000001")

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Table(Struct, frozen=True):
    """`columns`: name, ClickHouse's type, and how a record gives its value."""

    name: str
    columns: tuple[tuple[str, str, Callable[[Any], Any]], ...]

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.columns] + ["audit_epoch", "audit_shard", "audit_seq"]

    @property
    def types(self) -> list[str]:
        return [kind for _, kind, _ in self.columns] + ["UInt64", "UInt8", "UInt64"]

    def to_columns(
        self, records: Sequence[tuple[int, Any]], epoch: int, shard: int
    ) -> list[Sequence[Any]]:
        """`records`: each with its sequence in the audit stream."""
        values = [record for _, record in records]
        count = len(values)
        found: list[Sequence[Any]] = [list(map(value, values)) for _, _, value in self.columns]
        return [*found, [epoch] * count, [shard] * count, [sequence for sequence, _ in records]]


def _cost(record: CallRecord) -> Decimal | None:
    return None if record.cost_nano is None else record.cost_nano * NANO


_WORD = "LowCardinality(String)"
_COUNT = "Nullable(UInt64)"
_TIME = "DateTime64(6, 'UTC')"
_TAGS = "Map(LowCardinality(String), String)"

CALLS = Table(
    "calls",
    (
        ("call_id", "UUID", lambda r: r.call_id),
        ("tenant", _WORD, lambda r: r.tenant),
        ("agent", _WORD, lambda r: r.agent),
        ("key_id", _WORD, lambda r: r.key_id),
        ("model", _WORD, lambda r: r.model),
        ("provider", _WORD, lambda r: r.provider),
        ("vendor", _WORD, lambda r: r.vendor),
        ("vendor_model", _WORD, lambda r: r.vendor_model),
        ("protocol", _WORD, lambda r: r.protocol),
        ("streamed", "Bool", lambda r: r.streamed),
        ("outcome", _WORD, lambda r: r.outcome.value),
        ("status", "UInt16", lambda r: r.status),
        ("error_class", _WORD, lambda r: r.error_class),
        ("error_message", "String", lambda r: r.error_message),
        ("finish_reason", _WORD, lambda r: r.finish_reason),
        ("input_tokens", _COUNT, lambda r: r.usage.input),
        ("cache_read_tokens", _COUNT, lambda r: r.usage.cache_read),
        ("cache_write_5m_tokens", _COUNT, lambda r: r.usage.cache_write_5m),
        ("cache_write_1h_tokens", _COUNT, lambda r: r.usage.cache_write_1h),
        ("output_tokens", _COUNT, lambda r: r.usage.output),
        ("reasoning_tokens", _COUNT, lambda r: r.usage.reasoning),
        ("audio_input_tokens", _COUNT, lambda r: r.usage.audio_input),
        ("audio_output_tokens", _COUNT, lambda r: r.usage.audio_output),
        ("tool_fees", "Map(String, UInt64)", lambda r: r.usage.tool_fees),
        ("service_tier", _WORD, lambda r: r.usage.service_tier or ""),
        ("usage_estimated", "Bool", lambda r: r.usage.estimated),
        ("cost", "Nullable(Decimal(18, 9))", _cost),
        ("currency", _WORD, lambda r: r.currency),
        ("priced", "Bool", lambda r: r.priced),
        ("price_version", _WORD, lambda r: r.price_version),
        ("config_version", _WORD, lambda r: r.config_version),
        ("started", _TIME, lambda r: r.started),
        ("first_token", f"Nullable({_TIME})", lambda r: r.first_token),
        ("ended", _TIME, lambda r: r.ended),
        ("attempts", "UInt16", lambda r: r.attempts),
        ("tags", _TAGS, lambda r: r.tags),
        ("vendor_request_id", "String", lambda r: r.vendor_request_id),
        ("instance", _WORD, lambda r: r.instance),
    ),
)

ADMISSIONS = Table(
    "admissions",
    (
        ("call_id", "UUID", lambda r: r.call_id),
        ("tenant", _WORD, lambda r: r.tenant),
        ("agent", _WORD, lambda r: r.agent),
        ("key_id", _WORD, lambda r: r.key_id),
        ("model", _WORD, lambda r: r.model),
        ("protocol", _WORD, lambda r: r.protocol),
        ("streamed", "Bool", lambda r: r.streamed),
        ("started", _TIME, lambda r: r.started),
        ("lease_until", _TIME, lambda r: r.lease_until),
        ("tags", _TAGS, lambda r: r.tags),
        ("instance", _WORD, lambda r: r.instance),
    ),
)


def find_fault(record: Admitted | CallRecord) -> str | None:
    """Why a record can't be a row, found here so that ClickHouse need not refuse a batch."""
    if _UUID.fullmatch(record.call_id) is None:
        return "call_id is not a UUID"
    times = [record.started]
    if isinstance(record, Admitted):
        times.append(record.lease_until)
    else:
        times.append(record.ended)
        if record.first_token is not None:
            times.append(record.first_token)
    if min(times) < EARLIEST_US or max(times) > LATEST_US:
        return "a time is out of range"
    return None if isinstance(record, Admitted) else _find_fault_in_numbers(record)


def _find_fault_in_numbers(record: CallRecord) -> str | None:
    usage = record.usage
    counts = [
        count
        for count in (
            *(usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h),
            *(usage.output, usage.reasoning, usage.audio_input, usage.audio_output),
            *usage.tool_fees.values(),
        )
        if count is not None
    ]
    if counts and (min(counts) < 0 or max(counts) > MOST):
        return "a count is out of range"
    if not (0 <= record.status <= MOST_UINT16 and 0 <= record.attempts <= MOST_UINT16):
        return "status or attempts are out of range"
    if record.cost_nano is not None and abs(record.cost_nano) >= MOST_NANO:
        return "the cost is out of range"
    return None
