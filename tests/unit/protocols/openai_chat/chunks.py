"""Streams for the tests of this folder: chunks as OpenAI sends them, and their events."""

import json
from collections.abc import Iterable
from typing import Any

from shared.canonical.events import Event
from shared.canonical.order import OrderCheck
from shared.framing.sse import SseSplitter, encode_frame
from shared.protocols.codec import AnswerContext
from shared.protocols.openai_chat import OpenAIChat

CODEC = OpenAIChat()
CONTEXT = AnswerContext(call_id="call-1", model="asked", created=1_700_000_000, stream_usage=True)

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


def chunk(delta: dict[str, Any] | None = None, reason: str | None = None, **more: Any) -> Any:
    """One chunk with one choice."""
    choice = {"index": 0, "delta": delta or {}, "logprobs": None, "finish_reason": reason}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt",
        "choices": [choice],
        **more,
    }


def call(index: int, **function: str) -> dict[str, Any]:
    """One item of `tool_calls`; with a name it begins a call."""
    begun = {"id": f"call_{index}", "type": "function"} if "name" in function else {}
    return {"index": index, **begun, "function": function}


def sse(chunks: Iterable[Any]) -> bytes:
    return b"".join(encode_frame(json.dumps(one).encode()) for one in chunks)


def decoded(*chunks: Any, done: bool = True) -> list[Event]:
    """The events of a whole stream, checked for their order."""
    decoder, check = CODEC.stream_decoder(), OrderCheck()
    body = sse(chunks) + (b"data: [DONE]\n\n" if done else b"")
    events = [event for frame in SseSplitter().feed(body) for event in decoder.feed(frame)]
    events += decoder.close()
    for event in events:
        check.see(event)
    return events


def encoded(events: Iterable[Event], context: AnswerContext = CONTEXT) -> list[Any]:
    """The chunks that a client gets, events arriving one by one; the last may be "[DONE]"."""
    encoder = CODEC.stream_encoder(context)
    return read(b"".join(encoder.encode([event]) for event in events))


def read(body: bytes) -> list[Any]:
    frames = SseSplitter().feed(body)
    return ["[DONE]" if one.data == b"[DONE]" else json.loads(one.data) for one in frames]
