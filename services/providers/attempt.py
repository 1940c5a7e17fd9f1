"""One attempt at one target: encode, send, decode, and end exactly once.

Nothing is retried or enforced here. An attempt ends with one END frame, whatever happens: its
outcome is Finished, Failed or Cancelled, with the usage that was reported until then.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus

import httpx
from msgspec import Struct
from msgspec.structs import replace

from services.providers.account import Account
from services.providers.estimate import estimated
from services.providers.reading import StreamReading, Timer
from services.providers.transport import read
from shared.bus.claims import ClaimError
from shared.bus.envelope import (
    AttemptEnvelope,
    Chunk,
    Delivery,
    End,
    Head,
    decode_request,
    encode,
)
from shared.bus.replies import ReplySender
from shared.canonical.answer import unfold
from shared.canonical.events import Cancelled, Failed, Finished, FinishReason
from shared.canonical.failures import FailureClass, InvalidRequestError, MalformedAnswerError
from shared.canonical.usage import Usage
from shared.clock import now_us
from shared.config import Timeouts
from shared.framing.sse import FrameTooLargeError
from shared.protocols.registry import CODECS

log = logging.getLogger("weir.provider")

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
MAX_MESSAGE = 2000
BODY_END_WITHIN = 1.0
UNSAYABLE = "the vendor's answer has a number or a text that cannot be passed on"


class UpstreamRequest(Struct, frozen=True):
    body: bytes
    dropped: tuple[str, ...]


class Attempt:
    """Runs one attempt. `run` never raises: the task may be forgotten."""

    def __init__(
        self,
        envelope: AttemptEnvelope,
        account: Account,
        sender: ReplySender,
        timeouts: Timeouts,
        collect: Callable[[str], Awaitable[bytes]],
    ) -> None:
        self._envelope = envelope
        self._account = account
        self._codec = account.codec
        self._sender = sender
        self._timeouts = timeouts
        self._collect = collect
        self._sent_bytes = 0
        self._same_protocol = envelope.protocol == account.codec.name
        self._reading = StreamReading(
            account.codec,
            want_events=envelope.want_events or not self._same_protocol,
            keep_raw=self._same_protocol,
            hide_usage=account.codec.usage_is_extra and not envelope.stream_usage,
        )
        self._head: Head | None = None
        self._request_id = ""
        self._response: httpx.Response | None = None
        self._reads: AsyncIterator[bytes]

    async def run(self) -> None:
        try:
            end = await self._call()
        except asyncio.CancelledError:
            end = self._stopped()
        except InvalidRequestError as error:
            end = _failed(error.failure, error.message, field=error.field)
        except ClaimError as error:
            end = _failed(FailureClass.UNAVAILABLE, str(error))
        except OverflowError:  # msgpack has no number beyond 64 bits
            end = _failed(FailureClass.UPSTREAM_ERROR, UNSAYABLE)
        except (MalformedAnswerError, FrameTooLargeError) as error:
            end = _failed(FailureClass.UPSTREAM_ERROR, str(error))
        except TimeoutError:
            end = _failed(FailureClass.TIMEOUT, self._timer.describe())
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
            end = _failed(FailureClass.CONNECT, f"the vendor was not reached: {_name(error)}")
        except httpx.HTTPError as error:
            end = _failed(FailureClass.UPSTREAM_ERROR, f"the connection broke: {_name(error)}")
        except Exception:
            log.exception("attempt %s of call %s", self._envelope.number, self._envelope.call_id)
            end = _failed(FailureClass.INTERNAL, "the provider worker failed")
        self._sender.on_cancel = None  # from here on nothing may keep END from its way
        try:
            await self._finish(end)
        except (OverflowError, UnicodeError):  # msgpack has no number beyond 64 bits
            await self._sender.end(encode(_failed(FailureClass.UPSTREAM_ERROR, UNSAYABLE)))
        finally:
            await self._release(end)

    async def _release(self, end: End) -> None:
        """Closes the connection, or leaves it to the next call: a stream is over at its terminal
        frame, but its body only a moment later."""
        if self._response is None:
            return
        try:
            if isinstance(end.outcome, Finished):
                self._timer.stop()
                async with asyncio.timeout(BODY_END_WITHIN):
                    async for _ in self._reads:
                        pass
        except (TimeoutError, httpx.HTTPError):
            pass
        finally:
            await self._response.aclose()

    def _stopped(self) -> End:
        """Cancelled by the caller, or cut because this worker has to end."""
        if self._sender.cancelled:
            return End(outcome=Cancelled())
        return _failed(FailureClass.UNAVAILABLE, "the provider worker is shutting down")

    async def _finish(self, end: End) -> None:
        if isinstance(end.outcome, Failed):
            message = self._account.scrub(end.outcome.message)[:MAX_MESSAGE]
            raw = self._account.scrub_bytes(end.raw)
            end = replace(end, outcome=replace(end.outcome, message=message), raw=raw)
        end = replace(
            end,
            head=end.head or self._head,
            usage=end.usage or self._usage(end),
            vendor_model=end.vendor_model or self._reading.model,
            vendor_request_id=self._request_id,
        )
        await self._sender.end(encode(end))

    def _usage(self, end: End) -> Usage | None:
        """What the vendor reported; filled up where it was broken off in the middle."""
        reading = self._reading
        billed = self._head.status == HTTPStatus.OK if self._head else False
        waiting = isinstance(end.outcome, Cancelled) and self._sent_bytes > 0
        if isinstance(end.outcome, Finished) or not (billed or waiting):
            return reading.usage
        return estimated(
            reading.usage,
            sent_bytes=self._sent_bytes,
            received_chars=reading.received_chars,
        )

    async def _call(self) -> End:
        upstream = await self._encode_request()
        self._timer = Timer(self._timeouts, self._envelope.deadline - now_us())
        async with self._timer.running():
            self._sent_bytes = len(upstream.body)
            self._response = await self._account.send(upstream.body, self._headers())
            self._reads = self._timed(self._response)
            return await self._read(self._response, upstream.dropped)

    async def _encode_request(self) -> UpstreamRequest:
        """The client's own body for a vendor of its protocol; else what the codec makes of its
        canonical form."""
        envelope = self._envelope
        if envelope.request:
            request = decode_request(envelope.request)
        else:
            raw = envelope.raw or await self._collect(envelope.claim)
            if self._same_protocol:
                body = self._codec.patch_request(
                    raw, model=envelope.model, stream=envelope.streamed
                )
                return UpstreamRequest(body, ())
            request = CODECS[envelope.protocol].decode_request(raw)
        encoded = self._codec.encode_request(request, model=envelope.model)
        body = self._codec.patch_request(
            encoded.body, model=envelope.model, stream=envelope.streamed
        )
        return UpstreamRequest(body, encoded.dropped)

    def _headers(self) -> dict[str, str]:
        return self._account.headers(
            self._envelope.headers,
            same_protocol=self._same_protocol,
            streamed=self._envelope.streamed,
        )

    async def _read(self, response: httpx.Response, dropped: tuple[str, ...]) -> End:
        self._request_id = response.headers.get(self._account.vendor.request_id_header, "")
        head = Head(
            status=response.status_code,
            protocol=self._codec.name,
            headers=self._account.visible_headers(response.headers),
            dropped=dropped,
        )
        self._head = head
        if response.status_code != HTTPStatus.OK:
            return await self._read_error(response, head)
        if not self._envelope.streamed:
            return await self._read_whole(head)
        # Not all say what they send: OpenAI has streamed as application/json (recorded). Only an
        # object is a whole answer; a frame of a stream never begins with a brace.
        first = await anext(self._reads, b"")
        self._reads = _after(first, self._reads)
        return await (self._read_whole if first[:1] == b"{" else self._read_stream)(head)

    async def _read_error(self, response: httpx.Response, head: Head) -> End:
        body = await self._read_bounded(MAX_ERROR_BYTES, truncate=True)
        failed = self._codec.decode_error(response.status_code, response.headers, body)
        # A redirect, say, is nobody's answer: the client gets an error of ours.
        shown = self._same_protocol and response.status_code >= HTTPStatus.BAD_REQUEST
        return End(outcome=failed, head=head, raw=body if shown else b"")

    async def _read_whole(self, head: Head) -> End:
        body = await self._read_bounded(MAX_ANSWER_BYTES, truncate=False)
        answer = self._codec.decode_response(body)
        chunk = Chunk(
            raw=body if self._same_protocol else b"",
            events=tuple(unfold(answer)) if self._reading.want_events else (),
        )
        return End(
            outcome=answer.finished or Finished(reason=FinishReason.OTHER),
            head=head,
            chunks=(chunk,),
            usage=answer.usage,
            vendor_model=answer.started.model,
        )

    async def _read_stream(self, head: Head) -> End:
        """Forwards every read as one frame. The first one carries the head, so that a vendor
        which answers 200 and then an error is still an error to everybody."""
        reading = self._reading
        unsent: Head | None = head
        async for data in self._reads:
            chunks = reading.feed(data)
            if chunks:
                await self._deliver(Delivery(head=unsent, chunks=chunks))
                unsent = None
            if reading.terminal is not None:
                break
        else:
            chunks = reading.close()
            if chunks:
                await self._deliver(Delivery(head=unsent, chunks=chunks))
        if isinstance(reading.terminal, Failed):
            return End(outcome=reading.terminal, raw=reading.terminal_raw)
        if reading.terminal is None:
            return _failed(FailureClass.UPSTREAM_ERROR, "the vendor's stream broke off")
        return End(outcome=reading.terminal)

    async def _deliver(self, delivery: Delivery) -> None:
        """Sends on; while the receiver is slow, the vendor's silence is our own doing."""
        payload = encode(delivery)
        if self._sender.has_credit(len(payload)):
            await self._sender.send(payload)
            return
        self._timer.pause()
        await self._sender.send(payload)
        self._timer.progress()

    async def _timed(self, response: httpx.Response) -> AsyncIterator[bytes]:
        async for data in read(response):
            self._timer.progress()
            yield data

    async def _read_bounded(self, limit: int, *, truncate: bool) -> bytes:
        pieces: list[bytes] = []
        size = 0
        async for data in self._reads:
            pieces.append(data)
            size += len(data)
            if size > limit:
                if truncate:
                    break
                raise MalformedAnswerError(f"the vendor's answer exceeds {limit} bytes")
        return b"".join(pieces)[:limit]


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for data in rest:
        yield data


def _failed(failure: FailureClass, message: str, *, field: str | None = None) -> End:
    return End(outcome=Failed(failure=failure, message=message, field=field))


def _name(error: Exception) -> str:
    """The kind of a transport error; its text may hold addresses, never a header."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
