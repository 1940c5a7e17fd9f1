"""Anthropic's error objects <-> failures, for statuses and for streams.

The HTTP status decides where it is specific, else the error's type, else the status's
hundred. Source: Anthropic's API documentation, "Errors", and the SDK's `ErrorType`.
"""

from collections.abc import Mapping

import msgspec

from shared.canonical.events import Failed
from shared.canonical.failures import STATUS, FailureClass
from shared.canonical.parts import JsonValue
from shared.framing.sse import encode_frame

from .wire import Wire, decode_json, encode_json, is_object

MAX_MESSAGE = 2000
MAX_NAME = 100

_BY_STATUS: dict[int, FailureClass] = {
    401: FailureClass.UPSTREAM_CREDENTIAL,
    402: FailureClass.UPSTREAM_CREDENTIAL,
    403: FailureClass.UPSTREAM_CREDENTIAL,
    404: FailureClass.NOT_FOUND,
    408: FailureClass.TIMEOUT,
    413: FailureClass.TOO_LARGE,
    429: FailureClass.UPSTREAM_RATE_LIMITED,
    503: FailureClass.UPSTREAM_OVERLOADED,
    504: FailureClass.TIMEOUT,
    529: FailureClass.UPSTREAM_OVERLOADED,
}

_BY_TYPE: dict[str, FailureClass] = {
    "invalid_request_error": FailureClass.INVALID_REQUEST,
    "authentication_error": FailureClass.UPSTREAM_CREDENTIAL,
    "billing_error": FailureClass.UPSTREAM_CREDENTIAL,
    "permission_error": FailureClass.UPSTREAM_CREDENTIAL,
    "not_found_error": FailureClass.NOT_FOUND,
    "request_too_large": FailureClass.TOO_LARGE,
    "rate_limit_error": FailureClass.UPSTREAM_RATE_LIMITED,
    "overloaded_error": FailureClass.UPSTREAM_OVERLOADED,
    "timeout_error": FailureClass.TIMEOUT,
    "api_error": FailureClass.UPSTREAM_ERROR,
}

# A 400 that is no fault of the request's: the account behind our credential is empty.
_NO_CREDIT = "credit balance is too low"

_TYPES: dict[FailureClass, str] = {
    FailureClass.INVALID_REQUEST: "invalid_request_error",
    FailureClass.AUTHENTICATION: "authentication_error",
    FailureClass.PERMISSION: "permission_error",
    FailureClass.NOT_FOUND: "not_found_error",
    FailureClass.TOO_LARGE: "request_too_large",
    FailureClass.RATE_LIMITED: "rate_limit_error",
    FailureClass.UPSTREAM_RATE_LIMITED: "rate_limit_error",
    FailureClass.UPSTREAM_OVERLOADED: "overloaded_error",
    FailureClass.UNAVAILABLE: "overloaded_error",
    FailureClass.OVERLOADED: "overloaded_error",
    FailureClass.TIMEOUT: "timeout_error",
}
_OTHER_TYPE = "api_error"

# What Anthropic's clients wait out and try again.
_STATUS: dict[FailureClass, int] = {FailureClass.OVERLOADED: 529}


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> Failed:
    error = _error_object(body)
    failed = decode_error_object(error, status)
    return msgspec.structs.replace(failed, retry_after=_retry_after(headers))


def decode_error_object(error: Wire, status: int | None = None) -> Failed:
    """A failure from an error object; `status` is None where it came within a stream."""
    kind, message = error.get("type"), error.get("message")
    kind = kind[:MAX_NAME] if type(kind) is str else None
    if type(message) is not str or not message:
        said = f"status {status}" if status is not None else "an error in mid-stream"
        message = f"the vendor answered with {said}"
    failure = _classify(status, kind, message)
    return Failed(
        failure=failure,
        message=message[:MAX_MESSAGE],
        status=_client_status(failure, status),
        vendor_status=status,
        vendor_type=kind,
        vendor_code=_code(error),
    )


def encode_error(failed: Failed, call_id: str) -> tuple[int, bytes]:
    status = failed.status or _STATUS.get(failed.failure) or STATUS[failed.failure]
    return status, encode_json(_encode_object(failed, call_id))


def encode_stream_error(failed: Failed, call_id: str) -> bytes:
    return encode_frame(encode_json(_encode_object(failed, call_id)), "error")


def _encode_object(failed: Failed, call_id: str) -> Wire:
    message, field = failed.message, failed.field
    if field is not None and field not in message:
        message = f"{field}: {message}"
    kind = _TYPES.get(failed.failure, _OTHER_TYPE)
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": call_id}


def _classify(status: int | None, kind: str | None, message: str) -> FailureClass:
    if _NO_CREDIT in message:
        return FailureClass.UPSTREAM_CREDENTIAL
    failure = _BY_STATUS.get(status or 0) or _BY_TYPE.get(kind or "")
    if failure is not None:
        return failure
    if status is not None and 400 <= status < 500:
        return FailureClass.INVALID_REQUEST
    return FailureClass.UPSTREAM_ERROR


def _client_status(failure: FailureClass, status: int | None) -> int | None:
    """A request that the vendor found wrong is wrong with the vendor's own status (409, 422)."""
    if failure is FailureClass.INVALID_REQUEST and status is not None and 400 <= status < 500:
        return status
    return None


def _error_object(body: bytes) -> Wire:
    """The error of a JSON body in one of its usual places; {} for a proxy's HTML page."""
    try:
        wire: JsonValue = decode_json(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if not is_object(wire):
        return {}
    error = wire.get("error")
    if is_object(error):
        return error
    message = error or wire.get("message") or wire.get("detail")
    return {"message": message}


def _code(error: Wire) -> str | None:
    details = error.get("details")
    code = details.get("error_code") if is_object(details) else None
    return code[:MAX_NAME] if type(code) is str else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    named = {name.lower(): value for name, value in headers.items()}
    milliseconds = _seconds(named.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    return _seconds(named.get("retry-after"))


def _seconds(value: str | None) -> float | None:
    """Seconds as a number; an HTTP date is left alone, for a codec has no clock."""
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
