"""Anthropic's Messages protocol, both sides: `POST /v1/messages`, as server and as client."""

from collections.abc import Mapping

from shared.canonical.answer import Answer
from shared.canonical.events import Failed
from shared.canonical.request import Request
from shared.framing.sse import encode_frame
from shared.protocols.codec import (
    AnswerContext,
    EncodedRequest,
    StreamDecoder,
    StreamEncoder,
    patch_members,
)

from . import errors, response
from . import request as requests
from .stream_decoder import AnthropicStreamDecoder
from .stream_encoder import AnthropicStreamEncoder
from .wire import NAME


class AnthropicMessages:
    name = NAME
    framing = "sse"
    usage_is_extra = False
    keep_alive = encode_frame(b'{"type": "ping"}', "ping")

    def decode_request(self, body: bytes) -> Request:
        return requests.decode_request(body)

    def encode_request(self, request: Request, *, model: str) -> EncodedRequest:
        return requests.encode_request(request, model=model)

    def patch_request(self, raw: bytes, *, model: str, stream: bool) -> bytes:
        """Anthropic reports usage in every stream, so only the model's name changes."""
        return patch_members(raw, {"model": model})

    def decode_response(self, body: bytes) -> Answer:
        return response.decode_response(body)

    def encode_response(self, answer: Answer, context: AnswerContext) -> bytes:
        return response.encode_response(answer, context)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Failed:
        return errors.decode_error(status, headers, body)

    def encode_error(self, failed: Failed, call_id: str) -> tuple[int, bytes]:
        return errors.encode_error(failed, call_id)

    def encode_stream_error(self, failed: Failed, call_id: str) -> bytes:
        return errors.encode_stream_error(failed, call_id)

    def stream_decoder(self) -> StreamDecoder:
        return AnthropicStreamDecoder()

    def stream_encoder(self, context: AnswerContext) -> StreamEncoder:
        return AnthropicStreamEncoder(context)
