"""One tape running against one connection: pace, back-pressure and how it ends.

`server.py` starts one per request. It knows bytes and a clock, neither HTTP nor vendors.
"""

import asyncio
import socket
import struct
from collections.abc import Callable

from .records import HowEnded
from .script import SERIAL
from .tape import Tape

_SERIAL = SERIAL.encode()
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time at all
_SILENCE = Tape((), ending="stall")
_TICK = 0.001  # uvloop's clock and timers count whole milliseconds


class Playback:
    """Writes a tape; `done` is called once it has nothing more to write or do."""

    def __init__(
        self,
        tape: Tape,
        serial: bytes,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        done: Callable[[HowEnded], None],
    ) -> None:
        self._tape = tape
        self._serial = serial
        self._transport = transport
        self._loop = loop
        self._done = done
        self._next = 0
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._began = 0.0

    def start(self) -> None:
        self._began = self._loop.time() + self._tape.first
        self._play()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        if self._timer is None:
            self._play()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._tape = _SILENCE

    def _play(self) -> None:
        """Write what is due; the schedule is kept even if the loop or the client was late."""
        self._timer = None
        writes = self._tape.writes
        while self._next < len(writes):
            if self._paused:
                return
            due = self._began + self._next * self._tape.pace
            if due - self._loop.time() >= _TICK:
                self._timer = self._loop.call_at(due, self._play)
                return
            self._transport.write(writes[self._next].replace(_SERIAL, self._serial))
            self._next += 1
        self._finish()

    def _finish(self) -> None:
        ending = self._tape.ending
        if ending == "cut":
            raw = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.close()
        if ending != "stall":
            self._done(ending)
