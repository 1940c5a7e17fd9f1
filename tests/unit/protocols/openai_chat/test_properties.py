"""Whatever arrives, nothing but the typed errors comes out; and what is kept goes back."""

import json
from contextlib import suppress
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.canonical.events import Failed, Finished
from shared.canonical.failures import InvalidRequestError, MalformedAnswerError
from shared.canonical.order import OrderCheck
from shared.framing.sse import SseSplitter, encode_frame, parse_frame
from tests.unit.protocols.openai_chat.chunks import CODEC, CONTEXT, call, chunk, decoded, sse

WORDS = """
    arguments cache_control choices code content delta error finish_reason function function.name
    id image_url include_usage index json_schema message messages model name prompt_tokens role
    stream_options text tool_call_id tool_calls tool_choice tools type url usage
"""
KEYS = st.sampled_from(WORDS.split())
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "text", "function", "assistant", "user", "tool", "ephemeral"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(), inner, max_size=5)
    ),
    max_leaves=25,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=8)


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


@given(OBJECTS)
def test_any_object_as_a_request(wire: dict[str, Any]) -> None:
    with suppress(InvalidRequestError):
        assert CODEC.decode_request(dumped(wire)).model == wire["model"]


@given(st.lists(VALUES, max_size=4), OBJECTS)
def test_any_messages_go_back_as_they_came(messages: list[Any], rest: dict[str, Any]) -> None:
    wire = {**rest, "model": "m", "messages": messages}
    try:
        request = CODEC.decode_request(dumped(wire))
    except InvalidRequestError:
        return
    assert json.loads(CODEC.encode_request(request, model="m").body) == wire


@given(st.binary())
def test_any_bytes_as_anything(body: bytes) -> None:
    for decode, error in (
        (CODEC.decode_request, InvalidRequestError),
        (CODEC.decode_response, MalformedAnswerError),
    ):
        with suppress(error):
            decode(body)
    assert CODEC.decode_error(500, {}, body).message


@given(OBJECTS, st.lists(VALUES, max_size=3))
def test_any_answer_goes_back_as_it_came(rest: dict[str, Any], choices: list[Any]) -> None:
    wire = {**rest, "choices": choices}
    answer = CODEC.decode_response(dumped(wire))
    assert json.loads(CODEC.encode_response(answer, CONTEXT)) == wire


@given(OBJECTS)
def test_any_object_as_an_error(error: dict[str, Any]) -> None:
    failed = CODEC.decode_error(400, {}, dumped({"error": error}))
    json.loads(CODEC.encode_error(failed, "call-1")[1])


DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["assistant", None]),
        "content": st.sampled_from(["", "a", "b", None]),
        "reasoning": st.sampled_from(["", "t", None]),
        "tool_calls": st.lists(
            st.builds(call, st.integers(0, 2), arguments=st.sampled_from(["", "{"]))
            | st.builds(
                call, st.integers(0, 2), arguments=st.just("{}"), name=st.sampled_from(["f", "g"])
            ),
            max_size=2,
        ),
        "odd": VALUES,
    },
)
CHUNKS = (
    st.builds(chunk, DELTAS, st.sampled_from([None, None, "stop"]), extra=SCALARS)
    | st.builds(chunk, DELTAS, usage=st.none() | st.just({"prompt_tokens": 1}))
    | OBJECTS.filter(lambda one: not one.get("error"))
)


@given(st.lists(CHUNKS, max_size=8))
@settings(deadline=None)
def test_any_chunks_are_in_legal_order_and_go_back_as_they_came(chunks: list[Any]) -> None:
    events = decoded(*chunks, done=False)  # checks the order
    assert isinstance(events[-1], Finished | Failed)
    decoder, encoder = CODEC.stream_decoder(), CODEC.stream_encoder(CONTEXT)
    for one in chunks:
        frame = encoder.encode(decoder.feed(parse_frame(sse([one]))))
        assert json.loads(parse_frame(frame).data) == one


@given(st.lists(CHUNKS, max_size=5), st.lists(st.integers(0, 400), max_size=6))
@settings(deadline=None)
def test_a_stream_cut_anywhere_gives_the_same_events(chunks: list[Any], cuts: list[int]) -> None:
    body = sse(chunks) + encode_frame(b"[DONE]")
    splitter, decoder, check = SseSplitter(), CODEC.stream_decoder(), OrderCheck()
    events = []
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    for start, end in pairwise(edges):
        for frame in splitter.feed(body[start:end]):
            events.extend(decoder.feed(frame))
    for event in events:
        check.see(event)
    assert events == decoded(*chunks)
