"""How far a shard's writer has come, kept in NATS, and who its writer is.

Before a batch is written its end is noted here. So after a crash its range is known, and the
same batch can be built again. A note is only taken from the writer that wrote the last one:
whoever has been succeeded finds that out here, before it can write anything.
"""

from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError

if TYPE_CHECKING:
    from nats.js.kv import KeyValue


class Position(Struct, frozen=True, kw_only=True):
    """All up to `done` is in ClickHouse; what follows, up to `end`, is being written. Sequences
    of the audit stream that was made at `epoch`."""

    epoch: int
    done: int = 0
    end: int = 0
    writer: str = ""


class SupersededError(Exception):
    """Another process writes this shard now."""


_decode = msgspec.json.Decoder(Position).decode


class PositionKeeper:
    """One shard's position. Every method raises nats-py's errors when the bus is away."""

    def __init__(self, bucket: "KeyValue", shard: int, writer: str) -> None:
        self._bucket = bucket
        self._key = f"shard-{shard}"
        self._writer = writer
        self._revision = 0
        self._now = Position(epoch=0)

    async def claim(self, epoch: int, *, from_others: bool) -> Position:
        """Makes this process the shard's writer; returns where it has to go on. Raises
        SupersededError where another process is, unless it may be taken `from_others`."""
        while True:
            found, revision = await self.read()
            if not from_others and found.writer != self._writer:
                raise SupersededError
            if found.epoch != epoch:
                found = Position(epoch=epoch)  # the stream is a new one: so are its sequences
            claimed = replace(found, writer=self._writer)
            try:
                await self._put(claimed, revision)
            except SupersededError:
                continue  # somebody else claimed it between the two: the last one has it
            return claimed

    async def begin(self, done: int, end: int) -> None:
        """Notes that a batch is about to be written. Raises SupersededError."""
        await self._put(replace(self._now, done=done, end=end), self._revision)

    async def finish(self) -> None:
        """Notes that nothing is being written. Raises SupersededError."""
        if self._now.done != self._now.end:
            await self.begin(self._now.end, self._now.end)

    async def touch(self) -> None:
        """Shows that this writer lives. Raises SupersededError."""
        await self._put(self._now, self._revision)

    async def read(self) -> tuple[Position, int]:
        """What stands there, and its revision: 0 if nothing ever did."""
        try:
            entry = await self._bucket.get(self._key)
        except KeyNotFoundError as error:
            deleted: KeyValue.Entry | None = cast("Any", error).entry
            return Position(epoch=0), (deleted and deleted.revision) or 0
        return _decode(entry.value or b"{}"), entry.revision or 0

    async def _put(self, position: Position, revision: int) -> None:
        try:
            self._revision = await self._bucket.update(
                self._key, msgspec.json.encode(position), last=revision
            )
        except KeyWrongLastSequenceError:
            found, stands = await self.read()
            if found != position:
                raise SupersededError from None
            self._revision = stands  # our own note, whose acknowledgement was lost
        self._now = position
