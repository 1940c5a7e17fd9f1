"""Error answers: what a vendor's status and words mean, and what a client is shown."""

import json
from typing import Any

import pytest

from shared.canonical.events import Failed
from shared.canonical.failures import STATUS, FailureClass
from shared.protocols.openai_chat import OpenAIChat

CODEC = OpenAIChat()


def decode(status: int, error: Any = None, headers: dict[str, str] | None = None) -> Failed:
    body = json.dumps({"error": error or {"message": "m"}}).encode()
    return CODEC.decode_error(status, headers or {}, body)


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (400, FailureClass.INVALID_REQUEST),
        (401, FailureClass.UPSTREAM_CREDENTIAL),
        (402, FailureClass.UPSTREAM_CREDENTIAL),
        (403, FailureClass.UPSTREAM_CREDENTIAL),
        (404, FailureClass.NOT_FOUND),
        (408, FailureClass.TIMEOUT),
        (413, FailureClass.TOO_LARGE),
        (418, FailureClass.INVALID_REQUEST),
        (422, FailureClass.INVALID_REQUEST),
        (429, FailureClass.UPSTREAM_RATE_LIMITED),
        (500, FailureClass.UPSTREAM_ERROR),
        (502, FailureClass.UPSTREAM_ERROR),
        (503, FailureClass.UPSTREAM_OVERLOADED),
        (504, FailureClass.TIMEOUT),
        (529, FailureClass.UPSTREAM_OVERLOADED),
        (302, FailureClass.UPSTREAM_ERROR),
    ],
)
def test_a_status_has_a_class(status: int, failure: FailureClass) -> None:
    failed = decode(status)
    assert (failed.failure, failed.vendor_status, failed.message) == (failure, status, "m")


def test_a_400_about_the_key_is_about_the_key() -> None:
    failed = decode(400, {"message": "m", "code": "invalid_api_key"})
    assert failed.failure is FailureClass.UPSTREAM_CREDENTIAL


def test_the_vendors_words_are_kept() -> None:
    error = {"message": "m" * 5_000, "type": "t", "code": "c", "param": "messages[0]"}
    failed = decode(400, error)
    assert (failed.vendor_type, failed.vendor_code, failed.field) == ("t", "c", "messages[0]")
    assert len(failed.message) == 2_000


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": "text", "code": "c"}', "text"),
        (b'{"object": "error", "message": "text"}', "text"),
        (b'{"detail": "text"}', "text"),
        (b'[{"error": {"message": "text"}}]', "text"),
        (b"<html>502 Bad Gateway</html>", "status 502"),
        (b"", "status 502"),
        (b"\xff\xfe", "status 502"),
        (b"3", "status 502"),
        (b"[]", "status 502"),
        (b'{"error": {"message": 5}}', "status 502"),
        (b'{"error": null}', "status 502"),
        (b'{"detail": [{"loc": []}]}', "status 502"),
    ],
)
def test_every_vendors_shape_of_an_error(body: bytes, message: str) -> None:
    assert message in CODEC.decode_error(502, {}, body).message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_when_to_come_back(headers: dict[str, str], seconds: float | None) -> None:
    assert decode(429, headers=headers).retry_after == seconds


@pytest.mark.parametrize("failure", list(FailureClass))
def test_every_class_has_words_for_the_client(failure: FailureClass) -> None:
    status, body = CODEC.encode_error(Failed(failure=failure, message="m"), "call-1")
    error = json.loads(body)["error"]
    assert status == STATUS[failure]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["message"]


def test_the_field_at_fault_is_named() -> None:
    failed = Failed(
        failure=FailureClass.INVALID_REQUEST, message="m", field="messages.0", status=418
    )
    status, body = CODEC.encode_error(failed, "call-1")
    assert status == 418
    assert json.loads(body)["error"] == {
        "message": "m",
        "type": "invalid_request_error",
        "param": "messages.0",
        "code": None,
    }


@pytest.mark.parametrize(
    ("failure", "told", "shown"),
    [
        (FailureClass.INVALID_REQUEST, "context_length_exceeded", "context_length_exceeded"),
        (FailureClass.INVALID_REQUEST, "400", None),
        (FailureClass.INTERNAL, "whatever", "internal"),
    ],
)
def test_a_vendors_code_is_shown_where_it_helps(
    failure: FailureClass, told: str, shown: str | None
) -> None:
    failed = Failed(failure=failure, message="m", vendor_code=told)
    assert json.loads(CODEC.encode_error(failed, "call-1")[1])["error"]["code"] == shown


def test_what_a_vendor_says_of_our_key_is_not_passed_on() -> None:
    failed = Failed(failure=FailureClass.UPSTREAM_CREDENTIAL, message="bad key sk-12")
    assert b"sk-12" not in CODEC.encode_error(failed, "call-1")[1]
    assert b"sk-12" not in CODEC.encode_stream_error(failed, "call-1")
