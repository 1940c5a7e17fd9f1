"""Why a call did not succeed, in classes that retry, status and metering act on.

FailureClass          status  retry  whose fault
-------------------------------------------------------------
INVALID_REQUEST          400   no    caller
AUTHENTICATION           401   no    caller (the virtual key)
PERMISSION               403   no    caller
NOT_FOUND                404   no    caller (path, model)
TOO_LARGE                413   no    caller
RATE_LIMITED             429   no    ours: a limit of Weir's
UPSTREAM_CREDENTIAL      502   next  operator: the vendor refused our credential
UPSTREAM_RATE_LIMITED    429   yes   vendor: rate or quota
UPSTREAM_OVERLOADED      529   yes   vendor
UPSTREAM_ERROR           502   yes   vendor: 5xx, malformed answer
CONNECT                  502   yes   vendor not reached
TIMEOUT                  504   yes   vendor silent
TRANSPORT                502   no    ours: the stream over the bus was broken
UNAVAILABLE              503   yes   ours: no worker, no bus
OVERLOADED               503   yes   ours: all workers are full
INTERNAL                 500   no    ours: a defect
"""

from enum import StrEnum


class FailureClass(StrEnum):
    INVALID_REQUEST = "invalid_request"
    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    UPSTREAM_CREDENTIAL = "upstream_credential"
    UPSTREAM_RATE_LIMITED = "upstream_rate_limited"
    UPSTREAM_OVERLOADED = "upstream_overloaded"
    UPSTREAM_ERROR = "upstream_error"
    CONNECT = "connect"
    TIMEOUT = "timeout"
    TRANSPORT = "transport"
    UNAVAILABLE = "unavailable"
    OVERLOADED = "overloaded"
    INTERNAL = "internal"


STATUS: dict[FailureClass, int] = {
    FailureClass.INVALID_REQUEST: 400,
    FailureClass.AUTHENTICATION: 401,
    FailureClass.PERMISSION: 403,
    FailureClass.NOT_FOUND: 404,
    FailureClass.TOO_LARGE: 413,
    FailureClass.RATE_LIMITED: 429,
    FailureClass.UPSTREAM_CREDENTIAL: 502,
    FailureClass.UPSTREAM_RATE_LIMITED: 429,
    FailureClass.UPSTREAM_OVERLOADED: 529,
    FailureClass.UPSTREAM_ERROR: 502,
    FailureClass.CONNECT: 502,
    FailureClass.TIMEOUT: 504,
    FailureClass.TRANSPORT: 502,
    FailureClass.UNAVAILABLE: 503,
    FailureClass.OVERLOADED: 503,
    FailureClass.INTERNAL: 500,
}


class InvalidRequestError(Exception):
    """A client's request that cannot be decoded, or cannot be said in the target's protocol.

    `field` is the path of the offending field in the client's own JSON, such as
    `messages.0.content`, or None for the body as a whole. The message never quotes content.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        failure: FailureClass = FailureClass.INVALID_REQUEST,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.failure = failure


class MalformedAnswerError(Exception):
    """A vendor's answer or stream frame that is not what its protocol says."""
