"""The pull consumer's reader, on a connection made up of lists."""

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from services.audit import pull as module
from services.audit.pull import Pull, PullBrokenError


class Connection:
    """Remembers what is asked for; the test answers in the server's place."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.acknowledged: list[str] = []
        self.is_closed = False
        self.deliver: Any = None
        self.requested = asyncio.Event()

    def new_inbox(self) -> str:
        return "_INBOX.x"

    async def subscribe(self, _subject: str, cb: Any) -> Any:
        self.deliver = cb

        async def unsubscribe() -> None:
            pass

        return SimpleNamespace(unsubscribe=unsubscribe)

    async def publish(self, subject: str, payload: bytes = b"", reply: str = "") -> None:
        if reply:
            self.asked.append(msgspec.json.decode(payload))
            self.requested.set()
        else:
            self.acknowledged.append(subject)


def message(sequence: int, delivered: int, *, domain: bool = False, data: bytes = b"x") -> Any:
    head = "$JS.ACK.hub.account" if domain else "$JS.ACK"
    tail = f"S.C.1.{sequence}.{delivered}.99.5"
    reply = f"{head}.{tail}.token" if domain else f"{head}.{tail}"
    return SimpleNamespace(reply=reply, subject=f"s.{sequence}", data=data, headers=None)


def status(code: str, why: str = "") -> Any:
    headers = {"Status": code, "Description": why}
    return SimpleNamespace(reply="", subject="_INBOX.x", data=b"", headers=headers)


async def opened() -> tuple[Pull, Connection]:
    connection = Connection()
    return await Pull.open(connection, "S", "C"), connection  # type: ignore[arg-type]


@pytest.mark.parametrize("domain", [False, True])
async def test_messages_come_in_order_with_their_place(domain: bool) -> None:
    pull, connection = await opened()
    for delivered, sequence in enumerate((4, 7, 9), 1):
        await connection.deliver(message(sequence, delivered, domain=domain))
    taken = await pull.take(3, 1.0)
    assert [stored.sequence for stored in taken] == [4, 7, 9]
    assert pull.pending == 5
    await pull.acknowledge(taken[-1])
    assert connection.acknowledged == [taken[-1].reply]


async def test_what_is_brought_again_is_passed_over() -> None:
    pull, connection = await opened()
    for delivered, sequence in enumerate((4, 7, 4, 7, 8), 1):
        await connection.deliver(message(sequence, delivered))
    assert [stored.sequence for stored in await pull.take(3, 1.0)] == [4, 7, 8]


async def test_a_gap_breaks_it() -> None:
    pull, connection = await opened()
    await connection.deliver(message(4, 1))
    await connection.deliver(message(7, 3))
    with pytest.raises(PullBrokenError, match="lost"):
        await pull.take(5, 1.0)


@pytest.mark.parametrize("why", ["Consumer Deleted", "Leadership Change"])
async def test_a_consumer_that_is_gone_breaks_it(why: str) -> None:
    pull, connection = await opened()
    await connection.deliver(status("409", why))
    with pytest.raises(PullBrokenError, match=why):
        await pull.take(5, 1.0)


async def test_a_request_that_is_over_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXPIRES", 0.2)
    pull, connection = await opened()
    taking = asyncio.create_task(pull.take(5, 1.0))
    for _ in range(2):
        await connection.requested.wait()
        connection.requested.clear()
        await connection.deliver(status("408", "Request Timeout"))
    assert await taking == []
    assert len(connection.asked) >= 2
    assert connection.asked[0]["batch"] == 5


async def test_a_server_that_says_nothing_breaks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXPIRES", 0.05)
    monkeypatch.setattr(module, "GRACE", 0.05)
    pull, _ = await opened()
    with pytest.raises(PullBrokenError, match="does not answer"):
        for _ in range(10):
            assert await pull.take(5, 1.0) == []


async def test_a_message_larger_than_a_request_allows_is_asked_for_alone() -> None:
    pull, connection = await opened()
    taking = asyncio.create_task(pull.take(5, 0.0))
    await connection.requested.wait()
    connection.requested.clear()
    await connection.deliver(status("409", "Message Size Exceeds MaxBytes"))
    await connection.requested.wait()
    assert connection.asked[1]["batch"] == 1
    assert "max_bytes" not in connection.asked[1]
    await connection.deliver(message(4, 1))
    assert len(await taking) == 1


async def test_a_first_message_waits_no_longer_than_it_may() -> None:
    pull, connection = await opened()
    await connection.deliver(message(4, 1))
    async with asyncio.timeout(1):
        assert len(await pull.take(5, 0.05)) == 1


async def test_waking_it_ends_the_wait() -> None:
    pull, connection = await opened()
    taking = asyncio.create_task(pull.take(5, 60.0))
    await connection.requested.wait()
    pull.wake()
    async with asyncio.timeout(1):
        assert await taking == []
