"""Finding a worker: publish an envelope until somebody takes it, within a bounded wait.

A full worker answers `busy` or has left its queue group, and the next try reaches another.
Nothing is tried again once a worker has taken the call, so no call runs twice.
"""

import asyncio

from .bus import Bus
from .replies import BusyError, NoResponderError, ReplyReceiver

ACCEPT_WAIT = 5.0
"""How long a worker may take to answer at all: longer than any pause of its loop should be."""
LOOK_EVERY = 0.5
FIRST_PAUSE = 0.01
LONGEST_PAUSE = 0.2


async def dispatch(bus: Bus, subject: str, envelope: bytes, timeout: float) -> ReplyReceiver:
    """A receiver whose call has been taken. The caller must `bus.forget` it.

    Raises BusyError or NoResponderError when nobody wanted it for `timeout` seconds, or nobody
    said anything at all, and what a receiver raises when it is made to fail meanwhile. A worker
    that answers too late is told to stop, by the bus.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    pause = FIRST_PAUSE
    while True:
        await _bus_ready(bus, deadline)
        receiver = await bus.call(subject, envelope)
        try:
            await _accepted(bus, receiver)
        except (BusyError, NoResponderError):
            bus.forget(receiver)
            if loop.time() + pause >= deadline:
                raise
        except BaseException:
            await receiver.cancel()
            bus.forget(receiver)
            raise
        else:
            return receiver
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


async def _bus_ready(bus: Bus, deadline: float) -> None:
    """Raises NoResponderError. What is published while the bus is away would run when it is
    back, long after its caller was told that it can't."""
    loop = asyncio.get_running_loop()
    while not bus.ready:
        if loop.time() + FIRST_PAUSE >= deadline:
            raise NoResponderError("the bus is away")
        await asyncio.sleep(FIRST_PAUSE)


async def _accepted(bus: Bus, receiver: ReplyReceiver) -> None:
    """Waits for a worker's answer, but not for a bus that has gone away."""
    for _ in range(int(ACCEPT_WAIT / LOOK_EVERY)):
        try:
            await receiver.wait_accepted(LOOK_EVERY)
        except TimeoutError:
            if not bus.ready:
                raise NoResponderError("the bus is away") from None
        else:
            return
    raise NoResponderError("nobody took the call in time")
