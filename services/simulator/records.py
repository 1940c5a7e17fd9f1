"""What the simulator has seen: counters always, whole requests only when asked to keep them.

Tests read both over `/_simulator/...` to learn what a caller really sent and whether it hung
up. Credentials are kept as a digest: enough to tell two apart, not to use one.
"""

from base64 import b64encode
from collections import deque
from hashlib import sha256
from typing import Literal

from msgspec import Struct, json

from .script import Refusal, Request
from .tape import encode_whole

PREFIX = "/_simulator/"
SECRET_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-goog-api-key"}
)

HowEnded = Literal["finished", "client_closed", "cut"]


class Entry(Struct, kw_only=True):
    """One request; `body` or, where it is not UTF-8, `body_base64`. `ended` is None until then."""

    method: str
    path: str
    headers: dict[str, str]
    body: str | None
    body_base64: str | None
    ended: HowEnded | None = None
    ms: float | None = None


class Records:
    """The counters, and the last `keep` requests."""

    def __init__(self, keep: int) -> None:
        self._entries: deque[Entry] = deque(maxlen=keep)
        self._keep = keep
        self.calls = 0
        self.in_flight = 0
        self.client_closed = 0

    def begin(self, request: Request) -> Entry | None:
        self.calls += 1
        self.in_flight += 1
        if not self._keep:
            return None
        entry = _entry(request)
        self._entries.append(entry)
        return entry

    def end(self, entry: Entry | None, how: HowEnded, seconds: float) -> None:
        self.in_flight -= 1
        if how == "client_closed":
            self.client_closed += 1
        if entry is not None:
            entry.ended = how
            entry.ms = round(seconds * 1000, 3)

    def answer(self, request: Request, open_connections: int) -> bytes:
        """The answer to a request under `/_simulator/`, which is not itself counted."""
        if request.path == PREFIX + "stats" and request.method == "GET":
            return encode_whole(200, json.encode(self._stats(open_connections)))
        if request.path == PREFIX + "requests" and request.method == "GET":
            return encode_whole(200, json.encode({"requests": list(self._entries)}))
        if request.path == PREFIX + "requests" and request.method == "DELETE":
            self._entries.clear()
            return encode_whole(200, b'{"requests":[]}')
        refusal = Refusal(404, f"nothing at {request.method} {request.path}")
        return encode_whole(refusal.status, json.encode({"error": refusal.message}))

    def _stats(self, open_connections: int) -> dict[str, int]:
        return {
            "open_connections": open_connections,
            "in_flight": self.in_flight,
            "calls": self.calls,
            "client_closed": self.client_closed,
        }


def _entry(request: Request) -> Entry:
    try:
        body, body_base64 = request.body.decode(), None
    except UnicodeDecodeError:
        body, body_base64 = None, b64encode(request.body).decode()
    headers = {
        name: _digest(value) if name in SECRET_HEADERS else value
        for name, value in request.headers.items()
    }
    return Entry(
        method=request.method,
        path=request.target,
        headers=headers,
        body=body,
        body_base64=body_base64,
    )


def _digest(secret: str) -> str:
    scheme, blank, credential = secret.rpartition(" ")
    return f"{scheme}{blank}sha256:{sha256(credential.encode()).hexdigest()[:16]}"
