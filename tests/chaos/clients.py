"""Clients that look closely: each call is judged by what came over its connection, and when."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import httptools

from services.simulator import made_up

MESSAGES, CHAT = "/v1/messages", "/v1/chat/completions"
PAIRS = [(path, vendor) for path in (MESSAGES, CHAT) for vendor in ("anthropic", "openai")]
BOUND = 35.0
"""A call that is not over after this many seconds of silence hangs."""


class Verdict(StrEnum):
    UNHARMED = "unharmed"
    ERROR = "clear error"  # the protocol's own error, or its terminal error in mid-stream
    CONNECTION = "connection lost"  # right where the ingress itself has died
    HUNG = "hung"
    TRUNCATED = "truncated"  # ends as if all were well, and is not whole
    DAMAGED = "damaged"  # says that it is whole, and is not


@dataclass
class Answer:
    """One call's answer, as far as it came."""

    path: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    refused: bool = False  # there was no connection at all
    complete: bool = False
    hung: bool = False
    began: float = 0.0
    first_byte: float = 0.0
    ended: float = 0.0
    longest_silence: float = 0.0

    @property
    def call_id(self) -> str:
        return self.headers.get("x-weir-call-id", "")

    @property
    def took(self) -> float:
        return self.ended - self.began

    @property
    def text(self) -> str:
        return "".join(_texts(self.path, self.frames()))

    def frames(self) -> list[Any]:
        """The JSON of the stream's data lines, [DONE] excepted."""
        lines = (line for line in self.body.decode().splitlines() if line.startswith("data: "))
        return [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]

    @property
    def streamed(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    def error(self) -> str:
        """The message of the error that it ends with; "" if it does not."""
        if not self.streamed:
            return json.loads(self.body)["error"]["message"] if self.status >= 400 else ""
        frames = self.frames()
        return frames[-1]["error"]["message"] if frames and "error" in frames[-1] else ""

    def finished(self) -> bool:
        """Whether it says that it is whole."""
        if not self.streamed:
            return self.status == 200
        end = "event: message_stop" if self.path == MESSAGES else "data: [DONE]"
        return end in self.body[-400:].decode(errors="replace")

    def verdict(self, expected: str) -> Verdict:
        if self.hung:
            return Verdict.HUNG
        if not self.complete:
            return Verdict.CONNECTION
        if self.error():
            return Verdict.DAMAGED if self.finished() else Verdict.ERROR
        if not self.finished():
            return Verdict.TRUNCATED
        text = self.text if self.streamed else _whole_text(self.path, json.loads(self.body))
        return Verdict.UNHARMED if text == expected else Verdict.DAMAGED


def _texts(path: str, frames: Iterable[Any]) -> Iterable[str]:
    for frame in frames:
        if path == MESSAGES:
            delta = frame.get("delta", {}) if frame["type"] == "content_block_delta" else {}
            yield delta.get("text", "")
        else:
            for choice in frame.get("choices", ()):
                yield choice["delta"].get("content") or ""


def _whole_text(path: str, answer: Any) -> str:
    if path == MESSAGES:
        return "".join(block["text"] for block in answer["content"])
    return answer["choices"][0]["message"]["content"]


def expected_text(chunks: int, size: int = 16) -> str:
    return "".join(made_up.text(chunks, size))


class Caller(asyncio.Protocol):
    """One connection with one call."""

    def __init__(self, request: bytes, answer: Answer) -> None:
        self._request = request
        self._answer = answer
        self._parser = httptools.HttpResponseParser(self)
        self._heard = monotonic()
        self.heard_something = asyncio.Event()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # pyright: ignore[reportAttributeAccessIssue]
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        now = monotonic()
        answer = self._answer
        answer.first_byte = answer.first_byte or now
        answer.longest_silence = max(answer.longest_silence, now - self._heard)
        self._heard = now
        answer.body += body
        self.heard_something.set()

    def on_message_complete(self) -> None:
        self._answer.complete = True
        self.transport.close()
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        if not self.done.done():
            self._answer.ended = monotonic()
            self.done.set_result(None)

    def silent_for(self) -> float:
        return monotonic() - self._heard


def body_of(path: str, model: str, *, stream: bool, prompt: str = "hi") -> dict[str, Any]:
    turns = [{"role": "user", "content": prompt}]
    return {"model": model, "max_tokens": 5000, "stream": stream, "messages": turns}


def request_bytes(
    url: str, path: str, key: str, body: dict[str, Any], headers: dict[str, str] | None = None
) -> bytes:
    data = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        f"host: {urlsplit(url).netloc}",
        f"x-api-key: {key}",
        "content-type: application/json",
        f"content-length: {len(data)}",
        "connection: close",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


@asynccontextmanager
async def calling(url: str, request: bytes, answer: Answer) -> AsyncGenerator[Caller]:
    where = urlsplit(url)
    answer.began = monotonic()
    loop = asyncio.get_running_loop()
    transport, caller = await loop.create_connection(
        lambda: Caller(request, answer), where.hostname or "", where.port or 80
    )
    try:
        yield caller
    finally:
        transport.abort()


async def call(
    url: str,
    key: str,
    path: str,
    model: str,
    *,
    stream: bool = True,
    bound: float = BOUND,
    prompt: str = "hi",
    headers: dict[str, str] | None = None,
    answer: Answer | None = None,
) -> Answer:
    """Makes one call and waits for its end, or for `bound` seconds of silence. `answer` can be
    watched meanwhile."""
    answer = answer or Answer(path)
    body = body_of(path, model, stream=stream, prompt=prompt)
    try:
        async with calling(url, request_bytes(url, path, key, body, headers), answer) as caller:
            while not caller.done.done():
                left = bound - caller.silent_for()
                if left <= 0:
                    answer.hung = True
                    answer.ended = monotonic()
                    break
                await asyncio.wait([caller.done], timeout=left)
    except OSError:
        answer.refused = True
        answer.ended = monotonic()
    return answer


async def many(
    count: int, one: Callable[[int], Awaitable[Answer]], *, over: float = 0.0
) -> list[Answer]:
    """`count` calls, begun evenly over some seconds."""

    async def begin(number: int) -> Answer:
        await asyncio.sleep(over * number / count)
        return await one(number)

    return await asyncio.gather(*(begin(number) for number in range(count)))


def tally(answers: Iterable[Answer], expected: str) -> Counter[Verdict]:
    return Counter(answer.verdict(expected) for answer in answers)
