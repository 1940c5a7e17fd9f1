"""Requests that came in another protocol: said in Anthropic's words, dropped, or refused."""

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
    Refusal,
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
from shared.protocols.anthropic_messages import AnthropicMessages

CODEC = AnthropicMessages()
FUNCTION = Tool(name="f", parameters={"type": "object"})


def turn(role: Role, *parts: Part | str, **fields: Any) -> Message:
    said = tuple(Text(text=part) if isinstance(part, str) else part for part in parts)
    return Message(role=role, parts=said, **fields)


def chat(*messages: Message, **fields: Any) -> Request:
    return Request(protocol="openai_chat", model="gpt", messages=messages, **fields)


def encode(request: Request) -> tuple[dict[str, Any], tuple[str, ...]]:
    encoded = CODEC.encode_request(request, model="claude")
    return json.loads(encoded.body), encoded.dropped


def content(*parts: Part) -> Any:
    wire, dropped = encode(chat(turn(Role.USER, *parts)))
    assert dropped == ()
    return wire["messages"][0]["content"]


def test_a_conversation() -> None:
    wire, dropped = encode(
        chat(
            turn(Role.SYSTEM, "be brief"),
            turn(Role.DEVELOPER, "and kind"),
            turn(Role.USER, "weather?"),
            turn(
                Role.ASSISTANT,
                "",
                ToolCall(id="call_1", name="f", arguments='{"a": 1}'),
                ToolCall(id="call_2", name="f", arguments=""),
            ),
            turn(Role.TOOL, ToolResult(call_id="call_1", parts=(Text(text="sun"),))),
            turn(Role.TOOL, ToolResult(call_id="call_2", parts=(Text(text="rain"),))),
            turn(Role.USER, "and tomorrow?"),
            turn(Role.ASSISTANT, "sun"),
        )
    )
    assert dropped == ()
    assert wire == {
        "model": "claude",
        "max_tokens": 8192,
        "system": [{"type": "text", "text": "be brief"}, {"type": "text", "text": "and kind"}],
        "messages": [
            {"role": "user", "content": "weather?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
                    {"type": "tool_use", "id": "call_2", "name": "f", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "sun"},
                    {"type": "tool_result", "tool_use_id": "call_2", "content": "rain"},
                    {"type": "text", "text": "and tomorrow?"},
                ],
            },
            {"role": "assistant", "content": "sun"},
        ],
    }


def test_results_come_first_in_a_turn() -> None:
    wire, _ = encode(
        chat(turn(Role.USER, "so?", ToolResult(call_id="1"), ToolResult(call_id="2"), "now"))
    )
    kinds = [block["type"] for block in wire["messages"][0]["content"]]
    assert kinds == ["tool_result", "tool_result", "text", "text"]


def test_instructions_in_mid_conversation_are_collected() -> None:
    wire, _ = encode(chat(turn(Role.USER, "a"), turn(Role.SYSTEM, "b"), turn(Role.USER, "c")))
    assert wire["system"] == "b"
    assert [message["content"] for message in wire["messages"]] == ["a", "c"]


def test_text_without_a_letter_is_left_out() -> None:
    """Anthropic answers 400 to it."""
    wire, dropped = encode(
        chat(turn(Role.SYSTEM, " "), turn(Role.USER, "a", "", "\n"), turn(Role.ASSISTANT, ""))
    )
    assert dropped == ()
    assert "system" not in wire
    assert wire["messages"] == [{"role": "user", "content": "a"}]


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            Image(source=Source(data="AA=="), media_type="image/png"),
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "AA=="},
            },
        ),
        (
            Image(source=Source(url="data:image/gif;base64,R0lG")),
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/gif", "data": "R0lG"},
            },
        ),
        (
            Image(source=Source(url="https://a/b")),
            {"type": "image", "source": {"type": "url", "url": "https://a/b"}},
        ),
        (
            Document(source=Source(data="JVBERi0="), name="a.pdf"),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
                "title": "a.pdf",
            },
        ),
        (
            Document(source=Source(data="YSxi"), media_type="text/csv"),
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "a,b"},
            },
        ),
        (
            Document(source=Source(data="%%%"), media_type="text/csv"),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "text/csv", "data": "%%%"},
            },
        ),
        (
            Document(source=Source(file_id="file-1")),
            {"type": "document", "source": {"type": "file", "file_id": "file-1"}},
        ),
        (
            Text(text="x", cache=CacheControl(ttl="5m")),
            {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "5m"}},
        ),
        (
            ToolResult(
                call_id="functions.f:0",
                parts=(Text(text="a"), Image(source=Source(url="https://a"))),
                is_error=True,
            ),
            {
                "type": "tool_result",
                "tool_use_id": "functions_f_0",
                "content": [
                    {"type": "text", "text": "a"},
                    {"type": "image", "source": {"type": "url", "url": "https://a"}},
                ],
                "is_error": True,
            },
        ),
        (
            ToolCall(id="functions.f:0", name="f", arguments='{"a":'),
            {
                "type": "tool_use",
                "id": "functions_f_0",
                "name": "f",
                "input": {"INVALID_JSON": '{"a":'},
            },
        ),
        (
            ToolCall(id="1", name="f", arguments="[1]"),
            {"type": "tool_use", "id": "1", "name": "f", "input": {"INVALID_JSON": "[1]"}},
        ),
        (
            Thinking(text="hm", vendor_data={"signature": "from Bedrock"}),
            {"type": "thinking", "thinking": "hm", "signature": "from Bedrock"},
        ),
    ],
)
def test_a_part_in_anthropics_words(part: Part, block: Any) -> None:
    assert content(part) == [block]


def test_a_refusal_is_text() -> None:
    wire, _ = encode(chat(turn(Role.ASSISTANT, Refusal(text="I won't"))))
    assert wire["messages"] == [
        {"role": "assistant", "content": [{"type": "text", "text": "I won't"}]}
    ]


def test_tools_and_their_choice() -> None:
    wire, dropped = encode(
        chat(
            tools=(
                Tool(name="f", description="d", parameters={"properties": {}}, strict=False),
                Tool(name="g", strict=True, cache=CacheControl()),
            ),
            tool_choice=ToolChoice(mode=ToolMode.NAMED, name="g"),
            parallel_tool_calls=False,
        )
    )
    assert dropped == ()
    assert wire["tools"] == [
        {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}},
        {
            "name": "g",
            "strict": True,
            "cache_control": {"type": "ephemeral"},
            "input_schema": {"type": "object", "properties": {}},
        },
    ]
    assert wire["tool_choice"] == {"type": "tool", "name": "g", "disable_parallel_tool_use": True}


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({}, None),
        ({"parallel_tool_calls": True}, None),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"tool_choice": ToolChoice(mode=ToolMode.AUTO)}, {"type": "auto"}),
        ({"tool_choice": ToolChoice(mode=ToolMode.REQUIRED)}, {"type": "any"}),
        (
            {"tool_choice": ToolChoice(mode=ToolMode.NONE), "parallel_tool_calls": False},
            {"type": "none"},
        ),
        ({"tools": (), "tool_choice": ToolChoice(mode=ToolMode.AUTO)}, None),
    ],
)
def test_a_tool_choice(fields: dict[str, Any], choice: Any) -> None:
    wire, dropped = encode(chat(**{"tools": (FUNCTION,), **fields}))
    assert wire.get("tool_choice") == choice
    assert dropped == ()


@pytest.mark.parametrize(
    ("thinking", "expected"),
    [
        (ThinkingConfig(effort="minimal"), {"output_config": {"effort": "low"}}),
        (ThinkingConfig(effort="xhigh"), {"output_config": {"effort": "xhigh"}}),
        (ThinkingConfig(effort="none"), {"thinking": {"type": "disabled"}}),
        (ThinkingConfig(budget_tokens=0), {"thinking": {"type": "disabled"}}),
        (ThinkingConfig(budget_tokens=-1), {"thinking": {"type": "adaptive"}}),
        (
            ThinkingConfig(budget_tokens=100),
            {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 9216},
        ),
        (ThinkingConfig(mode="enabled"), {"thinking": {"type": "adaptive"}}),
    ],
)
def test_how_much_to_think(thinking: ThinkingConfig, expected: dict[str, Any]) -> None:
    wire, dropped = encode(chat(thinking=thinking))
    assert wire == {"model": "claude", "max_tokens": 8192, "messages": [], **expected}
    assert dropped == ()


def test_options_in_anthropics_words() -> None:
    schema = {"type": "object", "properties": {}}
    wire, dropped = encode(
        chat(
            max_output_tokens=5,
            stream=True,
            stream_usage=True,
            temperature=0.3,
            top_k=3,
            stop=("END",),
            user="u1",
            service_tier="default",
            candidates=1,
            frequency_penalty=0.0,
            output_format=OutputFormat(kind="json_schema", name="n", schema=schema, strict=True),
        )
    )
    assert dropped == ()
    assert wire == {
        "model": "claude",
        "max_tokens": 5,
        "messages": [],
        "output_config": {"format": {"type": "json_schema", "schema": schema}},
        "temperature": 0.3,
        "top_k": 3,
        "stop_sequences": ["END"],
        "stream": True,
        "metadata": {"user_id": "u1"},
        "service_tier": "standard_only",
    }


LOSSES: list[tuple[Request, tuple[str, ...]]] = [
    (
        chat(frequency_penalty=0.5, presence_penalty=1.0, seed=0),
        ("frequency_penalty", "presence_penalty", "seed"),
    ),
    (chat(temperature=1.5), ("temperature",)),
    (chat(metadata={"a": "b"}), ("metadata",)),
    (chat(service_tier="flex"), ("service_tier",)),
    (chat(stop=("\n", "END")), ("stop",)),
    (chat(output_format=OutputFormat(kind="json_object")), ("response_format",)),
    (chat(output_format=OutputFormat(kind="text")), ()),
    (chat(thinking=ThinkingConfig(effort="heroic")), ("reasoning_effort",)),
    (chat(extra={"logprobs": True, "store": False}), ("logprobs", "store")),
    (chat(turn(Role.USER, "a"), turn(Role.USER, "b", name="bob")), ("messages.1.name",)),
    (chat(turn(Role.USER, "b", extra={"weight": 1})), ("messages.0.weight",)),
    (
        chat(turn(Role.USER, "a", Text(text="b", citations=({},), extra={"x": 1}))),
        ("messages.0.content.1.x", "messages.0.content.1.citations"),
    ),
    (
        chat(turn(Role.USER, Image(source=Source(url="https://a"), detail="low"))),
        ("messages.0.content.0.detail",),
    ),
    (
        chat(turn(Role.ASSISTANT, Thinking(text="hm"), "so")),
        ("messages.0.reasoning_content",),
    ),
    (
        chat(turn(Role.ASSISTANT, "so", ToolCall(id="1", name="f", extra={"x": 1}))),
        ("messages.0.tool_calls.0.x",),
    ),
    (
        chat(turn(Role.ASSISTANT, ToolCall(id="1", name="f", vendor_data={"thought": 1}))),
        ("messages.0.tool_calls.0.thought",),
    ),
    (
        chat(turn(Role.TOOL, ToolResult(call_id="1", parts=(Text(text="x", extra={"y": 1}),)))),
        ("messages.0.content.0.content.0.y",),
    ),
    (chat(tools=(Tool(name="f", extra={"x": 1}),)), ("tools.0.x",)),
]


@pytest.mark.parametrize(("request_", "dropped"), LOSSES)
def test_a_loss_is_named_by_the_clients_path(request_: Request, dropped: tuple[str, ...]) -> None:
    assert encode(request_)[1] == dropped


def test_what_lies_above_anthropics_range_is_cut() -> None:
    assert encode(chat(temperature=1.5))[0]["temperature"] == 1.0


def test_extra_and_shape_of_another_protocol_never_leak() -> None:
    note: dict[str, Any] = {
        "extra": {"secret": 1},
        "shape": Shape(("secret", "type"), {"content": "text"}),
    }
    wire, _ = encode(
        chat(
            turn(Role.USER, Text(text="a", **note), **note),
            tools=(Tool(name="f", **note),),
            tool_choice=ToolChoice(mode=ToolMode.AUTO, **note),
            output_format=OutputFormat(kind="json_schema", schema={"a": 1}, **note),
            thinking=ThinkingConfig(mode="adaptive", **note),
            **note,
        )
    )
    assert "secret" not in json.dumps(wire)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (chat(candidates=2), "n"),
        (chat(tools=(FUNCTION, Tool(name="web_search", opaque={"type": "web_search"}))), "tools.1"),
        (chat(turn(Role.USER, "a", Audio(source=Source(data="AA==")))), "messages.0.content.1"),
        (chat(turn(Role.USER, Opaque(type="video", value={}))), "messages.0.content.0"),
        (chat(turn(Role.OPAQUE, Opaque(type="message", value={}))), "messages.0"),
        (chat(turn(Role.SYSTEM, Image(source=Source(url="https://a")))), "messages.0"),
        (chat(turn(Role.USER, Image(source=Source(data="AA==")))), "messages.0.content.0"),
        (
            chat(turn(Role.TOOL, ToolResult(call_id="1", parts=(Opaque(type="x"),)))),
            "messages.0.content.0.content.0",
        ),
    ],
)
def test_what_must_not_be_lost_is_refused_by_the_clients_path(
    request_: Request, field: str
) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        encode(request_)
    assert raised.value.field == field
    assert raised.value.message.startswith(field)
