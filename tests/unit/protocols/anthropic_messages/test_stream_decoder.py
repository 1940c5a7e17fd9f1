import json
from typing import Any

import pytest
from msgspec.structs import replace

from shared.canonical.answer import fold
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
from shared.canonical.order import DONE, OrderCheck
from shared.canonical.parts import Node, Opaque, Part, Text, Thinking, ToolCall
from shared.canonical.usage import Usage
from shared.framing.sse import SseSplitter, encode_frame, parse_frame
from shared.protocols.anthropic_messages import AnthropicMessages
from shared.protocols.codec import AnswerContext

CODEC = AnthropicMessages()
CONTEXT = AnswerContext(call_id="call-1", model="alias", created=7)

Wire = dict[str, Any]

STOP: Wire = {"type": "message_stop"}
PING: Wire = {"type": "ping"}


def start(**usage: Any) -> Wire:
    message = {
        "model": "claude-x",
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 1, **usage},
    }
    return {"type": "message_start", "message": message}


def ending(reason: str | None = "end_turn", delta: Wire | None = None, **fields: Any) -> Wire:
    said = {"stop_reason": reason, "stop_sequence": None, **(delta or {})}
    return {"type": "message_delta", "delta": said, "usage": {"output_tokens": 9}, **fields}


def block(index: int, content: Wire, *deltas: Wire) -> list[Wire]:
    return [
        {"type": "content_block_start", "index": index, "content_block": content},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text(*pieces: str, index: int = 0) -> list[Wire]:
    return block(
        index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": p} for p in pieces)
    )


def call(index: int, *pieces: str) -> list[Wire]:
    content = {"type": "tool_use", "id": f"t{index}", "name": "f", "input": {}}
    deltas = ({"type": "input_json_delta", "partial_json": piece} for piece in pieces)
    return block(index, content, *deltas)


def sse(*frames: Wire) -> bytes:
    return b"".join(encode_frame(json.dumps(f).encode(), f["type"]) for f in frames)


def decode(stream: bytes, step: int | None = None) -> list[Event]:
    """The events of a stream, fed whole or `step` bytes at a time, in their legal order."""
    splitter, decoder, check = SseSplitter(), CODEC.stream_decoder(), OrderCheck()
    step = step or len(stream)
    events: list[Event] = []
    for at in range(0, len(stream), step):
        for frame in splitter.feed(stream[at : at + step]):
            events += decoder.feed(frame)
    events += decoder.close()
    for event in events:
        check.see(event)
    assert check.state == DONE
    return events


def bare(event: Any) -> Any:
    """An event without what only its own protocol needs."""
    event = replace(event, extra={}, shape=None)
    if isinstance(event, PartStarted):
        event = replace(event, part=replace(event.part, shape=None))
    return event


def events_of(*frames: Wire) -> list[Any]:
    return [bare(event) for event in decode(sse(*frames))]


EVERYTHING = [
    start(cache_read_input_tokens=3),
    PING,
    *block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "hm "},
        {"type": "thinking_delta", "thinking": "hm"},
        {"type": "signature_delta", "signature": "sig=="},
    ),
    *block(1, {"type": "redacted_thinking", "data": "blob"}),
    *block(
        2,
        {"citations": [], "type": "text", "text": ""},
        {"type": "text_delta", "text": "Grüße, "},
        {"type": "citations_delta", "citation": {"type": "char_location", "cited_text": "x"}},
        {"type": "text_delta", "text": "世界 🌍"},
    ),
    *call(3, "", '{"city"', ': "Paris"}'),
    *call(4, ""),
    *block(
        5,
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"query": '},
        {"type": "input_json_delta", "partial_json": '"x"}'},
    ),
    *block(6, {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}),
    *block(
        7,
        {"type": "compaction", "content": None},
        {"type": "compaction_delta", "content": "in short"},
    ),
    ending("tool_use", {"container": {"id": "c"}}, context_management={"applied_edits": []}),
    STOP,
]


def test_a_text_stream() -> None:
    assert events_of(start(), PING, *text("Hel", "lo"), ending(), STOP) == [
        Started(id="msg_1", model="claude-x"),
        UsageReported(usage=Usage(input=10, output=1)),
        Unrecognized(type="ping", value=PING),
        PartStarted(index=0, part=Text(text="")),
        PartDelta(index=0, kind=DeltaKind.TEXT, text="Hel"),
        PartDelta(index=0, kind=DeltaKind.TEXT, text="lo"),
        PartEnded(index=0),
        UsageReported(usage=Usage(output=9)),
        Finished(reason=FinishReason.STOP, vendor_reason="end_turn"),
    ]


def test_everything_folds_to_the_unstreamed_answer() -> None:
    whole: tuple[Part, ...] = (
        Thinking(text="hm hm", vendor_data={"signature": "sig=="}),
        Thinking(redacted=True, vendor_data={"data": "blob"}),
        Text(text="Grüße, 世界 🌍", citations=({"type": "char_location", "cited_text": "x"},)),
        ToolCall(id="t3", name="f", arguments='{"city": "Paris"}'),
        ToolCall(id="t4", name="f", arguments="{}"),
        Opaque(
            type="server_tool_use",
            value={
                "type": "server_tool_use",
                "id": "s1",
                "name": "web_search",
                "input": {"query": "x"},
            },
        ),
        Opaque(
            type="web_search_tool_result",
            value={"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
        ),
        Opaque(type="compaction", value={"type": "compaction", "content": "in short"}),
    )
    answer = fold(decode(sse(*EVERYTHING)))
    assert tuple(replace(part, shape=None) for part in answer.parts) == whole
    assert answer.usage == Usage(input=10, cache_read=3, output=9)
    wire = json.loads(CODEC.encode_response(answer, CONTEXT))
    assert wire["stop_reason"] == "tool_use"
    assert wire["container"] == {"id": "c"}
    assert wire["context_management"] == {"applied_edits": []}
    again = CODEC.decode_response(json.dumps(wire).encode())
    assert [type(part) for part in again.parts] == [type(part) for part in whole]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
def test_any_split_of_the_bytes_gives_the_same_events(step: int, line_end: bytes) -> None:
    stream = sse(*EVERYTHING).replace(b"\n", line_end)
    assert decode(stream, step) == decode(sse(*EVERYTHING))


def test_every_frame_gives_its_events_at_once() -> None:
    decoder = CODEC.stream_decoder()
    for wire in [start(), *text("a"), *call(1, "{}"), ending(), STOP]:
        assert decoder.feed(parse_frame(sse(wire))), wire["type"]


def test_frames_without_an_event_name_are_read_by_their_type() -> None:
    frames = [start(), *text("a"), ending(), STOP]
    unnamed = b"".join(encode_frame(json.dumps(frame).encode()) for frame in frames)
    assert decode(unnamed) == decode(sse(*frames))


def test_comments_are_nothing() -> None:
    assert CODEC.stream_decoder().feed(parse_frame(b": hello\n\n")) == []


@pytest.mark.parametrize(
    ("at_start", "at_end", "usage"),
    [
        (
            {"input_tokens": 5, "cache_creation": {"ephemeral_1h_input_tokens": 100}},
            {"output_tokens": 7, "cache_creation_input_tokens": 100},
            Usage(input=5, cache_write_1h=100, output=7),
        ),
        (
            {"cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2}},
            {"output_tokens": 7, "cache_creation_input_tokens": 10},
            Usage(input=10, cache_write_5m=8, cache_write_1h=2, output=7),
        ),
        (
            {"cache_creation_input_tokens": 4},
            {"input_tokens": 30, "output_tokens": 7, "cache_creation_input_tokens": 6},
            Usage(input=30, cache_write_5m=6, output=7),
        ),
        (
            {},
            {"output_tokens": 7, "iterations": [{"type": "compaction", "input_tokens": 90}]},
            Usage(
                input=100,
                output=7,
                extra={"iterations": [{"type": "compaction", "input_tokens": 90}]},
            ),
        ),
    ],
)
def test_usage_is_one_account_over_all_frames(at_start: Wire, at_end: Wire, usage: Usage) -> None:
    events = decode(sse(start(**at_start), ending(usage=at_end), STOP))
    assert fold(events).usage == usage


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, FailureClass.UPSTREAM_OVERLOADED),
        ({"type": "rate_limit_error", "message": "Slow"}, FailureClass.UPSTREAM_RATE_LIMITED),
        ({"type": "api_error", "message": "Oops"}, FailureClass.UPSTREAM_ERROR),
        ({"type": "new_error", "message": "Oops"}, FailureClass.UPSTREAM_ERROR),
    ],
)
@pytest.mark.parametrize("frames", [[], [start()], [start(), *text("a")[:2]]])
def test_an_error_in_the_stream_is_a_failure(
    error: Wire, failure: FailureClass, frames: list[Wire]
) -> None:
    last = decode(sse(*frames, {"type": "error", "error": error}, STOP))[-1]
    assert last == Failed(failure=failure, message=error["message"], vendor_type=error["type"])


def test_an_error_without_words_is_a_failure_too() -> None:
    assert isinstance(decode(sse({"type": "error"}))[-1], Failed)


@pytest.mark.parametrize(
    "frames", [[], [start()], [start(), *text("a")[:2]], [start(), *text("a"), ending()]]
)
def test_a_stream_that_breaks_off_is_a_failure(frames: list[Wire]) -> None:
    last = decode(sse(*frames) or b": \n\n")[-1]
    assert isinstance(last, Failed)
    assert last.failure is FailureClass.UPSTREAM_ERROR
    assert "ended without" in last.message


def test_nothing_follows_the_end() -> None:
    decoder = CODEC.stream_decoder()
    for wire in [start(), ending(), STOP]:
        decoder.feed(parse_frame(sse(wire)))
    assert decoder.feed(parse_frame(sse(STOP))) == []
    assert decoder.feed(parse_frame(b"data: [DONE]\n\n")) == []
    assert decoder.close() == []


def test_blocks_left_open_end_with_the_message() -> None:
    kinds = [type(event) for event in decode(sse(start(), *call(0)[:1], ending(), STOP))]
    assert kinds[-3:] == [PartDelta, PartEnded, Finished]


@pytest.mark.parametrize(
    "wire",
    [
        {"type": "from_the_future", "data": 1},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    ],
)
def test_the_unknown_is_kept_and_harms_nothing(wire: Wire) -> None:
    events = events_of(start(), wire, *text("a"), STOP)
    assert Unrecognized(type=wire["type"], value=wire) in events


def test_the_end_is_known_without_usage() -> None:
    wire = {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}}
    last = decode(sse(start(), wire, STOP))[-1]
    assert isinstance(last, Finished)
    assert last.reason is FinishReason.LENGTH


@pytest.mark.parametrize(
    "delta",
    [
        {"type": "from_the_future", "text": "x"},
        {"type": "input_json_delta", "partial_json": "{}"},
        {"type": "text_delta", "text": None},
        {"type": "text_delta"},
        {"type": 3},
        {},
    ],
)
def test_a_delta_that_does_not_fit_its_block_is_opaque(delta: Wire) -> None:
    frames = [start(), *block(0, {"type": "text", "text": ""}, delta), ending(), STOP]
    assert PartDelta(index=0, kind=DeltaKind.OPAQUE, value=delta) in events_of(*frames)
    assert fold(decode(sse(*frames))).parts == (Text(text=""),)


def test_a_delta_with_a_new_field_is_still_text() -> None:
    frames = block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "x", "new": 1})
    assert fold(decode(sse(start(), *frames, ending(), STOP))).parts == (Text(text="x"),)


@pytest.mark.parametrize(
    "frames",
    [
        [b"data: {\n\n"],
        [b"data: [DONE]\n\n"],
        [b"data: 3\n\n"],
        [b"event: content_block_delta\ndata: {\n\n"],
        [b"event: content_block_delta\ndata: []\n\n"],
        [b"event: ping\ndata: \xff\n\n"],
        [sse(*text("a"))],
        [sse(ending())],
        [sse(STOP)],
        [sse({"type": "message_start"})],
        [sse(start()), sse(start())],
        [sse(start()), sse({"type": "content_block_start", "index": 0})],
        [sse(start()), sse({"type": "content_block_start", "content_block": {}})],
        [sse(start()), sse(*text("a")[1:])],
        [sse(start()), sse({"type": "content_block_delta", "index": 0})],
        [sse(start()), sse({"type": "content_block_stop", "index": 0})],
        [sse(start()), sse(*text("a")), sse(*text("a"))],
    ],
)
def test_a_stream_against_the_protocol_is_malformed(frames: list[bytes]) -> None:
    decoder, splitter = CODEC.stream_decoder(), SseSplitter()
    with pytest.raises(MalformedAnswerError):
        for frame in splitter.feed(b"".join(frames)):
            decoder.feed(frame)


def test_events_are_marked_as_their_protocols_own() -> None:
    started = decode(sse(start(), ending(), STOP))[0]
    assert isinstance(started, Node)
    assert started.shape is not None
    assert started.shape.forms["protocol"] == "anthropic_messages"


def test_no_content_hides_beside_the_canonical_fields() -> None:
    """A step that changes an event's text must have changed all there is of it."""
    secret = "4111 1111"
    deltas = (
        {"type": "text_delta", "text": secret, "new": 1},
        {"type": "text_delta", "text": secret},
    )
    frames = block(0, {"type": "text", "text": secret, "new": 1}, *deltas)
    frames[1]["new"] = 2
    for event in decode(sse(start(), *frames, ending(), STOP)):
        if isinstance(event, PartDelta):
            assert secret not in str(replace(event, text=""))
        if isinstance(event, PartStarted) and isinstance(event.part, Text):
            assert secret not in str(replace(event, part=replace(event.part, text="")))
