"""N calls give N rows, and a rollup whose sums are the rows'."""

import asyncio
import json
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

from tests.stack import Stack, eventually

CALLS = 500
IN_FLIGHT = 16

KINDS: list[tuple[str, str, bool]] = [
    ("/v1/messages", "anthropic/sim:chunks=3,cache_read=5,cache_write=4", False),
    ("/v1/messages", "openai/sim:chunks=3", True),
    ("/v1/chat/completions", "openai/sim:chunks=3,reasoning=2", True),
    ("/v1/chat/completions", "anthropic/sim:chunks=3", False),
    ("/v1/messages", "anthropic/sim:status=529", False),
    ("/v1/chat/completions", "openai/sim:chunks=4,error_after=2", True),
    ("/v1/chat/completions", "anthropic/sim:chunks=4,cut_after=2", True),
    ("/v1/messages", "anthropic/claude-sonnet-4-5", True),
    ("/v1/chat/completions", "openai/gpt-4o-mini", False),
    ("/v1/messages", "no-such-model", False),
]


async def call(stack: Stack, kind: tuple[str, str, bool]) -> str:
    """Makes one call, reads its answer to the end; returns the call's id."""
    path, model, streamed = kind
    body = {
        "model": model,
        "max_tokens": 50,
        "stream": streamed,
        "messages": [{"role": "user", "content": "hi"}],
    }
    payload = json.dumps(body).encode()
    where = urlsplit(stack.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(
        f"POST {path} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\nx-api-key: {stack.key}\r\n"
        f"x-weir-tags: workflow=accounting\r\ncontent-length: {len(payload)}\r\n\r\n".encode()
        + payload
    )
    answer = await reader.read()
    writer.close()
    head = answer.partition(b"\r\n\r\n")[0].decode()
    return next(
        line.partition(":")[2].strip()
        for line in head.split("\r\n")
        if line.lower().startswith("x-weir-call-id")
    )


async def calls(stack: Stack) -> list[str]:
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(number: int) -> str:
        async with gate:
            return await call(stack, KINDS[number % len(KINDS)])

    return await asyncio.gather(*(one(number) for number in range(CALLS)))


def test_500_calls_of_all_kinds_are_500_rows_and_the_rollup_adds_up(stack: Stack) -> None:
    ids = asyncio.run(calls(stack))
    assert len(set(ids)) == CALLS
    mine = "tags['workflow'] = 'accounting'"

    def all_there() -> bool:
        return stack.query(f"SELECT count() FROM calls WHERE {mine}")[0][0] >= CALLS  # noqa: S608

    eventually(all_there)
    rows = stack.rows(mine, "toString(call_id), outcome, status, streamed", CALLS)
    assert sorted(row[0] for row in rows) == sorted(ids)
    each = CALLS // len(KINDS)
    outcomes = Counter(row[1] for row in rows)
    assert outcomes == {"ok": 6 * each, "failed": 3 * each, "rejected": each}
    classes = (
        "input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, "
        "output_tokens, reasoning_tokens, cost"
    )
    sums = ", ".join(f"sum({column})" for column in classes.split(", "))
    from_rows = _sums(stack, f"SELECT count(), {sums} FROM calls WHERE {mine}")  # noqa: S608
    rollup = f"SELECT sum(calls), {sums} FROM cost_hourly WHERE workflow = 'accounting'"  # noqa: S608
    assert _sums(stack, rollup) == from_rows
    assert from_rows[-1] > 0


def _sums(stack: Stack, sql: str) -> tuple[Any, ...]:
    return tuple(value or 0 for value in stack.query(sql)[0])


def test_a_row_says_who_what_and_how_much(stack: Stack) -> None:
    call_id = asyncio.run(call(stack, ("/v1/messages", "anthropic/claude-sonnet-4-5", True)))
    columns = (
        "tenant, agent, key_id, model, provider, vendor, vendor_model, protocol, streamed, "
        "outcome, status, priced, currency, price_version, attempts, cost, input_tokens, "
        "output_tokens, started <= first_token, first_token <= ended, tags['workflow']"
    )
    (row,) = stack.rows(f"call_id = '{call_id}'", columns)
    assert row[0:2] == ("default", "default")
    assert row[2] == stack.key.split("_")[1]
    assert row[3:8] == (
        "anthropic/claude-sonnet-4-5",
        "anthropic",
        "anthropic",
        "claude-sonnet-4-5",
        "anthropic_messages",
    )
    assert bool(row[8])
    assert row[9:11] == ("ok", 200)
    assert bool(row[11])
    assert row[12] == "USD"
    assert row[13]
    assert row[14] == 1
    # $3 and $15 a million tokens: https://www.anthropic.com/pricing
    assert row[15] * 1_000_000 == row[16] * 3 + row[17] * 15
    assert all(row[18:20])
    assert row[20] == "accounting"
