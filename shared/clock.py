"""Wall-clock time and the ids made from it, in one place, for every role."""

import os
import time
from uuid import UUID


def now_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


def new_call_id() -> str:
    """A UUIDv7 (RFC 9562, section 5.7): sorts by its millisecond, otherwise random."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76
    value |= (random >> 64 & 0x0FFF) << 64 | 0b10 << 62 | (random & 0x3FFF_FFFF_FFFF_FFFF)
    return str(UUID(int=value))
