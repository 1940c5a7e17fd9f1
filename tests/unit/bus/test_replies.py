"""The reply contract over a network that loses, doubles and delays on command."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.bus.frames import Control, Frame, Kind, Op, decode_control, decode_frame
from shared.bus.replies import (
    GONE_AFTER,
    MISS_APART,
    PIECE_BYTES,
    RESEND_AFTER,
    WINDOW_BYTES,
    WINDOW_FRAMES,
    BusyError,
    NoResponderError,
    ReplyLostError,
    ReplyReceiver,
    ReplySender,
)


class Network:
    """Joins one sender and one receiver; `passes` decides over each message to the receiver."""

    def __init__(self, passes: Callable[[Frame], bool] = lambda _frame: True) -> None:
        self.passes = passes
        self.controls: list[Control] = []
        self.frames: list[Frame] = []
        self.receiver = ReplyReceiver(1, "reply", self._to_sender)
        self.sender = ReplySender("reply", "control", self._to_receiver)

    async def _to_receiver(self, subject: str, payload: bytes = b"", reply: str = "") -> None:
        frame = decode_frame(payload)
        self.frames.append(frame)
        if self.passes(frame):
            await self.receiver.receive(frame)

    async def _to_sender(self, subject: str, payload: bytes = b"", reply: str = "") -> None:
        control = decode_control(payload)
        self.controls.append(control)
        await self.sender.hear(control)


async def drain(receiver: ReplyReceiver) -> list[bytes]:
    payloads = [(frame := await receiver.next()).payload]
    while frame.kind is not Kind.END:
        frame = await receiver.next()
        payloads.append(frame.payload)
    return payloads


async def test_frames_arrive_in_order_and_the_sender_can_forget_them() -> None:
    network = Network()
    await network.sender.accept()
    await network.receiver.wait_accepted(1)
    for number in range(5):
        await network.sender.send(b"%d" % number)
    await network.sender.end(b"end")
    assert await drain(network.receiver) == [b"0", b"1", b"2", b"3", b"4", b"end"]


async def test_a_sender_without_credit_waits_until_frames_are_consumed() -> None:
    network = Network()
    await network.sender.accept()
    for number in range(WINDOW_FRAMES):
        await network.sender.send(b"%d" % number)
    waiting = asyncio.ensure_future(network.sender.send(b"more"))
    await asyncio.sleep(0)
    assert not waiting.done()
    for _ in range(WINDOW_FRAMES // 4):
        await network.receiver.next()
    await waiting


async def test_credit_is_counted_in_bytes_too() -> None:
    network = Network()
    await network.sender.accept()
    await network.sender.send(bytes(PIECE_BYTES))
    waiting = asyncio.ensure_future(network.sender.send(bytes(PIECE_BYTES)))
    await asyncio.sleep(0)
    assert not waiting.done()
    await network.receiver.next()
    await waiting


async def test_grants_that_were_all_lost_are_made_good_by_the_next_ping() -> None:
    network = Network()
    await network.sender.accept()
    for number in range(WINDOW_FRAMES):
        await network.sender.send(b"%d" % number)
    hear = network.sender.hear

    async def deaf(_control: Control) -> None:
        pass

    network.sender.hear = deaf
    for _ in range(WINDOW_FRAMES):
        await network.receiver.next()
    network.sender.hear = hear
    waiting = asyncio.ensure_future(network.sender.send(b"more"))
    await asyncio.sleep(0)
    assert not waiting.done()
    await network.sender.ping()
    await waiting


async def test_a_payload_larger_than_a_message_arrives_whole() -> None:
    network = Network()
    await network.sender.accept()
    large = bytes(range(256)) * 10_000
    reading = asyncio.ensure_future(drain(network.receiver))
    await network.sender.send(large)
    await network.sender.send(b"small")
    await network.sender.end(large)
    assert await reading == [large, b"small", large]
    assert max(len(frame.payload) for frame in network.frames) <= PIECE_BYTES


async def test_a_gap_is_repaired() -> None:
    lost = {2}
    network = Network(lambda frame: not (frame.kind is Kind.EVENTS and frame.seq in lost))
    await network.sender.accept()
    await network.sender.send(b"1")
    await network.sender.send(b"2")
    lost.clear()
    await network.sender.send(b"3")
    await network.sender.end(b"end")
    assert await drain(network.receiver) == [b"1", b"2", b"3", b"end"]


async def test_a_lost_tail_is_repaired_by_the_next_ping() -> None:
    dead = False
    network = Network(lambda _frame: not dead)
    await network.sender.accept()
    await network.sender.send(b"1")
    dead = True
    await network.sender.end(b"end")
    dead = False
    await network.sender.ping()
    assert await drain(network.receiver) == [b"1", b"end"]


async def test_a_lost_acceptance_is_made_good_by_the_next_ping() -> None:
    dead = True
    network = Network(lambda _frame: not dead)
    await network.sender.accept()
    await network.sender.end(b"end")
    dead = False
    await network.sender.ping()
    await network.receiver.wait_accepted(1)
    assert await drain(network.receiver) == [b"end"]


async def test_what_is_no_longer_kept_ends_the_stream_as_lost() -> None:
    network = Network()
    await network.sender.accept()
    await network.sender.send(b"1")
    await network.sender.hear(Control(Op.GRANT, 1, WINDOW_FRAMES, WINDOW_BYTES))
    await network.receiver.next()
    await network.sender.hear(Control(Op.RESEND, 1))
    with pytest.raises(ReplyLostError):
        await network.receiver.next()
    assert network.sender.cancelled


async def test_silence_is_given_up_and_the_sender_cancelled() -> None:
    network = Network()
    await network.sender.accept()
    cancelled: list[bool] = []
    network.sender.on_cancel = lambda: cancelled.append(True)
    await network.receiver.tick(network.receiver.heard + 31)
    with pytest.raises(ReplyLostError):
        await network.receiver.next()
    assert cancelled == [True]


async def test_a_receiver_whose_sender_is_gone_learns_it_from_the_server() -> None:
    network = Network()
    await network.sender.accept()
    for _ in range(GONE_AFTER):
        assert not network.receiver.pending()
        network.receiver.nobody_there()
        network.receiver._misses._last -= MISS_APART
    with pytest.raises(ReplyLostError):
        await network.receiver.next()


async def test_a_sender_whose_receiver_is_gone_is_cancelled() -> None:
    network = Network()
    cancelled: list[bool] = []
    network.sender.on_cancel = lambda: cancelled.append(True)
    for _ in range(GONE_AFTER):
        assert not cancelled
        network.sender.nobody_there()
        network.sender._misses._last -= MISS_APART
    assert cancelled == [True]


async def test_one_missed_answer_is_forgiven_once_the_other_side_is_heard() -> None:
    network = Network()
    await network.sender.accept()
    network.receiver.nobody_there()
    await network.sender.ping()
    network.receiver.nobody_there()
    await network.sender.end(b"end")
    assert await drain(network.receiver) == [b"end"]


async def test_a_quiet_sender_pings() -> None:
    network = Network()
    await network.sender.accept()
    await network.sender.tick(network.receiver.heard + 6)
    assert network.frames[-1].kind is Kind.PING


async def test_a_cancel_before_acceptance_reaches_the_sender_once_it_is_known() -> None:
    network = Network()
    cancelled: list[bool] = []
    network.sender.on_cancel = lambda: cancelled.append(True)
    await network.receiver.cancel()
    assert not network.sender.cancelled
    await network.sender.accept()
    await network.sender.accept()
    assert cancelled == [True]


async def test_a_cancelled_sender_waits_for_no_credit() -> None:
    network = Network()
    await network.sender.accept()
    for _ in range(WINDOW_FRAMES):
        await network.sender.send(b"x")
    waiting = asyncio.ensure_future(network.sender.send(b"more"))
    await asyncio.sleep(0)
    await network.receiver.cancel()
    await waiting


async def test_busy_and_nobody_there_are_told_apart() -> None:
    network = Network()
    await network.sender.refuse_busy()
    with pytest.raises(BusyError):
        await network.receiver.wait_accepted(1)
    network = Network()
    network.receiver.nobody_there()
    with pytest.raises(NoResponderError):
        await network.receiver.wait_accepted(1)
    with pytest.raises(TimeoutError):
        await Network().receiver.wait_accepted(0)


async def time_goes_by(network: Network) -> None:
    """What the bus does every few seconds, at every turn of the loop."""
    while True:
        network.receiver._asked_at -= RESEND_AFTER
        await network.sender.ping()
        await asyncio.sleep(0)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.booleans(), min_size=20, max_size=120), st.integers(1, 100))
def test_any_pattern_of_loss_is_repaired_or_reported(losses: list[bool], count: int) -> None:
    """Never a wrong order, never a silent end: the whole stream, whatever is lost on the way."""

    async def scenario() -> list[bytes]:
        pattern = iter(losses)
        network = Network(lambda _frame: not next(pattern, False))
        reading = asyncio.ensure_future(drain(network.receiver))
        ticking = asyncio.ensure_future(time_goes_by(network))
        await network.sender.accept()
        for number in range(count):
            await network.sender.send(b"%d" % number)
        await network.sender.end(b"end")
        received = await reading
        ticking.cancel()
        return received

    assert asyncio.run(scenario()) == [b"%d" % number for number in range(count)] + [b"end"]


async def test_answers_that_come_all_at_once_after_an_outage_mean_nothing() -> None:
    network = Network()
    await network.sender.accept()
    for _ in range(20):
        network.receiver.nobody_there()
        network.sender.nobody_there()
    await network.sender.end(b"end")
    assert await drain(network.receiver) == [b"end"]
    assert not network.sender.cancelled


async def test_a_large_payload_that_was_given_up_does_not_spoil_the_end() -> None:
    network = Network()
    await network.sender.accept()
    sending = asyncio.ensure_future(network.sender.send(bytes(4 * PIECE_BYTES)))
    await asyncio.sleep(0)
    sending.cancel()
    await asyncio.wait((sending,))
    await network.sender.end(b"end")
    assert (await network.receiver.next()).payload == b"end"


async def test_an_abandoned_stream_is_lost_not_silent() -> None:
    network = Network()
    await network.sender.accept()
    await network.sender.abandon()
    with pytest.raises(ReplyLostError):
        await network.receiver.next()
