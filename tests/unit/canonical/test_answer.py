import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.canonical.answer import Answer, fold, unfold
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
from shared.canonical.failures import FailureClass
from shared.canonical.order import OrderCheck
from shared.canonical.parts import (
    Audio,
    Image,
    Opaque,
    Part,
    Refusal,
    Shape,
    Source,
    Text,
    Thinking,
    ToolCall,
)
from shared.canonical.usage import Usage

FINISHED = Finished(reason=FinishReason.STOP)

PARTS: tuple[Part, ...] = (
    Thinking(text="hm", vendor_data={"signature": "s"}),
    Thinking(redacted=True, vendor_data={"data": "d"}),
    Text(text="hello", citations=({"a": 1},)),
    ToolCall(id="1", name="f", arguments='{"a":1}'),
    Refusal(text="no"),
    Image(source=Source(data="AA=="), media_type="image/png"),
    Audio(source=Source(data="AA==")),
    Opaque(type="thing", value={"type": "thing"}),
)

usages = st.none() | st.builds(Usage, input=st.none() | st.integers(0, 9), output=st.integers(0, 9))
answers = st.builds(
    Answer,
    started=st.builds(Started, id=st.text(max_size=3), model=st.text(max_size=3)),
    parts=st.lists(st.sampled_from(PARTS), max_size=6).map(tuple),
    finished=st.none() | st.just(FINISHED),
    usage=usages,
    extra=st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    shape=st.none() | st.just(Shape(("a",), {"a": "b"})),
)


@given(answers)
def test_an_unfolded_answer_folds_to_itself(answer: Answer) -> None:
    assert fold(unfold(answer)) == answer


@given(answers)
def test_an_unfolded_answer_is_a_legal_stream(answer: Answer) -> None:
    check = OrderCheck()
    for event in unfold(answer):
        check.see(event)


def streamed(*deltas: PartDelta, part: Part) -> Part:
    events: list[Event] = [Started(), PartStarted(index=0, part=part), *deltas, PartEnded(index=0)]
    return fold([*events, FINISHED]).parts[0]


def delta(kind: DeltaKind, text: str = "", value: object = None) -> PartDelta:
    return PartDelta(index=0, kind=kind, text=text, value=value)


@pytest.mark.parametrize(
    ("part", "deltas", "whole"),
    [
        (Text(text=""), [delta(DeltaKind.TEXT, "a"), delta(DeltaKind.TEXT, "b")], Text(text="ab")),
        (Text(text="x"), [delta(DeltaKind.TEXT, "y")], Text(text="xy")),
        (Refusal(text=""), [delta(DeltaKind.TEXT, "no")], Refusal(text="no")),
        (
            Text(text="x"),
            [delta(DeltaKind.CITATION, value={"a": 1}), delta(DeltaKind.CITATION, value={"a": 2})],
            Text(text="x", citations=({"a": 1}, {"a": 2})),
        ),
        (
            Thinking(vendor_data={"signature": ""}),
            [delta(DeltaKind.TEXT, "hm"), delta(DeltaKind.VENDOR_DATA, value={"signature": "s"})],
            Thinking(text="hm", vendor_data={"signature": "s"}),
        ),
        (
            ToolCall(id="1", name="f"),
            [delta(DeltaKind.ARGUMENTS, '{"a"'), delta(DeltaKind.ARGUMENTS, ":1}")],
            ToolCall(id="1", name="f", arguments='{"a":1}'),
        ),
        (
            Opaque(type="t", value={"type": "t", "input": {}}),
            [
                delta(DeltaKind.OPAQUE, value={"type": "whatever"}),
                delta(DeltaKind.VENDOR_DATA, value={"input": {"a": 1}}),
            ],
            Opaque(type="t", value={"type": "t", "input": {"a": 1}}),
        ),
        (
            Opaque(type="t", value="text"),
            [delta(DeltaKind.VENDOR_DATA, value={"input": 1})],
            Opaque(type="t", value="text"),
        ),
    ],
)
def test_deltas_add_up(part: Part, deltas: list[PartDelta], whole: Part) -> None:
    assert streamed(*deltas, part=part) == whole


def test_interleaved_parts_keep_the_order_in_which_they_began() -> None:
    answer = fold(
        [
            Started(),
            PartStarted(index=7, part=ToolCall(id="1", name="f")),
            PartStarted(index=2, part=ToolCall(id="2", name="g")),
            PartDelta(index=2, kind=DeltaKind.ARGUMENTS, text="{}"),
            PartDelta(index=7, kind=DeltaKind.ARGUMENTS, text="[]"),
            PartEnded(index=2),
            PartEnded(index=7),
            FINISHED,
        ]
    )
    assert answer.parts == (
        ToolCall(id="1", name="f", arguments="[]"),
        ToolCall(id="2", name="g", arguments="{}"),
    )


def test_usage_is_merged_over_reports() -> None:
    answer = fold(
        [
            Started(),
            UsageReported(usage=Usage(input=10, output=1)),
            UsageReported(usage=Usage(output=7)),
        ]
    )
    assert answer.usage == Usage(input=10, output=7)


def test_a_stream_that_broke_off_has_no_end() -> None:
    failed = Failed(failure=FailureClass.UPSTREAM_ERROR, message="gone")
    answer = fold([Started(), PartStarted(index=0, part=Text(text="a")), failed])
    assert answer.finished is None
    assert answer.parts == (Text(text="a"),)


def test_what_nobody_recognized_changes_nothing() -> None:
    assert fold([Unrecognized(type="ping"), Started(id="1"), FINISHED]) == Answer(
        started=Started(id="1"), finished=FINISHED
    )


def test_folding_is_linear_in_the_number_of_deltas() -> None:
    deltas = [delta(DeltaKind.TEXT, "x")] * 200_000
    part = streamed(*deltas, part=Text(text=""))
    assert isinstance(part, Text)
    assert len(part.text) == 200_000
