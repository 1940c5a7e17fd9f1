"""Every subject, queue group, JetStream stream, consumer and bucket, once, as data.

Nobody else writes a subject down. `declare` brings a NATS server to this state.
"""

from typing import TYPE_CHECKING

from msgspec import Struct
from nats.js.api import (
    ConsumerConfig,
    DiscardPolicy,
    KeyValueConfig,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import BadRequestError

from .records import AUDIT_SHARDS, shard_of

if TYPE_CHECKING:
    from nats.js import JetStreamContext

PREFIX = "weir.v1"

CALLS = f"{PREFIX}.call.*"
CALLS_QUEUE = "pipeline"
ATTEMPTS_QUEUE = "provider"
AUDIT_STREAM = "WEIR_AUDIT"
AUDIT_SUBJECTS = f"{PREFIX}.audit.>"
KEYS_BUCKET = "weir_keys"

DAY = 24 * 3600.0


def call_subject(tenant: str) -> str:
    return f"{PREFIX}.call.{tenant}"


def attempt_subject(vendor: str) -> str:
    return f"{PREFIX}.attempt.{vendor}"


def reply_subject(instance: str, number: int | str) -> str:
    return f"{PREFIX}.reply.{instance}.{number}"


def control_subject(instance: str, number: int | str) -> str:
    return f"{PREFIX}.control.{instance}.{number}"


def audit_subject(tenant: str, call_id: str, kind: str) -> str:
    """`kind` is "admitted" or "finished"; each call has at most one message on each."""
    return f"{PREFIX}.audit.{shard_of(tenant)}.{call_id}.{kind}"


def audit_consumer(shard: int) -> str:
    return f"audit-{shard}"


class Consumer(Struct, frozen=True, kw_only=True):
    durable: str
    filter_subject: str


AUDIT_CONSUMERS = tuple(
    Consumer(durable=audit_consumer(shard), filter_subject=f"{PREFIX}.audit.{shard}.*.*")
    for shard in range(AUDIT_SHARDS)
)


def audit_stream(replicas: int = 1) -> StreamConfig:
    """Kept by limits, not by work queue: a record can be replayed for a week."""
    return StreamConfig(
        name=AUDIT_STREAM,
        subjects=[AUDIT_SUBJECTS],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_age=7 * DAY,
        duplicate_window=120.0,
        num_replicas=replicas,
    )


def consumer_config(consumer: Consumer) -> ConsumerConfig:
    return ConsumerConfig(
        durable_name=consumer.durable,
        filter_subject=consumer.filter_subject,
        ack_wait=60.0,
        max_ack_pending=20_000,
    )


def keys_bucket(replicas: int = 1) -> KeyValueConfig:
    return KeyValueConfig(bucket=KEYS_BUCKET, history=5, replicas=replicas)


async def declare(js: "JetStreamContext", replicas: int = 1) -> None:
    """Creates what is missing and updates what differs. Safe to run from every role at once."""
    stream = audit_stream(replicas)
    try:
        await js.add_stream(stream)
    except BadRequestError:
        await js.update_stream(stream)
    for consumer in AUDIT_CONSUMERS:
        await js.add_consumer(AUDIT_STREAM, consumer_config(consumer))
    await js.create_key_value(keys_bucket(replicas))
