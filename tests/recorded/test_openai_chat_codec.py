"""Real traffic of everybody who speaks Chat, through the codec and back.

Every `*-chat.jsonl` whose URI ends in `/chat/completions` counts, whoever the vendor is.
"""

import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from shared.canonical.answer import fold, unfold
from shared.canonical.events import Event, Failed, Finished, UsageReported
from shared.canonical.failures import InvalidRequestError, MalformedAnswerError
from shared.canonical.order import OrderCheck
from shared.framing.sse import SseSplitter
from shared.protocols.codec import AnswerContext
from shared.protocols.openai_chat import OpenAIChat

RECORDED = os.environ.get("WEIR_RECORDED", "")
pytestmark = pytest.mark.skipif(
    not RECORDED, reason="WEIR_RECORDED does not name the folder of recorded vendor traffic"
)

CODEC = OpenAIChat()
CONTEXT = AnswerContext(call_id="made-up", model="made-up", created=1, stream_usage=True)

Interaction = dict[str, Any]


@cache
def interactions() -> tuple[Interaction, ...]:
    files = sorted(Path(RECORDED).glob("*-chat.jsonl"))
    read = (json.loads(line) for file in files for line in file.read_text().splitlines())
    return tuple(one for one in read if one["uri"].split("?")[0].endswith("/chat/completions"))


def chosen(*, streamed: bool, failed: bool = False) -> Iterator[Interaction]:
    for one in interactions():
        if one["streamed"] is streamed and (one["status"] >= 400) is failed:
            yield one


def name(one: Interaction) -> str:
    return f"{one['vendor']} {one['id']}"


def is_same(left: Any, right: Any) -> bool:
    """Equal as JSON, with the keys in the same order."""
    return json.dumps(left) == json.dumps(right)


def body_of(one: Interaction) -> bytes:
    return json.dumps(one["request_body"]).encode()


def frames_of(one: Interaction) -> list[Any]:
    splitter = SseSplitter()
    frames = splitter.feed(one["response_body"].encode() + b"\n\n")
    return [frame for frame in frames if frame.data]


def decoded(one: Interaction) -> list[Event]:
    decoder = CODEC.stream_decoder()
    events = [event for frame in frames_of(one) for event in decoder.feed(frame)]
    return [*events, *decoder.close()]


def test_there_is_traffic() -> None:
    assert len(interactions()) > 1_300
    assert len({one["vendor"] for one in interactions()}) > 20


def test_every_request_goes_back_as_it_came() -> None:
    changed: list[str] = []
    for one in interactions():
        if names_no_model(one):
            continue
        request = CODEC.decode_request(body_of(one))
        encoded = CODEC.encode_request(request, model=request.model)
        assert encoded.dropped == ()
        if not is_same(json.loads(encoded.body), one["request_body"]):
            changed.append(name(one))
    assert changed == []


def test_a_request_without_a_model_is_refused() -> None:
    """Azure names the model in the path."""
    (one,) = filter(names_no_model, interactions())
    with pytest.raises(InvalidRequestError) as refused:
        CODEC.decode_request(body_of(one))
    assert refused.value.field == "model"


def names_no_model(one: Interaction) -> bool:
    return one["request_body"]["model"] is None


def test_a_patched_request_differs_in_nothing_but_usage() -> None:
    for one in interactions():
        wanted = dict(one["request_body"], model="other")
        streamed = bool(wanted.get("stream"))
        if streamed:
            options = wanted.get("stream_options") or {}
            wanted["stream_options"] = {**options, "include_usage": True}
        patched = CODEC.patch_request(body_of(one), model="other", stream=streamed)
        assert is_same(json.loads(patched), wanted), name(one)


def test_every_unstreamed_answer_goes_back_as_it_came() -> None:
    changed: list[str] = []
    malformed = 0
    for one in chosen(streamed=False):
        try:
            answer = CODEC.decode_response(one["response_body"].encode())
        except MalformedAnswerError:
            malformed += 1  # an error body under a 200, and an echo of the request
            continue
        assert fold(unfold(answer)) == answer
        for kept in (answer, fold(unfold(answer))):
            encoded = CODEC.encode_response(kept, CONTEXT)
            if not is_same(json.loads(encoded), json.loads(one["response_body"])):
                changed.append(name(one))
    assert changed == []
    assert malformed == 2


def test_every_stream_is_in_legal_order() -> None:
    ends: dict[type, int] = {}
    for one in chosen(streamed=True):
        events, check = decoded(one), OrderCheck()
        for event in events:
            check.see(event)
        ends[type(events[-1])] = ends.get(type(events[-1]), 0) + 1
    assert set(ends) == {Finished, Failed}
    assert ends[Failed] == 1  # OpenRouter's "Token limit reached"


def test_every_frame_of_every_stream_goes_back_as_it_came() -> None:
    changed: list[str] = []
    for one in chosen(streamed=True):
        decoder, encoder = CODEC.stream_decoder(), CODEC.stream_encoder(CONTEXT)
        failed = False
        for number, frame in enumerate(frames_of(one)):
            events = decoder.feed(frame)
            encoded = SseSplitter().feed(encoder.encode(events))
            if failed:
                assert encoded == []  # after an error no [DONE]
                continue
            failed = any(isinstance(event, Failed) for event in events)
            if [read(f.data) for f in encoded] != [read(frame.data)]:
                changed.append(f"{name(one)} frame {number}")
    assert changed == []


def test_every_stream_goes_back_as_it_came_in_batches() -> None:
    """The events of several frames arrive together, and leave as the same frames."""
    for one in chosen(streamed=True):
        events = decoded(one)
        sent = [read(frame.data) for frame in frames_of(one)]
        if isinstance(events[-1], Failed):
            sent = sent[:-1]
        elif sent[-1] != "[DONE]":
            sent.append("[DONE]")
        encoded = SseSplitter().feed(CODEC.stream_encoder(CONTEXT).encode(events))
        assert [read(frame.data) for frame in encoded] == sent, name(one)


def read(data: bytes) -> Any:
    return "[DONE]" if data == b"[DONE]" else json.loads(data)


def test_a_stream_split_anywhere_gives_the_same_events() -> None:
    for one in chosen(streamed=True):
        splitter, decoder = SseSplitter(), CODEC.stream_decoder()
        body = one["response_body"].encode() + b"\n\n"
        events: list[Event] = []
        for position in range(len(body)):
            for frame in splitter.feed(body[position : position + 1]):
                events.extend(decoder.feed(frame))
        assert [*events, *decoder.close()] == decoded(one), name(one)


def test_every_stream_folds_into_an_answer() -> None:
    for one in chosen(streamed=True):
        answer = fold(decoded(one))
        encoded = json.loads(CODEC.encode_response(answer, CONTEXT))
        assert encoded["object"] == "chat.completion"
        text = "".join(texts_of(one))
        assert (encoded["choices"][0]["message"]["content"] or "") == text, name(one)


def texts_of(one: Interaction) -> Iterator[str]:
    """All text of the first choice, read from the frames by hand."""
    for frame in frames_of(one):
        chunk = read(frame.data)
        for choice in chunk["choices"] if chunk != "[DONE]" else ():
            content = choice.get("delta", {}).get("content") if choice["index"] == 0 else None
            if isinstance(content, str):
                yield content
            for item in content if isinstance(content, list) else ():
                yield item.get("text", "")


def test_usage_adds_up_to_the_total() -> None:
    for one in chosen(streamed=False):
        body = json.loads(one["response_body"])
        if "usage" in body:
            usage = CODEC.decode_response(one["response_body"].encode()).usage
            assert usage is not None
            total = (usage.prompt_total or 0) + (usage.output or 0)
            assert total == body["usage"]["total_tokens"], name(one)
            assert (usage.input or 0) >= 0


def test_a_chunk_of_usage_alone_is_one_event() -> None:
    for one in chosen(streamed=True):
        decoder = CODEC.stream_decoder()
        for frame in frames_of(one):
            events = decoder.feed(frame)
            chunk = read(frame.data)
            if chunk != "[DONE]" and chunk["choices"] == [] and chunk.get("usage"):
                assert [type(event) for event in events] == [UsageReported]


def test_every_error_has_a_class_and_a_message() -> None:
    seen = 0
    for one in chosen(streamed=False, failed=True):
        failed = CODEC.decode_error(
            one["status"], one["response_headers"], one["response_body"].encode()
        )
        assert failed.vendor_status == one["status"]
        assert "no message" not in failed.message, name(one)
        status, body = CODEC.encode_error(failed, "made-up")
        assert status >= 400
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
        seen += 1
    assert seen == 33
