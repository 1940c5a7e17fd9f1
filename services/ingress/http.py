"""The little of HTTP that ingress needs: reading a bounded body, writing an answer.

Pure ASGI. https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from collections.abc import Awaitable, Callable, MutableMapping
from time import monotonic
from typing import Any

from shared.bus.replay import ReplayLog
from shared.canonical.failures import FailureClass, InvalidRequestError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

DISCARD_FACTOR = 2
"""A body over the limit is read on, unkept, up to this many times the limit: a client that
still writes would otherwise see a reset connection in place of its 413."""


class ClientGoneError(Exception):
    """The client closed its connection."""


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Raises InvalidRequestError (413) and ClientGoneError."""
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        piece = message.get("body", b"")
        size += len(piece)
        if size <= limit:
            pieces.append(piece)
        else:
            pieces.clear()
        if not message.get("more_body") or size > limit * DISCARD_FACTOR:
            break
    if size > limit:
        raise InvalidRequestError(
            f"the request body is larger than {limit} bytes", failure=FailureClass.TOO_LARGE
        )
    return b"".join(pieces) if len(pieces) != 1 else pieces[0]


class ResponseWriter:
    """Writes one answer. Every answer bears the call's id."""

    def __init__(self, send: Send, call_id: str) -> None:
        self._send = send
        self._call_id = call_id
        self.started = False
        self.busy = False
        self.wrote = monotonic()
        self.log: ReplayLog | None = None
        self.detached = False

    def detach(self) -> bool:
        """Writes to the log alone from now on; False if there is none."""
        self.detached = self.log is not None
        return self.detached

    async def whole(
        self, status: int, body: bytes, content_type: str, headers: Headers | None = None
    ) -> None:
        if self.log is not None:
            await self.log.close()
        length = (b"content-length", str(len(body)).encode())
        await self.start(status, content_type, [*(headers or []), length])
        await self._emit({"type": "http.response.body", "body": body})

    async def start(self, status: int, content_type: str, headers: Headers) -> None:
        self.started = True
        self.wrote = monotonic()
        await self._emit(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", content_type.encode("latin-1")),
                    (b"x-weir-call-id", self._call_id.encode()),
                    *headers,
                ],
            }
        )

    async def write(self, body: bytes) -> None:
        if body:
            self.busy = True
            if self.log is not None:
                body = await self.log.append(body)
            await self._emit({"type": "http.response.body", "body": body, "more_body": True})
            self.busy = False
            self.wrote = monotonic()

    async def finish(self) -> None:
        self.busy = True
        if self.log is not None:
            await self.log.close()
        await self._emit({"type": "http.response.body", "body": b""})

    async def _emit(self, message: Message) -> None:
        if not self.detached:
            await self._send(message)
