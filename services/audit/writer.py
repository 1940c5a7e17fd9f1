"""Writes a batch into ClickHouse, however often that has to be tried, and buries what can't be.

Called by `shard`, one batch of a shard at a time. Rows that ClickHouse refuses are found by
halving, but only where it refused the rows; whatever else went wrong is tried again, the same.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, TypeVar

from nats.errors import Error as NatsError
from nats.js.api import Header
from nats.js.errors import APIError

from shared.bus import topology
from shared.bus.records import Admitted, encode_record

from .batch import Batch, Dead, Stored
from .orphans import WRONG_LAST_SEQUENCE
from .rows import ADMISSIONS, CALLS, Table
from .store import RowsRefusedError, Store, StoreUnavailableError

if TYPE_CHECKING:
    from nats.js import JetStreamContext

log = logging.getLogger("weir.audit")

T = TypeVar("T")
Records = Sequence[tuple[int, Any]]

FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.2, 5.0
REASON_HEADER, SUBJECT_HEADER = "Weir-Reason", "Weir-Subject"


class StoppedError(Exception):
    """The process is to end, and what it waits for is not there."""


class Known(Enum):
    """What ClickHouse may have of a batch already."""

    NOTHING = auto()
    THIS_BATCH = auto()  # some of it, under its token: its writer was killed
    PERHAPS = auto()  # some of its records, in other batches


class Writer:
    """What the shards of a process share: one thread, one store."""

    def __init__(self, store: Store, js: "JetStreamContext", stopped: asyncio.Event) -> None:
        self._store = store
        self._js = js
        self._stopped = stopped
        self._thread = ThreadPoolExecutor(1, "clickhouse")

    async def prepare(self) -> None:
        """Brings the database to its schema. Raises ConfigError, StoppedError."""
        await self._until_done(self._store.prepare)

    def close(self) -> None:
        self._thread.shutdown()
        self._store.close()

    async def open_admissions(self, shard: int) -> list[Admitted]:
        """Raises StoppedError."""
        return (await self._until_done(self._store.open_admissions, shard))[0]

    async def last_sequence(self, epoch: int, shard: int) -> int:
        """Raises StoppedError."""
        return (await self._until_done(self._store.last_sequence, epoch, shard))[0]

    async def write(self, batch: Batch, known: Known = Known.NOTHING) -> None:
        """Raises StoppedError."""
        buried = {dead.message.sequence for dead in batch.dead}
        for dead in batch.dead:
            await self._bury(batch, dead)
        doubtful = known is not Known.NOTHING
        if known is not Known.PERHAPS:
            for table, records in _tables(batch):
                token = f"{batch.token}-{table.name}"
                doubtful |= await self._insert(table, records, batch, token, buried)
        if doubtful:
            await self._put_right(batch, buried)

    async def _insert(
        self, table: Table, records: Records, batch: Batch, token: str, buried: set[int]
    ) -> bool:
        """Returns whether something may have gone half way."""
        if not records:
            return False
        try:
            _, tries = await self._until_done(self._store.insert, table, records, batch, token)
        except RowsRefusedError as error:
            if len(records) == 1:
                await self._bury_record(batch, records[0], str(error))
                buried.add(records[0][0])
                return False
            return await self._insert_halves(table, records, batch, token, buried)
        return tries > 1

    async def _insert_halves(
        self, table: Table, records: Records, batch: Batch, token: str, buried: set[int]
    ) -> bool:
        there, _ = await self._until_done(self._store.sequences, table, batch)
        missing = [record for record in records if record[0] not in there]
        doubtful = len(missing) < len(records)
        middle = (len(missing) + 1) // 2
        for half in (missing[:middle], missing[middle:]):
            if half:
                own = f"{token}-{half[0][0]}-{half[-1][0]}"
                doubtful |= await self._insert(table, half, batch, own, buried)
        return doubtful

    async def _put_right(self, batch: Batch, buried: set[int]) -> None:
        """Looks what is there. A token may be remembered although its rows are not there: a
        ClickHouse that was killed between the two. So what is missing goes in under a new one."""
        for table, records in _tables(batch):
            while True:
                there, _ = await self._until_done(self._store.sequences, table, batch)
                known = there | buried
                missing = [record for record in records if record[0] not in known]
                if not missing:
                    break
                log.warning("%d rows of %s are missing: written again", len(missing), table.name)
                token = f"{batch.token}-{table.name}-{secrets.token_hex(8)}"
                await self._insert(table, missing, batch, token, buried)
        await self._until_done(self._store.repair_rollup, batch)

    async def _bury_record(self, batch: Batch, record: tuple[int, Any], reason: str) -> None:
        sequence, value = record
        kind = "admitted" if isinstance(value, Admitted) else "finished"
        subject = topology.audit_subject(value.tenant, value.call_id, kind)
        await self._bury(batch, Dead(Stored(sequence, subject, encode_record(value)), reason))

    async def _bury(self, batch: Batch, dead: Dead) -> None:
        """Once: each message has a subject of its own in the dead-letter stream."""
        message = dead.message
        subject = topology.dead_audit_subject(batch.epoch, batch.shard, message.sequence)
        headers = {
            Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: "0",
            SUBJECT_HEADER: message.subject,
            REASON_HEADER: " ".join(dead.reason.split())[:500],
        }
        wait = FIRST_RETRY_SECONDS
        while True:
            try:
                await self._js.publish(subject, message.data, headers=headers)
            except APIError as error:
                if error.err_code in WRONG_LAST_SEQUENCE:
                    return
                log.warning("a dead letter waits: %s", error.description)
            except (NatsError, TimeoutError) as error:
                log.warning("a dead letter waits: %s", type(error).__name__)
            else:
                log.error("record %d is a dead letter: %s", message.sequence, dead.reason)
                return
            wait = await self._pause(wait)

    async def _until_done(self, run: Callable[..., T], *words: Any) -> tuple[T, int]:
        """Runs on the thread until ClickHouse is there; returns the result and how many tries
        it took. Raises StoppedError, and whatever else `run` raises."""
        wait, tries = FIRST_RETRY_SECONDS, 0
        while True:
            tries += 1
            try:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._thread, run, *words), tries
            except StoreUnavailableError as error:
                log.warning("ClickHouse: %s", error)
            wait = await self._pause(wait)

    async def _pause(self, seconds: float) -> float:
        """Returns how long to pause the next time. Raises StoppedError."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            return min(2 * seconds, LAST_RETRY_SECONDS)
        raise StoppedError


def _tables(batch: Batch) -> tuple[tuple[Table, Records], ...]:
    return (ADMISSIONS, batch.admissions), (CALLS, batch.calls)
