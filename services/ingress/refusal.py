"""Error answers outside a call, in the protocol that the caller seems to speak."""

from collections.abc import Iterable

from services.ingress.http import Headers, ResponseWriter, Scope, Send
from shared.canonical.events import Failed
from shared.clock import new_call_id
from shared.protocols.codec import Codec
from shared.protocols.registry import CODECS

JSON = "application/json"


def speaks_anthropic(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name == b"anthropic-version" for name, _ in headers)


async def refuse(
    scope: Scope,
    send: Send,
    failed: Failed,
    *,
    codec: Codec | None = None,
    headers: Headers | None = None,
) -> None:
    if codec is None:
        anthropic = speaks_anthropic(scope["headers"])
        codec = CODECS["anthropic_messages" if anthropic else "openai_chat"]
    call_id = new_call_id()
    status, body = codec.encode_error(failed, call_id)
    await ResponseWriter(send, call_id).whole(status, body, JSON, headers)
