"""Reading a vendor's stream: what goes on, what is kept back, what is remembered."""

from services.providers.estimate import estimated
from services.providers.reading import StreamReading
from shared.canonical.events import Failed, Finished
from shared.canonical.usage import Usage
from shared.protocols.registry import CODECS

CHAT, MESSAGES = CODECS["openai_chat"], CODECS["anthropic_messages"]


def chunk(choices: str, more: str = "") -> bytes:
    head = '"id":"c","object":"chat.completion.chunk","created":1,"model":"m"'
    return f'data: {{{head},"choices":[{choices}]{more}}}\n\n'.encode()


DELTA = chunk('{"index":0,"delta":{"content":"word"},"finish_reason":null}')
STOP = chunk('{"index":0,"delta":{},"finish_reason":"stop"}')
USAGE = chunk("", ',"usage":{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6}')
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"message":"broken","type":"server_error"}}\n\n'


def read(data: bytes, *, hide_usage: bool = False) -> tuple[StreamReading, bytes]:
    reading = StreamReading(CHAT, want_events=False, keep_raw=True, hide_usage=hide_usage)
    chunks = (*reading.feed(data), *reading.close())
    return reading, b"".join(chunk.raw for chunk in chunks)


def test_frames_go_on_byte_for_byte_as_one_chunk_a_read() -> None:
    data = DELTA + STOP + USAGE + DONE
    reading, passed = read(data)
    assert passed == data
    assert isinstance(reading.terminal, Finished)
    assert reading.usage is not None
    assert (reading.usage.input, reading.usage.output) == (5, 1)
    assert reading.model == "m"


def test_usage_that_the_client_did_not_ask_for_is_kept_back_and_counted() -> None:
    reading, passed = read(DELTA + STOP + USAGE + DONE, hide_usage=True)
    assert passed == DELTA + STOP + DONE
    assert reading.usage is not None


def test_a_failure_is_not_forwarded_but_kept_for_the_end() -> None:
    reading, passed = read(DELTA + ERROR)
    assert passed == DELTA
    assert isinstance(reading.terminal, Failed)
    assert reading.terminal_raw == ERROR


def test_a_stream_that_breaks_off_is_no_success() -> None:
    reading, _ = read(DELTA)
    assert isinstance(reading.terminal, Failed)


def test_a_last_frame_without_its_blank_line_still_counts() -> None:
    reading, passed = read(DELTA + STOP + b"data: [DONE]\n")
    assert isinstance(reading.terminal, Finished)
    assert passed.endswith(b"data: [DONE]\n")


def test_an_estimate_fills_up_what_was_not_reported() -> None:
    nothing = estimated(None, sent_bytes=400, received_chars=40)
    assert (nothing.input, nothing.output, nothing.estimated) == (100, 10, True)
    began = Usage(input=7, cache_read=3, output=1)
    partly = estimated(began, sent_bytes=400, received_chars=40)
    assert (partly.input, partly.cache_read, partly.output) == (7, 3, 10)
