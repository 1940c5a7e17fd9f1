"""Workers on a real bus: nothing waits behind a full one, nothing is lost when one leaves, and no
piece of work, whatever it does, ends a subscription."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic

import pytest

from shared.bus import dispatch as dispatching
from shared.bus.bus import Bus
from shared.bus.dispatch import dispatch
from shared.bus.frames import Kind
from shared.bus.replies import BusyError, NoResponderError, ReplyLostError, ReplySender
from shared.bus.worker import Worker
from shared.config import Settings
from tests.servers import Nats

Body = Callable[[bytes, ReplySender], Awaitable[None]]
pytestmark = pytest.mark.timeout(30)


class Desk:
    """A worker whose work is a test's function. Subjects are the test's own."""

    def __init__(self, url: str, subject: str, run: Body, slots: int = 512) -> None:
        self.worker = Worker("desk", Settings(nats_url=url, slots=slots))
        self.worker.subscribe(subject, "desks", self._run, "what a test asks for")
        self.taken = 0
        self._body = run

    async def _run(self, body: bytes, sender: ReplySender) -> None:
        self.taken += 1
        await self._body(body, sender)


@asynccontextmanager
async def open_desk(url: str, subject: str, run: Body, slots: int = 512) -> AsyncGenerator[Desk]:
    desk = Desk(url, subject, run, slots)
    await desk.worker.connect()
    await desk.worker.start()
    await desk.worker.bus.nc.flush()
    try:
        yield desk
    finally:
        await desk.worker.close()


@asynccontextmanager
async def open_bus(url: str) -> AsyncGenerator[Bus]:
    bus = Bus("asker")
    await bus.connect(url)
    try:
        yield bus
    finally:
        await bus.close()


async def ask(bus: Bus, subject: str, body: bytes = b"", timeout: float = 5.0) -> bytes:
    receiver = await dispatch(bus, subject, body, timeout)
    try:
        while (frame := await receiver.next()).kind is not Kind.END:
            pass
        return frame.payload
    finally:
        bus.forget(receiver)


async def echo(body: bytes, sender: ReplySender) -> None:
    await asyncio.sleep(0)
    await sender.end(body)


async def test_nothing_waits_behind_a_full_worker_while_another_is_free(nats_server: Nats) -> None:
    held = asyncio.Event()

    async def hold(body: bytes, sender: ReplySender) -> None:
        if body == b"long":
            await held.wait()
        await sender.end(body)

    url, subject = nats_server.url, "test.full"
    async with (
        open_bus(url) as bus,
        open_desk(url, subject, hold, slots=1) as full,
        asyncio.TaskGroup() as group,
    ):
        long = group.create_task(ask(bus, subject, b"long"))
        while not full.taken:
            await asyncio.sleep(0.001)
        async with open_desk(url, subject, echo) as idle:
            async with asyncio.timeout(3):
                answers = await asyncio.gather(*(ask(bus, subject, b"x") for _ in range(100)))
            assert answers == [b"x"] * 100
            assert (full.taken, idle.taken) == (1, 100)
        held.set()
        assert await long == b"long"


async def test_a_worker_with_one_slot_takes_everything_in_turn(nats_server: Nats) -> None:
    """It joins again each time, also when its work was over before it had left."""
    url, subject = nats_server.url, "test.turns"
    async with open_bus(url) as bus, open_desk(url, subject, echo, slots=1) as desk:
        for number in range(50):
            assert await ask(bus, subject, b"%d" % number) == b"%d" % number
        assert desk.taken == 50


async def test_a_worker_that_leaves_loses_nothing_that_was_on_its_way(nats_server: Nats) -> None:
    url, subject = nats_server.url, "test.leaving"
    asked = 0

    async def keep_asking(bus: Bus, until: asyncio.Event) -> None:
        nonlocal asked
        while not until.is_set():
            asked += 1
            assert await ask(bus, subject, b"x") == b"x"

    dispatching_wait = dispatching.ACCEPT_WAIT
    assert dispatching_wait > 2  # a lost one would show as a wait longer than the test's limit
    async with (
        open_bus(url) as bus,
        open_desk(url, subject, echo),
        asyncio.timeout(20),
    ):
        until = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(32):
                group.create_task(keep_asking(bus, until))
            for _ in range(5):
                async with open_desk(url, subject, echo) as leaving:
                    while leaving.taken < 100:
                        await asyncio.sleep(0.001)
                    await leaving.worker.drain(asyncio.Event())
            until.set()
    assert asked > 500


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("broken"),
        asyncio.CancelledError(),
        ValueError(),
        NoResponderError(),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_work_that_raises_anything_ends_its_call_and_nothing_else(
    nats_server: Nats, error: BaseException
) -> None:
    async def work(body: bytes, sender: ReplySender) -> None:
        if body == b"raise":
            raise error
        await sender.end(body)

    url, subject = nats_server.url, f"test.raising.{type(error).__name__}"
    async with open_bus(url) as bus, open_desk(url, subject, work) as desk:
        for _ in range(3):
            async with asyncio.timeout(2):
                with pytest.raises(ReplyLostError):
                    await ask(bus, subject, b"raise")
            assert await ask(bus, subject, b"fine") == b"fine"
        assert desk.worker.running == 0
        async with asyncio.timeout(2):
            while desk.worker.bus.open_streams != (0, 0):
                await desk.worker.bus._tick_once(monotonic())
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "error", [RuntimeError(), asyncio.CancelledError()], ids=lambda error: type(error).__name__
)
async def test_an_error_while_taking_work_does_not_end_the_subscription(
    nats_server: Nats, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, subject = nats_server.url, f"test.taking.{type(error).__name__}"
    async with open_bus(url) as bus, open_desk(url, subject, echo):
        accept = ReplySender.accept
        failures = [error]

        async def fails_once(self: ReplySender) -> None:
            if failures:
                raise failures.pop()
            await accept(self)

        monkeypatch.setattr(ReplySender, "accept", fails_once)
        monkeypatch.setattr(dispatching, "ACCEPT_WAIT", dispatching.LOOK_EVERY)
        assert await ask(bus, subject, b"x", timeout=2) == b"x"
        assert failures == []


async def test_a_garbled_message_ends_no_inbox(nats_server: Nats) -> None:
    url, subject = nats_server.url, "test.garbled"
    async with open_bus(url) as bus, open_desk(url, subject, echo) as desk:
        for where in (
            f"weir.v1.reply.{bus.instance}",
            f"weir.v1.control.{desk.worker.bus.instance}",
        ):
            for rest in ("1", "x", "99999999999999999999"):
                await bus.nc.publish(f"{where}.{rest}", b"\xc1garbled")
        assert await ask(bus, subject, b"x") == b"x"


async def test_without_any_worker_the_wait_is_bounded(nats_server: Nats) -> None:
    async with open_bus(nats_server.url) as bus:
        async with asyncio.timeout(1):
            with pytest.raises(NoResponderError):
                await ask(bus, "test.nobody", timeout=0.3)


async def test_when_all_are_full_the_wait_is_bounded(nats_server: Nats) -> None:
    held = asyncio.Event()

    async def hold(body: bytes, sender: ReplySender) -> None:
        await held.wait()
        await sender.end(body)

    url, subject = nats_server.url, "test.all-full"
    async with (
        open_bus(url) as bus,
        open_desk(url, subject, hold, slots=1) as desk,
        asyncio.TaskGroup() as group,
    ):
        long = group.create_task(ask(bus, subject))
        while not desk.taken:
            await asyncio.sleep(0.001)
        async with asyncio.timeout(1):
            with pytest.raises((BusyError, NoResponderError)):
                await ask(bus, subject, timeout=0.3)
        held.set()
        await long


async def test_while_the_bus_is_away_nothing_is_sent_for_later(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A call that was refused must not run after all when the bus is back."""
    server = Nats(tmp_path_factory.mktemp("nats"))
    server.start()
    try:
        async with open_bus(server.url) as bus, open_desk(server.url, "test.later", echo) as desk:
            assert await ask(bus, "test.later", b"x") == b"x"
            server.kill()
            while bus.ready:
                await asyncio.sleep(0.01)
            async with asyncio.timeout(1):
                with pytest.raises(NoResponderError):
                    await ask(bus, "test.later", b"refused", timeout=0.3)
            server.start()
            async with asyncio.timeout(10):
                assert await ask(bus, "test.later", b"x", timeout=10) == b"x"
            assert desk.taken == 2
            assert bus.open_streams[0] == 0
    finally:
        server.stop()
