"""A simulator in the test's own event loop, and what tests ask of one."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from services.simulator.app import serve

ANTHROPIC = {"x-api-key": "sk-made-up", "anthropic-version": "2023-06-01"}
OPENAI = {"authorization": "Bearer sk-made-up"}
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 3},
        "unit": {"enum": ["celsius", "fahrenheit"]},
        "note": {"type": "string"},
    },
    "required": ["city", "days", "unit"],
}
ARGUMENTS = {"city": "sample", "days": 3, "unit": "celsius"}
ANTHROPIC_TOOL: Any = {"name": "get_weather", "description": "Weather", "input_schema": SCHEMA}
OPENAI_TOOL: Any = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}


@asynccontextmanager
async def running_simulator(record: int = 0) -> AsyncGenerator[str]:
    bound = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve("127.0.0.1", 0, record=record, ready=bound.set_result))
        try:
            yield f"http://127.0.0.1:{await bound}"
        finally:
            serving.cancel()


def messages_body(model: str = "sim", **fields: Any) -> dict[str, Any]:
    turn = {"role": "user", "content": "Hello"}
    return {"model": model, "max_tokens": 1000, "messages": [turn], **fields}


def chat_body(model: str = "sim", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}


def asked(vendor: str, model: str = "sim", **fields: Any) -> dict[str, Any]:
    """Arguments of an httpx request to either vendor's path."""
    if vendor == "anthropic":
        body = messages_body(model, **fields)
        return {"method": "POST", "url": "/v1/messages", "headers": ANTHROPIC, "json": body}
    body = chat_body(model, **fields)
    return {"method": "POST", "url": "/v1/chat/completions", "headers": OPENAI, "json": body}


def data_lines(text: str) -> list[Any]:
    """The JSON of an event stream's data lines; the text itself where it is not JSON."""
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [_decoded(line) for line in lines]


def _decoded(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line


async def stats_until(client: httpx.AsyncClient, **wanted: int) -> dict[str, int]:
    """The simulator's counters, once they are as wanted; a test that waits in vain times out."""
    async with asyncio.timeout(10):
        while True:
            stats = (await client.get("/_simulator/stats")).json()
            if {key: stats[key] for key in wanted} == wanted:
                return stats
            await asyncio.sleep(0.005)


async def recorded(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    return (await client.get("/_simulator/requests")).json()["requests"]
