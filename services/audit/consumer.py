"""A shard's consumers at the audit stream: the lasting one, and a passing one to read a range.

Called by `shard`.
"""

from contextlib import suppress
from typing import TYPE_CHECKING

from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from shared.bus import topology

from .batch import Stored
from .pull import Pull

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

STREAM = topology.AUDIT_STREAM
RANGE_RECORDS, RANGE_SECONDS = 2000, 0.25
PASSING_SECONDS = 60.0


async def epoch_of_stream(js: "JetStreamContext") -> int:
    """When the audit stream was made, in microseconds: its sequences mean nothing in another."""
    created = (await js.stream_info(STREAM)).created
    return 0 if created is None else int(created.timestamp() * 1_000_000)


async def open_lasting(nc: "Client", js: "JetStreamContext", shard: int, start: int) -> Pull:
    """Made anew: what was sent to the last writer, and not written, must come again, and first."""
    name = topology.audit_consumer(shard)
    with suppress(NotFoundError):
        await js.delete_consumer(STREAM, name)
    await js.add_consumer(STREAM, topology.audit_consumer_config(shard, start))
    return await Pull.open(nc, STREAM, name)


async def read_range(
    nc: "Client", js: "JetStreamContext", shard: int, first: int, last: int
) -> list[Stored]:
    """The shard's records from `first` to `last`, as far as they are still there."""
    config = ConsumerConfig(
        filter_subject=topology.audit_filter(shard),
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=first,
        ack_policy=AckPolicy.NONE,
        mem_storage=True,
        inactive_threshold=PASSING_SECONDS,
    )
    consumer = await js.add_consumer(STREAM, config)
    pull = await Pull.open(nc, STREAM, consumer.name)
    found: list[Stored] = []
    try:
        while not found or (found[-1].sequence < last and pull.pending):
            more = await pull.take(RANGE_RECORDS, RANGE_SECONDS)
            if not more:
                break
            found += more
    finally:
        await pull.close()
    return [message for message in found if message.sequence <= last]


async def readers_waiting(js: "JetStreamContext", shard: int) -> int:
    """How many requests for records wait at the shard's lasting consumer."""
    try:
        info = await js.consumer_info(STREAM, topology.audit_consumer(shard))
    except NotFoundError:
        return 0
    return info.num_waiting or 0
