"""The clients that are being answered: whether they are still there, and kept from giving up."""

import asyncio
import logging
from time import monotonic

from services.ingress.answering import Answering
from services.ingress.http import Receive

log = logging.getLogger("weir.ingress")

KEEP_ALIVE_AFTER = 15.0
TICK = 1.0


class Client:
    """Watches one client; its disconnect cancels the task that answers it."""

    def __init__(self, receive: Receive) -> None:
        self.gone = False
        self._receive = receive
        self._answering = asyncio.current_task()
        self._watching = asyncio.create_task(self._watch())  # noqa: TID251 - kept

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self.cut()

    def cut(self) -> None:
        """Stops answering."""
        if self._answering is not None:
            self._answering.cancel()

    def leave(self) -> None:
        """The answer is written: what the client does now is its own business."""
        self._watching.cancel()


class Running:
    """All calls that are being answered. A silent stream gets a keep-alive every
    `KEEP_ALIVE_AFTER` seconds, from its very beginning on."""

    def __init__(self) -> None:
        self._clients: dict[Answering, Client] = {}
        self._ticker = asyncio.create_task(self._tick(), name="keep-alive")  # noqa: TID251 - kept

    def add(self, answering: Answering, client: Client) -> None:
        self._clients[answering] = client

    def discard(self, answering: Answering) -> None:
        self._clients.pop(answering, None)

    def __len__(self) -> int:
        return len(self._clients)

    def cut(self) -> None:
        """Ends every answer with its protocol's error."""
        for client in tuple(self._clients.values()):
            client.cut()

    def stop(self) -> None:
        self._ticker.cancel()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            due = monotonic() - KEEP_ALIVE_AFTER
            for answering in tuple(self._clients):
                try:
                    await answering.keep_alive(due)
                except Exception:
                    log.exception("keep-alive")
