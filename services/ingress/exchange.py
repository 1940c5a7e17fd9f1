"""One client call: authenticate, decode, publish, relay the answer, cancel on disconnect.

An `Exchange` is the endpoint of one protocol. It decides nothing about a call: what it cannot
decode it still sends to the pipeline, as refused, so that such a call has its row too.
"""

import asyncio
import logging
from collections.abc import Callable

import nats.errors
from msgspec import Struct

from services.ingress import client_headers
from services.ingress.answering import Answering
from services.ingress.auth import KeyMirror, presented_principal
from services.ingress.client import Client, Running
from services.ingress.http import (
    ClientGoneError,
    Receive,
    ResponseWriter,
    Scope,
    Send,
    read_body,
)
from shared.bus import claims, topology
from shared.bus.bus import Bus
from shared.bus.dispatch import dispatch
from shared.bus.envelope import CallEnvelope, Principal, encode, encode_request
from shared.bus.replay import ReplayLog
from shared.bus.replies import BusyError, NoResponderError, ReplyLostError, ReplyReceiver
from shared.canonical.events import Failed
from shared.canonical.failures import STATUS, FailureClass, InvalidRequestError
from shared.canonical.request import Request
from shared.clock import new_call_id, now_us
from shared.config import Settings
from shared.framing.sse import SseSplitter
from shared.protocols.codec import Codec

log = logging.getLogger("weir.ingress")

ENCLOSE_REQUEST_BELOW = 1024 * 1024
"""Larger bodies travel alone: whoever wants their canonical form decodes it from them."""
ENVELOPE_ROOM = 256 * 1024
"""What an envelope may need beside the body."""
UNAVAILABLE_RETRY_AFTER = 1.0
RESUMABLE_HEADER = b"x-weir-resumable"


class Gateway(Struct, frozen=True):
    """What all exchanges of an ingress process share."""

    bus: Bus
    keys: KeyMirror
    settings: Settings
    running: Running


class Exchange:
    """The ASGI endpoint of one protocol's calls."""

    def __init__(self, codec: Codec, gateway: Gateway) -> None:
        self._codec = codec
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call_id = new_call_id()
        started = now_us()
        writer = ResponseWriter(send, call_id)
        answering = Answering(self._codec, writer, call_id)
        try:
            principal = presented_principal(self._gateway.keys, scope["headers"])
            if principal is None:
                await answering.fail(_not_authenticated())
                return
            envelope, request = await self._envelope(scope, receive, call_id, started, principal)
            answering.expect(envelope, request)
            if envelope.streamed and _wants_resumable(scope):
                writer.log = ReplayLog(self._gateway.bus.nc, call_id, principal, _frame_splitter())
                await writer.log.open(self._gateway.bus.instance, self._codec.name)
            await self._exchange(envelope, receive, answering)
        except ClientGoneError:
            pass
        except claims.ClaimError as error:
            await answering.fail(_unavailable(FailureClass.UNAVAILABLE, str(error)))
        except Exception:
            log.exception("call %s", call_id)
            await answering.fail(Failed(failure=FailureClass.INTERNAL, message="internal error"))

    async def _envelope(
        self, scope: Scope, receive: Receive, call_id: str, started: int, principal: Principal
    ) -> tuple[CallEnvelope, Request | None]:
        """The call as it goes to the pipeline, and its canonical form if it has one."""
        settings = self._gateway.settings
        request: Request | None = None
        refused: Failed | None = None
        raw = b""
        tags: dict[str, str] = {}
        try:
            raw = await read_body(scope, receive, settings.max_body_bytes)
            tags = _tags(scope)
            request = self._codec.decode_request(raw)
        except InvalidRequestError as error:
            refused = _refusal(error)
        claim = "" if refused else await self._deposit(raw, call_id)
        envelope = CallEnvelope(
            call_id=call_id,
            principal=principal,
            protocol=self._codec.name,
            model=request.model if request else "",
            streamed=bool(request and request.stream),
            stream_usage=bool(request and request.stream_usage),
            started=started,
            deadline=started + int(settings.timeouts.total * 1e6),
            request=(
                encode_request(request)
                if request and not refused and len(raw) < self._enclose_below()
                else b""
            ),
            raw=b"" if refused or claim else raw,
            headers=client_headers.forwarded(scope["headers"]),
            tags=tags,
            refused=refused,
            claim=claim,
        )
        return envelope, request

    def _enclose_below(self) -> int:
        """Both forms must fit into one message. The canonical one may be somewhat longer."""
        return min(ENCLOSE_REQUEST_BELOW, (self._gateway.bus.nc.max_payload - ENVELOPE_ROOM) // 3)

    async def _deposit(self, raw: bytes, call_id: str) -> str:
        """The name under which a body waits that is too large for a message; "" for others."""
        if len(raw) <= self._gateway.bus.nc.max_payload - ENVELOPE_ROOM:
            return ""
        await claims.deposit(self._gateway.bus.nc.jetstream(), call_id, raw)
        return call_id

    async def _exchange(
        self, envelope: CallEnvelope, receive: Receive, answering: Answering
    ) -> None:
        """Runs until the answer is written. The client's disconnect cancels it, and so does
        the end of this process; either way the pipeline is told at once."""
        gateway = self._gateway
        client = Client(receive, answering)
        gateway.running.add(client)
        receiver: ReplyReceiver | None = None
        try:
            receiver = await dispatch(
                gateway.bus,
                topology.call_subject(envelope.principal.tenant),
                encode(envelope),
                gateway.settings.timeouts.dispatch,
            )
            await answering.relay(receiver)
        except BusyError:
            await answering.fail(_unavailable(FailureClass.OVERLOADED, "all pipelines are busy"))
        except NoResponderError as error:
            await answering.fail(_unavailable(FailureClass.UNAVAILABLE, f"no pipeline: {error}"))
        except ReplyLostError as error:
            await answering.fail(Failed(failure=FailureClass.TRANSPORT, message=str(error)))
        except nats.errors.Error as error:
            kind = type(error).__name__
            await answering.fail(_unavailable(FailureClass.UNAVAILABLE, f"the bus: {kind}"))
        except asyncio.CancelledError:
            if client.gone:
                raise ClientGoneError from None
            await answering.fail(
                _unavailable(FailureClass.UNAVAILABLE, "the gateway is shutting down")
            )
        finally:
            client.leave()
            gateway.running.discard(client)
            if receiver is not None:
                if not receiver.ended:
                    await receiver.cancel()
                gateway.bus.forget(receiver)


def _frame_splitter() -> Callable[[bytes], list[bytes]]:
    """Cuts what is written into its frames; comments, such as keep-alives, do not count."""
    splitter = SseSplitter()

    def split(data: bytes) -> list[bytes]:
        return [frame.raw for frame in splitter.feed(data) if frame.data or frame.event]

    return split


def _wants_resumable(scope: Scope) -> bool:
    return any(
        name == RESUMABLE_HEADER and value.lower() == b"true" for name, value in scope["headers"]
    )


def _tags(scope: Scope) -> dict[str, str]:
    try:
        return client_headers.tags(scope["headers"])
    except ValueError as error:
        raise InvalidRequestError(str(error), field=client_headers.TAGS_HEADER) from None


def _refusal(error: InvalidRequestError) -> Failed:
    return Failed(
        failure=error.failure,
        message=error.message,
        field=error.field,
        status=STATUS[error.failure],
    )


def _not_authenticated() -> Failed:
    return Failed(
        failure=FailureClass.AUTHENTICATION,
        message="no valid virtual key; send it as `x-api-key` or `Authorization: Bearer`",
    )


def _unavailable(failure: FailureClass, message: str) -> Failed:
    return Failed(failure=failure, message=message, retry_after=UNAVAILABLE_RETRY_AFTER)
