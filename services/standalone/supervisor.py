"""Keeps children running: started in order, started again when they die, stopped in reverse.

Called by `weir up`. It does not know what the children are.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Self

from .child import MAX_LOG_BYTES, Child, Info, Part, StartError, describe_status

SECONDS_OF_GRACE = 15.0
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0
_SECONDS_OF_GOOD_LIFE = 60.0  # after so long a death is news, not part of a series
_SECONDS_BETWEEN_LOG_CHECKS = 30.0


class Supervisor:
    """An `async with` block: on its way out every child is stopped."""

    def __init__(self, logs: Path, say: Callable[[str], None]) -> None:
        self.children: list[Child] = []
        self._logs = logs
        self._say = say
        self._keepers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._keep_running(self._bound_logs())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, part: Part) -> Info:
        """Start a child and keep it. Raises StartError if it does not get ready the first time."""
        child = Child(part, self._logs / f"{part.role}.log")
        child.rotate_log()
        self.children.append(child)
        await child.start()
        self._keep_running(self._keep(child))
        return child.info

    def pids(self) -> dict[str, int]:
        return {child.part.role: child.pid for child in self.children if child.pid is not None}

    async def stop(self) -> None:
        """Stop in reverse order of starting; the last ones stopped are what the others stand on."""
        for keeper in self._keepers:
            keeper.cancel()
        deadline = time.monotonic() + SECONDS_OF_GRACE
        for child in reversed(self.children):
            await child.stop(max(1.0, deadline - time.monotonic()))

    def kill(self) -> None:
        """End every child at once. The loop that waits for them then ends by itself."""
        for child in self.children:
            child.kill()

    def _keep_running(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._keepers.add(task)
        task.add_done_callback(self._keepers.discard)

    async def _keep(self, child: Child) -> None:
        delay = _FIRST_DELAY
        while child.process is not None:
            status = await child.process.wait()
            if time.monotonic() - child.started > _SECONDS_OF_GOOD_LIFE:
                delay = _FIRST_DELAY
            self._say(
                f"{child.part.role} ended ({describe_status(status)}); "
                f"starting it again in {delay:g} s"
            )
            await asyncio.sleep(delay)
            delay = min(_LONGEST_DELAY, delay * 2)
            try:
                await child.start()
            except StartError as error:
                self._say("\n".join([str(error), *error.lines[-1:]]))
            except OSError as error:
                self._say(f"{child.part.role} cannot be started: {error.strerror}")
            else:
                self._say(f"{child.part.role} is ready again")

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_LOG_CHECKS)
            for child in self.children:
                if child.log.exists() and child.log.stat().st_size > MAX_LOG_BYTES:
                    child.rotate_log()
