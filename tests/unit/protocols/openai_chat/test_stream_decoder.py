"""A vendor's stream: which events its chunks are, however the vendor cuts them."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from shared.canonical.answer import Answer, fold
from shared.canonical.events import (
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
from shared.canonical.failures import FailureClass, MalformedAnswerError
from shared.canonical.parts import Text, Thinking
from shared.framing.sse import SseSplitter, parse_frame
from tests.unit.protocols.openai_chat.chunks import CODEC, USAGE, call, chunk, decoded, sse

ROLE = chunk({"role": "assistant", "content": ""})
STOP = chunk(reason="stop")
CALLED = chunk(reason="tool_calls")
USED = chunk(choices=[], usage=USAGE)


def kinds(*chunks: Any, done: bool = True) -> list[type]:
    return [type(event) for event in decoded(*chunks, done=done)]


def told(answer: Answer) -> Any:
    """What an answer says, without how it was written."""
    parts = [replace(part, extra={}, shape=None) for part in answer.parts]
    finished = answer.finished
    return parts, finished and replace(finished, extra={}), answer.usage


def unstreamed(message: dict[str, Any], reason: str) -> Answer:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
    wire = {"id": "chatcmpl-1", "created": 1, "model": "gpt", "choices": [choice], "usage": USAGE}
    return CODEC.decode_response(json.dumps(wire).encode())


def test_a_stream_of_text() -> None:
    events = decoded(ROLE, chunk({"content": "Hel"}), chunk({"content": "lo"}), STOP, USED)
    assert [replace(event, extra={}) for event in events[1:4]] == [
        PartStarted(index=0, part=Text(text="")),
        PartDelta(index=0, kind=DeltaKind.TEXT, text="Hel"),
        PartDelta(index=0, kind=DeltaKind.TEXT, text="lo"),
    ]
    assert [type(event) for event in events] == [
        Started,
        PartStarted,
        PartDelta,
        PartDelta,
        PartEnded,
        UsageReported,
        Finished,
    ]
    assert fold(events).started == Started(id="chatcmpl-1", model="gpt", created=1)


def test_a_plain_piece_of_text_needs_no_note() -> None:
    events = decoded(ROLE, chunk({"content": "a"}), chunk({"content": "b"}), STOP)
    assert events[3] == PartDelta(index=0, kind=DeltaKind.TEXT, text="b")


TWO_CALLS = [
    {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": '{"a": 1}'}}
    for i, name in enumerate("fg")
]


def whole(index: int, name: str, **more: Any) -> dict[str, Any]:
    return {**call(index, name=name, arguments='{"a": 1}'), **more}


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(
            [
                chunk({"tool_calls": [call(0, name="f", arguments="")]}),
                chunk({"tool_calls": [call(0, arguments='{"a"')]}),
                chunk({"tool_calls": [call(0, arguments=": 1}")]}),
                chunk({"tool_calls": [call(1, name="g", arguments="")]}),
                chunk({"tool_calls": [call(1, arguments='{"a": 1}')]}),
            ],
            id="pieces, one after another",
        ),
        pytest.param(
            [
                chunk({"tool_calls": [call(0, name="f", arguments="")]}),
                chunk({"tool_calls": [call(1, name="g", arguments="{")]}),
                chunk({"tool_calls": [call(0, arguments='{"a": 1}')]}),
                chunk({"tool_calls": [call(1, arguments='"a": 1}')]}),
            ],
            id="pieces, interleaved",
        ),
        pytest.param(
            [chunk({"tool_calls": [whole(0, "f"), whole(1, "g")]})],
            id="all in one delta",
        ),
        pytest.param(
            [chunk({"tool_calls": [whole(0, "f")]}), chunk({"tool_calls": [whole(1, "g")]})],
            id="a whole call a delta",
        ),
        pytest.param(
            [
                chunk({"tool_calls": [whole(0, "f", id="call_0")]}),
                chunk({"tool_calls": [whole(0, "g", id="call_1")]}),
            ],
            id="the same index for every call",
        ),
        pytest.param(
            [
                chunk({"tool_calls": [dict(item) for item in TWO_CALLS]}),
            ],
            id="no index",
        ),
        pytest.param(
            [
                chunk({"tool_calls": [call(0, name="f", arguments="")]}),
                chunk({"tool_calls": [{**call(0, arguments='{"a": 1}'), "id": "call_0"}]}),
                chunk({"tool_calls": [call(1, name="g")]}),
                chunk({"tool_calls": [whole(1, "g")]}),
            ],
            id="the id repeated",
        ),
    ],
)
@pytest.mark.parametrize("reason", ["tool_calls", "stop"])
@pytest.mark.parametrize("text", [None, "Both."])
def test_calls_fold_to_the_unstreamed_answer(
    chunks: list[Any], reason: str, text: str | None
) -> None:
    spoken = [chunk({"content": text})] if text else []
    events = decoded(ROLE, *spoken, *chunks, chunk(reason=reason), USED)
    wanted = unstreamed({"content": text, "tool_calls": TWO_CALLS}, reason)
    assert told(fold(events)) == told(wanted)
    assert wanted.finished is not None
    assert wanted.finished.reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thinking_folds_to_the_unstreamed_answer(field: str) -> None:
    events = decoded(
        ROLE,
        chunk({field: "H"}),
        chunk({field: "m.", "content": ""}),
        chunk({"content": "Hi", field: None}),
        STOP,
        USED,
    )
    assert told(fold(events)) == told(unstreamed({"content": "Hi", field: "Hm."}, "stop"))


def test_thinking_under_both_names_counts_once() -> None:
    events = decoded(ROLE, chunk({"reasoning": "Hm.", "reasoning_content": "Hm."}), STOP)
    assert [part.text for part in fold(events).parts if isinstance(part, Thinking)] == ["Hm."]


def test_thinking_in_a_list_of_content() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    text = {"type": "text", "text": "Hi"}
    events = decoded(
        ROLE,
        chunk({"content": [{**thinking, "closed": True}, text]}),
        chunk({"content": "!"}),
        STOP,
    )
    wanted = unstreamed({"content": [thinking, {"type": "text", "text": "Hi!"}]}, "stop")
    assert told(fold(events))[0] == told(wanted)[0]


def test_a_refusal_folds_to_the_unstreamed_answer() -> None:
    events = decoded(ROLE, chunk({"refusal": "No"}), chunk({"refusal": "."}), STOP, USED)
    assert told(fold(events)) == told(unstreamed({"content": None, "refusal": "No."}, "stop"))


def test_text_after_thinking_ends_it_and_calls_end_text() -> None:
    chunks = [
        chunk({"reasoning_content": "Hm."}),
        chunk({"content": "Hi"}),
        chunk({"tool_calls": [call(0, name="f", arguments="{}")]}),
    ]
    assert kinds(ROLE, *chunks, CALLED) == [
        Started,
        *[PartStarted, PartDelta, PartEnded],
        *[PartStarted, PartDelta, PartEnded],
        *[PartStarted, PartDelta],
        *[PartEnded, Finished],
    ]


def test_the_pieces_of_several_candidates_do_not_clash() -> None:
    def piece(number: int, text: str) -> Any:
        return {"index": number, "delta": {"content": text}, "finish_reason": None}

    events = decoded(
        chunk(choices=[piece(0, "a"), piece(1, "x")]),
        chunk(choices=[piece(1, "y")]),
        chunk(choices=[piece(0, "b")]),
        chunk(choices=[{"index": 1, "delta": {}, "finish_reason": "length"}]),
        STOP,
    )
    assert [part.text for part in fold(events).parts if isinstance(part, Text)] == ["ab", "xy"]
    assert fold(events).finished == Finished(reason=FinishReason.STOP, vendor_reason="stop")


def test_a_chunk_of_usage_alone_is_one_event() -> None:
    decoder = CODEC.stream_decoder()
    decoder.feed(parse_frame(b"data: %b\n\n" % json.dumps(ROLE).encode()))
    (event,) = decoder.feed(parse_frame(b"data: %b\n\n" % json.dumps(USED).encode()))
    assert isinstance(event, UsageReported)


def test_usage_in_many_chunks_is_merged() -> None:
    early = {"prompt_tokens": 9, "completion_tokens": None, "total_tokens": None}
    events = decoded({**ROLE, "usage": early}, {**STOP, "usage": USAGE})
    usage = fold(events).usage
    assert usage is not None
    assert (usage.input, usage.output) == (9, 3)


def test_null_usage_is_no_usage() -> None:
    assert UsageReported not in kinds({**ROLE, "usage": None}, {**STOP, "usage": None})


def test_a_chunk_without_choices_before_the_answer_does_not_start_it() -> None:
    filters = chunk(choices=[], model="", prompt_filter_results=[])
    events = decoded(filters, ROLE, STOP)
    assert [type(event) for event in events[:2]] == [Unrecognized, Started]
    assert fold(events).started.model == "gpt"


@pytest.mark.parametrize(
    "odd",
    [
        chunk({"content": ""}),
        chunk({"unheard_of": 1}),
        chunk(choices=None),
        chunk(choices=[None]),
        chunk(choices=[{"index": "x", "delta": 5}]),
        chunk({"tool_calls": [None]}),
        chunk({"tool_calls": {}}),
        chunk({"content": {"a": 1}}),
        chunk({"content": [{"type": "image"}]}),
        {},
    ],
)
def test_what_has_no_meaning_is_unrecognized(odd: Any) -> None:
    assert kinds(ROLE, odd, STOP) == [Started, Unrecognized, Unrecognized, Finished]


def test_comments_and_words_after_the_end_are_nothing() -> None:
    decoder = CODEC.stream_decoder()
    assert decoder.feed(parse_frame(b": PROCESSING\n\n")) == []
    assert decoder.feed(parse_frame(b"event: ping\n\n")) == []
    decoder.feed(parse_frame(b"data: %b\n\n" % json.dumps(STOP).encode()))
    assert [type(e) for e in decoder.feed(parse_frame(b"data: [DONE]\n\n"))] == [Finished]
    assert decoder.feed(parse_frame(b"data: [DONE]\n\n")) == []
    assert decoder.close() == []


@pytest.mark.parametrize("data", [b"nonsense", b"[]", b"\xff", b"1", b'{"a":'])
def test_a_frame_that_is_not_an_object_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        CODEC.stream_decoder().feed(parse_frame(b"data: %b\n\n" % data))


def test_a_stream_that_comes_byte_by_byte_gives_the_same_events() -> None:
    chunks = [ROLE, chunk({"content": "ä\n\n"}), chunk({"tool_calls": [whole(0, "f")]}), STOP]
    splitter, decoder, events = SseSplitter(), CODEC.stream_decoder(), list[Event]()
    body = sse(chunks) + b"data: [DONE]\r\n\r\n"
    for position in range(len(body)):
        for frame in splitter.feed(body[position : position + 1]):
            events += decoder.feed(frame)
    assert events == decoded(*chunks)


# ---------------------------------------------------------------------------------- the end


def test_an_end_without_done_counts_if_a_reason_was_given() -> None:
    assert kinds(ROLE, chunk({"content": "a"}), STOP, done=False)[-1] is Finished


def test_an_end_without_a_reason_counts_if_it_was_said() -> None:
    events = decoded(ROLE, chunk({"content": "a"}))
    assert isinstance(events[-1], Finished)
    assert (events[-1].reason, events[-1].vendor_reason) == (FinishReason.STOP, None)


@pytest.mark.parametrize(
    ("chunks", "done"),
    [([], False), ([], True), ([ROLE, chunk({"content": "a"})], False)],
)
def test_an_end_out_of_nowhere_is_a_failure(chunks: list[Any], done: bool) -> None:
    failed = decoded(*chunks, done=done)[-1]
    assert isinstance(failed, Failed)
    assert failed.failure is FailureClass.UPSTREAM_ERROR
    assert "ended" in failed.message


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ({"message": "m", "type": "server_error"}, FailureClass.UPSTREAM_ERROR),
        ({"message": "m", "code": 429}, FailureClass.UPSTREAM_RATE_LIMITED),
        ({"message": "m", "code": "rate_limit_exceeded"}, FailureClass.UPSTREAM_RATE_LIMITED),
        ({"message": "m", "type": "overloaded_error"}, FailureClass.UPSTREAM_OVERLOADED),
        ("m", FailureClass.UPSTREAM_ERROR),
    ],
)
def test_an_error_in_the_stream_ends_it(error: Any, failure: FailureClass) -> None:
    events = decoded(ROLE, chunk({"content": "a"}), {"error": error})
    assert isinstance(events[-1], Failed)
    assert (events[-1].failure, events[-1].message) == (failure, "m")


def test_usage_beside_an_error_is_not_lost() -> None:
    assert kinds(ROLE, {**STOP, "error": {"message": "m"}, "usage": USAGE}) == [
        Started,
        UsageReported,
        Failed,
    ]
