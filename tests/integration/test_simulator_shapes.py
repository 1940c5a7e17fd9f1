"""The simulator's answers beside what the vendors themselves once answered.

Real traffic is read from the folder that WEIR_RECORDED names: every document that the
simulator sends has the fields, in the order, of some recorded one; what a vendor accepted is
accepted, and what it refused and the simulator refuses too is refused alike.
"""

import json
import os
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from services.simulator.answers import Answers
from services.simulator.script import Request
from tests.integration.simulated import (
    ANTHROPIC,
    ANTHROPIC_TOOL,
    OPENAI,
    OPENAI_TOOL,
    chat_body,
    data_lines,
    messages_body,
)

RECORDED = os.environ.get("WEIR_RECORDED")
pytestmark = pytest.mark.skipif(
    not RECORDED, reason="needs WEIR_RECORDED: the folder of recorded vendor traffic"
)

FILES = {"anthropic": "anthropic-messages.jsonl", "openai": "openai-chat.jsonl"}
# Whose keys are the caller's own, so that no two recordings agree on them.
FREE_FORM = {"input"}

THINKING = {"type": "enabled", "budget_tokens": 1024}
ANTHROPIC_CALLS = [
    messages_body(),
    messages_body("sim:chunks=0"),
    messages_body("sim:finish=length"),
    messages_body("sim:thinking=2", thinking=THINKING),
    messages_body("sim:tools=1", tools=[ANTHROPIC_TOOL]),
    messages_body("sim:tools=2,chunks=2", tools=[ANTHROPIC_TOOL]),
]
OPENAI_CALLS = [
    chat_body(),
    chat_body("sim:finish=length"),
    chat_body("sim:tools=1", tools=[OPENAI_TOOL]),
    chat_body("sim:tools=3", tools=[OPENAI_TOOL]),
]


@cache
def recordings(vendor: str) -> list[dict[str, Any]]:
    lines = (Path(str(RECORDED)) / FILES[vendor]).read_text().splitlines()
    return [json.loads(line) for line in lines]


def shape(value: Any) -> Any:
    """The fields of a document in their order, all the way down; values count for nothing."""
    if isinstance(value, dict):
        return tuple(
            (key, None if key in FREE_FORM else shape(inner)) for key, inner in value.items()
        )
    if isinstance(value, list):
        return frozenset(shape(item) for item in value)
    return None


def pieces(document: dict[str, Any]) -> Iterator[Any]:
    """The document's shapes, one for each thing that may stand in it or not."""
    content = document.get("content")
    if isinstance(content, list):
        yield from (("block", shape(block)) for block in content)
        document = {**document, "content": None}
    yield shape(document)


@cache
def recorded_shapes(vendor: str, streamed: bool) -> frozenset[Any]:
    """Shapes of all recorded answers, or of all events in recorded streams."""
    found: set[Any] = set()
    for one in recordings(vendor):
        if one["status"] != 200 or one["streamed"] != streamed or one["response_reserialized"]:
            continue
        body = one["response_body"]
        documents = data_lines(body) if streamed else [json.loads(body)]
        for document in documents:
            if isinstance(document, dict):
                found.update(pieces(document))
    return frozenset(found)


def answer(vendor: str, body: Any) -> tuple[int, str]:
    """The simulator's status and body, chunked coding left in: no line of it starts a frame."""
    headers, path = (
        (ANTHROPIC, "/v1/messages") if vendor == "anthropic" else (OPENAI, "/v1/chat/completions")
    )
    tape = Answers().tape_for(Request("POST", path, headers, json.dumps(body).encode()))
    head, _, told = b"".join(tape.writes).decode().partition("\r\n\r\n")
    return int(head.split()[1]), told


@pytest.mark.parametrize("body", ANTHROPIC_CALLS, ids=lambda body: body["model"])
def test_anthropic_answers_have_the_vendors_fields(body: dict[str, Any]) -> None:
    status, told = answer("anthropic", body)
    assert status == 200
    assert set(pieces(json.loads(told))) - recorded_shapes("anthropic", False) == set()


@pytest.mark.parametrize("body", ANTHROPIC_CALLS, ids=lambda body: body["model"])
def test_anthropic_streams_have_the_vendors_events(body: dict[str, Any]) -> None:
    status, told = answer("anthropic", {**body, "stream": True})
    assert status == 200
    for event in data_lines(told):
        assert set(pieces(event)) - recorded_shapes("anthropic", True) == set(), event
    names = [line[7:] for line in told.splitlines() if line.startswith("event: ")]
    assert names == [event["type"] for event in data_lines(told)]


@pytest.mark.parametrize("body", ANTHROPIC_CALLS[2:], ids=lambda body: body["model"])
def test_anthropic_events_come_in_the_vendors_order(body: dict[str, Any]) -> None:
    known = {order(one["response_body"]) for one in recordings("anthropic") if one["streamed"]}
    _, told = answer("anthropic", {**body, "stream": True})
    assert order(told) in known


def order(stream: str) -> tuple[str, ...]:
    """The kinds of events in a stream, each run of the same kind told once."""
    kinds = [
        event["type"] + str(event.get("delta", event.get("content_block", {})).get("type", ""))
        for event in data_lines(stream)
    ]
    return tuple(kind for kind, _ in groupby(kinds))


@pytest.mark.parametrize("body", OPENAI_CALLS, ids=lambda body: body["model"])
def test_openai_answers_have_the_vendors_fields(body: dict[str, Any]) -> None:
    status, told = answer("openai", body)
    assert status == 200
    assert set(pieces(json.loads(told))) - recorded_shapes("openai", False) == set()
    assert told.startswith('{\n  "id": "chatcmpl-')


# Parallel calls were recorded only with usage asked for.
@pytest.mark.parametrize(
    ("body", "options"),
    [(body, None) for body in OPENAI_CALLS[:-1]]
    + [(body, {"include_usage": True}) for body in OPENAI_CALLS],
)
def test_openai_streams_have_the_vendors_chunks(body: dict[str, Any], options: Any) -> None:
    status, told = answer("openai", {**body, "stream": True, "stream_options": options})
    assert status == 200
    *chunks, done = data_lines(told)
    assert done == "[DONE]"
    for chunk in chunks:
        assert set(pieces(chunk)) - recorded_shapes("openai", True) == set(), chunk


@pytest.mark.parametrize("vendor", FILES)
def test_what_the_vendor_accepted_is_accepted(vendor: str) -> None:
    accepted = [one for one in recordings(vendor) if one["status"] == 200]
    assert len(accepted) > 400
    refused = {
        one["id"]: told
        for one in accepted
        for status, told in [answer(vendor, one["request_body"])]
        if status != 200
    }
    assert refused == {}


@pytest.mark.parametrize("vendor", FILES)
def test_refusals_look_alike(vendor: str) -> None:
    both = [
        (sorted_shape(json.loads(one["response_body"])), sorted_shape(json.loads(told)))
        for one in recordings(vendor)
        if one["status"] == 400
        for status, told in [answer(vendor, one["request_body"])]
        if status == 400
    ]
    assert both
    for theirs, ours in both:
        assert theirs <= ours


def sorted_shape(document: dict[str, Any]) -> set[Any]:
    """Without order: the vendors themselves are not of one mind about an error's."""
    return {
        (key, tuple(sorted(value)) if isinstance(value, dict) else None)
        for key, value in document.items()
    }
