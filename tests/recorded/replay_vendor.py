"""A vendor that plays recorded answers: receives any POST, answers what was recorded for it.

The request says which interaction it is in a header that a caller of the same protocol may
send to a vendor. What was received is kept, to be compared.
"""

import asyncio
import base64
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ID_HEADER = "x-stainless-replay"
DONE = b"data: [DONE]"
USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
USAGE_CHUNK = {
    "id": "chatcmpl-usage",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [],
    "usage": USAGE,
}
SPLIT_BYTES = 700


def load(folder: Path, name: str) -> list[dict[str, Any]]:
    with (folder / name).open() as lines:
        return [json.loads(line) for line in lines]


def recorded_body(interaction: dict[str, Any]) -> bytes:
    body = interaction["response_body"] or ""
    return base64.b64decode(body) if interaction.get("response_body_base64") else body.encode()


class ReplayVendor:
    def __init__(self, interactions: list[dict[str, Any]]) -> None:
        self._interactions = {item["id"]: item for item in interactions}
        self.received: dict[str, bytes] = {}
        self.url = ""

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=2**26)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        async with server:
            await stop.wait()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                headers = dict(
                    line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line
                )
                body = await reader.readexactly(int(headers["content-length"]))
                self.received[headers[ID_HEADER]] = body
                await self._answer(writer, self._interactions[headers[ID_HEADER]], body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, writer: asyncio.StreamWriter, item: dict[str, Any], request: bytes
    ) -> None:
        body = self._with_usage(item, recorded_body(item), json.loads(request))
        recorded = {k.lower(): v for k, v in (item["response_headers"] or {}).items()}
        content_type = recorded.get("content-type", "")
        if "/" not in content_type:  # left out of the recording, or redacted in it
            content_type = "text/event-stream" if item["streamed"] else "application/json"
        writer.write(
            f"HTTP/1.1 {item['status']} X\r\ncontent-type: {content_type}\r\n"
            f"transfer-encoding: chunked\r\n\r\n".encode()
        )
        for start in range(0, len(body), SPLIT_BYTES):
            piece = body[start : start + SPLIT_BYTES]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def _with_usage(self, item: dict[str, Any], body: bytes, request: dict[str, Any]) -> bytes:
        """OpenAI adds a last chunk where usage is asked for; the recording may lack it."""
        asked = (request.get("stream_options") or {}).get("include_usage")
        had_asked = (item["request_body"].get("stream_options") or {}).get("include_usage")
        if not (item["streamed"] and asked and not had_asked and DONE in body):
            return body
        chunk = b"data: " + json.dumps(USAGE_CHUNK).encode() + b"\n\n"
        before, _, after = body.rpartition(DONE)
        return before + chunk + DONE + after


@contextmanager
def replaying(interactions: list[dict[str, Any]]) -> Generator[ReplayVendor]:
    """Runs the vendor in a thread of its own."""
    vendor = ReplayVendor(interactions)
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(vendor.serve(ready, stop),))
    thread.start()
    ready.wait()
    try:
        yield vendor
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
