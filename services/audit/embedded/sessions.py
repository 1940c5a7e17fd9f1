"""Sessions of the HTTP interface: handles that live on between requests, while they matter.

Called by `answer`. Clients name a session with every request without ever using it
(clickhouse-connect does), so one is kept only from the first statement that leaves something to
the next: SET, USE, a temporary table.
"""

import asyncio
from time import monotonic

from .engine import Engine, Handle, quoted
from .errors import EngineError
from .request import Query

TOO_MANY_SESSIONS = 1002
MOST_SESSIONS = 64


class Session:
    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.lock = asyncio.Lock()  # one query at a time; the next waits
        self.expires = 0.0


class Sessions:
    """The open sessions. Runs on the event loop; handles are used on threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._open: dict[str, Session] = {}

    def find(self, query: Query) -> Session | None:
        """The query's session, whose lock the caller takes; None if it needs none."""
        self._close_expired()
        if not query.session_id:
            return None
        session = self._open.get(query.session_id)
        if session is None:
            if not query.statement.keeps_state:
                return None
            if len(self._open) >= MOST_SESSIONS:
                raise EngineError(TOO_MANY_SESSIONS, "Too many sessions are open")
            session = self._open[query.session_id] = Session(self._engine.open())
        session.expires = monotonic() + query.session_seconds
        return session

    def close(self) -> None:
        for session in self._open.values():
            session.handle.close()
        self._open.clear()

    def _close_expired(self) -> None:
        now = monotonic()
        for name, session in tuple(self._open.items()):
            if not session.lock.locked() and session.expires < now:
                del self._open[name]
                session.handle.close()


def settings_now(handle: Handle, names: tuple[str, ...]) -> dict[str, str | None]:
    """What `apply` takes to bring these settings back. None: the default."""
    if not names:
        return {}
    listed = ", ".join(quoted(name) for name in names)
    sql = (
        "SELECT name, value FROM system.settings WHERE changed AND name IN "  # noqa: S608 - quoted
        f"({listed}) FORMAT TSV"
    )
    changed = handle.query(sql, "TSV").bytes().decode()
    return dict.fromkeys(names) | dict(line.split("\t", 1) for line in changed.splitlines())
