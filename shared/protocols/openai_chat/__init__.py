"""OpenAI's Chat Completions, spoken by OpenAI, Azure, llama.cpp, vLLM, Ollama, Groq, Mistral,
DeepSeek, OpenRouter and many more, each in its own way. Ingress and providers use the class."""

from collections.abc import Mapping

from shared.canonical.answer import Answer
from shared.canonical.events import Failed
from shared.canonical.request import Request
from shared.framing.sse import COMMENT_PING
from shared.protocols.codec import AnswerContext, EncodedRequest

from .errors import decode_error, encode_error, encode_stream_error
from .request import LIMIT_FIELDS, decode_request, encode_request, patch_request
from .response import decode_response, encode_response
from .stream_decoder import ChatStreamDecoder
from .stream_encoder import ChatStreamEncoder
from .wire import NAME


class OpenAIChat:
    """The codec (see `shared.protocols.codec.Codec`).

    `limit_field` is where a limit of output tokens goes that came from another protocol.
    OpenAI's newer models refuse `max_tokens`; Ollama ignores `max_completion_tokens`.
    """

    name = NAME
    framing = "sse"
    usage_is_extra = True
    keep_alive = COMMENT_PING

    def __init__(self, limit_field: str = LIMIT_FIELDS[0]) -> None:
        self._limit_field = limit_field

    def decode_request(self, body: bytes) -> Request:
        return decode_request(body)

    def encode_request(self, request: Request, *, model: str) -> EncodedRequest:
        return encode_request(request, model=model, limit_field=self._limit_field)

    def patch_request(self, raw: bytes, *, model: str, stream: bool) -> bytes:
        return patch_request(raw, model=model, stream=stream)

    def decode_response(self, body: bytes) -> Answer:
        return decode_response(body)

    def encode_response(self, answer: Answer, context: AnswerContext) -> bytes:
        return encode_response(answer, context)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Failed:
        return decode_error(status, headers, body)

    def encode_error(self, failed: Failed, call_id: str) -> tuple[int, bytes]:
        return encode_error(failed, call_id)

    def encode_stream_error(self, failed: Failed, call_id: str) -> bytes:
        return encode_stream_error(failed, call_id)

    def stream_decoder(self) -> ChatStreamDecoder:
        return ChatStreamDecoder()

    def stream_encoder(self, context: AnswerContext) -> ChatStreamEncoder:
        return ChatStreamEncoder(context)


__all__ = ["OpenAIChat"]
