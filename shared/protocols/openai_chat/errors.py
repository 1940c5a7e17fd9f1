"""Error answers, both ways, and errors inside a stream. The tables say what means what."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

import msgspec

from shared.canonical.events import Failed
from shared.canonical.failures import STATUS, FailureClass
from shared.canonical.parts import JsonValue
from shared.framing.sse import encode_frame

from .wire import Wire, encode_json, is_list, is_object

MAX_MESSAGE = 2_000
"""Characters of a vendor's message that are kept."""

_BY_STATUS: dict[int, FailureClass] = {
    400: FailureClass.INVALID_REQUEST,
    401: FailureClass.UPSTREAM_CREDENTIAL,
    402: FailureClass.UPSTREAM_CREDENTIAL,  # DeepSeek, OpenRouter: no credit left
    403: FailureClass.UPSTREAM_CREDENTIAL,
    404: FailureClass.NOT_FOUND,
    408: FailureClass.TIMEOUT,
    413: FailureClass.TOO_LARGE,
    422: FailureClass.INVALID_REQUEST,
    429: FailureClass.UPSTREAM_RATE_LIMITED,
    498: FailureClass.UPSTREAM_OVERLOADED,  # Groq: flex capacity exceeded
    503: FailureClass.UPSTREAM_OVERLOADED,
    504: FailureClass.TIMEOUT,
    529: FailureClass.UPSTREAM_OVERLOADED,
}

_BY_WORD: dict[str, FailureClass] = {
    "authentication_error": FailureClass.UPSTREAM_CREDENTIAL,
    "invalid_api_key": FailureClass.UPSTREAM_CREDENTIAL,
    "permission_error": FailureClass.UPSTREAM_CREDENTIAL,
    "insufficient_quota": FailureClass.UPSTREAM_RATE_LIMITED,
    "rate_limit_error": FailureClass.UPSTREAM_RATE_LIMITED,
    "rate_limit_exceeded": FailureClass.UPSTREAM_RATE_LIMITED,
    "model_not_found": FailureClass.NOT_FOUND,
    "not_found_error": FailureClass.NOT_FOUND,
    "context_length_exceeded": FailureClass.INVALID_REQUEST,
    "invalid_request_error": FailureClass.INVALID_REQUEST,
    "invalid_value": FailureClass.INVALID_REQUEST,
    "overloaded": FailureClass.UPSTREAM_OVERLOADED,
    "overloaded_error": FailureClass.UPSTREAM_OVERLOADED,
    "unavailable_error": FailureClass.UPSTREAM_OVERLOADED,  # llama.cpp, while it loads
    "timeout": FailureClass.TIMEOUT,
}
"""Codes and types, for errors without a status of their own."""

_WORDS: dict[FailureClass, tuple[str, str | None]] = {
    FailureClass.INVALID_REQUEST: ("invalid_request_error", None),
    FailureClass.AUTHENTICATION: ("invalid_request_error", "invalid_api_key"),
    FailureClass.PERMISSION: ("invalid_request_error", "permission_denied"),
    FailureClass.NOT_FOUND: ("invalid_request_error", "not_found"),
    FailureClass.TOO_LARGE: ("invalid_request_error", "request_too_large"),
    FailureClass.RATE_LIMITED: ("rate_limit_error", "rate_limit_exceeded"),
    FailureClass.UPSTREAM_CREDENTIAL: ("server_error", "upstream_credential"),
    FailureClass.UPSTREAM_RATE_LIMITED: ("rate_limit_error", "rate_limit_exceeded"),
    FailureClass.UPSTREAM_OVERLOADED: ("server_error", "overloaded"),
    FailureClass.UPSTREAM_ERROR: ("server_error", "upstream_error"),
    FailureClass.CONNECT: ("server_error", "upstream_unreachable"),
    FailureClass.TIMEOUT: ("server_error", "timeout"),
    FailureClass.TRANSPORT: ("server_error", "transport"),
    FailureClass.UNAVAILABLE: ("server_error", "unavailable"),
    FailureClass.OVERLOADED: ("server_error", "overloaded"),
    FailureClass.INTERNAL: ("server_error", "internal"),
}
"""What OpenAI calls it: `type` and `code`."""

_CALLERS = {
    FailureClass.INVALID_REQUEST,
    FailureClass.NOT_FOUND,
    FailureClass.TOO_LARGE,
    FailureClass.UPSTREAM_RATE_LIMITED,
}
"""Where the vendor's own code helps the caller."""

_REFUSED = "the vendor refused the gateway's credential"
"""What a caller may know of it: the vendor's message quotes from the key."""


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> Failed:
    error = _error_of(body)
    return _failed(
        error,
        failure=classify(status, error),
        message=error.get("message"),
        status=status,
        retry_after=_retry_after(headers),
    )


def decode_stream_error(error: JsonValue) -> Failed:
    """The `error` member of a stream's frame. OpenRouter's code is an HTTP status."""
    members: Wire = error if is_object(error) else {"message": error}
    code = members.get("code")
    status = code if type(code) is int and 400 <= code < 600 else None
    return _failed(
        members,
        failure=classify(status, members),
        message=members.get("message"),
        status=status,
        retry_after=None,
    )


def classify(status: int | None, error: Wire) -> FailureClass:
    """The status decides, but for a 400 about a key; then the vendor's words."""
    words = (_BY_WORD.get(word) for word in (_word(error, "code"), _word(error, "type")) if word)
    named = next((word for word in words if word is not None), None)
    if status is None:
        return named or FailureClass.UPSTREAM_ERROR
    if status == 400 and named is FailureClass.UPSTREAM_CREDENTIAL:
        return named
    default = FailureClass.INVALID_REQUEST if 400 <= status < 500 else FailureClass.UPSTREAM_ERROR
    return _BY_STATUS.get(status, default)


def encode_error(failed: Failed, call_id: str) -> tuple[int, bytes]:
    status = failed.status or STATUS[failed.failure]
    return status, encode_json(_error_body(failed))


def encode_stream_error(failed: Failed, call_id: str) -> bytes:
    """The stream's last frame: no [DONE] follows, so that nobody takes it for a success."""
    return encode_frame(encode_json(_error_body(failed)))


def _error_body(failed: Failed) -> Wire:
    kind, code = _WORDS[failed.failure]
    told = failed.vendor_code or ""
    if told and not told.isdigit() and failed.failure in _CALLERS:  # some repeat the status
        code = told
    refused = failed.failure is FailureClass.UPSTREAM_CREDENTIAL
    message = _REFUSED if refused else failed.message
    return {"error": {"message": message, "type": kind, "param": failed.field, "code": code}}


def _failed(
    error: Wire,
    *,
    failure: FailureClass,
    message: JsonValue,
    status: int | None,
    retry_after: float | None,
) -> Failed:
    if type(message) is not str or not message:
        told = "an error" if status is None else f"status {status}"
        message = f"the vendor answered with {told} and no message"
    return Failed(
        failure=failure,
        message=message[:MAX_MESSAGE],
        field=_word(error, "param"),
        vendor_status=status,
        vendor_type=_word(error, "type"),
        vendor_code=_word(error, "code"),
        retry_after=retry_after,
    )


def _error_of(body: bytes) -> Wire:
    """`{"error": {...}}`; or `{"error": "text"}` (xAI), the members alone (vLLM, Mistral), or
    `{"detail": "text"}` (FastAPI). Empty for what is not JSON, such as a proxy's page."""
    try:
        wire: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if is_list(wire) and wire:  # Gemini's compatible face
        wire = wire[0]
    if not is_object(wire):
        return {}
    error = wire.get("error")
    if is_object(error):
        return error
    if type(error) is str:
        return {**wire, "message": error}
    return wire if "message" in wire else {"message": wire.get("detail")}


def _word(error: Wire, name: str) -> str | None:
    value = error.get(name)
    return str(value) if type(value) in (str, int) else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds. An HTTP date would need a clock, which a codec has not."""
    named = {name.lower(): value for name, value in headers.items()}
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(named.get(name, "")) / unit
        except ValueError:
            continue
        if isfinite(seconds) and seconds >= 0:
            return seconds
    return None
