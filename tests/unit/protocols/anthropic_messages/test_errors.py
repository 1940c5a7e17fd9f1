import json
from typing import Any

import pytest

from shared.canonical.events import Failed
from shared.canonical.failures import STATUS, FailureClass
from shared.framing.sse import parse_frame
from shared.protocols.anthropic_messages import AnthropicMessages

CODEC = AnthropicMessages()


def error(kind: str, message: str = "no", **fields: Any) -> bytes:
    return json.dumps(
        {"type": "error", "error": {"type": kind, "message": message, **fields}}
    ).encode()


@pytest.mark.parametrize(
    ("status", "kind", "failure"),
    [
        (400, "invalid_request_error", FailureClass.INVALID_REQUEST),
        (401, "authentication_error", FailureClass.UPSTREAM_CREDENTIAL),
        (402, "billing_error", FailureClass.UPSTREAM_CREDENTIAL),
        (403, "permission_error", FailureClass.UPSTREAM_CREDENTIAL),
        (404, "not_found_error", FailureClass.NOT_FOUND),
        (408, "invalid_request_error", FailureClass.TIMEOUT),
        (409, "conflict_error", FailureClass.INVALID_REQUEST),
        (413, "request_too_large", FailureClass.TOO_LARGE),
        (422, "invalid_request_error", FailureClass.INVALID_REQUEST),
        (429, "rate_limit_error", FailureClass.UPSTREAM_RATE_LIMITED),
        (500, "api_error", FailureClass.UPSTREAM_ERROR),
        (500, "overloaded_error", FailureClass.UPSTREAM_OVERLOADED),
        (503, "api_error", FailureClass.UPSTREAM_OVERLOADED),
        (504, "timeout_error", FailureClass.TIMEOUT),
        (529, "overloaded_error", FailureClass.UPSTREAM_OVERLOADED),
        (418, "from_the_future", FailureClass.INVALID_REQUEST),
        (599, "from_the_future", FailureClass.UPSTREAM_ERROR),
        (302, "", FailureClass.UPSTREAM_ERROR),
    ],
)
def test_a_status_has_its_class(status: int, kind: str, failure: FailureClass) -> None:
    failed = CODEC.decode_error(status, {}, error(kind, "because"))
    assert failed.failure is failure
    assert (failed.vendor_status, failed.vendor_type, failed.message) == (status, kind, "because")


def test_the_clients_mistake_keeps_the_vendors_status() -> None:
    assert CODEC.decode_error(422, {}, error("invalid_request_error")).status == 422
    assert CODEC.decode_error(401, {}, error("authentication_error")).status is None


def test_an_empty_account_is_not_the_clients_mistake() -> None:
    message = "Your credit balance is too low to access the Anthropic API."
    failed = CODEC.decode_error(400, {}, error("invalid_request_error", message))
    assert failed.failure is FailureClass.UPSTREAM_CREDENTIAL
    assert failed.status is None


def test_the_code_of_an_error_is_kept() -> None:
    failed = CODEC.decode_error(400, {}, error("x", details={"error_code": "file_expired"}))
    assert failed.vendor_code == "file_expired"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
    ],
)
def test_when_to_try_again(headers: dict[str, str], seconds: float | None) -> None:
    assert CODEC.decode_error(429, headers, error("rate_limit_error")).retry_after == seconds


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>nginx</html>", "the vendor answered with status 502"),
        (b"", "the vendor answered with status 502"),
        (b"\xff\xfe", "the vendor answered with status 502"),
        (b"[]", "the vendor answered with status 502"),
        (b"{}", "the vendor answered with status 502"),
        (b'{"error": {"message": ""}}', "the vendor answered with status 502"),
        (b'{"detail": [{"loc": []}]}', "the vendor answered with status 502"),
        (b'{"error": "plain"}', "plain"),
        (b'{"message": "plain"}', "plain"),
        (b'{"detail": "plain"}', "plain"),
        (b"[" * 100_000, "the vendor answered with status 502"),
    ],
)
def test_a_body_of_any_kind_is_survived(body: bytes, message: str) -> None:
    failed = CODEC.decode_error(502, {}, body)
    assert (failed.failure, failed.message) == (FailureClass.UPSTREAM_ERROR, message)


def test_a_message_is_bounded() -> None:
    assert len(CODEC.decode_error(400, {}, error("x", "y" * 5000)).message) == 2000


@pytest.mark.parametrize("failure", FailureClass)
def test_every_failure_has_a_status_and_a_documented_type(failure: FailureClass) -> None:
    status, body = CODEC.encode_error(Failed(failure=failure, message="no"), "call-1")
    wire = json.loads(body)
    assert status == {**STATUS, FailureClass.OVERLOADED: 529}[failure]
    assert wire["type"] == "error"
    assert wire["request_id"] == "call-1"
    assert wire["error"]["message"] == "no"
    assert wire["error"]["type"] in {
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "not_found_error",
        "request_too_large",
        "rate_limit_error",
        "overloaded_error",
        "timeout_error",
        "api_error",
    }


def test_the_field_at_fault_is_named() -> None:
    failed = Failed(failure=FailureClass.INVALID_REQUEST, message="must be a list", field="tools")
    _, body = CODEC.encode_error(failed, "call-1")
    assert json.loads(body)["error"] == {
        "type": "invalid_request_error",
        "message": "tools: must be a list",
    }


def test_a_status_that_was_set_wins() -> None:
    failed = Failed(failure=FailureClass.INVALID_REQUEST, message="", status=422)
    assert CODEC.encode_error(failed, "call-1")[0] == 422


def test_an_error_in_mid_stream_is_the_protocols_own_event() -> None:
    failed = Failed(failure=FailureClass.UPSTREAM_OVERLOADED, message="Overloaded")
    frame = parse_frame(CODEC.encode_stream_error(failed, "call-1"))
    assert frame.event == "error"
    assert json.loads(frame.data) == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"},
        "request_id": "call-1",
    }
