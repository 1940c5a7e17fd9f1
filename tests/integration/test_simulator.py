"""The simulator as the vendors' own SDKs see it, streamed and not."""

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest

from services.simulator.answers import Answers
from services.simulator.script import Request
from tests.integration.simulated import (
    ANTHROPIC_TOOL,
    ARGUMENTS,
    OPENAI_TOOL,
    running_simulator,
)

HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    async with running_simulator() as url:
        yield url


@pytest.fixture
async def claude(url: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=url, api_key="sk-x", max_retries=0) as client:
        yield client


@pytest.fixture
async def gpt(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-x", max_retries=0) as client:
        yield client


async def test_anthropic_streamed_answer_equals_the_unstreamed_one(
    claude: Any,
) -> None:
    call: Any = {
        "model": "sim:chunks=5,size=7,tools=2,thinking=2,input=11,cache_read=5,cache_write=3",
        "max_tokens": 2048,
        "messages": HELLO,
        "tools": [ANTHROPIC_TOOL],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    whole = await claude.messages.create(**call)
    async with claude.messages.stream(**call) as stream:
        streamed = await stream.get_final_message()

    assert [block.type for block in whole.content] == ["thinking", "text", "tool_use", "tool_use"]
    thinking, text, first, second = whole.content
    assert thinking.signature
    assert len(text.text) == 35
    assert first.name == second.name == "get_weather"
    assert first.input == second.input == ARGUMENTS
    assert first.id != second.id
    assert whole.stop_reason == "tool_use"
    usage = whole.usage
    assert usage.input_tokens == 11
    assert usage.cache_read_input_tokens == 5
    assert usage.cache_creation_input_tokens == usage.cache_creation.ephemeral_5m_input_tokens == 3
    assert whole.id != streamed.id
    assert _without_ids(streamed) == _without_ids(whole)


async def test_openai_streamed_answer_equals_the_unstreamed_one(gpt: Any) -> None:
    call: Any = {
        "model": "sim:chunks=5,size=7,tools=2,input=11,cache_read=5,reasoning=4",
        "messages": HELLO,
        "tools": [OPENAI_TOOL],
    }
    whole = await gpt.chat.completions.create(**call)
    call["stream_options"] = {"include_usage": True}
    async with gpt.chat.completions.stream(**call) as stream:
        streamed = await stream.get_final_completion()

    message = whole.choices[0].message
    assert len(message.content) == 35
    assert [call.function.name for call in message.tool_calls] == ["get_weather"] * 2
    assert len({call.id for call in message.tool_calls}) == 2
    assert whole.choices[0].finish_reason == "tool_calls"
    assert whole.usage.prompt_tokens == 16
    assert whole.usage.prompt_tokens_details.cached_tokens == 5
    assert whole.usage.completion_tokens_details.reasoning_tokens == 4
    assert streamed.usage == whole.usage
    again = streamed.choices[0].message
    assert again.content == message.content
    assert [call.function.arguments for call in again.tool_calls] == [
        call.function.arguments for call in message.tool_calls
    ]


@pytest.mark.parametrize("options", ["sim", "sim:chunks=0", "sim:tools=1", "sim:tools=3", "gpt-4o"])
async def test_openai_stream_ends_with_a_reason_and_with_usage_only_if_asked(
    gpt: Any, options: str
) -> None:
    call: Any = {"model": options, "messages": HELLO, "tools": [OPENAI_TOOL], "stream": True}
    silent = [chunk async for chunk in await gpt.chat.completions.create(**call)]
    call["stream_options"] = {"include_usage": True}
    told = [chunk async for chunk in await gpt.chat.completions.create(**call)]

    assert all(chunk.usage is None for chunk in silent)
    assert silent[-1].choices[0].finish_reason == ("tool_calls" if "tools" in options else "stop")
    assert silent[0].choices[0].delta.role == "assistant"
    assert told[-1].choices == []
    assert told[-1].usage.total_tokens > 0
    assert len({chunk.id for chunk in told}) == 1


async def test_arguments_come_in_fragments(gpt: Any) -> None:
    stream = await gpt.chat.completions.create(
        model="sim:tools=1", messages=HELLO, tools=[OPENAI_TOOL], stream=True
    )
    deltas = [chunk.choices[0].delta async for chunk in stream]
    pieces = [delta.tool_calls[0].function.arguments for delta in deltas if delta.tool_calls]
    assert len(pieces) > 2
    assert deltas[0].tool_calls[0].function.name == "get_weather"


async def test_no_tool_is_called_after_its_result_nor_against_the_choice(
    claude: Any, gpt: Any
) -> None:
    results: Any = [{"type": "tool_result", "tool_use_id": "toolu_01", "content": "rain"}]
    for messages, choice in (
        ([{"role": "user", "content": results}], {"type": "auto"}),
        (HELLO, {"type": "none"}),
    ):
        message = await claude.messages.create(
            model="sim:tools=1",
            max_tokens=100,
            messages=messages,
            tools=[ANTHROPIC_TOOL],
            tool_choice=choice,
        )
        assert [block.type for block in message.content] == ["text"]
    completion = await gpt.chat.completions.create(
        model="sim:tools=1", messages=HELLO, tools=[OPENAI_TOOL], tool_choice="none"
    )
    assert completion.choices[0].message.tool_calls is None


async def test_a_forced_tool_is_called_without_being_asked_for_in_the_model(
    claude: Any, gpt: Any
) -> None:
    other: Any = {**ANTHROPIC_TOOL, "name": "other"}
    message = await claude.messages.create(
        model="claude-sonnet-5",
        max_tokens=100,
        messages=HELLO,
        tools=[ANTHROPIC_TOOL, other],
        tool_choice={"type": "tool", "name": "other"},
    )
    assert [block.name for block in message.content] == ["other"]
    completion = await gpt.chat.completions.create(
        model="gpt-5",
        messages=HELLO,
        tools=[OPENAI_TOOL],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
    )
    assert len(completion.choices[0].message.tool_calls) == 1


async def test_parallel_calls_are_one_where_the_request_forbids_them(
    gpt: Any,
) -> None:
    completion = await gpt.chat.completions.create(
        model="sim:tools=3", messages=HELLO, tools=[OPENAI_TOOL], parallel_tool_calls=False
    )
    assert len(completion.choices[0].message.tool_calls) == 1


async def test_thinking_needs_both_the_request_and_the_option(
    claude: Any,
) -> None:
    message = await claude.messages.create(model="sim:thinking=1", max_tokens=99, messages=HELLO)
    assert [block.type for block in message.content] == ["text"]


async def test_an_answer_of_the_default_length_obeys_the_limit(claude: Any, gpt: Any) -> None:
    message = await claude.messages.create(model="sim", max_tokens=4, messages=HELLO)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 4)
    completion = await gpt.chat.completions.create(
        model="sim", max_completion_tokens=4, messages=HELLO
    )
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage.completion_tokens == 4


async def test_models_are_listed_in_the_callers_own_format(claude: Any, gpt: Any) -> None:
    assert [model.display_name async for model in claude.models.list()] == ["Simulator"]
    assert [model.object async for model in gpt.models.list()] == ["model"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (403, anthropic.PermissionDeniedError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.InternalServerError),
    ],
)
async def test_errors_asked_for_are_the_vendors(
    claude: Any,
    gpt: Any,
    status: int,
    error: type[anthropic.APIStatusError],
) -> None:
    model = f"sim:status={status},retry_after=7"
    with pytest.raises(error) as raised:
        await claude.messages.create(model=model, max_tokens=9, messages=HELLO)
    body: Any = raised.value.body
    assert raised.value.status_code == status
    assert body["error"]["type"]
    assert raised.value.request_id == body["request_id"]
    assert raised.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.APIStatusError) as raised_by_gpt:
        await gpt.chat.completions.create(model=model, messages=HELLO)
    assert type(raised_by_gpt.value).__name__ == error.__name__
    assert raised_by_gpt.value.response.headers["retry-after"] == "7"
    body = raised_by_gpt.value.body
    assert body.keys() == {"message", "type", "param", "code"}


async def test_an_error_in_the_stream_reaches_the_sdk_as_one(claude: Any, gpt: Any) -> None:
    with pytest.raises(anthropic.APIStatusError) as raised:
        async for _ in await claude.messages.create(
            model="sim:error_after=2", max_tokens=9, messages=HELLO, stream=True
        ):
            pass
    body: Any = raised.value.body
    assert body["error"]["type"] == "overloaded_error"
    with pytest.raises(openai.APIError, match="server had an error"):
        async for _ in await gpt.chat.completions.create(
            model="sim:error_after=2", messages=HELLO, stream=True
        ):
            pass


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/a"}}},
        {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}},
        {"type": "object", "required": ["a"], "properties": {"a": {"type": ["null", "string"]}}},
        {"type": "object", "required": 5, "properties": []},
        {"type": "object", "required": ["a"], "properties": {"a": {"enum": [], "anyOf": [7]}}},
        {"type": "array", "minItems": 10**30},
        {},
    ],
)
def test_any_schema_gets_arguments(schema: dict[str, Any]) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    document = {"model": "sim:tools=1", "messages": HELLO, "tools": [tool]}
    body = json.dumps(document).encode()
    request = Request("POST", "/v1/chat/completions", {"authorization": "Bearer x"}, body)
    assert Answers().tape_for(request).writes[0].startswith(b"HTTP/1.1 200 OK\r\n")


def _without_ids(message: Any) -> dict[str, Any]:
    document = message.model_dump(exclude={"id", "usage"})
    for block in document["content"]:
        block.pop("id", None)
        block.pop("parsed_output", None)
    return document | {"output": message.usage.output_tokens}
