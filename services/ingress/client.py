"""The clients that are being answered: whether they are still there, and kept from giving up."""

import asyncio
import logging
from time import monotonic

from services.ingress.answering import Answering
from services.ingress.http import Receive

log = logging.getLogger("weir.ingress")

KEEP_ALIVE_AFTER = 15.0
TICK = 1.0
RESUME_WITHIN = 60.0
"""How long a resumable stream runs on without anybody who reads it."""


class Client:
    """Watches one client; its disconnect cancels the task that answers it. A resumable stream
    runs on meanwhile, for `RESUME_WITHIN` seconds after somebody last read it."""

    def __init__(self, receive: Receive, answering: Answering) -> None:
        self.gone = False
        self.answering = answering
        self.read_at = monotonic()
        self._receive = receive
        self._task = asyncio.current_task()
        self._watching = asyncio.create_task(self._watch())  # noqa: TID251 - kept

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self.answering.detach():
            self.read_at = monotonic()
            while (left := self.read_at + RESUME_WITHIN - monotonic()) > 0:  # noqa: ASYNC110 - it moves on
                await asyncio.sleep(left)
        self.gone = True
        self.cut()

    def cut(self) -> None:
        """Stops answering."""
        if self._task is not None:
            self._task.cancel()

    def leave(self) -> None:
        """The answer is written: what the client does now is its own business."""
        self._watching.cancel()


class Running:
    """All calls that are being answered. A silent stream gets a keep-alive every
    `KEEP_ALIVE_AFTER` seconds, from its very beginning on."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._ticker = asyncio.create_task(self._tick(), name="keep-alive")  # noqa: TID251 - kept

    def add(self, client: Client) -> None:
        self._clients[client.answering.call_id] = client

    def discard(self, client: Client) -> None:
        self._clients.pop(client.answering.call_id, None)

    def __len__(self) -> int:
        return len(self._clients)

    def noticed(self, call_id: str) -> None:
        """Somebody reads this call's stream at another ingress, or at this one again."""
        client = self._clients.get(call_id)
        if client is not None:
            client.read_at = monotonic()

    def cut(self) -> None:
        """Ends every answer with its protocol's error."""
        for client in tuple(self._clients.values()):
            client.cut()

    def stop(self) -> None:
        for task in (self._ticker, *self._writing):
            task.cancel()

    def _wrote(self, task: asyncio.Task[None]) -> None:
        self._writing.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("keep-alive", exc_info=task.exception())

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            due = monotonic() - KEEP_ALIVE_AFTER
            for client in tuple(self._clients.values()):
                if client.answering.silent_since(due):
                    # A task of its own: a client that reads nothing must not keep the others' back.
                    task = asyncio.create_task(client.answering.keep_alive())  # noqa: TID251 - kept
                    self._writing.add(task)
                    task.add_done_callback(self._wrote)
