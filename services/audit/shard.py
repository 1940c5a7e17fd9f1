"""One shard of the audit stream: claims it, goes on where the last writer was, and writes.

A batch is a range of the stream. Its end is noted before it is written (see `position`), so it
is written again, the same, after a crash at any instant; ClickHouse drops what it has of it, and
what a crash of ClickHouse left half done is put right by looking. Only then comes the next one.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from nats.errors import Error as NatsError

from .batch import read_batch
from .consumer import epoch_of_stream, open_lasting, read_range, readers_waiting
from .orphans import Orphans
from .position import Position, PositionKeeper, SupersededError
from .pull import Pull, PullBrokenError
from .writer import Known, StoppedError, Writer

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

log = logging.getLogger("weir.audit")

BATCH_RECORDS, BATCH_SECONDS = 2000, 0.25
RETRY_SECONDS = 1.0
TOUCH_SECONDS = 2.0
LOOK_SECONDS, LOOKS = 1.5, 5


class Shard:
    """`run` it, until `stop`. `opened` is set once it writes, or stands by."""

    def __init__(
        self, number: int, nc: "Client", keeper: PositionKeeper, writer: Writer, orphans: Orphans
    ) -> None:
        self.opened = asyncio.Event()
        self._number = number
        self._nc = nc
        self._js: JetStreamContext = nc.jetstream()
        self._keeper = keeper
        self._writer = writer
        self._orphans = orphans
        self._stopped = asyncio.Event()
        self._pull: Pull | None = None
        self._takes_over = True
        """At the start, as a process that replaces another; later only after standing by."""

    def stop(self) -> None:
        """`run` returns once the batch in hand is written."""
        self._stopped.set()
        if self._pull is not None:
            self._pull.wake()

    async def run(self) -> None:
        closing = asyncio.create_task(self._orphans.run())  # noqa: TID251 - cancelled below
        try:
            while not self._stopped.is_set():
                await self._run_once()
        except StoppedError:
            log.info("shard %d: the batch in hand is left to the next writer", self._number)
        finally:
            closing.cancel()

    async def _run_once(self) -> None:
        try:
            await self._write()
        except SupersededError:
            log.info("shard %d: another process writes it now", self._number)
            self._orphans.forget()
            self.opened.set()
            await self._stand_by()
            self._takes_over = True
        except (NatsError, PullBrokenError, TimeoutError) as error:
            log.warning("shard %d: %s: %s", self._number, type(error).__name__, error)
            await self._pause(RETRY_SECONDS)

    async def _write(self) -> None:
        """Raises SupersededError, StoppedError, PullBrokenError and nats-py's errors."""
        epoch = await epoch_of_stream(self._js)
        position = await self._keeper.claim(epoch, from_others=self._takes_over)
        self._takes_over = False
        if position.end > position.done:
            await self._write_again(position)
        ceiling = await self._writer.last_sequence(epoch, self._number)
        self._orphans.expect(await self._writer.open_admissions(self._number))
        self._pull = await open_lasting(self._nc, self._js, self._number, position.end + 1)
        try:
            self.opened.set()
            await self._consume(self._pull, position, ceiling)
        finally:
            pull, self._pull = self._pull, None
            await pull.close()

    async def _consume(self, pull: Pull, position: Position, ceiling: int) -> None:
        """What ClickHouse may know although the position does not, up to `ceiling`, was written
        before the position was lost: there every batch is looked for first."""
        done = position.end
        while not self._stopped.is_set():
            messages = await pull.take(BATCH_RECORDS, BATCH_SECONDS)
            if not messages:
                continue
            batch = read_batch(position.epoch, self._number, done, messages)
            await self._keeper.begin(done, batch.end)
            known = Known.PERHAPS if done < ceiling else Known.NOTHING
            await self._alive_while(self._writer.write(batch, known))
            self._orphans.note(batch)
            done = batch.end
            await pull.acknowledge(messages[-1])
        await self._keeper.finish()
        await self._nc.flush()

    async def _write_again(self, position: Position) -> None:
        """The batch that was being written when its writer ended."""
        first, last = position.done + 1, position.end
        messages = await read_range(self._nc, self._js, self._number, first, last)
        if not messages or messages[-1].sequence != last:
            log.error("shard %d: records up to %d are no longer there", self._number, last)
        if messages:
            batch = read_batch(position.epoch, self._number, position.done, messages)
            await self._alive_while(self._writer.write(batch, Known.THIS_BATCH))

    async def _alive_while(self, writing: Coroutine[Any, Any, None]) -> None:
        """Shows those who stand by that this writer lives, however long a write takes."""
        task = asyncio.create_task(writing)  # noqa: TID251 - awaited, or cancelled below
        try:
            while not task.done():
                await asyncio.wait([task], timeout=TOUCH_SECONDS)
                if not task.done():
                    await self._touch()
            await task
        finally:
            task.cancel()

    async def _touch(self) -> None:
        try:
            await self._keeper.touch()
        except (NatsError, TimeoutError) as error:
            log.debug("shard %d: %s", self._number, type(error).__name__)

    async def _stand_by(self) -> None:
        """Returns when nobody seems to write this shard any more."""
        looks, last = 0, -1
        while looks < LOOKS and not self._stopped.is_set():
            await self._pause(LOOK_SECONDS)
            try:
                _, revision = await self._keeper.read()
                waiting = await readers_waiting(self._js, self._number)
            except (NatsError, TimeoutError):
                continue
            looks = 0 if waiting or revision != last else looks + 1
            last = revision

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            pass
