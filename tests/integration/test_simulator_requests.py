"""What the simulator refuses, what it remembers, and how it is started and stopped."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.simulator.app import RemoteHostError, serve
from tests.integration.simulated import (
    ANTHROPIC,
    OPENAI,
    asked,
    chat_body,
    messages_body,
    recorded,
    running_simulator,
)

VENDORS = pytest.mark.parametrize("vendor", ["anthropic", "openai"])
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with running_simulator(record=8) as url, httpx.AsyncClient(base_url=url) as client:
        yield client


@pytest.mark.parametrize(
    "options",
    [
        "chunks=x",
        "chunks=-1",
        "chunks=1_0",
        "pace=nan",
        "first=inf",
        "status=200",
        "finish=never",
        "colour=red",
        "tools",
        "chunks=1,chunks=2",
        "cut_after=1,stall_after=2",
        "chunks=1000000,size=1000000",
    ],
)
@VENDORS
async def test_a_malformed_option_is_named(
    client: httpx.AsyncClient, vendor: str, options: str
) -> None:
    answer = await client.request(**asked(vendor, f"sim:{options}"))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    named = options.rpartition(",")[2].partition("=")[0]
    assert f"'{named}'" in error["message"]


@pytest.mark.parametrize(
    ("headers", "fields", "status", "named"),
    [
        ({"x-api-key": ""}, {}, 401, "x-api-key"),
        ({"anthropic-version": None}, {}, 400, "anthropic-version"),
        ({}, {"model": None}, 400, "model"),
        ({}, {"max_tokens": "many"}, 400, "max_tokens"),
        ({}, {"max_tokens": True}, 400, "max_tokens"),
        ({}, {"max_tokens": 0}, 400, "max_tokens"),
        ({}, {"messages": []}, 400, "messages"),
        ({}, {"messages": "Hello"}, 400, "messages"),
        ({}, {"messages": ["Hello"]}, 400, "messages.0"),
        ({}, {"messages": [{"role": "tool", "content": ""}]}, 400, "messages.0.role"),
        ({}, {"stream": "yes"}, 400, "stream"),
    ],
)
async def test_anthropics_refusals(
    client: httpx.AsyncClient, headers: Any, fields: Any, status: int, named: str
) -> None:
    sent = {name: value for name, value in {**ANTHROPIC, **headers}.items() if value is not None}
    answer = await client.post("/v1/messages", headers=sent, json=messages_body(**fields))
    assert answer.status_code == status
    assert list(answer.json()) == ["type", "error", "request_id"]
    assert named in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "fields", "status", "param"),
    [
        ({"authorization": ""}, {}, 401, None),
        ({"authorization": "Basic eDp5"}, {}, 401, None),
        ({}, {"model": None}, 400, "model"),
        ({}, {"messages": None}, 400, "messages"),
        ({}, {"messages": []}, 400, "messages"),
        ({}, {"messages": {}}, 400, "messages"),
        ({}, {"messages": ["Hello"]}, 400, "messages[0].role"),
        ({}, {"tools": []}, 400, "tools"),
        ({}, {"stream_options": {"include_usage": True}}, 400, "stream_options"),
    ],
)
async def test_openais_refusals(
    client: httpx.AsyncClient, headers: Any, fields: Any, status: int, param: str | None
) -> None:
    sent = {**OPENAI, **headers}
    answer = await client.post("/v1/chat/completions", headers=sent, json=chat_body(**fields))
    assert answer.status_code == status
    assert list(answer.json()["error"]) == ["message", "type", "param", "code"]
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"a":1} x'])
@VENDORS
async def test_what_is_no_json_object_is_refused(
    client: httpx.AsyncClient, vendor: str, body: bytes
) -> None:
    call = asked(vendor)
    answer = await client.post(call["url"], headers=call["headers"], content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_unknown_paths_and_methods_get_the_callers_error_shape(
    client: httpx.AsyncClient,
) -> None:
    lost = await client.get("/v1/nothing", headers=ANTHROPIC)
    assert (lost.status_code, lost.json()["type"]) == (404, "error")
    lost = await client.get("/v1/nothing", headers=OPENAI)
    assert (lost.status_code, lost.json()["error"]["code"]) == (404, None)
    assert (await client.get("/v1/messages", headers=ANTHROPIC)).status_code == 405
    assert (await client.head("/v1/messages", headers=ANTHROPIC)).content == b""
    assert (await client.get("/")).status_code == (await client.head("/")).status_code == 200


async def test_requests_are_remembered_as_they_came_but_for_secrets(
    client: httpx.AsyncClient,
) -> None:
    body = '{"model": "sim",  "max_tokens":1, "messages":[{"role":"user","content":"é"}]}'
    sent = {**ANTHROPIC, "X-Mine": "yes", "authorization": "Bearer sk-made-up"}
    await client.post("/v1/messages?beta=true", headers=sent, content=body)
    await client.post("/v1/messages", headers=ANTHROPIC, content=b"\xff\x00")
    verbatim, binary = await recorded(client)
    assert (verbatim["method"], verbatim["path"]) == ("POST", "/v1/messages?beta=true")
    assert (verbatim["body"], verbatim["body_base64"]) == (body, None)
    assert (binary["body"], binary["body_base64"]) == (None, "/wA=")
    assert verbatim["headers"]["x-mine"] == "yes"
    assert verbatim["headers"]["authorization"].startswith("Bearer sha256:")
    assert "sk-made-up" not in json.dumps(verbatim)
    assert verbatim["ended"] == "finished"
    assert (await client.delete("/_simulator/requests")).status_code == 200
    assert await recorded(client) == []
    for _ in range(10):
        await client.request(**asked("openai"))
    assert len(await recorded(client)) == 8


async def test_nothing_is_remembered_unless_asked() -> None:
    async with running_simulator() as url, httpx.AsyncClient(base_url=url) as client:
        await client.request(**asked("openai"))
        assert await recorded(client) == []
        assert (await client.get("/_simulator/stats")).json() == {
            "open_connections": 0,
            "in_flight": 0,
            "calls": 1,
            "client_closed": 0,
        }


async def test_requests_sent_ahead_are_answered_in_their_order(client: httpx.AsyncClient) -> None:
    host, port = client.base_url.host, client.base_url.port
    reader, writer = await asyncio.open_connection(host, port)
    for model in ("sim:first=50,chunks=1", "sim:chunks=2", "sim:chunks=3"):
        body = json.dumps(chat_body(model)).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {len(body)}\r\n"
        last = "connection: close\r\n" if model.endswith("3") else ""
        writer.write(f"{head}authorization: Bearer x\r\n{last}\r\n".encode() + body)
    answers = (await reader.read(-1)).decode()
    writer.close()
    await writer.wait_closed()
    assert [f'"completion_tokens": {n},' in answers for n in (1, 2, 3)] == [True] * 3
    places = [answers.index(f'"completion_tokens": {n},') for n in (1, 2, 3)]
    assert places == sorted(places)


async def test_what_is_not_http_is_refused(client: httpx.AsyncClient) -> None:
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    writer.write(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
    assert (await reader.read(-1)).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    writer.close()
    await writer.wait_closed()


async def test_only_loopback_is_bound_unless_told_otherwise() -> None:
    with pytest.raises(RemoteHostError, match="not on loopback"):
        await serve("0.0.0.0", 0)  # noqa: S104 - that is what must be refused


async def test_the_command_says_where_it_is_and_stops_when_told(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    async with simulate("--record", "1", "--ready-file", str(ready)) as process:
        line = (await process.stdout.readline()).decode()
        async with asyncio.timeout(10):
            while not ready.exists():
                await asyncio.sleep(0.005)
        told = json.loads(ready.read_text())
        assert told["url"] in line
        assert told["pid"] == process.pid
        stalled = asked("openai", "sim:stall_after=1", stream=True)
        async with (
            httpx.AsyncClient(base_url=told["url"]) as client,
            client.stream(**stalled) as answer,
        ):
            process.send_signal(signal.SIGTERM)
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await answer.aread()
        assert await process.wait() == 0
        assert await process.stderr.read() == b""


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "no such host"])  # noqa: S104 - refused
async def test_the_command_explains_in_one_line_what_it_cannot_bind(host: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with simulate("--host", host, "--port", str(taken.getsockname()[1])) as process:
            errors = await process.stderr.read()
            assert await process.wait() == 2
    assert errors.count(b"\n") == 1


@asynccontextmanager
async def simulate(*arguments: str) -> AsyncGenerator[Any]:
    """The command in a process of its own, which does not outlive the test."""
    command = (sys.executable, "-m", "services", "simulate", *arguments)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=pipe, stderr=pipe)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
