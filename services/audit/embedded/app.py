"""ClickHouse's HTTP interface in front of the engine, as pure ASGI: who asks, and for what.

There is no password, so a browser must not be a way in: requests that come from a web page, or
by a name that is not this machine's, are refused.
"""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .answer import Answers
from .coding import MOST_BYTES, TOO_LARGE
from .engine import Engine
from .errors import EngineError
from .http import TEXT, Headers, send_whole

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
ACCESS_DENIED = 497
NO_SUCH_PATH = 60
OK = b"Ok.\n"
PROBES = frozenset({"/ping", "/replicas_status"})


class App:
    """The ASGI application. The engine is its caller's."""

    def __init__(self, engine: Engine) -> None:
        self._answers = Answers(engine)
        self._version = engine.version

    def close(self) -> None:
        """Waits for the queries that run."""
        self._answers.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        try:
            _refuse_strangers(headers)
            await self._route(scope, headers, receive, send)
        except EngineError as error:
            await self._send_error(send, error)

    async def _route(
        self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send
    ) -> None:
        url = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        probed = scope["path"] in PROBES
        if not probed and scope["path"] != "/":
            raise EngineError(NO_SUCH_PATH, "There is nothing at this path; try / or /ping")
        if probed or (scope["method"] != "POST" and not url.get("query")):
            await send_whole(send, 200, [(b"content-type", TEXT)], OK)
            return
        body = await _read_body(receive)
        await self._answers.answer(scope["method"], url, headers, body, receive, send)

    async def _send_error(self, send: Send, error: EngineError) -> None:
        body = f"{error} (version {self._version} (weir, embedded))\n".encode()
        headers: Headers = [
            (b"content-type", TEXT),
            (b"x-clickhouse-exception-code", str(error.code).encode()),
        ]
        await send_whole(send, error.status, headers, body)


def _refuse_strangers(headers: dict[str, str]) -> None:
    """A page in a browser can post to loopback, and a name can be made to point at it."""
    host = urlsplit(f"//{headers.get('host', '')}").hostname
    site = headers.get("sec-fetch-site", "none")
    if "origin" in headers or site not in ("none", "same-origin") or host not in LOCAL_HOSTS:
        raise EngineError(ACCESS_DENIED, "Not from a web page, and only to this machine by name")


async def _read_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise EngineError(NO_SUCH_PATH, "The request ended early")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BYTES:
            raise EngineError(TOO_LARGE, "The body is too large")
        if not message.get("more_body"):
            return b"".join(parts)
