"""The audit role: the audit stream into ClickHouse, exactly once.

Migrates the database before anything else; then one writer a shard. Several processes may run:
each shard has one writer, the others stand by for it.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

import nats

from shared.bus import topology
from shared.bus.bus import connection_options
from shared.bus.records import AUDIT_SHARDS
from shared.config import Settings

from .orphans import Orphans
from .position import PositionKeeper
from .presence import Presence
from .shard import Shard
from .stopping import stop_event
from .store import Store
from .writer import StoppedError, Writer

if TYPE_CHECKING:
    from nats.aio.client import Client


async def serve(settings: Settings, ready: Callable[[dict[str, str]], None]) -> None:
    """Until SIGTERM: then the batches in hand are written, and acknowledged. Raises ConfigError."""
    stopped = stop_event()
    for chatty in ("urllib3", "clickhouse_connect"):  # what they say of a retry, we say
        logging.getLogger(chatty).setLevel(logging.ERROR)
    instance = f"audit-{secrets.token_hex(6)}"
    nc = await _connect(settings.nats_url, instance, stopped)
    if nc is None:
        return
    writer = Writer(Store(settings.clickhouse_url), nc.jetstream(), stopped)
    try:
        await writer.prepare()
        await topology.declare(nc.jetstream(), settings.replicas)
        await _write_shards(nc, writer, instance, stopped, ready)
    except StoppedError:
        pass  # before it was ready
    finally:
        writer.close()
        await nc.close()


async def _connect(url: str, instance: str, stopped: asyncio.Event) -> "Client | None":
    """Waits for a server that is not there yet; None if it is stopped meanwhile."""
    options = connection_options(instance)
    connecting = asyncio.ensure_future(nats.connect(url.split(","), **options))  # noqa: TID251  # pyright: ignore[reportArgumentType]
    stopping = asyncio.ensure_future(stopped.wait())  # noqa: TID251
    await asyncio.wait([connecting, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not connecting.done():
        connecting.cancel()
        return None
    stopping.cancel()
    return connecting.result()


async def _write_shards(
    nc: "Client",
    writer: Writer,
    instance: str,
    stopped: asyncio.Event,
    ready: Callable[[dict[str, str]], None],
) -> None:
    js = nc.jetstream()
    bucket = await js.key_value(topology.AUDIT_BUCKET)
    shards = [
        Shard(
            number,
            nc,
            PositionKeeper(bucket, number, instance),
            writer,
            Orphans(js, instance, Presence(nc)),
        )
        for number in range(AUDIT_SHARDS)
    ]
    async with asyncio.TaskGroup() as group:
        for shard in shards:
            group.create_task(shard.run(), name="shard")
        telling = group.create_task(_tell_when_open(shards, ready))
        await stopped.wait()
        telling.cancel()
        for shard in shards:
            shard.stop()


async def _tell_when_open(shards: list[Shard], ready: Callable[[dict[str, str]], None]) -> None:
    for shard in shards:
        await shard.opened.wait()
    ready({})
