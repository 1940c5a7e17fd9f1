"""Whatever comes in: only the typed errors come out, and what is understood goes back."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import msgpack
from msgspec.structs import replace

from shared.canonical.events import Event
from shared.canonical.failures import InvalidRequestError, MalformedAnswerError
from shared.canonical.order import OrderCheck
from shared.canonical.request import Request
from shared.framing.sse import SseFrame
from shared.protocols.anthropic_messages import AnthropicMessages
from shared.protocols.codec import AnswerContext

CODEC = AnthropicMessages()
CONTEXT = AnswerContext(call_id="call-1", model="alias", created=7)

WORDS = st.sampled_from(
    """type text user assistant system role content model messages tools name input input_schema
    tool_use tool_result tool_use_id id is_error cache_control ephemeral ttl thinking signature
    redacted_thinking data image document source base64 url file_id media_type citations metadata
    user_id output_config effort format json_schema schema stop_sequences tool_choice auto any
    disable_parallel_tool_use usage input_tokens cache_creation iterations compaction index delta
    text_delta input_json_delta partial_json signature_delta citations_delta citation message
    content_block stop_reason end_turn error enabled budget_tokens""".split()  # noqa: SIM905 - sixty lines otherwise
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=5)
    | WORDS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=20,
)


def with_keys(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that hold anything, and often what is expected under these keys."""
    expected = st.fixed_dictionaries({}, optional={k: v | VALUES for k, v in values.items()})
    return st.builds(lambda a, b: {**a, **b}, st.dictionaries(WORDS, VALUES, max_size=4), expected)


BLOCKS = with_keys(
    type=st.sampled_from(
        ["text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking"]
    ),
    text=st.text(max_size=3),
    id=st.text(max_size=3),
    name=st.text(max_size=3),
    input=st.dictionaries(WORDS, VALUES, max_size=2),
    tool_use_id=st.text(max_size=3),
    thinking=st.text(max_size=3),
    signature=st.text(max_size=3),
    data=st.text(max_size=3),
    source=with_keys(type=st.sampled_from(["base64", "url", "file", "text", "content"])),
    cache_control=with_keys(type=st.just("ephemeral"), ttl=st.just("1h")),
)
MESSAGES = with_keys(
    role=st.sampled_from(["user", "assistant", "system"]),
    content=st.text(max_size=3) | st.lists(BLOCKS, max_size=3),
)
REQUESTS = with_keys(
    model=st.just("claude"),
    messages=st.lists(MESSAGES, max_size=3),
    system=st.text(max_size=3) | st.lists(BLOCKS, max_size=2),
    max_tokens=st.integers(0, 9),
    tools=st.lists(with_keys(name=st.text(max_size=3)), max_size=2),
    tool_choice=with_keys(type=st.sampled_from(["auto", "any", "tool", "none"])),
    thinking=with_keys(type=st.sampled_from(["enabled", "disabled", "adaptive"])),
    output_config=with_keys(effort=st.just("low"), format=with_keys(type=st.just("json_schema"))),
    metadata=with_keys(user_id=st.text(max_size=3)),
    temperature=st.floats(0, 1) | st.integers(0, 1),
    stop_sequences=st.lists(st.text(max_size=3), max_size=2),
)
ANSWERS = with_keys(
    id=st.text(max_size=3),
    content=st.lists(BLOCKS, max_size=3),
    stop_reason=st.just("end_turn"),
    usage=with_keys(input_tokens=st.integers(0, 9), iterations=st.lists(VALUES, max_size=2)),
)
FRAMES = with_keys(
    type=st.sampled_from(
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
            "error",
            "ping",
        ]
    ),
    index=st.integers(0, 2),
    message=ANSWERS,
    content_block=BLOCKS,
    delta=with_keys(
        type=st.sampled_from(["text_delta", "input_json_delta", "thinking_delta"]),
        text=st.text(max_size=3),
        partial_json=st.text(max_size=3),
    ),
    usage=with_keys(output_tokens=st.integers(0, 9)),
)
START = {"type": "message_start", "message": {"id": "msg_1", "content": []}}


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


@given(REQUESTS)
@settings(max_examples=100)
def test_a_request_is_refused_or_goes_back_as_it_came(wire: dict[str, Any]) -> None:
    try:
        request = CODEC.decode_request(encoded(wire))
    except InvalidRequestError:
        return
    over_the_bus = msgpack.decode(msgpack.encode(request), type=Request)
    back = CODEC.encode_request(over_the_bus, model=wire["model"])
    assert json.dumps(json.loads(back.body)) == json.dumps(wire)
    assert back.dropped == ()


@given(REQUESTS)
def test_a_request_of_another_protocol_is_refused_or_said(wire: dict[str, Any]) -> None:
    """The same canonical values, as if somebody else's client had written them."""
    try:
        request = CODEC.decode_request(encoded(wire))
        CODEC.encode_request(replace(request, protocol="openai_chat"), model="m")
    except InvalidRequestError:
        return


@given(ANSWERS)
@settings(max_examples=100)
def test_an_answer_is_malformed_or_goes_back_as_it_came(wire: dict[str, Any]) -> None:
    try:
        answer = CODEC.decode_response(encoded(wire))
    except MalformedAnswerError:
        return
    assert json.dumps(json.loads(CODEC.encode_response(answer, CONTEXT))) == json.dumps(wire)


@given(st.binary(max_size=50))
def test_bytes_are_no_message(raw: bytes) -> None:
    for decode, error in (
        (CODEC.decode_request, InvalidRequestError),
        (CODEC.decode_response, MalformedAnswerError),
    ):
        try:
            decode(raw)
        except error:
            continue
    CODEC.decode_error(500, {}, raw)


@given(VALUES, st.integers(300, 599))
def test_an_error_body_may_be_anything(value: Any, status: int) -> None:
    failed = CODEC.decode_error(status, {}, encoded({"error": value}))
    CODEC.encode_error(failed, "call-1")


@given(st.lists(FRAMES, max_size=8), st.booleans())
@settings(max_examples=60)
def test_any_frames_give_legal_events_or_are_malformed(
    frames: list[dict[str, Any]], named: bool
) -> None:
    decoder, check, encoder = CODEC.stream_decoder(), OrderCheck(), CODEC.stream_encoder(CONTEXT)
    try:
        for wire in [START, *frames]:
            name = wire.get("type")
            event = name if named and isinstance(name, str) else None
            see(decoder.feed(SseFrame(b"", encoded(wire), event)), check, encoder)
    except MalformedAnswerError:
        return
    see(decoder.close(), check, encoder)
    assert check.state == "done"


def see(events: list[Event], check: OrderCheck, encoder: Any) -> None:
    for event in events:
        check.see(event)
    encoder.encode(events)
