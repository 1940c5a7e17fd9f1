"""Who calls: virtual key -> principal, from a mirror of the keys' bucket in memory.

The mirror follows the bucket, so a call is authenticated without asking anybody and a revoked
key stops working as soon as its update arrives. Until the mirror is complete ingress is not
ready.
"""

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec
from nats.js.kv import KeyValue

from shared.bus import keys, topology
from shared.bus.envelope import Principal
from shared.clock import now_us

if TYPE_CHECKING:
    from nats.js import JetStreamContext

log = logging.getLogger("weir.ingress")

RETRY_AFTER = 1.0
RESYNC_EVERY = 60.0
"""The bucket is read afresh this often, in case an update was missed."""
BEARER = b"bearer "


class KeyMirror:
    def __init__(self, js: "JetStreamContext") -> None:
        self._js = js
        self._records: dict[str, keys.KeyRecord] = {}
        self._loaded = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def loaded(self) -> bool:
        return self._loaded.is_set()

    async def start(self) -> None:
        """Returns once the mirror is complete."""
        self._task = asyncio.create_task(self._follow(), name="key-mirror")  # noqa: TID251 - kept
        await self._loaded.wait()

    async def stop(self) -> None:
        for task in (self._task, self._watching):
            if task is not None:
                task.cancel()

    def principal(self, key: str) -> Principal | None:
        """Whose key this is; None if it is nobody's, revoked or expired."""
        parsed = keys.parse(key)
        record = self._records.get(parsed[0]) if parsed else None
        if parsed is None or record is None:
            return None
        if not record.matches(parsed[1]) or not record.usable(now_us() / 1e6):
            return None
        return record.principal

    def read_afresh(self) -> None:
        """The connection was away, and with it the server's side of the watch."""
        if self._watching is not None:
            self._watching.cancel()

    async def _follow(self) -> None:
        while True:
            self._watching = asyncio.create_task(self._follow_once())  # noqa: TID251 - awaited
            await asyncio.wait((self._watching,))
            if self._watching.cancelled():
                continue
            error = self._watching.exception()
            if error is not None:
                log.warning("the key mirror starts again: %s", type(error).__name__)
                await asyncio.sleep(RETRY_AFTER)

    async def _follow_once(self) -> None:
        bucket = await self._js.key_value(topology.KEYS_BUCKET)
        watcher = await bucket.watchall()
        fresh: dict[str, keys.KeyRecord] | None = {}
        try:
            async with asyncio.timeout(RESYNC_EVERY):
                while True:
                    entry = await watcher.updates(timeout=RESYNC_EVERY)
                    if entry is None:
                        if fresh is not None:
                            self._records, fresh = fresh, None
                            self._loaded.set()
                        continue
                    if isinstance(entry, KeyValue.Entry):
                        self._apply(self._records if fresh is None else fresh, entry)
        except TimeoutError:
            pass
        finally:
            await watcher.stop()

    @staticmethod
    def _apply(records: dict[str, keys.KeyRecord], entry: KeyValue.Entry) -> None:
        key_id, value = entry.key or "", entry.value
        records.pop(key_id, None)
        try:
            if value:
                records[key_id] = keys.decode_record(value)
        except msgspec.DecodeError:
            log.warning("the record of key %s cannot be read: the key is refused", key_id)


def presented_principal(mirror: KeyMirror, headers: list[tuple[bytes, bytes]]) -> Principal | None:
    """Who a request is from, by the first of its keys that is somebody's."""
    for key in presented_keys(headers):
        principal = mirror.principal(key)
        if principal is not None:
            return principal
    return None


def presented_keys(headers: list[tuple[bytes, bytes]]) -> list[str]:
    """The keys that a request bears: `x-api-key` and `Authorization: Bearer`."""
    found: list[str] = []
    for name, value in headers:
        if name == b"x-api-key":
            found.append(value.decode("latin-1").strip())
        elif name == b"authorization" and value[:7].lower() == BEARER:
            found.append(value[7:].decode("latin-1").strip())
    return found
