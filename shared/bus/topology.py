"""Every subject, queue group, JetStream stream, consumer and bucket, once, as data.

Nobody else writes a subject down. `declare` brings a NATS server to this state.
"""

from typing import TYPE_CHECKING

from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    KeyValueConfig,
    ObjectStoreConfig,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import BadRequestError

from .records import shard_of

if TYPE_CHECKING:
    from nats.js import JetStreamContext

PREFIX = "weir.v1"

CALLS = f"{PREFIX}.call.*"
CALLS_QUEUE = "pipeline"
ATTEMPTS_QUEUE = "provider"
AUDIT_STREAM = "WEIR_AUDIT"
AUDIT_SUBJECTS = f"{PREFIX}.audit.>"
AUDIT_BUCKET = "weir_audit"
DEAD_STREAM = "WEIR_DEAD"
DEAD_SUBJECTS = f"{PREFIX}.dead.>"
KEYS_BUCKET = "weir_keys"
BODIES_BUCKET = "weir_bodies"
REPLAY_STREAM = "WEIR_REPLAY"
TAP_CALLS = f"{PREFIX}.tapping"
"""Who listens on a tap says so here, again and again."""

DAY = 24 * 3600.0
REPLAY_BYTES = 256 * 1024 * 1024
REPLAY_SECONDS = 300.0
BODY_TTL = 600.0


def call_subject(tenant: str) -> str:
    return f"{PREFIX}.call.{tenant}"


def attempt_subject(vendor: str) -> str:
    return f"{PREFIX}.attempt.{vendor}"


def reply_subject(instance: str, number: int | str) -> str:
    return f"{PREFIX}.reply.{instance}.{number}"


def control_subject(instance: str, number: int | str) -> str:
    return f"{PREFIX}.control.{instance}.{number}"


def presence_subject(instance: str) -> str:
    """Where a process answers that it is there: the control subject that is no stream's."""
    return control_subject(instance, 0)


def replay_subject(tenant: str, call_id: str) -> str:
    """The numbered events of a resumable stream. The tenant is a part of its name, so that
    nobody else's can be asked for."""
    return f"{PREFIX}.replay.{tenant}.{call_id}"


def resumed_subject(instance: str) -> str:
    """Who serves the rest of a resumable stream tells its ingress that somebody reads."""
    return f"{PREFIX}.resumed.{instance}"


def tap_subject(tenant: str, agent: str) -> str:
    return f"{PREFIX}.tap.{tenant}.{agent}"


def ack_subject(instance: str, number: int | str) -> str:
    """Where JetStream acknowledges what a process has published; one wildcard inbox a process."""
    return f"{PREFIX}.ack.{instance}.{number}"


def audit_subject(tenant: str, call_id: str, kind: str) -> str:
    """`kind` is "admitted" or "finished"; each call has at most one message on each."""
    return f"{PREFIX}.audit.{shard_of(tenant)}.{call_id}.{kind}"


def audit_consumer(shard: int) -> str:
    return f"audit-{shard}"


def audit_filter(shard: int) -> str:
    """Every record of a shard's calls."""
    return f"{PREFIX}.audit.{shard}.*.*"


def dead_audit_subject(epoch: int, shard: int, sequence: int) -> str:
    """Where a record goes that can't be written. It was `sequence` in the audit stream that was
    made at `epoch`: each has one place."""
    return f"{PREFIX}.dead.audit.{epoch}.{shard}.{sequence}"


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


def dead_stream(replicas: int = 1) -> StreamConfig:
    """What could not be written, to be looked at and replayed."""
    return StreamConfig(
        name=DEAD_STREAM,
        subjects=[DEAD_SUBJECTS],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=90 * DAY,
        num_replicas=replicas,
    )


def audit_consumer_config(shard: int, start: int) -> ConsumerConfig:
    """A shard's writer makes its consumer anew where it knows that it has to go on."""
    return ConsumerConfig(
        durable_name=audit_consumer(shard),
        filter_subject=audit_filter(shard),
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=start,
        ack_policy=AckPolicy.ALL,
        ack_wait=60.0,
        max_ack_pending=20_000,
    )


def replay_stream(keep_seconds: float, replicas: int = 1) -> StreamConfig:
    """In memory, bounded in time and in bytes: the oldest events go first."""
    return StreamConfig(
        name=REPLAY_STREAM,
        subjects=[f"{PREFIX}.replay.*.*"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.MEMORY,
        discard=DiscardPolicy.OLD,
        max_age=keep_seconds,
        max_bytes=REPLAY_BYTES,
        num_replicas=replicas,
    )


def bodies_bucket(replicas: int = 1) -> ObjectStoreConfig:
    """Bodies too large for a message, for as long as their calls may wait to be taken."""
    return ObjectStoreConfig(bucket=BODIES_BUCKET, ttl=int(BODY_TTL), replicas=replicas)


def keys_bucket(replicas: int = 1) -> KeyValueConfig:
    return KeyValueConfig(bucket=KEYS_BUCKET, history=5, replicas=replicas)


def audit_bucket(replicas: int = 1) -> KeyValueConfig:
    """How far each shard's writer has come."""
    return KeyValueConfig(bucket=AUDIT_BUCKET, history=1, replicas=replicas)


async def declare(js: "JetStreamContext", replicas: int = 1) -> None:
    """Creates what is missing and updates what differs. Safe to run from every role at once."""
    streams = (
        audit_stream(replicas),
        dead_stream(replicas),
        replay_stream(REPLAY_SECONDS, replicas),
    )
    for stream in streams:
        try:
            await js.add_stream(stream)
        except BadRequestError:
            await js.update_stream(stream)
    await js.create_key_value(keys_bucket(replicas))
    await js.create_key_value(audit_bucket(replicas))
    await js.create_object_store(BODIES_BUCKET, bodies_bucket(replicas))
