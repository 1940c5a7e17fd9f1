"""A client's request: what it means, that it goes back as it came, and what is refused."""

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
    Refusal,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from shared.canonical.request import OutputFormat, Role, ThinkingConfig, ToolChoice, ToolMode
from shared.protocols.openai_chat import OpenAIChat

CODEC = OpenAIChat()
MINIMAL: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def decode(**fields: Any) -> Any:
    return CODEC.decode_request(json.dumps({**MINIMAL, **fields}).encode())


def parts_of(*items: Any, role: str = "user") -> Any:
    return decode(messages=[{"role": role, "content": list(items)}]).messages[0].parts


def plain(node: Any) -> Any:
    """A node without the notes for the way back."""
    return type(node)(
        **{
            name: plain(value) if hasattr(value, "shape") else value
            for name, value in ((f, getattr(node, f)) for f in node.__struct_fields__)
            if name not in ("extra", "shape")
        }
    )


def test_a_plain_request() -> None:
    request = decode(temperature=0.5, max_tokens=7, stop="END", n=2, stream=True, user="u")
    assert request.protocol == "openai_chat"
    assert request.model == "m"
    assert request.messages[0].role is Role.USER
    assert request.messages[0].parts == (Text(text="Hi"),)
    assert (request.temperature, request.max_output_tokens, request.candidates) == (0.5, 7, 2)
    assert (request.stop, request.stream, request.user) == (("END",), True, "u")
    assert request.extra == {}


@pytest.mark.parametrize(
    ("role", "canonical"),
    [
        ("system", Role.SYSTEM),
        ("developer", Role.DEVELOPER),
        ("user", Role.USER),
        ("assistant", Role.ASSISTANT),
        ("function", Role.OPAQUE),
        ("narrator", Role.OPAQUE),
    ],
)
def test_roles(role: str, canonical: Role) -> None:
    message = decode(messages=[{"role": role, "content": "Hi"}]).messages[0]
    assert message.role is canonical


def test_items_of_content() -> None:
    parts = parts_of(
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}},
        {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ"},
        },
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "refusal", "refusal": "no"},
        {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}},
    )
    assert [plain(part) for part in parts[:-1]] == [
        Text(text="a", cache=CacheControl(ttl="1h")),
        Image(source=Source(data="QUJD"), media_type="image/png", detail="low"),
        Image(source=Source(url="https://example.org/a.png")),
        Audio(source=Source(data="QUJD"), format="wav"),
        Document(source=Source(data="QQ"), media_type="application/pdf", name="a.pdf"),
        Document(source=Source(file_id="file-1")),
        Refusal(text="no"),
    ]
    assert isinstance(parts[-1], Opaque)
    assert parts[-1].type == "video_url"


def test_an_assistants_turn_is_parts() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    wire = {"role": "assistant", "content": "a", "reasoning_content": "t", "tool_calls": [call]}
    message = decode(messages=[wire]).messages[0]
    assert message.parts == (
        Thinking(text="t"),
        Text(text="a"),
        ToolCall(id="c1", name="f", arguments='{"a": 1}'),
    )


def test_a_tool_message_is_a_result() -> None:
    wire = {"role": "tool", "tool_call_id": "c1", "content": "42"}
    message = decode(messages=[wire]).messages[0]
    assert message.role is Role.TOOL
    assert message.parts == (ToolResult(call_id="c1", parts=(Text(text="42"),)),)


def test_a_custom_call_is_opaque() -> None:
    call = {"id": "c1", "type": "custom", "custom": {"name": "f", "input": "x"}}
    wire = {"role": "assistant", "content": None, "tool_calls": [call]}
    (part,) = decode(messages=[wire]).messages[0].parts
    assert isinstance(part, Opaque)
    assert part.value == call


def test_tools_and_the_choice_among_them() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    function = {"name": "f", "description": "d", "parameters": schema, "strict": True}
    custom = {"type": "custom", "custom": {"name": "g"}}
    request = decode(
        tools=[{"type": "function", "function": function}, custom],
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
    )
    first, second = request.tools
    assert (first.name, first.description, first.parameters) == ("f", "d", schema)
    assert (first.strict, first.opaque, second.opaque) == (True, None, custom)
    assert plain(request.tool_choice) == ToolChoice(mode=ToolMode.NAMED, name="f")
    assert request.parallel_tool_calls is False


@pytest.mark.parametrize(
    ("word", "mode"),
    [("auto", "auto"), ("none", "none"), ("required", "required"), ("any", "required")],
)
def test_words_for_the_choice_of_tools(word: str, mode: str) -> None:
    assert decode(tool_choice=word).tool_choice.mode == mode


def test_structured_output() -> None:
    schema = {"type": "object"}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": schema}}
    decoded = decode(response_format=wanted).output_format
    assert plain(decoded) == OutputFormat(kind="json_schema", name="n", strict=True, schema=schema)


@pytest.mark.parametrize(
    ("effort", "thinking"),
    [("high", ThinkingConfig(effort="high")), ("none", ThinkingConfig(mode="disabled"))],
)
def test_effort(effort: str, thinking: ThinkingConfig) -> None:
    assert decode(reasoning_effort=effort).thinking == thinking


def test_the_newer_limit_wins_over_the_older() -> None:
    request = decode(max_tokens=5, max_completion_tokens=9)
    assert request.max_output_tokens == 9
    assert request.extra == {"max_tokens": 5}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": None, "tools": None, "stop": None, "n": None, "tool_choice": None},
        {"messages": []},
        {"messages": ["Invalid content", None, 3, [], {}, {"role": "narrator"}]},
        {"messages": [{"content": "order", "role": "user"}]},
        {"messages": [{"role": "user", "content": ""}]},
        {"messages": [{"role": "user", "content": None}]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": []}]},
        {"messages": [{"role": "user", "content": 7, "name": 8}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "one"}]}]},
        {"messages": [{"role": "user", "content": [{"text": "a", "type": "text", "x": None}]}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": None}, 5, {"type": 1}]}
            ]
        },
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "u"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": None}]}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"image_url": {"detail": None, "url": "u", "x": 1}, "type": "image_url"},
                        {"type": "image_url", "image_url": {"url": "data:;base64,QQ"}},
                        {"type": "image_url", "image_url": {"url": "data:a/b;c=d;base64,QQ"}},
                        {"type": "file", "file": {"file_data": "QQ=="}},
                        {"type": "file", "file": {"file_data": "x", "file_id": "y"}},
                        {"type": "input_audio", "input_audio": {}},
                        {"type": "input_audio", "input_audio.data": "dotted"},
                        {"type": "thinking", "thinking": [{"type": "text", "text": "t"}]},
                        {"type": "thinking", "thinking": []},
                        {"type": "refusal", "x": 1, "refusal": "no"},
                    ],
                }
            ]
        },
        {"messages": [{"role": "assistant", "content": "", "refusal": "", "tool_calls": []}]},
        {"messages": [{"role": "assistant", "reasoning": "a", "reasoning_content": "b"}]},
        {
            "messages": [
                {"role": "assistant", "refusal": "no", "content": None, "audio": {"id": "a"}}
            ]
        },
        {
            "messages": [
                {
                    "tool_calls": [
                        {"function": {"arguments": "", "name": "f"}, "id": "c", "index": 0},
                        {"type": None, "id": "c", "function": {"name": "f", "arguments": ""}},
                        {"id": "c", "type": "function", "function": {"name": "f"}},
                        None,
                    ],
                    "role": "assistant",
                }
            ]
        },
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "tool", "content": None, "tool_call_id": "c", "name": "n"}]},
        {
            "messages": [
                {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": ""}]}
            ]
        },
        {
            "messages": [
                {"role": "user", "content": "a", "cache_control": {"type": "ephemeral"}},
                {
                    "cache_control": {"ttl": "1h", "type": "ephemeral"},
                    "role": "user",
                    "content": "a",
                },
                {"role": "user", "content": "a", "cache_control": {"type": "eternal"}},
                {
                    "role": "user",
                    "content": "a",
                    "cache_control": {"type": "ephemeral", "ttl": None},
                },
                {
                    "role": "tool",
                    "tool_call_id": "c",
                    "content": "x",
                    "cache_control": {"type": "ephemeral"},
                },
            ]
        },
        {"tools": []},
        {"tools": [None, 1]},
        {"tools": [{"function": {"name": "f", "parameters": None}}, {"type": "web"}, {}]},
        {
            "tools": [
                {"function": {"strict": None, "x": 1, "name": "f"}, "y": 2, "type": "function"}
            ]
        },
        {"tool_choice": {"function": {"name": "f"}}},
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}},
        {"tool_choice": "any"},
        {"response_format": {"type": "grammar", "grammar": "x"}},
        {"response_format": {"type": "json_object", "schema": {}}},
        {
            "response_format": {
                "json_schema": {"schema": {}, "name": "n", "x": 1},
                "type": "json_schema",
            }
        },
        {"response_format": "json"},
        {"stream_options": {"x": 1, "include_usage": False}},
        {"stream_options": {"include_usage": None}},
        {"stream_options": None},
        {"stop": []},
        {"stop": ["a", "b"]},
        {"stop": "a"},
        {"max_tokens": 1},
        {"max_tokens": 1, "max_completion_tokens": 2},
        {
            "reasoning_effort": "none",
            "metadata": {"a": "b"},
            "functions": [],
            "unknown": {"a.b": 1},
        },
    ],
)
def test_goes_back_as_it_came(fields: dict[str, Any]) -> None:
    wire = {**fields, **MINIMAL, **fields}
    encoded = CODEC.encode_request(decode(**wire), model="m")
    assert encoded.dropped == ()
    assert json.dumps(json.loads(encoded.body)) == json.dumps({**MINIMAL, **wire})


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": None}, "messages"),
        ({"max_tokens": "7"}, "max_tokens"),
        ({"max_tokens": 7.5}, "max_tokens"),
        ({"max_completion_tokens": True}, "max_completion_tokens"),
        ({"max_tokens": 2**70}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": False}, "temperature"),
        ({"stream": 1}, "stream"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a", 1]}, "stop"),
        ({"tools": {}}, "tools"),
        ({"n": "2"}, "n"),
        ({"user": 5}, "user"),
        ({"reasoning_effort": 5}, "reasoning_effort"),
    ],
)
def test_what_is_certainly_wrong_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        decode(**fields)
    assert refused.value.field == field
    assert field in refused.value.message
    assert "hot" not in refused.value.message


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b"\xff", b'{"model": "m"', b"1"])
def test_a_body_that_is_not_an_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        CODEC.decode_request(body)


@pytest.mark.parametrize(
    ("raw", "stream", "patched"),
    [
        (b'{ "model":"a", "x" : 1.0 }', False, b'{"model":"b","x":1.0}'),
        (
            b'{"model":"a","stream":true}',
            True,
            b'{"model":"b","stream":true,"stream_options":{"include_usage":true}}',
        ),
        (
            b'{"stream_options": {"z": 1e2, "include_usage": false, "y": [ 1 ]},"model":"a"}',
            True,
            b'{"stream_options":{"z":1e2,"include_usage":true,"y":[ 1 ]},"model":"b"}',
        ),
        (
            b'{"model":"a","stream_options":null}',
            True,
            b'{"model":"b","stream_options":{"include_usage":true}}',
        ),
        (b'{"model":"a","stream_options":3}', True, b'{"model":"b","stream_options":3}'),
    ],
)
def test_patching_keeps_all_other_bytes(raw: bytes, stream: bool, patched: bytes) -> None:
    assert CODEC.patch_request(raw, model="b", stream=stream) == patched
