"""What the audit stream carries: one `Admitted` and one `CallRecord` a call, as msgpack.

The pipeline publishes both (`Admitted` ahead of the answer, `CallRecord` from its one
finalizer); audit writes them into ClickHouse, and publishes the `CallRecord` itself for a
call whose pipeline died. Times are microseconds since the epoch; money is nano-dollars.
"""

from enum import StrEnum
from zlib import crc32

import msgspec
from msgspec import Struct

from shared.canonical.usage import Usage

AUDIT_SHARDS = 4
"""Tenants are spread over this many shards; each has one writer and one consumer."""


class Outcome(StrEnum):
    OK = "ok"
    FAILED = "failed"  # the vendor or the way to it failed
    REJECTED = "rejected"  # refused before any attempt: bad request, unknown model, a policy
    CLIENT_GONE = "client_gone"
    ABANDONED = "abandoned"  # its pipeline died; closed by audit


class Admitted(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="admitted"):
    """A call was let in. After `lease_until` without a `CallRecord` it counts as abandoned."""

    call_id: str
    tenant: str
    agent: str
    key_id: str
    model: str
    protocol: str
    streamed: bool
    started: int
    lease_until: int
    instance: str
    tags: dict[str, str] = {}


class CallRecord(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="finished"):
    """How a call ended: the source of its one row.

    `status` is the HTTP status that the client got (or would have got); `error_class` is a
    FailureClass or ""; `model` is what the client asked for, `vendor_model` what was called.
    `cost_nano` is None when the usage or the price is not known: then `priced` is false.
    """

    call_id: str
    tenant: str
    agent: str
    key_id: str
    model: str
    protocol: str
    streamed: bool
    outcome: Outcome
    status: int
    started: int
    ended: int
    first_token: int | None = None
    provider: str = ""
    vendor: str = ""
    vendor_model: str = ""
    vendor_request_id: str = ""
    error_class: str = ""
    error_message: str = ""
    finish_reason: str = ""
    usage: Usage = Usage()
    cost_nano: int | None = None
    currency: str = "USD"
    priced: bool = False
    price_version: str = ""
    config_version: str = ""
    attempts: int = 0
    tags: dict[str, str] = {}
    instance: str = ""


AuditRecord = Admitted | CallRecord

encode_record = msgspec.msgpack.Encoder().encode
decode_record = msgspec.msgpack.Decoder(AuditRecord).decode


def shard_of(tenant: str) -> int:
    """The audit shard that all of a tenant's calls belong to; stable for ever."""
    return crc32(tenant.encode()) % AUDIT_SHARDS
