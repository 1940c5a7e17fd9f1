"""Streams as a client of Anthropic's gets them, whoever the vendor is."""

import json
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter

from shared.canonical.answer import unfold
from shared.canonical.events import (
    Cancelled,
    DeltaKind,
    Event,
    Failed,
    Finished,
    FinishReason,
    PartDelta,
    PartEnded,
    PartStarted,
    Started,
    Unrecognized,
    UsageReported,
)
from shared.canonical.failures import FailureClass
from shared.canonical.parts import (
    Audio,
    Opaque,
    Part,
    Refusal,
    Source,
    Text,
    Thinking,
    ToolCall,
)
from shared.canonical.usage import Usage
from shared.framing.sse import SseSplitter
from shared.protocols.anthropic_messages import AnthropicMessages
from shared.protocols.codec import AnswerContext

CODEC = AnthropicMessages()
CONTEXT = AnswerContext(call_id="call-1", model="alias", created=7)
STARTED = Started(id="chatcmpl-1", model="gpt-x")
FINISHED = Finished(reason=FinishReason.STOP, vendor_reason="stop")

_events = TypeAdapter[Any](RawMessageStreamEvent)


def frames(stream: bytes) -> list[tuple[str | None, Any]]:
    splitter = SseSplitter()
    cut = [(frame.event, json.loads(frame.data)) for frame in splitter.feed(stream)]
    assert splitter.close() == b""
    return cut


def encode(*events: Event) -> list[Any]:
    """The data of the frames, when every event comes alone."""
    encoder = CODEC.stream_encoder(CONTEXT)
    cut = [frame for event in events for frame in frames(encoder.encode([event]))]
    assert all(event == data["type"] for event, data in cut)
    return [data for _, data in cut]


def message(*events: Event) -> Any:
    """What the official SDK makes of the stream, each frame strictly of a documented type."""
    encoder = CODEC.stream_encoder(CONTEXT)
    stream = b"".join(encoder.encode([event]) for event in events)
    for _, data in frames(stream):
        _events.validate_python(data)
    return read_by_sdk(stream)


def read_by_sdk(stream: bytes) -> Any:
    headers = {"content-type": "text/event-stream"}
    answer = httpx2.Response(200, headers=headers, content=stream)
    with httpx2.Client(transport=httpx2.MockTransport(lambda _: answer)) as http:
        client = anthropic.Anthropic(api_key="unused", http_client=http)
        with client.messages.stream(model="m", max_tokens=1, messages=[]) as reading:
            return reading.get_final_message()


def begun(index: int, part: Part) -> PartStarted:
    return PartStarted(index=index, part=part)


def more(index: int, text: str, kind: DeltaKind = DeltaKind.TEXT) -> PartDelta:
    return PartDelta(index=index, kind=kind, text=text)


def arguments(index: int, text: str) -> PartDelta:
    return more(index, text, DeltaKind.ARGUMENTS)


def test_a_text_stream_of_another_vendor() -> None:
    assert encode(
        STARTED,
        begun(0, Text(text="")),
        more(0, "Hel"),
        more(0, "lo"),
        PartEnded(index=0),
        UsageReported(usage=Usage(input=3, cache_read=2, output=5)),
        FINISHED,
    ) == [
        {
            "type": "message_start",
            "message": {
                "id": "msg_call-1",
                "type": "message",
                "role": "assistant",
                "model": "gpt-x",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 0, "output_tokens": 0},
            },
        },
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "Hel"},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"input_tokens": 3, "cache_read_input_tokens": 2, "output_tokens": 5},
        },
        {"type": "message_stop"},
    ]


def test_usage_that_comes_with_the_start_stands_in_it() -> None:
    encoder = CODEC.stream_encoder(CONTEXT)
    stream = encoder.encode([STARTED, UsageReported(usage=Usage(input=3))])
    assert frames(stream)[0][1]["message"]["usage"]["input_tokens"] == 3


WHOLE: tuple[Part, ...] = (
    Thinking(text="hm"),
    Text(text="sun"),
    ToolCall(id="call:1", name="f", arguments='{"a":1}'),
    ToolCall(id="", name="g", arguments=""),
    Refusal(text="no"),
    Audio(source=Source(data="AA==")),
    Opaque(type="x", value={"type": "x"}),
    Thinking(redacted=True, vendor_data={"encrypted": "x"}),
    Text(text=""),
)


def test_parts_that_come_whole_are_written_as_start_delta_and_stop() -> None:
    events: list[Event] = [STARTED]
    for index, part in enumerate(WHOLE):
        events += [begun(index, part), PartEnded(index=index)]
    sdk = message(*events, FINISHED)
    assert [block.to_dict() for block in sdk.content] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "sun"},
        {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "toolu_call-1_3", "name": "g", "input": {}},
        {"type": "text", "text": "no"},
    ]


def test_a_text_of_nothing_is_no_block() -> None:
    """Chat vendors begin with an empty text before tool calls; Anthropic takes none back."""
    sdk = message(
        STARTED,
        begun(0, Text(text="")),
        more(0, ""),
        begun(1, ToolCall(id="1", name="f")),
        arguments(1, "{}"),
        PartEnded(index=0),
        PartEnded(index=1),
        FINISHED,
    )
    assert [block.type for block in sdk.content] == ["tool_use"]
    assert sdk.stop_reason == "tool_use"


def test_parallel_calls_are_written_one_after_another() -> None:
    sdk = message(
        STARTED,
        begun(0, Text(text="so:")),
        begun(1, ToolCall(id="1", name="f")),
        begun(2, ToolCall(id="2", name="g")),
        arguments(2, '{"b":'),
        arguments(1, '{"a":'),
        more(0, " look"),
        arguments(1, "1}"),
        PartEnded(index=1),
        arguments(2, "2}"),
        PartEnded(index=0),
        PartEnded(index=2),
        Finished(reason=FinishReason.TOOL_CALLS),
    )
    assert [block.to_dict() for block in sdk.content] == [
        {"type": "text", "text": "so: look"},
        {"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "2", "name": "g", "input": {"b": 2}},
    ]


def test_a_part_is_not_kept_back_once_it_is_its_turn() -> None:
    encoder = CODEC.stream_encoder(CONTEXT)
    encoder.encode([STARTED, begun(0, ToolCall(id="1", name="f"))])
    encoder.encode([begun(1, ToolCall(id="2", name="g")), PartEnded(index=0)])
    (frame,) = frames(encoder.encode([arguments(1, "{}")]))
    assert frame[1]["index"] == 1


def test_a_thousand_parallel_calls() -> None:
    calls = range(1000)
    sdk = message(
        STARTED,
        *(begun(index, ToolCall(id=str(index), name="f")) for index in calls),
        *(arguments(index, f'{{"n":{index}}}') for index in calls),
        *(PartEnded(index=index) for index in reversed(calls)),
        FINISHED,
    )
    assert [block.input["n"] for block in sdk.content] == list(calls)


def test_parts_left_open_are_closed_before_the_end() -> None:
    calls = [begun(index, ToolCall(id=str(index), name="f")) for index in range(3)]
    data = encode(STARTED, *calls, FINISHED)
    assert [frame["type"] for frame in data[1:-2]] == [
        "content_block_start",
        "content_block_stop",
    ] * 3


@pytest.mark.parametrize(
    ("finished", "reason", "sequence"),
    [
        (Finished(reason=FinishReason.LENGTH), "max_tokens", None),
        (Finished(reason=FinishReason.STOP, stop_sequence="E"), "stop_sequence", "E"),
        (Finished(reason=FinishReason.CONTENT_FILTER), "refusal", None),
    ],
)
def test_the_reason_to_stop(finished: Finished, reason: str, sequence: str | None) -> None:
    sdk = message(STARTED, finished)
    assert (sdk.stop_reason, sdk.stop_sequence) == (reason, sequence)


def test_a_refusal_stops_as_one() -> None:
    refusal = [begun(0, Refusal(text="")), more(0, "no"), PartEnded(index=0)]
    assert message(STARTED, *refusal, FINISHED).stop_reason == "refusal"


def test_a_signature_of_another_protocol_with_claude_behind_it() -> None:
    sdk = message(
        STARTED,
        begun(0, Thinking(text="")),
        more(0, "hm"),
        PartDelta(index=0, kind=DeltaKind.VENDOR_DATA, value={"signature": "sig=="}),
        PartEnded(index=0),
        FINISHED,
    )
    assert sdk.content[0].signature == "sig=="


def test_deltas_that_only_another_protocol_has_are_left_out() -> None:
    sdk = message(
        STARTED,
        begun(0, Text(text="a")),
        PartDelta(index=0, kind=DeltaKind.OPAQUE, value={"secret": 1}, text="secret"),
        PartDelta(index=0, kind=DeltaKind.CITATION, value={"secret": 1}),
        PartDelta(index=0, kind=DeltaKind.VENDOR_DATA, value={"secret": 1}),
        Unrecognized(type="secret", value={"secret": 1}),
        PartEnded(index=0),
        FINISHED,
    )
    assert "secret" not in sdk.to_json()


@pytest.mark.parametrize("before", [[], [STARTED], [STARTED, begun(0, Text(text="a"))]])
def test_a_failure_is_the_protocols_own_last_event(before: list[Event]) -> None:
    failed = Failed(failure=FailureClass.TIMEOUT, message="silent")
    data = encode(*before, failed)
    assert data[-1] == {
        "type": "error",
        "error": {"type": "timeout_error", "message": "silent"},
        "request_id": "call-1",
    }


def test_nobody_is_told_of_a_cancellation() -> None:
    assert [frame["type"] for frame in encode(STARTED, Cancelled())] == ["message_start"]


CITATION = {
    "type": "char_location",
    "cited_text": "x",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 1,
}
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "sig=="},
        {"type": "redacted_thinking", "data": "blob"},
        {"type": "text", "text": "sun", "citations": [CITATION]},
        {
            "type": "tool_use",
            "id": "t1",
            "name": "f",
            "input": {"a": 1},
            "caller": {"type": "direct"},
        },
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"q": "x"}},
    ],
    "stop_reason": "refusal",
    "stop_sequence": None,
    "stop_details": {"type": "refusal", "category": "bio", "explanation": None},
    "usage": {"input_tokens": 3, "cache_read_input_tokens": 1, "output_tokens": 5},
}


def test_an_unstreamed_answer_of_its_own_vendor_can_be_streamed() -> None:
    encoder = CODEC.stream_encoder(CONTEXT)
    answer = CODEC.decode_response(json.dumps(ANSWER).encode())
    seen = read_by_sdk(encoder.encode(list(unfold(answer)))).to_dict()
    assert {key: value for key, value in seen.items() if key in ANSWER} == ANSWER
