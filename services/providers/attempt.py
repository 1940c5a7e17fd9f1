"""One attempt at one target: encode, send, decode, and end exactly once.

Nothing is retried or enforced here. An attempt ends with one END frame, whatever happens: its
outcome is Finished, Failed or Cancelled, with the usage that was reported until then.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from http import HTTPStatus

import httpx
from msgspec import Struct
from msgspec.structs import replace

from services.providers.account import Account
from services.providers.reading import StreamReading, Timer
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
from shared.clock import now_us
from shared.config import Timeouts
from shared.framing.sse import FrameTooLargeError

log = logging.getLogger("weir.provider")

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
MAX_MESSAGE = 2000


class UpstreamRequest(Struct, frozen=True):
    body: bytes
    dropped: tuple[str, ...]


class Attempt:
    """Runs one attempt. `run` never raises: the task may be forgotten."""

    def __init__(
        self, envelope: AttemptEnvelope, account: Account, sender: ReplySender, timeouts: Timeouts
    ) -> None:
        self._envelope = envelope
        self._account = account
        self._codec = account.codec
        self._sender = sender
        self._timeouts = timeouts
        self._same_protocol = envelope.protocol == account.codec.name
        self._reading = StreamReading(
            account.codec,
            want_events=envelope.want_events or not self._same_protocol,
            keep_raw=self._same_protocol,
            hide_usage=not envelope.stream_usage,
        )
        self._head: Head | None = None
        self._request_id = ""

    async def run(self) -> None:
        try:
            end = await self._call()
        except asyncio.CancelledError:
            end = self._stopped()
        except InvalidRequestError as error:
            end = _failed(error.failure, error.message, field=error.field)
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
        await self._finish(end)

    def _stopped(self) -> End:
        """Cancelled by the caller, or cut because this worker has to end."""
        if self._sender.cancelled:
            return End(outcome=Cancelled())
        return _failed(FailureClass.UNAVAILABLE, "the provider worker is shutting down")

    async def _finish(self, end: End) -> None:
        usage = end.usage or self._reading.usage
        if isinstance(end.outcome, Failed):
            message = self._account.scrub(end.outcome.message)[:MAX_MESSAGE]
            end = replace(end, outcome=replace(end.outcome, message=message))
        end = replace(
            end,
            head=end.head or self._head,
            usage=usage,
            vendor_model=end.vendor_model or self._reading.model,
            vendor_request_id=self._request_id,
        )
        await self._sender.end(encode(end))

    async def _call(self) -> End:
        upstream = self._encode_request()
        self._timer = Timer(self._timeouts, self._envelope.deadline - now_us())
        async with self._timer.running():
            request = self._build(upstream)
            response = await self._account.client.send(request, stream=True)
            try:
                return await self._read(response, upstream.dropped)
            finally:
                await response.aclose()

    def _encode_request(self) -> UpstreamRequest:
        envelope = self._envelope
        if self._same_protocol and envelope.raw:
            body = self._codec.patch_request(
                envelope.raw, model=envelope.model, stream=envelope.streamed
            )
            return UpstreamRequest(body, ())
        encoded = self._codec.encode_request(decode_request(envelope.request), model=envelope.model)
        return UpstreamRequest(encoded.body, encoded.dropped)

    def _build(self, upstream: UpstreamRequest) -> httpx.Request:
        headers = self._account.headers(
            self._envelope.headers,
            same_protocol=self._same_protocol,
            streamed=self._envelope.streamed,
        )
        return self._account.client.build_request(
            "POST", self._account.url, content=upstream.body, headers=headers
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
        content_type = response.headers.get("content-type", "")
        if self._envelope.streamed and "json" not in content_type:
            return await self._read_stream(response, head)
        return await self._read_whole(response, head)

    async def _read_error(self, response: httpx.Response, head: Head) -> End:
        body = await self._read_bounded(response, MAX_ERROR_BYTES, truncate=True)
        text = self._account.scrub(body.decode("utf-8", "surrogateescape"))
        body = text.encode("utf-8", "surrogateescape")
        failed = self._codec.decode_error(response.status_code, response.headers, body)
        return End(outcome=failed, head=head, raw=body if self._same_protocol else b"")

    async def _read_whole(self, response: httpx.Response, head: Head) -> End:
        body = await self._read_bounded(response, MAX_ANSWER_BYTES, truncate=False)
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

    async def _read_stream(self, response: httpx.Response, head: Head) -> End:
        """Forwards every read as one frame. The first one carries the head, so that a vendor
        which answers 200 and then an error is still an error to everybody."""
        reading = self._reading
        unsent: Head | None = head
        async for data in self._reads(response):
            chunks = reading.feed(data)
            if chunks:
                await self._sender.send(encode(Delivery(head=unsent, chunks=chunks)))
                unsent = None
            if reading.terminal is not None:
                break
        else:
            chunks = reading.close()
            if chunks:
                await self._sender.send(encode(Delivery(head=unsent, chunks=chunks)))
        if isinstance(reading.terminal, Failed):
            return End(outcome=reading.terminal, raw=reading.terminal_raw)
        if reading.terminal is None:
            return _failed(FailureClass.UPSTREAM_ERROR, "the vendor's stream broke off")
        return End(outcome=reading.terminal)

    async def _reads(self, response: httpx.Response) -> AsyncIterator[bytes]:
        async for data in response.aiter_bytes():
            self._timer.progress()
            yield data

    async def _read_bounded(self, response: httpx.Response, limit: int, *, truncate: bool) -> bytes:
        pieces: list[bytes] = []
        size = 0
        async for data in self._reads(response):
            pieces.append(data)
            size += len(data)
            if size > limit:
                if truncate:
                    break
                raise MalformedAnswerError(f"the vendor's answer exceeds {limit} bytes")
        return b"".join(pieces)[:limit]


def _failed(failure: FailureClass, message: str, *, field: str | None = None) -> End:
    return End(outcome=Failed(failure=failure, message=message, field=field))


def _name(error: Exception) -> str:
    """The kind of a transport error; its text may hold addresses, never a header."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
