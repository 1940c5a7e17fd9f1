"""The legal order of a canonical stream, as a table, and the check that applies it.

Role-blind: the same for who sends and who receives. Used by tests over all codecs and by
whoever receives a stream from somebody it does not trust.
"""

from .events import (
    Cancelled,
    Event,
    Failed,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    Started,
    Unrecognized,
    UsageReported,
)

IDLE, OPEN, DONE = "idle", "open", "done"

ORDER: dict[str, dict[type, str]] = {
    IDLE: {
        Started: OPEN,
        UsageReported: IDLE,
        Unrecognized: IDLE,
        Failed: DONE,
        Cancelled: DONE,
    },
    OPEN: {
        PartStarted: OPEN,
        PartDelta: OPEN,
        PartEnded: OPEN,
        UsageReported: OPEN,
        Unrecognized: OPEN,
        Finished: DONE,
        Failed: DONE,
        Cancelled: DONE,
    },
    DONE: {},
}


class IllegalOrderError(Exception):
    """An event that the order table does not allow here."""


class OrderCheck:
    """Follows one stream; `see` raises IllegalOrderError at the first illegal event."""

    def __init__(self) -> None:
        self.state = IDLE
        self._open_parts: set[int] = set()
        self._ended_parts: set[int] = set()

    def see(self, event: Event) -> None:
        following = ORDER[self.state].get(type(event))
        if following is None:
            raise IllegalOrderError(f"{type(event).__name__} while {self.state}")
        self._see_part(event)
        if isinstance(event, Finished) and self._open_parts:
            raise IllegalOrderError(f"Finished with open parts {sorted(self._open_parts)}")
        self.state = following

    def _see_part(self, event: Event) -> None:
        match event:
            case PartStarted(index=index):
                if index in self._open_parts or index in self._ended_parts:
                    raise IllegalOrderError(f"part {index} started twice")
                self._open_parts.add(index)
            case PartDelta(index=index) | PartEnded(index=index):
                if index not in self._open_parts:
                    raise IllegalOrderError(f"part {index} is not open")
                if isinstance(event, PartEnded):
                    self._open_parts.remove(index)
                    self._ended_parts.add(index)
            case _:
                pass
