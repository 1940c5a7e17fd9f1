"""The simulator's pace, what it does wrong on request, and that it notices who hangs up."""

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.integration.simulated import (
    asked,
    data_lines,
    recorded,
    running_simulator,
    stats_until,
)

VENDORS = pytest.mark.parametrize("vendor", ["anthropic", "openai"])
STREAMED = pytest.mark.parametrize("streamed", [True, False])


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with running_simulator(record=8) as url, httpx.AsyncClient(base_url=url) as client:
        yield client


def said(events: list[Any]) -> list[str]:
    """The content chunks among a stream's events, of either vendor."""
    texts = [event.get("delta", {}).get("text") for event in events if "delta" in event]
    texts += [choice["delta"].get("content") for e in events for choice in e.get("choices", ())]
    return [text for text in texts if text]


@VENDORS
async def test_chunks_and_size_make_the_answer(client: httpx.AsyncClient, vendor: str) -> None:
    answer = await client.request(**asked(vendor, "sim:chunks=50,size=20", stream=True))
    assert [len(text) for text in said(data_lines(answer.text)[:-1])] == [20] * 50
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"


@VENDORS
async def test_the_header_stands_instead_of_the_models_options(
    client: httpx.AsyncClient, vendor: str
) -> None:
    call = asked(vendor, "sim:status=500", stream=True)
    call["headers"] = {**call["headers"], "x-simulate": "chunks=3"}
    answer = await client.request(**call)
    assert len(said(data_lines(answer.text)[:-1])) == 3


@VENDORS
@STREAMED
async def test_first_and_pace_take_their_time(
    client: httpx.AsyncClient, vendor: str, streamed: bool
) -> None:
    began = time.perf_counter()
    call = asked(vendor, "sim:chunks=5,first=40,pace=20", stream=streamed)
    async with client.stream(**call) as answer:
        headed = time.perf_counter() - began
        await answer.aread()
    taken = time.perf_counter() - began
    assert headed >= (0.035 if streamed else 0.135)
    assert taken >= (0.115 if streamed else 0.135)


@VENDORS
@pytest.mark.parametrize("after", [0, 3, 99])
async def test_an_error_ends_the_stream_after_so_many_chunks(
    client: httpx.AsyncClient, vendor: str, after: int
) -> None:
    call = asked(vendor, f"sim:chunks=6,error_after={after}", stream=True)
    answer = await client.request(**call)
    *events, last = data_lines(answer.text)
    assert answer.status_code == 200
    assert len(said(events)) == min(after, 6)
    assert bool(events) == bool(after)
    assert set(last["error"]) >= {"type", "message"}
    assert "[DONE]" not in answer.text
    assert "message_stop" not in answer.text


@VENDORS
async def test_a_malformed_frame_stands_among_good_ones(
    client: httpx.AsyncClient, vendor: str
) -> None:
    answer = await client.request(**asked(vendor, "sim:chunks=6,malformed_after=2", stream=True))
    events = data_lines(answer.text)
    bad = [at for at, event in enumerate(events) if isinstance(event, str) and event != "[DONE]"]
    assert len(bad) == 1
    assert len(said(events[: bad[0]])) == 2
    assert len(said([event for event in events if isinstance(event, dict)])) == 6


@VENDORS
@STREAMED
async def test_a_cut_connection_is_reset_after_what_was_sent(
    client: httpx.AsyncClient, vendor: str, streamed: bool
) -> None:
    call = asked(vendor, "sim:chunks=6,cut_after=3", stream=streamed)
    received = await read_until(client, call, httpx.ReadError)
    assert received
    if streamed:
        assert len(said(data_lines(received))) == 3
    stats = await stats_until(client, in_flight=0)
    assert stats["client_closed"] == 0
    assert (await recorded(client))[-1]["ended"] == "cut"


@VENDORS
@STREAMED
async def test_a_stall_sends_no_more_until_the_client_hangs_up(
    client: httpx.AsyncClient, vendor: str, streamed: bool
) -> None:
    call = asked(vendor, "sim:chunks=6,stall_after=3", stream=streamed) | {"timeout": 0.2}
    received = await read_until(client, call, httpx.ReadTimeout)
    assert received
    assert len(said(data_lines(received))) == (3 if streamed else 0)
    await stats_until(client, in_flight=0, client_closed=1)


@VENDORS
async def test_an_unstreamed_answer_can_be_an_error_or_half_a_document(
    client: httpx.AsyncClient, vendor: str
) -> None:
    error = await client.request(**asked(vendor, "sim:error_after=1"))
    assert (error.status_code, "error" in error.json()) == (200, True)
    half = await client.request(**asked(vendor, "sim:malformed_after=3"))
    assert half.status_code == 200
    with pytest.raises(ValueError, match=r"."):
        half.json()


@VENDORS
@STREAMED
async def test_a_client_that_hangs_up_is_noticed_before_the_first_byte(
    client: httpx.AsyncClient, vendor: str, streamed: bool
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await client.request(**asked(vendor, "sim:first=60000", stream=streamed), timeout=0.1)
    await stats_until(client, in_flight=0, client_closed=1, open_connections=0)
    entry = (await recorded(client))[-1]
    assert entry["ended"] == "client_closed"
    assert entry["ms"] >= 50


@VENDORS
async def test_a_client_that_hangs_up_in_mid_stream_is_noticed(
    client: httpx.AsyncClient, vendor: str
) -> None:
    async with client.stream(**asked(vendor, "sim:chunks=9999,pace=5", stream=True)) as answer:
        async for _ in answer.aiter_raw():
            break
    await stats_until(client, in_flight=0, client_closed=1)


async def test_a_client_that_does_not_read_holds_the_answer_back(
    client: httpx.AsyncClient,
) -> None:
    """64 MB do not wait in the simulator's memory, nor get lost once they are read."""
    call = asked("openai", "sim:chunks=640,size=100000", stream=True)
    async with client.stream(**call) as answer:
        pieces = answer.aiter_raw()
        size = len(await anext(pieces))
        for _ in range(20):
            assert (await client.get("/_simulator/stats")).json()["in_flight"] == 1
        async for piece in pieces:
            size += len(piece)
    assert size > 64_000_000
    await stats_until(client, in_flight=0, client_closed=0)


async def read_until(client: httpx.AsyncClient, call: Any, error: type[Exception]) -> str:
    """What came of an answer before reading it failed, as it must."""
    received = b""
    try:
        async with client.stream(**call) as answer:
            async for piece in answer.aiter_raw():
                received += piece
    except error:
        return received.decode()
    pytest.fail("the answer came to an end")
