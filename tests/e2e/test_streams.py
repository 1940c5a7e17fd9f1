"""What a stream is worth: closed with its client, never truncated as success, resumable."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.stack import Stack, eventually

MESSAGES, CHAT = "/v1/messages", "/v1/chat/completions"
PAIRS = [(path, vendor) for path in (MESSAGES, CHAT) for vendor in ("anthropic", "openai")]


def body(model: str, *, stream: bool) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hi"}]
    return {"model": model, "max_tokens": 5000, "stream": stream, "messages": messages}


def vendor_requests(stack: Stack) -> list[dict[str, Any]]:
    return httpx.get(f"{stack.simulator}/_simulator/requests").json()["requests"]


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, headers={"x-api-key": stack.key}, timeout=30) as opened:
        yield opened


def closed_at_vendor(stack: Stack, model: str) -> bool | None:
    name = model.partition("/")[2]
    mine = [entry for entry in vendor_requests(stack) if f'"{name}"' in (entry["body"] or "")]
    return None if not mine or mine[-1]["ended"] is None else mine[-1]["ended"] == "client_closed"


@pytest.mark.parametrize(("path", "vendor"), PAIRS)
@pytest.mark.parametrize("when", ["before the first byte", "in mid-stream"])
def test_a_client_that_leaves_a_stream_closes_the_vendors_connection_within_a_second(
    stack: Stack, client: httpx.Client, path: str, vendor: str, when: str
) -> None:
    waits = "first=60000" if when == "before the first byte" else "pace=50"
    model = f"{vendor}/sim:chunks=1000,{waits},input=40,size={17 + PAIRS.index((path, vendor))}"
    if when == "before the first byte":
        call_id = leave_early(stack, path, body(model, stream=True))
    else:
        with client.stream("POST", path, json=body(model, stream=True)) as answer:
            call_id = answer.headers["x-weir-call-id"]
            next(answer.iter_raw())
    left = time.monotonic()
    assert eventually(lambda: closed_at_vendor(stack, model), 5)
    assert time.monotonic() - left < 1.0
    if call_id:
        (row,) = stack.rows(f"call_id = '{call_id}'", "outcome, status, usage_estimated")
    else:
        (row,) = stack.rows(f"model = '{model}'", "outcome, status, usage_estimated")
    assert row[:2] == ("client_gone", 499)
    assert bool(row[2])


@pytest.mark.parametrize(("path", "vendor"), PAIRS)
def test_a_client_that_leaves_an_unstreamed_call_closes_the_vendors_connection(
    stack: Stack, path: str, vendor: str
) -> None:
    model = f"{vendor}/sim:chunks=1,first=60000,size={91 + PAIRS.index((path, vendor))}"
    leave_early(stack, path, body(model, stream=False))
    left = time.monotonic()
    assert eventually(lambda: closed_at_vendor(stack, model), 5)
    assert time.monotonic() - left < 1.0
    assert stack.rows(f"model = '{model}'", "outcome, status") == [("client_gone", 499)]


def leave_early(stack: Stack, path: str, asked: dict[str, Any]) -> str:
    """Sends a request, and closes the connection once the vendor has it."""
    import socket  # noqa: PLC0415
    from urllib.parse import urlsplit  # noqa: PLC0415

    where = urlsplit(stack.url)
    payload = json.dumps(asked).encode()
    connection = socket.create_connection((where.hostname, where.port))
    connection.sendall(
        f"POST {path} HTTP/1.1\r\nhost: weir\r\nx-api-key: {stack.key}\r\n"
        f"content-length: {len(payload)}\r\n\r\n".encode()
        + payload
    )
    name = asked["model"].partition("/")[2]
    eventually(
        lambda: any(f'"{name}"' in (entry["body"] or "") for entry in vendor_requests(stack))
    )
    connection.close()
    return ""


@pytest.mark.parametrize(("path", "vendor"), PAIRS)
@pytest.mark.parametrize("fault", ["error_after=3", "cut_after=3", "malformed_after=3"])
def test_a_stream_that_fails_midway_ends_with_the_protocols_own_error(
    stack: Stack, client: httpx.Client, path: str, vendor: str, fault: str
) -> None:
    model = f"{vendor}/sim:chunks=8,pace=5,{fault}"
    answer = client.post(path, json=body(model, stream=True))
    assert answer.status_code == 200
    frames = [frame for frame in answer.text.split("\n\n") if frame.strip()]
    if path == MESSAGES:
        assert frames[-1].startswith("event: error\n")
        assert json.loads(frames[-1].partition("data: ")[2])["type"] == "error"
        assert "message_stop" not in answer.text
    else:
        assert json.loads(frames[-1].removeprefix("data: "))["error"]["message"]
        assert "[DONE]" not in answer.text
        assert '"finish_reason":"stop"' not in answer.text.replace(" ", "")
    call_id = answer.headers["x-weir-call-id"]
    (row,) = stack.rows(f"call_id = '{call_id}'", "outcome, error_class, output_tokens > 0")
    assert row == ("failed", row[1], 1)
    assert row[1].startswith("upstream_")


@pytest.mark.parametrize(("path", "vendor"), PAIRS)
@pytest.mark.parametrize(
    ("option", "status"), [("status=500", 5), ("status=529", 5), ("status=429,retry_after=7", 4)]
)
def test_an_error_before_content_keeps_its_status_and_retry_after(
    client: httpx.Client, path: str, vendor: str, option: str, status: int
) -> None:
    for stream in (False, True):
        answer = client.post(path, json=body(f"{vendor}/sim:{option}", stream=stream))
        assert answer.status_code // 100 == status
        assert answer.json()["error"]["message"]
        if "retry_after" in option:
            assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize(("path", "vendor"), PAIRS)
def test_large_answers_arrive_whole(client: httpx.Client, path: str, vendor: str) -> None:
    model = f"{vendor}/sim:chunks=300,size=10000"
    whole = client.post(path, json=body(model, stream=False)).json()
    if path == MESSAGES:
        text = whole["content"][0]["text"]
    else:
        text = whole["choices"][0]["message"]["content"]
    assert len(text) > 2_900_000
    streamed = client.post(path, json=body(model, stream=True))
    assert len(streamed.content) > 2_900_000
    assert ("message_stop" if path == MESSAGES else "[DONE]") in streamed.text[-200:]


@pytest.mark.parametrize(("path", "vendor"), PAIRS)
def test_a_resumed_stream_goes_on_from_exactly_the_next_event(
    stack: Stack, client: httpx.Client, path: str, vendor: str
) -> None:
    model = f"{vendor}/sim:chunks=40,pace=20,size={31 + PAIRS.index((path, vendor))}"
    resumable = {"x-weir-resumable": "true"}
    seen = b""
    with client.stream("POST", path, json=body(model, stream=True), headers=resumable) as answer:
        call_id = answer.headers["x-weir-call-id"]
        for piece in answer.iter_raw():
            seen += piece
            if seen.count(b"\n\n") >= 5:
                break
    frames = numbered(seen.rpartition(b"\n\n")[0])
    last = max(frames)
    rest = client.get(f"/v1/streams/{call_id}", headers={"last-event-id": str(last)})
    assert rest.status_code == 200
    frames_after = numbered(rest.content)
    assert min(frames_after) == last + 1
    again = numbered(client.get(f"/v1/streams/{call_id}").content)
    assert again == frames | frames_after
    assert sorted(again) == list(range(1, len(again) + 1))
    end = b"message_stop" if path == MESSAGES else b"[DONE]"
    assert end in again[max(again)]
    assert stack.rows(f"call_id = '{call_id}'", "outcome") == [("ok",)]


def numbered(data: bytes) -> dict[int, bytes]:
    """Frames by their event id."""
    found: dict[int, bytes] = {}
    for frame in data.split(b"\n\n"):
        if frame.startswith(b"id: "):
            number, _, rest = frame.partition(b"\n")
            found[int(number[4:])] = rest
    return found


def test_nobody_elses_stream_can_be_resumed(stack: Stack, client: httpx.Client) -> None:
    model = "anthropic/sim:chunks=3"
    answer = client.post(
        MESSAGES, json=body(model, stream=True), headers={"x-weir-resumable": "true"}
    )
    where = f"/v1/streams/{answer.headers['x-weir-call-id']}"
    assert client.get(where).status_code == 200
    for key in (stack.new_key("other", "default"), stack.new_key("default", "other")):
        assert client.get(where, headers={"x-api-key": key}).status_code == 404
    assert client.get(where, headers={"x-api-key": "none"}).status_code == 401
    assert client.get("/v1/streams/no-such-call").status_code == 404
    assert client.get(where, headers={"last-event-id": "x"}).status_code == 400


def test_a_hundred_streams_at_once_all_arrive_whole(stack: Stack) -> None:
    results: list[bool] = []

    def one(number: int) -> None:
        path, vendor = PAIRS[number % len(PAIRS)]
        asked = body(f"{vendor}/sim:chunks=30,pace=10", stream=True)
        answer = httpx.post(
            f"{stack.url}{path}", json=asked, headers={"x-api-key": stack.key}, timeout=60
        )
        end = "message_stop" if path == MESSAGES else "[DONE]"
        results.append(end in answer.text)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 100


def test_the_tap_shows_running_calls_to_who_asks(stack: Stack, client: httpx.Client) -> None:
    with stack.command("tail", "--agent", "default") as tail:

        def shown() -> bool:
            client.post(CHAT, json=body("openai/sim:chunks=2", stream=True))
            return "finished stop" in tail.log.read_text()

        eventually(shown)
        client.post(MESSAGES, json=body("openai/sim:chunks=2", stream=False))
        eventually(lambda: tail.log.read_text().count("finished") > 1)
        lines = tail.log.read_text().splitlines()
    assert any("started" in line for line in lines)
    assert any("text" in line for line in lines)
    assert all("default/default" in line for line in lines)
