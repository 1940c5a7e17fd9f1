"""Requests of Anthropic's own clients: what they become, and that they go back as they came."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from shared.canonical.failures import InvalidRequestError
from shared.canonical.parts import (
    CacheControl,
    Document,
    Image,
    Opaque,
    Part,
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


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "claude", "max_tokens": 10, "messages": [], **fields}


def said(*content: Any) -> dict[str, Any]:
    return body(messages=[{"role": "user", "content": list(content)}])


def decode(wire: Any) -> Request:
    return CODEC.decode_request(json.dumps(wire).encode())


def encode(request: Request, model: str = "claude") -> Any:
    encoded = CODEC.encode_request(request, model=model)
    assert encoded.dropped == ()
    return json.loads(encoded.body)


def plain(node: Any) -> Any:
    """A node without what only its own protocol needs."""
    node = replace(node, extra={}, shape=None)
    for field in ("cache", "source"):
        if getattr(node, field, None) is not None:
            node = replace(node, **{field: plain(getattr(node, field))})
    if isinstance(node, ToolResult):
        node = replace(node, parts=tuple(plain(part) for part in node.parts))
    return node


def test_the_fields_that_every_protocol_has() -> None:
    request = decode(
        body(
            stream=True,
            temperature=0.5,
            top_p=0.9,
            top_k=40,
            stop_sequences=["a", "b"],
            service_tier="auto",
            metadata={"user_id": "u1"},
            tool_choice={"type": "any", "disable_parallel_tool_use": True},
            thinking={"type": "enabled", "budget_tokens": 2000},
            output_config={"effort": "high", "format": {"type": "json_schema", "schema": {}}},
        )
    )
    assert plain(replace(request, tool_choice=None, thinking=None, output_format=None)) == Request(
        protocol="anthropic_messages",
        model="claude",
        max_output_tokens=10,
        stream=True,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop=("a", "b"),
        service_tier="auto",
        user="u1",
        parallel_tool_calls=False,
    )
    assert plain(request.tool_choice) == ToolChoice(mode=ToolMode.REQUIRED)
    assert plain(request.thinking) == ThinkingConfig(
        mode="enabled", budget_tokens=2000, effort="high"
    )
    assert plain(request.output_format) == OutputFormat(kind="json_schema", schema={})


BLOCKS: list[tuple[dict[str, Any], Part]] = [
    (
        {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        Text(text="hi", cache=CacheControl(ttl="1h")),
    ),
    (
        {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
        Image(source=Source(url="https://a/b.png")),
    ),
    (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
        Image(source=Source(data="AA=="), media_type="image/png"),
    ),
    (
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}, "title": "T"},
        Document(source=Source(file_id="file_1"), name="T"),
    ),
    (
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "words"},
            "context": "C",
            "citations": {"enabled": True},
        },
        Document(source=Source(text="words"), media_type="text/plain", context="C"),
    ),
    (
        {"type": "document", "source": {"type": "content", "content": "words"}},
        Document(source=Source(text="words")),
    ),
    (
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1, 2.0, None]}},
        ToolCall(id="t1", name="f", arguments='{"a":[1,2.0,null]}'),
    ),
    (
        {"type": "tool_result", "tool_use_id": "t1", "content": "42", "is_error": False},
        ToolResult(call_id="t1", parts=(Text(text="42"),), is_error=False),
    ),
    (
        {"type": "tool_result", "tool_use_id": "t1"},
        ToolResult(call_id="t1"),
    ),
    (
        {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "a"}]},
        ToolResult(call_id="t1", parts=(Text(text="a"),)),
    ),
    (
        {"type": "thinking", "thinking": "hm", "signature": "sig=="},
        Thinking(text="hm", vendor_data={"signature": "sig=="}),
    ),
    (
        {"type": "redacted_thinking", "data": "blob"},
        Thinking(redacted=True, vendor_data={"data": "blob"}),
    ),
    (
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
        Opaque(
            type="server_tool_use",
            value={"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
        ),
    ),
]


@pytest.mark.parametrize(("wire", "part"), BLOCKS)
def test_a_block_is_its_canonical_part(wire: dict[str, Any], part: Part) -> None:
    request = decode(said(wire))
    assert plain(request.messages[0].parts[0]) == part
    assert encode(request) == said(wire)


def test_a_system_prompt_is_the_first_message() -> None:
    request = decode(body(system="be brief", messages=[{"role": "user", "content": "hi"}]))
    assert [(message.role, plain(message.parts[0])) for message in request.messages] == [
        (Role.SYSTEM, Text(text="be brief")),
        (Role.USER, Text(text="hi")),
    ]


def test_tools_are_functions_or_the_vendors_own() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    function = {"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": True}
    request = decode(body(tools=[function, search]))
    assert request.tools is not None
    assert plain(request.tools[0]) == Tool(
        name="f", description="d", parameters={"type": "object"}, strict=True
    )
    assert request.tools[1] == Tool(name="web_search", opaque=search)


AS_IT_CAME: list[Any] = [
    body(),
    {"messages": [], "model": "claude"},
    {"unknown": {"b": 1, "a": None}, "model": "claude", "messages": [], "max_tokens": None},
    body(system="x"),
    body(system=[]),
    body(system=""),
    body(system=[{"type": "text", "text": "x"}]),
    body(system=[{"text": "x", "cache_control": {"type": "ephemeral"}, "type": "text"}]),
    body(temperature=1, top_p=1.0),
    body(temperature=None, system=None, tools=None, metadata=None, thinking=None, stream=None),
    body(metadata={}),
    body(metadata={"a": 1, "user_id": "u", "b": None}),
    body(metadata={"user_id": None}),
    body(output_config={}),
    body(output_config={"format": {"schema": {"type": "object"}, "type": "json_schema"}}),
    body(output_config={"task_budget": {"a": 1}, "effort": "low", "format": None}),
    body(output_config={"effort": 3}),
    body(output_format={"type": "json_schema", "schema": {}}, output_config={"effort": "max"}),
    body(output_format={"type": "from_the_future"}),
    body(thinking={"type": "adaptive", "display": "omitted"}),
    body(thinking={"display": "omitted", "budget_tokens": 1024, "type": "enabled"}),
    body(thinking={"type": "between_tools"}),
    body(tool_choice={"type": "tool", "name": "f", "disable_parallel_tool_use": False}),
    body(tool_choice={"disable_parallel_tool_use": True, "type": "none"}),
    body(tool_choice={"type": "from_the_future"}),
    body(tools=[]),
    body(tools=[{"type": "custom", "name": "f", "input_schema": {"type": "object"}}]),
    body(tools=[{"type": None, "name": "f", "input_schema": None, "defer_loading": True}]),
    body(tools=[{"no": "name"}, {}, "text", 0]),
    body(stop_sequences=[]),
    body(messages=["Invalid content"]),
    body(messages=[None, 1, [], {}]),
    body(messages=[{"role": "user", "content": ""}, {"content": "x", "role": "assistant"}]),
    body(messages=[{"role": "user", "content": []}, {"role": "user"}]),
    body(messages=[{"role": "critic", "content": "x"}, {"role": ["user"], "content": "x"}]),
    body(messages=[{"role": "user", "content": None}, {"role": "user", "content": {"a": 1}}]),
    body(system="x", messages=[{"role": "system", "content": "y"}]),
    body(messages=[{"role": "system", "content": [{"type": "tool_addition"}], "id": "1"}]),
    said(None, "text", 3, {}, {"type": 3}, {"type": "hologram", "data": "x"}),
    said({"type": "text"}, {"type": "text", "text": None}, {"type": "text", "text": ["x"]}),
    said({"text": "x", "type": "text", "citations": None}),
    said({"type": "text", "text": "x", "citations": [{"a": 1}], "new": True}),
    said({"type": "text", "text": "x", "cache_control": None}),
    said({"type": "text", "text": "x", "cache_control": {"type": "eternal"}}),
    said(
        {"type": "text", "text": "x", "cache_control": {"ttl": "5m", "type": "ephemeral", "n": 1}}
    ),
    said({"type": "image", "source": {"data": "AA==", "type": "base64"}}),
    said({"type": "image", "source": {"type": "text", "data": "x"}}),
    said({"type": "image", "source": "x"}, {"type": "image"}),
    said({"type": "image", "source": {"type": "url", "url": "u", "n": 1}, "transformations": {}}),
    said({"type": "document", "source": {"type": "content", "content": [{"type": "text"}]}}),
    said({"type": "tool_use", "id": "1", "name": "f", "input": {}, "caller": {"type": "direct"}}),
    said({"type": "tool_use", "id": "1", "name": "f", "input": "x"}),
    said({"type": "tool_result", "tool_use_id": "1", "content": None}),
    said({"type": "tool_result", "tool_use_id": "1", "content": []}),
    said({"type": "tool_result", "tool_use_id": "1", "content": 3}),
    said({"type": "tool_result", "tool_use_id": "1", "content": [{"type": "search_result"}]}),
    said({"type": "tool_result", "content": "x", "is_error": None, "tool_use_id": "1"}),
    said({"type": "thinking", "thinking": "x"}, {"type": "thinking", "signature": "x"}),
    said({"signature": "x", "type": "thinking", "thinking": ""}),
]


@pytest.mark.parametrize("wire", AS_IT_CAME, ids=str)
def test_a_request_goes_back_as_it_came(wire: Any) -> None:
    assert json.dumps(encode(decode(wire))) == json.dumps(wire)


def test_only_the_model_changes() -> None:
    wire = {"max_tokens": 1, "model": "alias", "messages": []}
    encoded = encode(decode(wire), model="claude-x")
    assert json.dumps(encoded) == json.dumps({**wire, "model": "claude-x"})


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"", None),
        (b"[]", None),
        (b'"text"', None),
        (b'{"model": "a"', None),
        (b'{"model": "a", "messages": [], "x": "\xff"}', None),
        (b'{"messages": []}', "model"),
        (b'{"model": null, "messages": []}', "model"),
        (b'{"model": 1, "messages": []}', "model"),
        (b'{"model": "a"}', "messages"),
        (b'{"model": "a", "messages": {}}', "messages"),
    ],
)
def test_a_body_that_is_certainly_wrong_is_refused(raw: bytes, field: str | None) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        CODEC.decode_request(raw)
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", "10"),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("max_tokens", 10**30),
        ("temperature", "warm"),
        ("temperature", True),
        ("temperature", 10**400),
        ("top_p", []),
        ("top_k", 0.5),
        ("stream", "yes"),
        ("stream", 1),
        ("stop_sequences", "end"),
        ("stop_sequences", ["end", 1]),
        ("tools", {}),
        ("system", {"text": "x"}),
    ],
)
def test_a_field_of_the_wrong_type_is_named_and_not_quoted(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        decode(body(**{name: value}))
    assert raised.value.field == name
    assert raised.value.message.startswith(f"{name}: must be ")
    assert "warm" not in raised.value.message


def test_a_step_may_change_a_request_that_goes_back_to_its_own_protocol() -> None:
    request = decode(
        body(
            system="be brief",
            messages=[
                {"role": "user", "content": "my number is 42"},
                {"role": "system", "content": "stays here"},
            ],
            unknown=1,
        )
    )
    system, user, note = request.messages
    changed = replace(
        request,
        messages=(
            Message(role=Role.SYSTEM, parts=(Text(text="policy"),)),
            system,
            replace(user, parts=(replace(user.parts[0], text="my number is [gone]"),)),
            note,
        ),
    )
    assert encode(changed) == body(
        messages=[
            {"role": "user", "content": "my number is [gone]"},
            {"role": "system", "content": "stays here"},
        ],
        system=[{"type": "text", "text": "policy"}, {"type": "text", "text": "be brief"}],
        unknown=1,
    )


def test_a_patch_keeps_every_byte_but_the_models_name() -> None:
    raw = b'{ "model" : "alias", "x": 1.50, "messages": [ {"role":"user"} ], "z":"\\u00e9" }'
    patched = CODEC.patch_request(raw, model="claude-x", stream=True)
    assert patched == (
        b'{"model":"claude-x","x":1.50,"messages":[ {"role":"user"} ],"z":"\\u00e9"}'
    )
