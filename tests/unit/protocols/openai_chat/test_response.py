"""Unstreamed answers: what they mean, that they go back as they came, and how others' look."""

import json
from typing import Any

import pytest
from msgspec.structs import replace
from openai.types.chat import ChatCompletion

from shared.canonical.answer import Answer, fold, unfold
from shared.canonical.events import Finished, FinishReason, Started
from shared.canonical.failures import MalformedAnswerError
from shared.canonical.parts import Opaque, Refusal, Shape, Text, Thinking, ToolCall
from shared.canonical.usage import Usage
from tests.unit.protocols.openai_chat.chunks import CODEC, CONTEXT, USAGE


def wire(message: dict[str, Any] | None = None, reason: str | None = "stop", **more: Any) -> Any:
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt",
        "choices": [choice],
        "usage": USAGE,
        **more,
    }


def decode(answer: Any) -> Answer:
    return CODEC.decode_response(json.dumps(answer).encode())


def encode(answer: Answer) -> Any:
    return json.loads(CODEC.encode_response(answer, CONTEXT))


SPOKEN = {"role": "assistant", "content": "Hi", "refusal": None, "annotations": []}
CALLING = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
    ],
}


def test_an_answer_in_words() -> None:
    answer = decode(wire(SPOKEN, service_tier="default"))
    assert answer.started == Started(id="chatcmpl-1", model="gpt", created=1)
    assert answer.parts == (Text(text="Hi"),)
    assert answer.finished == Finished(reason=FinishReason.STOP, vendor_reason="stop")
    assert answer.usage is not None
    assert (answer.usage.input, answer.usage.output) == (9, 3)
    assert answer.usage.service_tier == "default"


def test_an_answer_of_calls() -> None:
    answer = decode(wire(CALLING, "tool_calls"))
    assert answer.parts == (
        ToolCall(id="a", name="f", arguments="{}"),
        ToolCall(id="b", name="g", arguments=""),
    )


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thinking_under_either_name(field: str) -> None:
    answer = decode(wire({**SPOKEN, field: "Hm."}))
    assert answer.parts == (Thinking(text="Hm."), Text(text="Hi"))


@pytest.mark.parametrize(
    ("reason", "message", "canonical"),
    [
        ("stop", SPOKEN, FinishReason.STOP),
        ("eos", SPOKEN, FinishReason.STOP),
        ("", SPOKEN, FinishReason.STOP),
        (None, SPOKEN, FinishReason.STOP),
        ("length", SPOKEN, FinishReason.LENGTH),
        ("content_filter", SPOKEN, FinishReason.CONTENT_FILTER),
        ("made_up", SPOKEN, FinishReason.OTHER),
        ("tool_calls", CALLING, FinishReason.TOOL_CALLS),
        ("stop", CALLING, FinishReason.TOOL_CALLS),
        (None, CALLING, FinishReason.TOOL_CALLS),
    ],
)
def test_reasons(reason: str | None, message: Any, canonical: FinishReason) -> None:
    answer = decode(wire(message, reason))
    assert answer.finished is not None
    assert answer.finished.reason is canonical
    assert encode(answer)["choices"][0]["finish_reason"] == reason


@pytest.mark.parametrize(
    "answer",
    [
        wire(SPOKEN),
        wire(CALLING),
        wire({"content": "", "role": "assistant", "refusal": "", "tool_calls": []}),
        wire({"content": [{"type": "text", "text": "a"}], "role": "assistant"}),
        wire({"content": "a", "reasoning": "b", "reasoning_content": "c", "role": None}),
        wire({"content": "a", "function_call": {"name": "f", "arguments": ""}}),
        wire({}),
        wire(None),
        wire(SPOKEN, usage=None),
        wire(SPOKEN, usage={"prompt_tokens": 1, "odd": {"a": None}}),
        wire(SPOKEN, id="", model=None, created=0, unknown={"a": 1}),
        {"choices": []},
        {"choices": [None, 3, {}, {"message": 5}], "usage": 7},
        {"choices": [{"finish_reason": 3, "message": SPOKEN, "delta": {}}]},
    ],
)
def test_goes_back_as_it_came(answer: Any) -> None:
    kept = decode(answer)
    assert json.dumps(encode(kept)) == json.dumps(answer)
    assert json.dumps(encode(fold(unfold(kept)))) == json.dumps(answer)


def test_every_candidate_is_there_and_goes_back() -> None:
    choices = [
        {"message": {"role": "assistant", "content": text}, "finish_reason": reason, "index": index}
        for index, (text, reason) in enumerate([("one", "stop"), ("two", "length")])
    ]
    answer = decode(wire(choices=choices))
    assert [part.text for part in answer.parts if isinstance(part, Text)] == ["one", "two"]
    assert encode(answer)["choices"] == choices


def test_what_a_step_changed_is_what_goes_back() -> None:
    answer = decode(wire({**SPOKEN, "x": 1}))
    changed = replace(
        answer,
        parts=(Text(text="***"),),
        finished=Finished(reason=FinishReason.CONTENT_FILTER, vendor_reason="stop"),
        usage=replace(answer.usage or Usage(), output=5),
    )
    choice = encode(changed)["choices"][0]
    assert choice["message"] == {**SPOKEN, "content": "***", "x": 1}
    assert choice["finish_reason"] == "content_filter"
    assert encode(changed)["usage"]["completion_tokens"] == 5


def test_another_protocols_answer_is_what_openai_would_say() -> None:
    foreign = Answer(
        started=Started(id="msg_1", model="claude"),
        parts=(
            Thinking(text="Hm.", vendor_data={"signature": "s"}),
            Thinking(redacted=True),
            Text(text="One. ", citations=({"x": 1},)),
            Opaque(type="server_tool_use"),
            Text(text="Two."),
            ToolCall(id="toolu_1", name="f", extra={"caller": 1}),
        ),
        finished=Finished(reason=FinishReason.TOOL_CALLS, vendor_reason="tool_use"),
        usage=Usage(input=10, cache_read=5, cache_write_1h=2, output=4, extra={"other": {}}),
        shape=Shape(("id", "content"), {"protocol": "other"}),
        extra={"container": None},
    )
    call = {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    encoded = encode(foreign)
    assert encoded == {
        "id": "chatcmpl-call-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "claude",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "One. Two.",
                    "refusal": None,
                    "reasoning_content": "Hm.",
                    "tool_calls": [call],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {
            "prompt_tokens": 17,
            "completion_tokens": 4,
            "total_tokens": 21,
            "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }
    ChatCompletion.model_validate(encoded, strict=True)


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (FinishReason.STOP, "stop"),
        (FinishReason.LENGTH, "length"),
        (FinishReason.REFUSAL, "content_filter"),
        (FinishReason.PAUSE, "stop"),
        (FinishReason.OTHER, "stop"),
    ],
)
def test_others_reasons(reason: FinishReason, word: str) -> None:
    finished = Finished(reason=reason, vendor_reason="pause_turn")
    encoded = encode(Answer(started=Started(), parts=(Refusal(text="no"),), finished=finished))
    assert encoded["choices"][0]["finish_reason"] == word
    assert encoded["choices"][0]["message"]["refusal"] == "no"
    assert encoded["model"] == "asked"
    assert "usage" not in encoded


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"choices": {}}', b'{"error": {"message": "m"}}']
)
def test_what_is_no_answer_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        CODEC.decode_response(body)
