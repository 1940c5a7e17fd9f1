"""From the frames of a reply to the client's answer, in the client's own protocol.

Bytes of the vendor's answer go on as they are where the vendor speaks the client's protocol
and nothing on the way has changed them; everything else is encoded from canonical events.
"""

from itertools import chain
from urllib.parse import quote

from services.ingress.http import Headers, ResponseWriter
from shared.bus.envelope import (
    CallEnvelope,
    Chunk,
    End,
    Head,
    decode_delivery,
    decode_end,
)
from shared.bus.frames import Kind
from shared.bus.replies import ReplyReceiver
from shared.canonical.answer import fold
from shared.canonical.events import Event, Failed, Finished
from shared.canonical.failures import FailureClass
from shared.canonical.request import Request
from shared.framing.sse import COMMENT_PING
from shared.protocols.codec import AnswerContext, Codec, StreamEncoder

JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"
PLAIN = "!#$&'()*+,-./:;<=>?@[]^_`{|}~"
MAX_HEADER = 4000
STREAM_HEADERS: Headers = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


class Answering:
    """Writes the answer of one call; `fail` is right at any moment, also in mid-stream."""

    def __init__(self, codec: Codec, writer: ResponseWriter, call_id: str) -> None:
        self._codec = codec
        self._writer = writer
        self.call_id = call_id
        self._streamed = False
        self._context = AnswerContext(call_id=call_id, model="", created=0)
        self._head: Head | None = None
        self._encoder: StreamEncoder | None = None

    def expect(self, envelope: CallEnvelope, request: Request | None) -> None:
        """What is known of the answer before it comes."""
        self._streamed = envelope.streamed
        self._context = AnswerContext(
            call_id=envelope.call_id,
            model=envelope.model,
            created=envelope.started // 1_000_000,
            stream_usage=bool(request and request.stream_usage),
        )

    def detach(self) -> bool:
        """The client is gone; True if the answer goes on for one that may come back."""
        return self._writer.detach()

    def silent_since(self, time: float) -> bool:
        """Whether this is a stream that has been silent since then, and is not just writing."""
        return self._streamed and not self._writer.busy and self._writer.wrote <= time

    async def keep_alive(self) -> None:
        """Writes a sign of life. A client that gets one before the first content has its 200: an
        error after it is one in mid-stream."""
        if self._writer.started:
            await self._writer.write(self._codec.keep_alive)
        else:
            await self._writer.start(200, EVENT_STREAM, STREAM_HEADERS)
            await self._writer.write(COMMENT_PING)

    async def relay(self, receiver: ReplyReceiver) -> None:
        """Writes until END. Raises what the receiver raises."""
        while (frame := await receiver.next()).kind is not Kind.END:
            delivery = decode_delivery(frame.payload)
            self._head = delivery.head or self._head
            await self._write_chunks(delivery.chunks)
        await self._end(decode_end(frame.payload))

    async def fail(self, failed: Failed, raw: bytes = b"") -> None:
        """An error answer, or the protocol's terminal error where the answer has begun.

        `raw` is the vendor's own error, in this protocol.
        """
        if self._writer.started or self._writer.detached:
            await self._writer.write(raw or self._codec.encode_stream_error(failed, self.call_id))
            await self._writer.finish()
            return
        head = self._head
        if raw and head is not None:
            content_type = head.headers.get("content-type", JSON)
            await self._writer.whole(head.status, raw, content_type, self._answer_headers())
            return
        status, body = self._codec.encode_error(failed, self.call_id)
        await self._writer.whole(status, body, JSON, self._error_headers(failed))

    async def _end(self, end: End) -> None:
        self._head = self._head or end.head
        if isinstance(end.outcome, Failed):
            await self.fail(end.outcome, end.raw if self._raw_passes() else b"")
        elif not isinstance(end.outcome, Finished):
            await self.fail(
                Failed(failure=FailureClass.TRANSPORT, message="the call was cancelled")
            )
        elif self._streamed and (self._writer.started or not self._is_whole(end)):
            await self._end_stream(end)
        else:
            await self._write_whole(end)

    async def _end_stream(self, end: End) -> None:
        await self._write_chunks(end.chunks, start=True)
        if self._encoder is not None:
            await self._writer.write(self._encoder.encode((end.outcome,)))
        await self._writer.finish()

    def _is_whole(self, end: End) -> bool:
        """A vendor may answer a streamed request with a whole body: it stays what it is."""
        return bool(end.chunks) and all(self._passes_raw(chunk) for chunk in end.chunks)

    async def _write_whole(self, end: End) -> None:
        content_type = JSON
        if end.chunks and all(self._passes_raw(chunk) for chunk in end.chunks):
            body = b"".join(chunk.raw for chunk in end.chunks)
            content_type = self._head.headers.get("content-type", JSON) if self._head else JSON
        else:
            events = chain.from_iterable(chunk.events for chunk in end.chunks)
            answer = fold(chain(events, (end.outcome,)))
            body = self._codec.encode_response(answer, self._context)
        await self._writer.whole(200, body, content_type, self._answer_headers())

    async def _write_chunks(self, chunks: tuple[Chunk, ...], *, start: bool = False) -> None:
        if not self._writer.started and (chunks or start):
            headers = [*STREAM_HEADERS, *self._answer_headers()]
            await self._writer.start(200, EVENT_STREAM, headers)
        await self._writer.write(b"".join(map(self._encoded, chunks)))

    def _encoded(self, chunk: Chunk) -> bytes:
        if self._raw_passes():
            if chunk.events:
                encoded = self._encode(chunk.events)  # the encoder must have seen everything
                return chunk.raw or encoded
            return chunk.raw
        return self._encode(chunk.events)

    def _encode(self, events: tuple[Event, ...]) -> bytes:
        if self._encoder is None:
            self._encoder = self._codec.stream_encoder(self._context)
        return self._encoder.encode(events)

    def _raw_passes(self) -> bool:
        return self._head is not None and self._head.protocol == self._codec.name

    def _passes_raw(self, chunk: Chunk) -> bool:
        return bool(chunk.raw) and self._raw_passes()

    def _answer_headers(self) -> Headers:
        """The vendor's headers that a client may see, and what was lost on the way there."""
        if self._head is None:
            return []
        headers = [
            (name.encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in self._head.headers.items()
            if name != "content-type"
        ]
        if self._head.dropped:
            # The paths hold the client's own field names: nothing of them may end the header.
            paths = ", ".join(quote(path, safe=PLAIN) for path in self._head.dropped)
            headers.append((b"x-weir-dropped", paths[:MAX_HEADER].encode()))
        return headers

    def _error_headers(self, failed: Failed) -> Headers:
        headers = self._answer_headers()
        if failed.failure is FailureClass.AUTHENTICATION:
            headers.append((b"www-authenticate", b"Bearer"))
        if failed.retry_after is not None and all(name != b"retry-after" for name, _ in headers):
            headers.append((b"retry-after", str(max(1, round(failed.retry_after))).encode()))
        return headers
