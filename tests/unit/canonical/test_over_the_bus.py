"""Canonical structs cross the bus in msgpack: what goes in must come out."""

import msgspec
import pytest

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
    CacheControl,
    Document,
    Image,
    Opaque,
    Part,
    Refusal,
    Shape,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from shared.canonical.request import (
    Message,
    OutputFormat,
    Request,
    Role,
    ThinkingConfig,
    Tool,
    ToolChoice,
    ToolMode,
)
from shared.canonical.usage import Usage

SHAPE = Shape(("a", "b"), {"a": "text"})

PARTS: tuple[Part, ...] = (
    Text(text="x", citations=({"a": [1]},), cache=CacheControl(ttl="1h"), shape=SHAPE),
    Image(source=Source(url="https://a"), detail="low"),
    Audio(source=Source(data="AA=="), format="wav"),
    Document(source=Source(text="x"), name="n", context="c"),
    Thinking(text="hm", vendor_data={"signature": "s"}),
    ToolCall(id="1", name="f", arguments="{", extra={"caller": {"type": "direct"}}),
    ToolResult(call_id="1", parts=(Text(text="x"), Opaque(type="t", value=[1, None]))),
    Refusal(text="no"),
    Opaque(type="t", value=None),
)

EVENTS: tuple[Event, ...] = (
    Started(id="1", model="m", created=3, extra={"a": None}, shape=SHAPE),
    *(PartStarted(index=index, part=part) for index, part in enumerate(PARTS)),
    PartDelta(index=0, kind=DeltaKind.OPAQUE, value={"type": "t"}),
    PartEnded(index=0),
    UsageReported(usage=Usage(input=0, tool_fees={"web_search": 1})),
    Unrecognized(type="ping", value={"type": "ping"}),
    Finished(reason=FinishReason.PAUSE, vendor_reason="pause_turn"),
    Failed(failure=FailureClass.TIMEOUT, message="slow", retry_after=0.5),
    Cancelled(),
)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_comes_out_as_it_went_in(event: Event) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=Event) == event


def test_a_request_comes_out_as_it_went_in() -> None:
    request = Request(
        protocol="p",
        model="m",
        messages=(Message(role=Role.USER, parts=PARTS, shape=SHAPE),),
        tools=(Tool(name="f", parameters={"type": "object"}), Tool(name="", opaque={"a": 1})),
        tool_choice=ToolChoice(mode=ToolMode.NAMED, name="f"),
        output_format=OutputFormat(kind="json_schema", schema={}),
        thinking=ThinkingConfig(mode="enabled", budget_tokens=1),
        stop=("a",),
        extra={"unknown": {"a": [1.5, None, True]}},
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(request), type=Request) == request
