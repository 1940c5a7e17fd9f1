"""The simulator's HTTP/1.1 server: httptools under a bare asyncio protocol.

A framework would cost more per call than everything else here does. Bytes in become a
`Request`, `Answers` turns it into a tape, a `Playback` writes that. `app.py` binds it.
"""

import asyncio
from collections import deque
from typing import cast

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from .answers import Answers
from .playback import Playback
from .records import PREFIX, Entry, HowEnded, Records
from .script import Request
from .tape import Tape, encode_whole

MOST_BODY_BYTES = 64 * 1024 * 1024


class Simulator:
    """What all connections share."""

    def __init__(self, keep: int) -> None:
        self.answers = Answers()
        self.records = Records(keep)
        self.connections: set[Connection] = set()
        self.loop = asyncio.get_running_loop()
        self._serial = 0

    def next_serial(self) -> bytes:
        self._serial += 1
        return b"%020d" % self._serial

    def close(self) -> None:
        for connection in list(self.connections):
            connection.abort()


class Connection(asyncio.Protocol):
    """One client connection; requests that arrive early wait for the one being answered."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._parser = HttpRequestParser(self)
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._playback: Playback | None = None
        self._entry: Entry | None = None
        self._keep_alive = True
        self._paused = False
        self._began = 0.0
        self.on_message_begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._simulator.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._simulator.connections.discard(self)
        self._waiting.clear()
        if self._playback is not None:
            self._playback.cancel()
            self._ended("client_closed")

    def eof_received(self) -> None:
        """A client that is done sending has hung up: the transport closes after this."""
        if self._playback is not None:
            self._playback.cancel()

    def abort(self) -> None:
        self._transport.abort()

    def pause_writing(self) -> None:
        self._paused = True
        if self._playback is not None:
            self._playback.pause()

    def resume_writing(self) -> None:
        self._paused = False
        if self._playback is not None:
            self._playback.resume()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            pass  # a client may offer another protocol; staying with this one is an answer
        except HttpParserCallbackError:
            raise  # a defect here is not the client's bad HTTP
        except HttpParserError:
            if self._playback is None:
                self._transport.write(encode_whole(400, b'{"error":"not HTTP/1.1"}'))
            self._transport.close()

    # What httptools calls while it parses

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        before = self._headers.get(key)
        self._headers[key] = text if before is None else f"{before}, {text}"

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes <= MOST_BODY_BYTES:
            self._body.append(body)

    def on_message_complete(self) -> None:
        oversized = self._body_bytes > MOST_BODY_BYTES
        request = Request(
            self._parser.get_method().decode("latin-1"),
            self._target.decode("latin-1"),
            self._headers,
            b"" if oversized else b"".join(self._body),
            oversized,
        )
        self._body = []
        keep_alive = self._parser.should_keep_alive()
        if self._playback is None and not self._waiting:
            self._begin(request, keep_alive=keep_alive)
        else:
            self._waiting.append((request, keep_alive))
            self._transport.pause_reading()

    # One request

    def _begin(self, request: Request, *, keep_alive: bool) -> None:
        simulator = self._simulator
        self._keep_alive = keep_alive
        if request.target.startswith(PREFIX):
            answer = simulator.records.answer(request, len(simulator.connections) - 1)
            self._transport.write(answer)
            self._next_request()
            return
        tape = simulator.answers.tape_for(request)
        if not keep_alive:
            tape = _closing(tape)
        self._entry = simulator.records.begin(request)
        self._began = simulator.loop.time()
        serial = simulator.next_serial()
        self._playback = Playback(tape, serial, self._transport, simulator.loop, self._ended)
        if self._paused:
            self._playback.pause()
        self._playback.start()

    def _ended(self, how: HowEnded) -> None:
        self._playback = None
        elapsed = self._simulator.loop.time() - self._began
        self._simulator.records.end(self._entry, how, elapsed)
        self._entry = None
        if how == "finished":
            self._next_request()

    def _next_request(self) -> None:
        if not self._keep_alive:
            self._transport.close()
        elif self._waiting:
            self._simulator.loop.call_soon(self._begin_waiting)

    def _begin_waiting(self) -> None:
        if self._waiting and self._playback is None:
            request, keep_alive = self._waiting.popleft()
            self._begin(request, keep_alive=keep_alive)
        if not (self._waiting or self._transport.is_closing()):
            self._transport.resume_reading()


def _closing(tape: Tape) -> Tape:
    """The tape with a head that says that the connection closes after it."""
    first, *others = tape.writes
    told = first.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)
    return Tape((told, *others), tape.first, tape.pace, tape.ending)
