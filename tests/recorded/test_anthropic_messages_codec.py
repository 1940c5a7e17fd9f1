"""Anthropic's real traffic, through the codec and back.

Every interaction with `/v1/messages` and `/v1/messages/count_tokens`, and Claude on Bedrock's
InvokeModel, whose bodies are of the same protocol.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from shared.canonical.answer import fold, unfold
from shared.canonical.events import Event, Finished, UsageReported
from shared.canonical.failures import FailureClass
from shared.canonical.order import DONE, OrderCheck
from shared.canonical.parts import ToolCall
from shared.canonical.request import Request
from shared.framing.sse import SseFrame, SseSplitter
from shared.protocols.anthropic_messages import AnthropicMessages
from shared.protocols.codec import AnswerContext

RECORDED = os.environ.get("WEIR_RECORDED", "")
pytestmark = pytest.mark.skipif(
    not RECORDED, reason="WEIR_RECORDED does not name the folder of recorded vendor traffic"
)

CODEC = AnthropicMessages()
CONTEXT = AnswerContext(call_id="made-up", model="made-up", created=1)

Interaction = dict[str, Any]


@cache
def interactions(name: str = "anthropic-messages") -> tuple[Interaction, ...]:
    lines = (Path(RECORDED) / f"{name}.jsonl").read_text().splitlines()
    return tuple(json.loads(line) for line in lines)


@cache
def on_bedrock() -> tuple[Interaction, ...]:
    """The model's name stands in the path there."""
    found = (one for one in interactions("bedrock-invoke") if "claude" in one["uri"])
    bodies = ((one, one["request_body"]) for one in found)
    return tuple(
        {**one, "request_body": {**body, "model": "in the path"}}
        for one, body in bodies
        if isinstance(body, dict) and "anthropic_version" in body
    )


def everywhere() -> tuple[Interaction, ...]:
    return (*interactions(), *interactions("anthropic-count_tokens"), *on_bedrock())


def chosen(*, streamed: bool, failed: bool = False) -> Iterator[Interaction]:
    for one in interactions():
        if one["streamed"] is streamed and (one["status"] >= 400) is failed:
            yield one


def is_same(left: Any, right: Any) -> bool:
    """Equal as JSON, with the keys in the same order."""
    return json.dumps(left) == json.dumps(right)


def frames_of(one: Interaction, step: int | None = None) -> list[SseFrame]:
    splitter = SseSplitter()
    body = one["response_body"].encode()
    step = step or len(body)
    frames = [
        frame for at in range(0, len(body), step) for frame in splitter.feed(body[at : at + step])
    ]
    assert splitter.close() == b""
    return [frame for frame in frames if frame.data]


def decoded(frames: list[SseFrame]) -> list[Event]:
    decoder = CODEC.stream_decoder()
    events = [event for frame in frames for event in decoder.feed(frame)]
    return [*events, *decoder.close()]


def test_there_is_traffic() -> None:
    assert len(interactions()) > 500
    assert sum(1 for _ in chosen(streamed=True)) > 100
    assert len(on_bedrock()) > 20


def test_every_request_goes_back_as_it_came() -> None:
    changed: list[str] = []
    for one in everywhere():
        wire = one["request_body"]
        request = CODEC.decode_request(json.dumps(wire).encode())
        over_the_bus = msgspec.msgpack.decode(msgspec.msgpack.encode(request), type=Request)
        encoded = CODEC.encode_request(over_the_bus, model=wire["model"])
        if encoded.dropped or not is_same(json.loads(encoded.body), wire):
            changed.append(one["id"])
    assert changed == []


def test_a_patched_request_differs_in_the_models_name_alone() -> None:
    for one in interactions():
        wire = one["request_body"]
        patched = CODEC.patch_request(json.dumps(wire).encode(), model="other", stream=True)
        assert is_same(json.loads(patched), {**wire, "model": "other"}), one["id"]


def test_every_unstreamed_answer_goes_back_as_it_came() -> None:
    changed: list[str] = []
    bedrock = [one for one in on_bedrock() if one["status"] < 400]
    for one in (*chosen(streamed=False), *bedrock):
        answer = CODEC.decode_response(one["response_body"].encode())
        assert fold(unfold(answer)) == answer
        back = CODEC.encode_response(answer, CONTEXT)
        if not is_same(json.loads(back), json.loads(one["response_body"])):
            changed.append(one["id"])
    assert changed == []


def test_every_stream_is_legal_and_ends_well() -> None:
    for one in chosen(streamed=True):
        check = OrderCheck()
        events = decoded(frames_of(one))
        for event in events:
            check.see(event)
        assert check.state == DONE
        assert isinstance(events[-1], Finished), one["id"]
        assert any(isinstance(event, UsageReported) for event in events), one["id"]


def test_every_frame_of_a_stream_goes_back_as_it_came() -> None:
    changed: Counter[str] = Counter()
    for one in chosen(streamed=True):
        decoder, encoder = CODEC.stream_decoder(), CODEC.stream_encoder(CONTEXT)
        for frame in frames_of(one):
            back = SseSplitter().feed(encoder.encode(decoder.feed(frame)))
            same = [(each.event, json.loads(each.data)) for each in back]
            if not is_same(same, [(frame.event, json.loads(frame.data))]):
                changed[one["id"]] += 1
    assert changed == {}


@pytest.mark.parametrize("step", [1, 1000])
def test_every_stream_means_the_same_however_it_is_split(step: int) -> None:
    for one in chosen(streamed=True):
        assert frames_of(one, step) == frames_of(one), one["id"]


def test_every_stream_folds_to_an_answer_that_can_be_unstreamed() -> None:
    for one in chosen(streamed=True):
        answer = fold(decoded(frames_of(one)))
        again = CODEC.decode_response(CODEC.encode_response(answer, CONTEXT))
        assert parts_of(again) == parts_of(answer), one["id"]
        assert (again.usage, again.finished) == (answer.usage, answer.finished), one["id"]


def parts_of(answer: Any) -> list[Any]:
    """The parts, with arguments compared as JSON: models write spaces where we write none."""
    return [
        (part.id, part.name, json.loads(part.arguments))
        if isinstance(part, ToolCall)
        else replace(part, shape=None)
        for part in answer.parts
    ]


def test_every_error_has_a_class_and_can_be_shown() -> None:
    failures: set[FailureClass] = set()
    for one in chosen(streamed=False, failed=True):
        failed = CODEC.decode_error(
            one["status"], one["response_headers"], one["response_body"].encode()
        )
        failures.add(failed.failure)
        _, body = CODEC.encode_error(failed, "made-up")
        assert json.loads(body)["error"]["message"] == failed.message
    assert failures == {
        FailureClass.INVALID_REQUEST,
        FailureClass.NOT_FOUND,
        FailureClass.UPSTREAM_CREDENTIAL,
    }
