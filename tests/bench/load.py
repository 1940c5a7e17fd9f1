"""A load generator that costs less than what it measures: raw asyncio protocols and httptools.

    python tests/bench/load.py URL --key KEY [--path P] [--in-flight 32] [--seconds 5] [--stream]

Each of `--in-flight` connections sends its next request as soon as the answer is complete.
Prints one JSON object: calls/s, latencies and times to first byte in ms, errors.
"""

import argparse
import asyncio
import json
import time
from urllib.parse import urlsplit

import httptools
import uvloop


class Tally:
    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.first_bytes: list[float] = []
        self.errors = 0
        self.bytes = 0


class Connection(asyncio.Protocol):
    """One connection that asks again and again until `deadline`."""

    def __init__(self, request: bytes, tally: Tally, deadline: float) -> None:
        self._request = request
        self._tally = tally
        self._deadline = deadline
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # pyright: ignore[reportAttributeAccessIssue]
        self._ask()

    def data_received(self, data: bytes) -> None:
        if self._first is None:
            self._first = time.perf_counter()
        self._tally.bytes += len(data)
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        self._tally.latencies.append(now - self._began)
        self._tally.first_bytes.append((self._first or now) - self._began)
        if self._parser.get_status_code() != 200:
            self._tally.errors += 1
        if now < self._deadline:
            asyncio.get_running_loop().call_soon(self._ask)
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._tally.errors += 1
        if not self.done.done():
            self.done.set_result(None)

    def _ask(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._first: float | None = None
        self._began = time.perf_counter()
        self._transport.write(self._request)


def request_bytes(url: str, path: str, key: str, body: bytes) -> bytes:
    where = urlsplit(url)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {where.netloc}\r\nx-api-key: {key}\r\n"
        f"authorization: Bearer {key}\r\nanthropic-version: 2023-06-01\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def load(url: str, request: bytes, in_flight: int, seconds: float) -> tuple[Tally, float]:
    """Runs the load; returns what was counted and how long it took."""
    where = urlsplit(url)
    tally = Tally()
    began = time.perf_counter()
    loop = asyncio.get_running_loop()
    connections = [
        await loop.create_connection(
            lambda: Connection(request, tally, began + seconds),
            where.hostname or "",
            where.port or 80,
        )
        for _ in range(in_flight)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in connections))
    return tally, time.perf_counter() - began


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def summary(tally: Tally, took: float) -> dict[str, float]:
    milliseconds = {
        "p50_ms": percentile(tally.latencies, 0.50),
        "p99_ms": percentile(tally.latencies, 0.99),
        "first_byte_p50_ms": percentile(tally.first_bytes, 0.50),
        "first_byte_p99_ms": percentile(tally.first_bytes, 0.99),
    }
    return {
        "calls": len(tally.latencies),
        "calls_per_s": round(len(tally.latencies) / took, 1),
        **{name: round(value * 1000, 3) for name, value in milliseconds.items()},
        "errors": tally.errors,
    }


def call_body(model: str, *, stream: bool, size: int) -> bytes:
    message = {"role": "user", "content": "x" * size}
    body = {"model": model, "max_tokens": 1000, "stream": stream, "messages": [message]}
    return json.dumps(body).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--key", default="none")
    parser.add_argument("--path", default="/v1/chat/completions")
    parser.add_argument("--model", default="openai/sim")
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--size", type=int, default=1000, help="bytes of prompt")
    parser.add_argument("--stream", action="store_true")
    options = parser.parse_args()
    body = call_body(options.model, stream=options.stream, size=options.size)
    request = request_bytes(options.url, options.path, options.key, body)
    print(
        json.dumps(
            summary(*uvloop.run(load(options.url, request, options.in_flight, options.seconds)))
        )
    )


if __name__ == "__main__":
    main()
