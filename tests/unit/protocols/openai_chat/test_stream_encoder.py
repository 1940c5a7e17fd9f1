"""Streams for a client of Chat: out of any protocol's events, and of this one's, changed or not."""

import json
from typing import Any

import pytest
from msgspec.structs import replace
from openai.types.chat import ChatCompletionChunk

from shared.canonical.answer import Answer, fold, unfold
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
from shared.canonical.parts import Opaque, Refusal, Shape, Text, Thinking, ToolCall
from shared.canonical.usage import Usage
from shared.protocols.codec import AnswerContext
from tests.unit.protocols.openai_chat.chunks import (
    CODEC,
    CONTEXT,
    USAGE,
    call,
    chunk,
    decoded,
    encoded,
    read,
)

SILENT = replace(CONTEXT, stream_usage=False)
STARTED = Started(
    id="msg_1",
    model="claude",
    extra={"type": "message", "openai_chat": {"chunk": "a vendor's own field"}},
    shape=Shape(("id",), {"protocol": "anthropic_messages"}),
)
ENDED = Finished(reason=FinishReason.STOP, vendor_reason="end_turn")


def text(index: int, *pieces: str) -> list[Event]:
    return part(index, Text(text=""), DeltaKind.TEXT, *pieces)


def part(index: int, begun: Any, kind: DeltaKind, *pieces: str) -> list[Event]:
    deltas = [PartDelta(index=index, kind=kind, text=piece) for piece in pieces]
    return [PartStarted(index=index, part=begun), *deltas, PartEnded(index=index)]


def deltas(chunks: list[Any]) -> list[Any]:
    return [one["choices"][0]["delta"] for one in chunks if one != "[DONE]" and one["choices"]]


def test_another_protocols_text() -> None:
    usage = [
        UsageReported(usage=Usage(input=10, cache_read=4, output=1)),
        UsageReported(usage=Usage(output=6)),
    ]
    chunks = encoded([STARTED, usage[0], *text(0, "Hel", "lo"), usage[1], ENDED])
    head = {
        "id": "chatcmpl-call-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "claude",
    }

    def one(delta: Any, reason: str | None = None) -> Any:
        choice = {"index": 0, "logprobs": None, "finish_reason": reason, "delta": delta}
        return {**head, "choices": [choice]}

    assert chunks[:-2] == [
        one({"role": "assistant", "content": ""}),
        one({"content": "Hel"}),
        one({"content": "lo"}),
        one({}, "stop"),
    ]
    assert chunks[-2]["choices"] == []
    assert chunks[-2]["usage"]["prompt_tokens"] == 14
    assert chunks[-2]["usage"]["total_tokens"] == 20
    assert chunks[-1] == "[DONE]"
    for chunk_ in chunks[:-1]:
        ChatCompletionChunk.model_validate(chunk_, strict=True)


def test_usage_is_shown_to_those_who_asked() -> None:
    events = [STARTED, UsageReported(usage=Usage(input=1, output=1)), ENDED]
    assert all("usage" not in one for one in encoded(events, SILENT))


def test_without_a_vendors_model_it_is_the_one_asked_for() -> None:
    assert encoded([Started(), ENDED])[0]["model"] == "asked"


def test_thinking_a_refusal_and_what_chat_has_no_word_for() -> None:
    opaque = PartDelta(index=3, kind=DeltaKind.OPAQUE, value={"x": 1})
    chunks = encoded(
        [
            STARTED,
            Unrecognized(type="ping"),
            *part(0, Thinking(), DeltaKind.TEXT, "Hm."),
            PartStarted(index=1, part=Thinking(redacted=True, vendor_data={"data": "x"})),
            PartDelta(index=1, kind=DeltaKind.VENDOR_DATA, value={"signature": "s"}),
            PartEnded(index=1),
            *part(2, Refusal(text=""), DeltaKind.TEXT, "No."),
            PartStarted(index=3, part=Opaque(type="server_tool_use")),
            opaque,
            PartEnded(index=3),
            ENDED,
        ]
    )
    assert deltas(chunks)[1:-1] == [{"reasoning_content": "Hm."}, {"refusal": "No."}]


def test_calls_in_pieces_are_numbered_among_themselves() -> None:
    chunks = encoded(
        [
            STARTED,
            *text(0, "Both."),
            *part(1, ToolCall(id="a", name="f"), DeltaKind.ARGUMENTS, '{"x"', ":1}"),
            *part(2, ToolCall(id="b", name="g"), DeltaKind.ARGUMENTS),
            Finished(reason=FinishReason.TOOL_CALLS),
        ]
    )
    assert deltas(chunks)[2:] == [
        {"tool_calls": [{**call(0, name="f", arguments=""), "id": "a"}]},
        {"tool_calls": [call(0, arguments='{"x"')]},
        {"tool_calls": [call(0, arguments=":1}")]},
        {"tool_calls": [{**call(1, name="g", arguments=""), "id": "b"}]},
        {"tool_calls": [call(1, arguments="{}")]},
        {},
    ]
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_parts_that_arrive_whole() -> None:
    answer = Answer(
        started=Started(model="claude"),
        parts=(
            Thinking(text="Hm."),
            Text(text="Hi"),
            ToolCall(id="a", name="f", arguments='{"x":1}'),
        ),
        finished=Finished(reason=FinishReason.TOOL_CALLS),
        usage=Usage(input=1, output=2),
    )
    chunks = encoded(unfold(answer))
    assert deltas(chunks)[1:-1] == [
        {"reasoning_content": "Hm."},
        {"content": "Hi"},
        {"tool_calls": [{**call(0, name="f", arguments='{"x":1}'), "id": "a"}]},
    ]
    back = fold(decoded(*chunks[:-1]))
    assert [replace(one, extra={}, shape=None) for one in back.parts] == list(answer.parts)


def test_this_protocols_unstreamed_answer_streams() -> None:
    message = {"role": "assistant", "content": "Hi", "x": 1}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "y": 2}
    wire = {"id": "i", "created": 5, "model": "gpt", "choices": [choice], "usage": USAGE}
    answer = CODEC.decode_response(json.dumps(wire).encode())
    chunks = encoded(unfold(answer))
    assert {one["id"] for one in chunks[:-1]} == {"i"}
    assert "".join(delta.get("content") or "" for delta in deltas(chunks)) == "Hi"
    assert chunks[-3]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-2]["usage"] == USAGE


@pytest.mark.parametrize("status", [None, 503])
def test_a_failure_is_an_error_object_and_no_done(status: int | None) -> None:
    failed = Failed(failure=FailureClass.UPSTREAM_OVERLOADED, message="busy", status=status)
    chunks = encoded([STARTED, *text(0, "a"), failed])
    assert chunks[-1] == {
        "error": {"message": "busy", "type": "server_error", "param": None, "code": "overloaded"}
    }
    assert encoded([failed]) == chunks[-1:]


def test_nobody_is_written_to_after_a_cancel() -> None:
    assert encoded([Cancelled()]) == []


# ---------------------------------------------------------------- events of this protocol


ROLE = chunk({"role": "assistant", "content": "", "refusal": None}, usage=None)
STREAM: list[Any] = [
    chunk(choices=[], model="", prompt_filter_results=[]),
    ROLE,
    chunk({"content": "a"}, usage=None),
    chunk({"content": "b"}, usage=None),
    chunk({"role": "assistant", "content": "c"}, usage=None, obfuscation="x"),
    chunk({"content": ""}, usage=None),
    chunk({"content": "d", "unheard_of": [1]}, usage=None),
    chunk({"reasoning": "t", "reasoning_details": [{"text": "t"}]}),
    chunk({"content": "e", "tool_calls": [call(0, name="f", arguments="{"), call(1, name="g")]}),
    chunk({"tool_calls": [{"function": {"arguments": "}"}}]}),
    chunk(choices=[{"delta": {"content": "z"}, "index": 1}]),
    chunk({"content": "last"}, reason="tool_calls"),
    chunk(reason="tool_calls", usage=USAGE),
    chunk(choices=[], usage={**USAGE, "cost": 0.5}, id="other"),
]


def together(events: list[Event], context: AnswerContext = CONTEXT) -> list[Any]:
    """What a client gets of events that arrive in one batch."""
    return read(CODEC.stream_encoder(context).encode(events))


def test_every_chunk_goes_back_as_it_came() -> None:
    assert together(decoded(*STREAM)) == [*STREAM, "[DONE]"]


def test_usage_that_was_asked_for_by_the_gateway_alone_is_held_back() -> None:
    wire = [ROLE, chunk({"content": "a"}), chunk(reason="stop")]
    events = decoded(*wire, chunk(choices=[], usage=USAGE))
    assert together(events, SILENT) == [*wire, "[DONE]"]


def test_usage_that_stands_in_a_vendors_every_chunk_stays() -> None:
    wire = [{**ROLE, "usage": USAGE}, {**chunk(reason="stop"), "usage": USAGE}]
    assert together(decoded(*wire), SILENT) == [*wire, "[DONE]"]


def test_what_a_step_changed_is_what_goes_out() -> None:
    def masked(event: Event) -> Event:
        return replace(event, text="*") if isinstance(event, PartDelta) else event

    wire = [ROLE, chunk({"content": "secret"}, obfuscation="x"), chunk(reason="stop")]
    changed = together([masked(event) for event in decoded(*wire)])
    assert changed[1] == chunk({"content": "*"}, obfuscation="x")
    assert "secret" not in json.dumps(changed)


def test_an_event_that_was_held_back_goes_out_alone() -> None:
    """A step that looks across pieces may send the end of a frame later than its beginning."""
    events = decoded(ROLE, chunk({"content": "a"}), chunk(reason="stop"))
    encoder = CODEC.stream_encoder(CONTEXT)
    begun = read(encoder.encode(events[:2]))
    late = read(encoder.encode(events[2:3]))
    assert begun == [ROLE]
    assert deltas(late) == [{"content": "a"}]
    assert late[0]["choices"][0]["finish_reason"] is None


def test_a_stream_that_a_step_ends_has_a_reason() -> None:
    events = decoded(ROLE, chunk({"content": "a"}), chunk({"content": "b"}))
    cut = [*events[:3], PartEnded(index=0), Finished(reason=FinishReason.LENGTH)]
    chunks = together(cut)
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1] == "[DONE]"


def test_a_vendors_error_goes_out_in_its_own_words_but_for_one_about_our_key() -> None:
    for code, shown in ((400, True), (401, False)):
        error = {"error": {"message": "key sk-1", "code": code}, "provider": "p"}
        last = encoded(decoded(ROLE, error))[-1]
        assert (last == error) is shown
        assert ("sk-1" in json.dumps(last)) is shown
