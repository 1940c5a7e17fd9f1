"""How a role's process is told to end: once to drain, twice to cut."""

import asyncio
import signal


class Stop:
    """The first SIGTERM or SIGINT sets `requested`, the second one sets `cut`."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.cut = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        if self.requested.is_set():
            self.cut.set()
        self.requested.set()
