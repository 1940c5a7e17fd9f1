"""Bounds that a client can rely on: dead dependencies, silent vendors, large bodies."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.clients import CHAT, MESSAGES, PAIRS, Answer, Verdict, call, expected_text, many
from tests.chaos.fleet import Fleet, running
from tests.servers import MIB
from tests.stack import eventually

KEEP_ALIVE_WITHIN = 16.0


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A gateway with short timeouts, before a NATS server as it is without any configuration of
    ours: it takes 1 MiB a message."""
    times = {"CONNECT": "0.5", "FIRST_TOKEN": "1", "IDLE": "0.7", "TOTAL": "3"}
    env = {f"WEIR_TIMEOUT_{name}": value for name, value in times.items()}
    folder = tmp_path_factory.mktemp("impatient")
    with running(folder, max_payload=MIB, env=env) as fleet:
        yield fleet


def ask_all(fleet: Fleet, options: str, *, vendor: str = "") -> list[Answer]:
    """Both protocols, both vendors, streamed and not."""

    async def one(number: int) -> Answer:
        path, named = PAIRS[number % len(PAIRS)]
        model = f"{vendor or named}/sim:{options}"
        return await call(fleet.urls[0], fleet.key, path, model, stream=number < len(PAIRS))

    return asyncio.run(many(2 * len(PAIRS), one))


@pytest.mark.parametrize("gone", ["provider", "pipeline"])
def test_without_a_worker_the_answer_is_503_in_under_a_second(single: Fleet, gone: str) -> None:
    (role,) = single.named(gone)
    assert role.stop() == 0
    try:
        answers = ask_all(single, "chunks=3")
    finally:
        role.start()
    for answer in answers:
        assert answer.status == 503
        assert answer.error()
        assert 0 < float(answer.headers["retry-after"]) <= 1
        assert answer.took < 1.2
    if gone == "provider":
        found = single.await_rows([answer.call_id for answer in answers])
        assert set(found.values()) == {"failed"}


@pytest.mark.parametrize(
    ("options", "clock", "least", "most"),
    [
        ("first=60000", "first token", 1.0, 2.0),
        ("chunks=10,stall_after=3", "idle", 0.7, 1.7),
        ("chunks=1000,pace=100", "total", 3.0, 4.5),
    ],
)
def test_each_timeout_ends_with_a_clear_error_and_a_row(
    impatient: Fleet, options: str, clock: str, least: float, most: float
) -> None:
    answers = ask_all(impatient, options)
    for number, answer in enumerate(answers):
        streamed = number < len(PAIRS)
        began = streamed and clock != "first token"
        assert answer.verdict(expected_text(1000)) is Verdict.ERROR, answer
        assert answer.status == (200 if began else 504)
        # An answer that is not streamed sends nothing while it is being made.
        assert streamed is False or clock in answer.error(), answer.error()
        assert (least if streamed else 0.7) <= answer.took < most, (streamed, answer.took)
    found = impatient.await_rows([answer.call_id for answer in answers])
    assert set(found.values()) == {"failed"}
    errors = impatient.clickhouse.query(
        "SELECT DISTINCT toString(error_class) FROM calls WHERE call_id IN {ids:Array(UUID)}",
        ids=[answer.call_id for answer in answers],
    )
    assert errors == [("timeout",)]
    eventually(lambda: impatient.in_flight_at_vendor() == 0, 3)


def test_a_vendor_that_takes_no_connection_is_504_or_502_in_time(tmp_path: Path) -> None:
    """192.0.2.0/24 is nobody's (RFC 5737): what is sent there is lost, or refused at once."""
    env = {"WEIR_TIMEOUT_CONNECT": "0.5", "OPENAI_BASE_URL": "http://192.0.2.1:9/v1"}
    with running(tmp_path, env=env) as fleet:
        answers = ask_all(fleet, "chunks=3", vendor="openai")
        for answer in answers:
            assert answer.status in (502, 503, 504)
            assert answer.error()
            assert answer.took < 2
        assert set(fleet.await_rows([answer.call_id for answer in answers]).values()) == {"failed"}


def test_a_silent_stream_gets_a_sign_of_life_within_sixteen_seconds(single: Fleet) -> None:
    """Before the vendor's first byte, and in mid-stream."""
    waits = [(path, "first=17000,chunks=2") for path, _ in PAIRS[::2]]
    waits += [(path, "chunks=2,pace=17000") for path, _ in PAIRS[::2]]

    async def one(number: int) -> Answer:
        path, options = waits[number]
        return await call(single.urls[0], single.key, path, f"anthropic/sim:{options}")

    answers = asyncio.run(many(len(waits), one))
    for answer in answers:
        assert answer.verdict(expected_text(2)) is Verdict.UNHARMED
        assert 14 < answer.longest_silence < KEEP_ALIVE_WITHIN


@pytest.mark.parametrize(
    ("path", "vendor"), [(MESSAGES, "anthropic"), (CHAT, "openai"), (CHAT, "anthropic")]
)
def test_bodies_beyond_the_servers_message_size_work(
    impatient: Fleet, path: str, vendor: str
) -> None:
    assert impatient.monitoring("varz")["max_payload"] == MIB
    sizes = [MIB // 8, MIB // 4, MIB // 2, MIB - 300_000, MIB - 100_000, MIB - 2000, MIB, 2 * MIB]

    async def one(number: int) -> Answer:
        return await call(
            impatient.urls[0],
            impatient.key,
            path,
            f"{vendor}/sim:chunks=3",
            prompt="x" * sizes[number],
            headers={"x-filler": "y" * 8000},
            stream=number % 2 == 0,
        )

    answers = asyncio.run(many(len(sizes), one))
    for size, answer in zip(sizes, answers, strict=True):
        assert answer.verdict(expected_text(3)) is Verdict.UNHARMED, (size, answer)


@pytest.mark.parametrize("path", [MESSAGES, CHAT])
def test_a_body_over_our_limit_is_413(impatient: Fleet, path: str) -> None:
    large = "x" * (32 * MIB + 10)
    answer = asyncio.run(
        call(impatient.urls[0], impatient.key, path, "anthropic/sim", prompt=large, stream=False)
    )
    assert answer.status == 413
    assert json.loads(answer.body)["error"]["message"]
    assert set(impatient.await_rows([answer.call_id]).values()) == {"rejected"}
