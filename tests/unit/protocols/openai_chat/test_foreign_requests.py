"""Requests that came in another protocol, as a vendor of Chat gets them."""

import json
from typing import Any

import pytest

from shared.canonical.failures import InvalidRequestError
from shared.canonical.parts import (
    Audio,
    CacheControl,
    Document,
    Image,
    Opaque,
    Part,
    Shape,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from shared.canonical.request import (
    Message,
    OutputFormat,
    Request,
    Role,
    ThinkingConfig,
    Tool,
    ToolChoice,
    ToolMode,
)
from shared.protocols.openai_chat import OpenAIChat

CACHE = CacheControl()
PIXEL = Image(source=Source(data="QUJD"), media_type="image/png")
PIXEL_ITEM = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}


def encode(*messages: Message, codec: OpenAIChat | None = None, **fields: Any) -> tuple[Any, Any]:
    request = Request(protocol="anthropic_messages", model="m", messages=messages, **fields)
    encoded = (codec or OpenAIChat()).encode_request(request, model="gpt")
    return json.loads(encoded.body), encoded.dropped


def user(*parts: Part) -> Message:
    return Message(role=Role.USER, parts=parts)


def assistant(*parts: Part) -> Message:
    return Message(role=Role.ASSISTANT, parts=parts)


def refused(*messages: Message, **fields: Any) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        encode(*messages, **fields)
    assert caught.value.field is not None
    assert caught.value.field in caught.value.message
    return caught.value


def test_a_plain_conversation() -> None:
    system = Message(
        role=Role.SYSTEM, parts=(Text(text="Be brief."),), shape=Shape((), {"path": "system"})
    )
    wire, dropped = encode(
        system,
        user(Text(text="Hi")),
        max_output_tokens=64,
        temperature=0.5,
        stop=("END",),
        stream=True,
    )
    assert wire == {
        "model": "gpt",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
        ],
        "max_completion_tokens": 64,
        "temperature": 0.5,
        "stop": ["END"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert dropped == ()


def test_the_limit_goes_where_the_vendor_reads_it() -> None:
    wire, _ = encode(codec=OpenAIChat(limit_field="max_tokens"), max_output_tokens=5)
    assert wire["max_tokens"] == 5


def test_a_turn_of_tool_results_is_a_message_each_and_then_the_rest() -> None:
    wire, dropped = encode(
        assistant(
            Text(text="Both."),
            ToolCall(id="a", name="f", arguments='{"x":1}'),
            ToolCall(id="b", name="g"),
        ),
        user(
            ToolResult(call_id="a", parts=(Text(text="1"),)),
            ToolResult(call_id="b", parts=(Text(text="2"), Text(text="3")), is_error=True),
            Text(text="Go on"),
        ),
    )
    assert wire["messages"] == [
        {
            "role": "assistant",
            "content": "Both.",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {
            "role": "tool",
            "tool_call_id": "b",
            "content": [{"type": "text", "text": "2"}, {"type": "text", "text": "3"}],
        },
        {"role": "user", "content": "Go on"},
    ]
    assert dropped == ("messages.1.content.1.is_error",)


def test_a_turn_of_calls_alone_has_null_content() -> None:
    wire, _ = encode(assistant(ToolCall(id="a", name="f", arguments="{}")))
    assert wire["messages"][0]["content"] is None
    assert list(wire["messages"][0]) == ["role", "content", "tool_calls"]


def test_an_empty_result_is_empty_text() -> None:
    wire, _ = encode(user(ToolResult(call_id="a")))
    assert wire["messages"] == [{"role": "tool", "tool_call_id": "a", "content": ""}]


def test_a_results_image_moves_into_the_user_message_after_all_results() -> None:
    seen = ToolResult(call_id="a", parts=(Text(text="seen"), PIXEL))
    other = ToolResult(call_id="b", parts=(Text(text="other"),))
    wire, dropped = encode(user(seen), user(other), assistant(Text(text="ok")))
    assert wire["messages"] == [
        {"role": "tool", "tool_call_id": "a", "content": "seen"},
        {"role": "tool", "tool_call_id": "b", "content": "other"},
        {"role": "user", "content": [PIXEL_ITEM]},
        {"role": "assistant", "content": "ok"},
    ]
    assert dropped == ()


def test_a_results_image_joins_the_users_next_words() -> None:
    wire, _ = encode(user(ToolResult(call_id="a", parts=(PIXEL,)), Text(text="What is it?")))
    assert wire["messages"][1:] == [
        {"role": "user", "content": [PIXEL_ITEM, {"type": "text", "text": "What is it?"}]}
    ]


def test_documents() -> None:
    wire, dropped = encode(
        user(
            Document(source=Source(data="QQ"), media_type="application/pdf"),
            Document(source=Source(text="plain"), name="t", context="c"),
        )
    )
    file = {"filename": "document.pdf", "file_data": "data:application/pdf;base64,QQ"}
    assert wire["messages"][0]["content"] == [
        {"type": "file", "file": file},
        {"type": "text", "text": "plain"},
    ]
    assert dropped == ("messages.0.content.1.context", "messages.0.content.1.title")


@pytest.mark.parametrize(
    "part",
    [
        Opaque(type="server_tool_use", value={}),
        Image(source=Source(file_id="file_1")),
        Document(source=Source(url="https://example.org/a.pdf")),
        Document(source=Source(file_id="file_1")),
        Audio(source=Source(url="https://example.org/a.mp3")),
    ],
)
def test_content_that_chat_cannot_hold_is_refused_by_its_path(part: Part) -> None:
    assert refused(user(Text(text="a"), part)).field == "messages.0.content.1"


def test_a_message_of_no_known_kind_is_refused() -> None:
    opaque = Message(role=Role.OPAQUE, parts=(Opaque(type="message", value=1),))
    assert refused(user(Text(text="a")), opaque).field == "messages.1"


def test_a_vendors_own_tool_is_refused() -> None:
    tools = (Tool(name="f"), Tool(name="web_search", opaque={"type": "web_search"}))
    assert refused(tools=tools).field == "tools.1"


def test_thinking_is_left_out_and_told_of_once() -> None:
    turn = assistant(Thinking(text="t", vendor_data={"signature": "s"}), Text(text="a"))
    wire, dropped = encode(turn, assistant(Thinking(text="t")), turn)
    assert wire["messages"] == [{"role": "assistant", "content": "a"}] * 2
    assert dropped == ("messages.0.content.0",)


def test_cache_marks_are_told_of_once() -> None:
    wire, dropped = encode(
        user(Text(text="a"), Text(text="b", cache=CACHE)),
        user(Text(text="c", cache=CACHE)),
        tools=(Tool(name="f", cache=CACHE),),
    )
    assert "cache_control" not in json.dumps(wire)
    assert dropped == ("tools.0.cache_control",)


def test_what_only_the_client_knows_is_dropped_by_name() -> None:
    wire, dropped = encode(
        user(Text(text="a", extra={"x": 1}, citations=({"cited": 1},))),
        extra={"container": "c"},
        metadata={"user_id": "u"},
        top_k=5,
        service_tier="batch",
        shape=Shape(("container", "messages")),
    )
    assert list(wire) == ["model", "messages"]
    assert dropped == (
        "container",
        "top_k",
        "messages.0.content.0.x",
        "messages.0.content.0.citations",
        "service_tier",
        "metadata.user_id",
    )


@pytest.mark.parametrize(
    ("thinking", "effort", "dropped"),
    [
        (ThinkingConfig(mode="enabled", budget_tokens=1_024), "low", ["thinking.budget_tokens"]),
        (ThinkingConfig(mode="enabled", budget_tokens=9_000), "medium", ["thinking.budget_tokens"]),
        (ThinkingConfig(mode="enabled", budget_tokens=32_000), "high", ["thinking.budget_tokens"]),
        (ThinkingConfig(mode="adaptive", effort="low"), "low", []),
        (ThinkingConfig(mode="adaptive"), None, []),
        (ThinkingConfig(mode="disabled"), None, ["thinking"]),
    ],
)
def test_thinking_is_an_effort(
    thinking: ThinkingConfig, effort: str | None, dropped: list[str]
) -> None:
    wire, told = encode(thinking=thinking)
    assert wire.get("reasoning_effort") == effort
    assert list(told) == dropped


def test_tools_and_how_to_choose() -> None:
    wire, dropped = encode(
        tools=(Tool(name="f", description="d", parameters={"type": "object"}), Tool(name="g")),
        tool_choice=ToolChoice(mode=ToolMode.NAMED, name="f"),
        parallel_tool_calls=False,
    )
    assert [tool["function"]["name"] for tool in wire["tools"]] == ["f", "g"]
    assert wire["tools"][1]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert wire["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert wire["parallel_tool_calls"] is False
    assert dropped == ()


@pytest.mark.parametrize(
    ("mode", "word"),
    [(ToolMode.AUTO, "auto"), (ToolMode.NONE, "none"), (ToolMode.REQUIRED, "required")],
)
def test_modes_of_choice(mode: ToolMode, word: str) -> None:
    wire, _ = encode(tools=(Tool(name="f"),), tool_choice=ToolChoice(mode=mode))
    assert wire["tool_choice"] == word


def test_without_tools_there_is_nothing_to_choose() -> None:
    wire, _ = encode(tool_choice=ToolChoice(mode=ToolMode.AUTO), parallel_tool_calls=True)
    assert list(wire) == ["model", "messages"]


def test_structured_output_gets_a_name() -> None:
    wire, _ = encode(output_format=OutputFormat(kind="json_schema", schema={"type": "object"}))
    assert wire["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "object"}},
    }


@pytest.mark.parametrize(
    ("wanted", "tier"), [("auto", "auto"), ("standard_only", "default"), ("priority", "priority")]
)
def test_service_tiers(wanted: str, tier: str) -> None:
    assert encode(service_tier=wanted)[0]["service_tier"] == tier
