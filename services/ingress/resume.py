"""`GET /v1/streams/{call id}`: the rest of a resumable stream, from any ingress.

A client whose connection broke sends the number of the last event that it has as
`Last-Event-ID` (WHATWG HTML, "Server-sent events") and gets everything after it. The ingress
that runs the call keeps it running for as long as somebody reads, or might come to read.
"""

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING

import nats.errors
from nats.js.errors import Error as JetStreamError

from services.ingress.auth import KeyMirror, presented_principal
from services.ingress.client import Running
from services.ingress.http import Receive, ResponseWriter, Scope, Send
from services.ingress.refusal import refuse
from shared.bus import topology
from shared.bus.bus import Bus
from shared.bus.replay import ReplayMissingError, ReplayReader
from shared.canonical.events import Failed
from shared.canonical.failures import FailureClass
from shared.framing.sse import COMMENT_PING
from shared.protocols.registry import CODECS

if TYPE_CHECKING:
    from nats.aio.msg import Msg

log = logging.getLogger("weir.ingress")

FOUND_WITHIN = 1.0
NOTICE_EVERY = 5.0
MAX_DIGITS = 18
KEEP_ALIVE_AFTER = 15.0
EVENT_STREAM = "text/event-stream; charset=utf-8"


class Resume:
    """The ASGI endpoint."""

    def __init__(self, bus: Bus, keys: KeyMirror) -> None:
        self._bus = bus
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal = presented_principal(self._keys, scope["headers"])
        if principal is None:
            await refuse(scope, send, _failed(FailureClass.AUTHENTICATION, "no valid virtual key"))
            return
        call_id = scope["path_params"]["call_id"]
        after = _last_event_id(scope)
        if after is None or not call_id.replace("-", "").isalnum():
            message = "Last-Event-ID must be the number of an event"
            await refuse(scope, send, _failed(FailureClass.INVALID_REQUEST, message))
            return
        reader = ReplayReader(self._bus.nc.jetstream(), principal, call_id)
        try:
            await reader.open(after, FOUND_WITHIN)
        except ReplayMissingError as error:
            await refuse(scope, send, _failed(FailureClass.NOT_FOUND, str(error)))
            return
        except (nats.errors.Error, JetStreamError):
            await refuse(scope, send, _failed(FailureClass.UNAVAILABLE, "the bus is away"))
            return
        watching = asyncio.create_task(_gone(receive))  # noqa: TID251 - awaited
        serving = asyncio.create_task(self._serve(reader, call_id, send))  # noqa: TID251 - awaited
        try:
            await asyncio.wait((watching, serving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            watching.cancel()
            serving.cancel()
            await reader.close()
        if serving.done() and not serving.cancelled():
            serving.result()

    async def _serve(self, reader: ReplayReader, call_id: str, send: Send) -> None:
        writer = ResponseWriter(send, call_id)
        await writer.start(200, EVENT_STREAM, [(b"cache-control", b"no-cache")])
        codec = CODECS[reader.protocol]
        noticed = 0.0
        try:
            while not reader.ended:
                if monotonic() - noticed > NOTICE_EVERY:
                    noticed = monotonic()
                    await self._notice(reader.instance, call_id)
                frames = await reader.next(NOTICE_EVERY)
                await writer.write(frames)
                if monotonic() - writer.wrote > KEEP_ALIVE_AFTER:
                    await writer.write(COMMENT_PING)
        except ReplayMissingError as error:
            failed = _failed(FailureClass.TRANSPORT, str(error))
            await writer.write(codec.encode_stream_error(failed, call_id))
        await writer.finish()

    async def _notice(self, instance: str, call_id: str) -> None:
        """Tells the running ingress that somebody reads. Raises ReplayMissingError if that one
        is gone while the stream has not ended."""
        try:
            await self._bus.nc.request(
                topology.resumed_subject(instance), call_id.encode(), timeout=NOTICE_EVERY
            )
        except nats.errors.NoRespondersError:
            raise ReplayMissingError("the ingress that ran the call is gone") from None
        except nats.errors.Error as error:
            log.debug("resume: %s", type(error).__name__)


async def listen(bus: Bus, running: Running) -> None:
    """Hears which of this ingress's calls are being read elsewhere."""

    async def heard(msg: "Msg") -> None:
        running.noticed(msg.data.decode("ascii", "replace"))
        await msg.respond(b"")

    await bus.nc.subscribe(topology.resumed_subject(bus.instance), cb=heard)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _last_event_id(scope: Scope) -> int | None:
    for name, value in scope["headers"]:
        if name == b"last-event-id":
            return int(value) if value.isdigit() and len(value) <= MAX_DIGITS else None
    return 0


def _failed(failure: FailureClass, message: str) -> Failed:
    return Failed(failure=failure, message=message)
