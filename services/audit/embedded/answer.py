"""One query's way through the engine and back to its client.

Called by `app`. The loop only moves bytes: queries run on threads, writes on their own, so that
no analyst's query holds up an insert.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, TypeVar

from .coding import Encoder, decode_body, encoder
from .engine import Engine, Handle, Running, apply
from .errors import EngineError
from .http import answer_headers, send_whole
from .request import Query, decode_query
from .sessions import Session, Sessions, settings_now

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
T = TypeVar("T")

READERS, WRITERS = 4, 2


class Answers:
    """Owns the threads and the sessions; the engine is its caller's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sessions = Sessions(engine)
        self._readers = ThreadPoolExecutor(READERS, "read")
        self._writers = ThreadPoolExecutor(WRITERS, "write")

    def close(self) -> None:
        """Waits for the queries that run."""
        self._readers.shutdown()
        self._writers.shutdown()
        self._sessions.close()

    async def answer(
        self,
        method: str,
        url: dict[str, str],
        headers: dict[str, str],
        body: bytes,
        receive: Receive,
        send: Send,
    ) -> None:
        """Raises EngineError as long as nothing has been sent."""
        coding = headers.get("content-encoding", "")
        if coding:
            body = await _on(self._readers, decode_body, body, coding)
        query = decode_query(method, url, headers, body)
        compresses = url.get("enable_http_compression") == "1"
        accepted = headers.get("accept-encoding", "") if compresses else ""
        threads = self._readers if query.statement.answers else self._writers
        session = self._sessions.find(query)
        async with session.lock if session else nullcontext():
            await self._run(query, session, threads, accepted, receive, send)

    async def _run(
        self,
        query: Query,
        session: Session | None,
        threads: ThreadPoolExecutor,
        accepted: str,
        receive: Receive,
        send: Send,
    ) -> None:
        handle = session.handle if session else await _on(threads, self._engine.open)
        running: Running | None = None
        before: dict[str, str | None] = {}
        try:
            if session:
                before = await _on(threads, settings_now, handle, tuple(query.settings))
            running = await _on(threads, self._engine.start, handle, query)
            outgoing = _Outgoing(query, running, threads, self._engine.timezone, send)
            if running.is_whole:
                await outgoing.send_whole(accepted)
            else:
                await outgoing.stream(accepted, receive)
        finally:
            await _on(threads, _finish, handle, running, session, before)


class _Outgoing:
    """An answer on its way to the client."""

    def __init__(
        self,
        query: Query,
        running: Running,
        threads: ThreadPoolExecutor,
        timezone: str,
        send: Send,
    ) -> None:
        self._running = running
        self._threads = threads
        self._send = send
        self._headers = answer_headers(query, running.summary, timezone)

    async def send_whole(self, accepted: str) -> None:
        body = self._running.take() or b""
        encode = self._encoder(accepted) if body else None
        if encode:
            body = await _on(self._threads, lambda: encode.compress(body) + encode.flush())
        await send_whole(self._send, 200, self._headers, body)

    async def stream(self, accepted: str, receive: Receive) -> None:
        """Sends piece by piece, and stops where the client is gone. What fails after the first
        piece is told in the body, as ClickHouse does, and the connection is broken off."""
        encode = self._encoder(accepted)
        tag = secrets.token_hex(8)
        self._headers.append((b"x-clickhouse-exception-tag", tag.encode()))
        await self._send({"type": "http.response.start", "status": 200, "headers": self._headers})
        gone = asyncio.ensure_future(receive())  # noqa: TID251 - cancelled below
        try:
            while not gone.done() and (piece := await _on(self._threads, self._running.take)):
                await self._send_piece(piece, encode)
        except EngineError as error:
            await self._send_piece(_exception(error, tag), encode)
            await self._send_piece(encode.flush() if encode else b"", None)
            return
        finally:
            gone.cancel()
        end = encode.flush() if encode else b""
        await self._send({"type": "http.response.body", "body": end})

    async def _send_piece(self, piece: bytes, encode: Encoder | None) -> None:
        if encode:
            piece = await _on(self._threads, encode.compress, piece)
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    def _encoder(self, accepted: str) -> Encoder | None:
        found = encoder(accepted)
        if found is None:
            return None
        self._headers.append((b"content-encoding", found[0].encode()))
        return found[1]


def _exception(error: EngineError, tag: str) -> bytes:
    message = f"{error}\n"
    return (
        f"\r\n__exception__\r\n{tag}\r\n{message}{len(message)} {tag}\r\n__exception__\r\n"
    ).encode()


def _finish(
    handle: Handle,
    running: Running | None,
    session: Session | None,
    before: dict[str, str | None],
) -> None:
    if running is not None:
        running.cancel()
    if session is None:
        handle.close()
    else:
        apply(handle, before)


async def _on(threads: ThreadPoolExecutor, run: Callable[..., T], *words: object) -> T:
    """Runs to its end even if its caller is cancelled: no handle is closed under a query."""
    future = asyncio.get_running_loop().run_in_executor(threads, run, *words)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
