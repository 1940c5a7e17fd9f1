"""The vendors' own SDKs as clients: each client protocol to each vendor's protocol."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.stack import Stack

ANTHROPIC_MODELS = ["anthropic/sim", "openai/sim"]
TOOL_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
QUESTION = "What is the weather in Paris?"


@pytest.fixture
def claude(stack: Stack) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=stack.url, api_key=stack.key, max_retries=0) as client:
        yield client


@pytest.fixture
def gpt(stack: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0) as client:
        yield client


def sent_to_vendor(stack: Stack) -> dict[str, Any]:
    """The last request that the simulator received."""
    import urllib.request  # noqa: PLC0415

    with urllib.request.urlopen(f"{stack.simulator}/_simulator/requests") as answer:
        return json.load(answer)["requests"][-1]


@pytest.mark.parametrize("model", ANTHROPIC_MODELS)
def test_anthropic_unstreamed(claude: anthropic.Anthropic, model: str) -> None:
    message = claude.messages.create(
        model=f"{model}:chunks=4,input=7",
        max_tokens=100,
        system="Be brief.",
        messages=[{"role": "user", "content": QUESTION}],
    )
    assert message.role == "assistant"
    assert message.content[0].type == "text"
    assert message.content[0].text
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens == 7
    assert message.usage.output_tokens > 0


@pytest.mark.parametrize("model", ANTHROPIC_MODELS)
def test_anthropic_streamed_equals_unstreamed(claude: anthropic.Anthropic, model: str) -> None:
    request: Any = {
        "model": f"{model}:chunks=5,input=7",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": QUESTION}],
    }
    whole = claude.messages.create(**request)
    with claude.messages.stream(**request) as stream:
        folded = stream.get_final_message()
    assert [block.text for block in folded.content] == [block.text for block in whole.content]
    assert folded.stop_reason == whole.stop_reason
    assert folded.usage.output_tokens == whole.usage.output_tokens
    assert folded.usage.input_tokens == whole.usage.input_tokens


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", ANTHROPIC_MODELS)
def test_anthropic_tools(claude: anthropic.Anthropic, model: str, streamed: bool) -> None:
    tools: Any = [{"name": "weather", "description": "d", "input_schema": TOOL_SCHEMA}]
    messages: Any = [{"role": "user", "content": QUESTION}]
    request: Any = {"max_tokens": 100, "tools": tools}
    calling = f"{model}:tools=2"
    if streamed:
        with claude.messages.stream(model=calling, messages=messages, **request) as stream:
            answer = stream.get_final_message()
    else:
        answer = claude.messages.create(model=calling, messages=messages, **request)
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert answer.stop_reason == "tool_use"
    assert [call.name for call in calls] == ["weather", "weather"]
    assert all(isinstance(call.input["city"], str) for call in calls)
    assert len({call.id for call in calls}) == 2
    messages += [
        {"role": "assistant", "content": [block.model_dump() for block in answer.content]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": call.id, "content": "18 degrees"}
                for call in calls
            ],
        },
    ]
    final = claude.messages.create(model=model, messages=messages, **request)
    assert final.stop_reason == "end_turn"


@pytest.mark.parametrize("model", ANTHROPIC_MODELS)
def test_openai_unstreamed(gpt: openai.OpenAI, model: str) -> None:
    completion = gpt.chat.completions.create(
        model=f"{model}:chunks=4,input=7",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": QUESTION},
        ],
    )
    choice = completion.choices[0]
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == 7


@pytest.mark.parametrize("asks_usage", [False, True])
@pytest.mark.parametrize("model", ANTHROPIC_MODELS)
def test_openai_streamed_equals_unstreamed(
    gpt: openai.OpenAI, model: str, asks_usage: bool
) -> None:
    messages: Any = [{"role": "user", "content": QUESTION}]
    asked = f"{model}:chunks=5,input=7"
    whole = gpt.chat.completions.create(model=asked, messages=messages)
    options: Any = {"stream_options": {"include_usage": True}} if asks_usage else {}
    chunks = list(
        gpt.chat.completions.create(model=asked, messages=messages, stream=True, **options)
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert [reason for reason in reasons if reason] == ["stop"]
    usages = [c.usage for c in chunks if c.usage]
    assert len(usages) == asks_usage
    assert all(usage.prompt_tokens == 7 for usage in usages)
    assert all(c.choices or c.usage for c in chunks)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", ANTHROPIC_MODELS)
def test_openai_tools(gpt: openai.OpenAI, model: str, streamed: bool) -> None:
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": TOOL_SCHEMA}}]
    messages: Any = [{"role": "user", "content": QUESTION}]
    asked = f"{model}:tools=2"
    if streamed:
        with gpt.chat.completions.stream(model=asked, messages=messages, tools=tools) as stream:
            completion = stream.get_final_completion()
    else:
        completion = gpt.chat.completions.create(model=asked, messages=messages, tools=tools)
    message = completion.choices[0].message
    assert completion.choices[0].finish_reason == "tool_calls"
    calls: Any = message.tool_calls or []
    assert [call.function.name for call in calls] == ["weather", "weather"]
    assert all("city" in json.loads(call.function.arguments) for call in calls)
    messages.append(message.model_dump(exclude_none=True))
    messages += [
        {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"} for call in calls
    ]
    final = gpt.chat.completions.create(model=model, messages=messages, tools=tools)
    assert final.choices[0].finish_reason == "stop"


def test_anthropic_request_at_openai_is_what_openai_expects(
    stack: Stack, claude: anthropic.Anthropic
) -> None:
    claude.messages.create(
        model="openai/sim",
        max_tokens=100,
        system="Be brief.",
        messages=[{"role": "user", "content": "Hello"}],
    )
    sent = sent_to_vendor(stack)
    body = json.loads(sent["body"])
    assert sent["path"] == "/v1/chat/completions"
    assert body["model"] == "sim"
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
    ]
    assert body["max_completion_tokens"] == 100


def test_openai_request_at_anthropic_is_what_anthropic_expects(
    stack: Stack, gpt: openai.OpenAI
) -> None:
    gpt.chat.completions.create(
        model="anthropic/sim",
        max_tokens=100,
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
    )
    sent = sent_to_vendor(stack)
    body = json.loads(sent["body"])
    assert sent["path"] == "/v1/messages"
    assert sent["headers"]["anthropic-version"] == "2023-06-01"
    assert body["model"] == "sim"
    assert body["max_tokens"] == 100
    assert json.dumps(body["system"]).count("Be brief.") == 1
    assert [message["role"] for message in body["messages"]] == ["user"]


def test_a_vendors_error_reaches_each_sdk_as_its_own(
    claude: anthropic.Anthropic, gpt: openai.OpenAI
) -> None:
    for model in ANTHROPIC_MODELS:
        with pytest.raises(anthropic.RateLimitError):
            claude.messages.create(
                model=f"{model}:status=429",
                max_tokens=10,
                messages=[{"role": "user", "content": "x"}],
            )
        with pytest.raises(openai.RateLimitError):
            gpt.chat.completions.create(
                model=f"{model}:status=429", messages=[{"role": "user", "content": "x"}]
            )


@pytest.mark.parametrize("model", ANTHROPIC_MODELS)
def test_a_stream_that_fails_midway_raises_in_each_sdk(
    claude: anthropic.Anthropic, gpt: openai.OpenAI, model: str
) -> None:
    asked = f"{model}:chunks=6,error_after=3"
    with (
        pytest.raises(anthropic.APIError),
        claude.messages.stream(
            model=asked, max_tokens=10, messages=[{"role": "user", "content": "x"}]
        ) as stream,
    ):
        stream.get_final_message()
    with pytest.raises(openai.APIError):
        list(
            gpt.chat.completions.create(
                model=asked, messages=[{"role": "user", "content": "x"}], stream=True
            )
        )
