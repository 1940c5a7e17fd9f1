import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.framing.sse import (
    FrameTooLargeError,
    SseFrame,
    SseSplitter,
    encode_frame,
    parse_frame,
)

LINE_ENDS = (b"\n", b"\r\n", b"\r")


def split(stream: bytes, *cuts: int) -> tuple[list[SseFrame], bytes]:
    """The frames and the rest of a stream that arrives in pieces."""
    splitter = SseSplitter()
    borders = [0, *sorted(cuts), len(stream)]
    frames: list[SseFrame] = []
    for start, end in itertools.pairwise(borders):
        frames += splitter.feed(stream[start:end])
    return frames, splitter.close()


@pytest.mark.parametrize("line_end", LINE_ENDS)
def test_cuts_at_blank_lines_of_any_line_end(line_end: bytes) -> None:
    lines = [b"event: ping", b"data: {}", b"", b"data: 1", b"data: 2", b"", b""]
    frames, rest = split(line_end.join(lines))
    assert [(frame.event, frame.data) for frame in frames] == [("ping", b"{}"), (None, b"1\n2")]
    assert rest == b""


def test_a_frame_keeps_its_own_bytes() -> None:
    stream = b": hello\n\nevent: a\ndata: x\n\nid: 7\ndata:y\nretry: 3\n\n"
    frames, _ = split(stream)
    assert b"".join(frame.raw for frame in frames) == stream
    assert [frame.data for frame in frames] == [b"", b"x", b"y"]


def test_what_never_ended_is_given_at_the_close() -> None:
    frames, rest = split(b"data: 1\n\ndata: 2\n")
    assert [frame.data for frame in frames] == [b"1"]
    assert rest == b"data: 2\n"


def test_a_splitter_is_empty_after_its_close() -> None:
    splitter = SseSplitter()
    splitter.feed(b"data: lost")
    splitter.close()
    assert [frame.data for frame in splitter.feed(b"data: 1\n\n")] == [b"1"]


@pytest.mark.parametrize(
    ("raw", "event", "data"),
    [
        (b"data: x\n\n", None, b"x"),
        (b"data:x\n\n", None, b"x"),
        (b"data:  x\n\n", None, b" x"),
        (b"data\n\n", None, b""),
        (b"data: a: b\n\n", None, b"a: b"),
        (b"event: e\ndata: x\n\n", "e", b"x"),
        (b"data: x\nevent: e\n\n", "e", b"x"),
        (b"event: e\n\n", "e", b""),
        (b"event: e\ndata: x\ndata: y\n\n", "e", b"x\ny"),
        (b": comment\n\n", None, b""),
        (b"\n\n", None, b""),
        (b"\xef\xbb\xbfdata: x\n\n", None, b"x"),
        (b"event: \xff\ndata: x\n\n", "�", b"x"),
    ],
)
def test_fields_of_a_frame(raw: bytes, event: str | None, data: bytes) -> None:
    frame = parse_frame(raw)
    assert (frame.raw, frame.event, frame.data) == (raw, event, data)


@pytest.mark.parametrize("event", [None, "message_stop"])
def test_an_encoded_frame_parses_to_itself(event: str | None) -> None:
    frame = parse_frame(encode_frame(b'{"a":1}', event))
    assert (frame.event, frame.data) == (event, b'{"a":1}')


PIECES = st.lists(
    st.sampled_from(
        [b"data: a", b"event: b", b"data", b":", b"x", b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n\r\n"]
    ),
    max_size=40,
).map(b"".join)


@given(PIECES, st.lists(st.integers(0, 200), max_size=20))
def test_any_split_gives_the_same_frames(stream: bytes, cuts: list[int]) -> None:
    whole, rest = split(stream)
    pieces, rest_of_pieces = split(stream, *(min(cut, len(stream)) for cut in cuts))
    assert pieces == whole
    assert rest_of_pieces == rest
    assert b"".join(frame.raw for frame in whole) + rest == stream


@given(PIECES)
def test_byte_by_byte_gives_the_same_frames(stream: bytes) -> None:
    assert split(stream, *range(1, len(stream))) == split(stream)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything(stream: bytes) -> None:
    frames, rest = split(stream)
    assert b"".join(frame.raw for frame in frames) + rest == stream


@pytest.mark.parametrize("step", [1, 7, 100])
@pytest.mark.parametrize("ended", [False, True])
def test_a_frame_beyond_the_bound_is_refused(step: int, ended: bool) -> None:
    splitter = SseSplitter(max_frame_bytes=50)
    stream = b"data: 1\n\ndata: " + b"x" * 60 + (b"\n\n" if ended else b"")
    with pytest.raises(FrameTooLargeError):
        for start in range(0, len(stream), step):
            splitter.feed(stream[start : start + step])


def test_many_frames_within_the_bound_are_fine() -> None:
    assert len(SseSplitter(max_frame_bytes=50).feed(b"data: 1\n\n" * 1000)) == 1000


def feeding_time(stream: bytes, step: int) -> float:
    """The best of three, as the machine is shared."""
    times: list[float] = []
    for _ in range(3):
        splitter = SseSplitter()
        began = time.perf_counter()
        for start in range(0, len(stream), step):
            splitter.feed(stream[start : start + step])
        times.append(time.perf_counter() - began)
    return min(times)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(lambda size: b"data: " + b"x" * size + b"\n\n", id="one large frame"),
        pytest.param(lambda size: b"data: x\n\n" * (size // 9), id="many small frames"),
        pytest.param(lambda size: b"data: x\r\n\r\n" * (size // 11), id="CRLF"),
    ],
)
@pytest.mark.parametrize("step", [64, 1_000_000])
def test_time_grows_with_the_length_alone(frame, step: int) -> None:
    """Quadratic work would take 64 times as long for eight times as much."""
    small, large = feeding_time(frame(50_000), step), feeding_time(frame(400_000), step)
    assert large < 32 * small + 0.01
