import json
from typing import Any

import pytest
from msgspec.structs import replace

from shared.canonical.answer import Answer, fold, unfold
from shared.canonical.events import Finished, FinishReason, Started
from shared.canonical.failures import MalformedAnswerError
from shared.canonical.parts import (
    Audio,
    Opaque,
    Part,
    Refusal,
    Shape,
    Source,
    Text,
    Thinking,
    ToolCall,
)
from shared.canonical.usage import Usage
from shared.protocols.anthropic_messages import AnthropicMessages
from shared.protocols.codec import AnswerContext

CODEC = AnthropicMessages()
CONTEXT = AnswerContext(call_id="call-1", model="alias", created=7)

USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 7,
    "cache_read_input_tokens": 5,
    "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
    "output_tokens": 20,
    "output_tokens_details": {"thinking_tokens": 8},
    "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
    "service_tier": "standard",
    "inference_geo": "global",
}


def message(**fields: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 2},
        **fields,
    }


def decode(wire: Any) -> Answer:
    return CODEC.decode_response(json.dumps(wire).encode())


def encode(answer: Answer) -> Any:
    return json.loads(CODEC.encode_response(answer, CONTEXT))


def foreign(*parts: Part, **fields: Any) -> Answer:
    started = Started(id="chatcmpl-1", model="gpt-x")
    finished = Finished(reason=FinishReason.STOP, vendor_reason="stop")
    values: dict[str, Any] = {"started": started, "finished": finished, **fields}
    return Answer(parts=parts, **values)


def test_an_answer() -> None:
    answer = decode(message(stop_reason="stop_sequence", stop_sequence="END", usage=USAGE))
    assert answer.started == Started(id="msg_1", model="claude-x")
    assert answer.parts == (Text(text="hi"),)
    assert answer.finished is not None
    assert replace(answer.finished, shape=None) == Finished(
        reason=FinishReason.STOP, vendor_reason="stop_sequence", stop_sequence="END"
    )


def test_usage_in_disjoint_classes() -> None:
    assert decode(message(usage=USAGE)).usage == Usage(
        input=10,
        cache_read=5,
        cache_write_5m=3,
        cache_write_1h=4,
        output=20,
        reasoning=8,
        tool_fees={"web_search": 2, "web_fetch": 0},
        service_tier="standard",
        extra={"inference_geo": "global"},
    )


def test_what_is_not_reported_is_not_zero() -> None:
    assert decode(message(usage={"output_tokens": 2})).usage == Usage(output=2)
    assert decode(message(usage=None)).usage is None


def test_a_cache_write_of_unsaid_length_is_a_short_one() -> None:
    usage = decode(message(usage={"cache_creation_input_tokens": 9})).usage
    assert usage == Usage(cache_write_5m=9)


def test_compaction_is_billed_beside_the_rest() -> None:
    """Its tokens are in no top-level count."""
    iterations = [
        {"type": "compaction", "input_tokens": 100, "output_tokens": 30},
        {"type": "message", "input_tokens": 5, "output_tokens": 2},
        {"type": "advisor_message", "input_tokens": 9, "output_tokens": 9, "model": "other"},
    ]
    wire = message(usage={"input_tokens": 5, "output_tokens": 2, "iterations": iterations})
    answer = decode(wire)
    assert answer.usage is not None
    assert (answer.usage.input, answer.usage.output) == (105, 32)
    assert encode(answer) == wire
    assert encode(replace(answer, extra={}))["usage"] == wire["usage"]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("tool_use", FinishReason.TOOL_CALLS),
        ("refusal", FinishReason.REFUSAL),
        ("pause_turn", FinishReason.PAUSE),
        ("from_the_future", FinishReason.OTHER),
        (None, FinishReason.OTHER),
    ],
)
def test_a_reason_to_stop(word: str | None, reason: FinishReason) -> None:
    answer = decode(message(stop_reason=word))
    assert answer.finished is not None
    assert answer.finished.reason is reason
    assert encode(answer)["stop_reason"] == word


AS_IT_CAME: list[dict[str, Any]] = [
    message(),
    message(usage=USAGE),
    message(content=[]),
    message(usage={}),
    message(usage=None, id=None, model=3),
    message(id="", role="critic", type="letter"),
    message(stop_details={"type": "refusal"}, container=None, context_management={"a": []}),
    message(usage={"cache_creation": {"a": 1}, "server_tool_use": {"b": 1}, "input_tokens": "x"}),
    {"content": [None, {"type": "new"}], "new": 1},
    {"stop_reason": 3, "content": [{"text": "x", "type": "text"}], "usage": [1], "model": "m"},
    message(content=[{"type": "tool_use", "id": "1", "name": "f", "input": {}, "caller": {}}]),
    message(content=[{"type": "thinking", "thinking": "", "signature": ""}]),
]


@pytest.mark.parametrize("wire", AS_IT_CAME, ids=str)
def test_an_answer_goes_back_as_it_came(wire: dict[str, Any]) -> None:
    answer = decode(wire)
    assert json.dumps(encode(answer)) == json.dumps(wire)
    assert fold(unfold(answer)) == answer


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[]", b"{}", b'{"content": "text"}', b"\xff"])
def test_what_is_no_answer_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        CODEC.decode_response(raw)


def test_a_changed_answer_shows_the_change() -> None:
    answer = decode(message(usage=USAGE))
    assert answer.usage is not None
    changed = replace(answer, parts=(Text(text="[gone]"),), usage=replace(answer.usage, output=21))
    assert encode(changed) == message(
        content=[{"type": "text", "text": "[gone]"}], usage={**USAGE, "output_tokens": 21}
    )


def test_another_vendors_answer() -> None:
    answer = foreign(
        Thinking(text="hm", vendor_data={"blob": "x"}),
        Text(text="", extra={"secret": 1}),
        Text(text="sun", citations=({"a": 1},), extra={"secret": 1}),
        ToolCall(id="call:1", name="f", arguments='{"a":1}', extra={"secret": 1}),
        ToolCall(id="", name="f", arguments="{"),
        finished=Finished(reason=FinishReason.TOOL_CALLS, vendor_reason="tool_calls"),
        usage=Usage(input=3, cache_read=4, output=5, reasoning=1, extra={"secret": 1}),
        extra={"secret": 1},
        shape=Shape(("secret", "id")),
    )
    assert encode(answer) == {
        "id": "msg_call-1",
        "type": "message",
        "role": "assistant",
        "model": "gpt-x",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "text", "text": "sun"},
            {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
            {
                "type": "tool_use",
                "id": "toolu_call-1_4",
                "name": "f",
                "input": {"INVALID_JSON": "{"},
            },
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 3,
            "cache_read_input_tokens": 4,
            "output_tokens": 5,
            "output_tokens_details": {"thinking_tokens": 1},
        },
    }


def test_what_has_no_place_in_an_answer_is_left_out() -> None:
    parts = (Audio(source=Source(data="AA==")), Opaque(type="x", value={"type": "x"}))
    sealed = Thinking(redacted=True, vendor_data={"encrypted": "x"})
    assert encode(foreign(*parts, sealed, Text(text="a")))["content"] == [
        {"type": "text", "text": "a"}
    ]


@pytest.mark.parametrize(
    ("parts", "finished", "word"),
    [
        ((), Finished(reason=FinishReason.LENGTH), "max_tokens"),
        ((), Finished(reason=FinishReason.CONTENT_FILTER), "refusal"),
        ((), Finished(reason=FinishReason.OTHER, vendor_reason="odd"), "end_turn"),
        ((), Finished(reason=FinishReason.STOP, stop_sequence="E"), "stop_sequence"),
        ((Refusal(text="no"),), Finished(reason=FinishReason.STOP), "refusal"),
        ((ToolCall(id="1", name="f"),), Finished(reason=FinishReason.STOP), "tool_use"),
        ((), None, "end_turn"),
    ],
)
def test_another_vendors_reason(
    parts: tuple[Part, ...], finished: Finished | None, word: str
) -> None:
    assert encode(foreign(*parts, finished=finished))["stop_reason"] == word


def test_what_nobody_said_is_made_up_from_the_call() -> None:
    wire = encode(Answer(started=Started(), finished=None))
    assert (wire["id"], wire["model"]) == ("msg_call-1", "alias")
    assert wire["usage"] == {"input_tokens": 0, "output_tokens": 0}
