"""What goes into ClickHouse at once: all records of a shard in a range of the audit stream. Pure.

The range is the batch: whoever reads the same range builds the same batch, with the same token,
so that a second try, after a crash too, adds nothing.
"""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from shared.bus.records import Admitted, CallRecord, decode_record, shard_of

from .rows import find_fault

NO_RECORD = "it is not an audit record"
WRONG_SHARD = "its tenant belongs to another shard"


class Stored(Struct, frozen=True):
    """A message of the audit stream."""

    sequence: int
    subject: str
    data: bytes
    reply: str = ""


class Dead(Struct, frozen=True):
    """A message that can't be written, and why."""

    message: Stored
    reason: str


class Batch(Struct, frozen=True, kw_only=True):
    """Everything of `shard` after `after`, up to and including `end`."""

    epoch: int
    shard: int
    after: int
    end: int
    calls: list[tuple[int, CallRecord]]
    admissions: list[tuple[int, Admitted]]
    dead: list[Dead]

    @property
    def token(self) -> str:
        return f"{self.epoch}-{self.shard}-{self.after + 1}-{self.end}"


def read_batch(epoch: int, shard: int, after: int, messages: Iterable[Stored]) -> Batch:
    """`messages` are those of the whole range, in order, at least one."""
    calls: list[tuple[int, CallRecord]] = []
    admissions: list[tuple[int, Admitted]] = []
    dead: list[Dead] = []
    end = after
    for message in messages:
        end = message.sequence
        try:
            record = decode_record(message.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            dead.append(Dead(message, NO_RECORD))
            continue
        fault = find_fault(record) if shard_of(record.tenant) == shard else WRONG_SHARD
        if fault is not None:
            dead.append(Dead(message, fault))
        elif isinstance(record, CallRecord):
            calls.append((end, record))
        else:
            admissions.append((end, record))
    return Batch(
        epoch=epoch,
        shard=shard,
        after=after,
        end=end,
        calls=calls,
        admissions=admissions,
        dead=dead,
    )
