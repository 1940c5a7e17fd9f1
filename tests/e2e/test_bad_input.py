"""What bad input gets: a proper status, an error in the caller's own protocol, and its row."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.stack import Stack

MESSAGES, CHAT = "/v1/messages", "/v1/chat/completions"
USER: list[Any] = [{"role": "user", "content": "hi"}]


def post(
    stack: Stack, path: str, body: bytes, headers: dict[str, str] | None = None
) -> tuple[int, Any, str]:
    """Status, JSON body and call id."""
    where = urlsplit(stack.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port or 0, timeout=30)
    try:
        sent = {"x-api-key": stack.key, "content-type": "application/json", **(headers or {})}
        connection.request("POST", path, body, sent)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), answer.headers["x-weir-call-id"]
    finally:
        connection.close()


def error_text(path: str, body: Any) -> str:
    """The message of an error, having checked the protocol's shape."""
    if path == MESSAGES:
        assert body["type"] == "error"
        assert body["error"]["type"].endswith(("_error", "request_too_large"))
    else:
        assert set(body["error"]) >= {"message", "type", "param", "code"}
    return body["error"]["message"]


@pytest.mark.parametrize("path", [MESSAGES, CHAT])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{not json", "JSON"),
        (b"[1, 2]", "JSON"),
        (b"", "JSON"),
        (json.dumps({"messages": USER, "max_tokens": 5}).encode(), "model"),
        (json.dumps({"model": 7, "messages": USER, "max_tokens": 5}).encode(), "model"),
        (
            json.dumps({"model": "openai/sim", "messages": "hi", "max_tokens": 5}).encode(),
            "messages",
        ),
        (
            json.dumps({"model": "openai/sim", "messages": USER, "max_tokens": "5"}).encode(),
            "max_tokens",
        ),
    ],
)
def test_a_malformed_body_is_a_400_that_names_the_field_and_has_its_row(
    stack: Stack, path: str, body: bytes, field: str
) -> None:
    status, answer, call_id = post(stack, path, body)
    assert status == 400
    message = error_text(path, answer)
    assert field in message or answer["error"].get("param") == field
    rows = stack.rows(f"call_id = '{call_id}'", "outcome, status, error_class")
    assert rows == [("rejected", 400, "invalid_request")]


@pytest.mark.parametrize("path", [MESSAGES, CHAT])
def test_an_unknown_model_is_404_and_has_its_row(stack: Stack, path: str) -> None:
    body = json.dumps({"model": "no-such-model", "messages": USER, "max_tokens": 5}).encode()
    status, answer, call_id = post(stack, path, body)
    assert status == 404
    assert "no-such-model" in error_text(path, answer)
    assert stack.rows(f"call_id = '{call_id}'", "outcome, status") == [("rejected", 404)]


@pytest.mark.parametrize("path", [MESSAGES, CHAT])
@pytest.mark.parametrize("key", ["", "weir_wrong", "sk-something"])
def test_a_missing_or_wrong_key_is_401(stack: Stack, path: str, key: str) -> None:
    body = json.dumps({"model": "openai/sim", "messages": USER, "max_tokens": 5}).encode()
    status, answer, call_id = post(stack, path, body, {"x-api-key": key})
    assert status == 401
    assert error_text(path, answer)
    assert call_id


@pytest.mark.parametrize("path", [MESSAGES, CHAT])
def test_a_body_over_32_mib_is_413_and_the_next_call_works(stack: Stack, path: str) -> None:
    content = "x" * (32 * 1024 * 1024)
    large = {
        "model": "openai/sim",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": content}],
    }
    status, answer, call_id = post(stack, path, json.dumps(large).encode())
    assert status == 413
    assert error_text(path, answer)
    assert stack.rows(f"call_id = '{call_id}'", "outcome, status") == [("rejected", 413)]
    small = {"model": "openai/sim", "max_tokens": 5, "messages": USER}
    assert post(stack, path, json.dumps(small).encode())[0] == 200


@pytest.mark.parametrize("path", [MESSAGES, CHAT])
def test_a_body_just_under_the_limit_is_served(stack: Stack, path: str) -> None:
    content = "x" * (32 * 1024 * 1024 - 1024)
    body = {
        "model": "anthropic/sim",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": content}],
    }
    assert post(stack, path, json.dumps(body).encode())[0] == 200


@pytest.mark.parametrize("path", ["/v1/nothing", "/", "/v1/messages/x"])
def test_an_unknown_path_is_404_in_the_callers_protocol(stack: Stack, path: str) -> None:
    status, answer, _ = post(stack, path, b"{}")
    assert status in {404, 405}
    assert error_text(CHAT, answer)
    status, answer, _ = post(stack, path, b"{}", {"anthropic-version": "2023-06-01"})
    assert status in {404, 405}
    assert error_text(MESSAGES, answer)


def test_a_get_on_a_call_path_is_405(stack: Stack) -> None:
    where = urlsplit(stack.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port or 0, timeout=30)
    connection.request("GET", MESSAGES)
    answer = connection.getresponse()
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    connection.close()


def test_either_header_carries_the_key(stack: Stack) -> None:
    body = json.dumps({"model": "openai/sim", "messages": USER, "max_tokens": 5}).encode()
    bearer = {"x-api-key": "", "authorization": f"Bearer {stack.key}"}
    assert post(stack, CHAT, body)[0] == 200
    assert post(stack, MESSAGES, body, bearer)[0] == 200


def test_secrets_of_either_side_do_not_cross(stack: Stack) -> None:
    body = json.dumps({"model": "openai/sim", "messages": USER}).encode()
    post(stack, CHAT, body, {"cookie": "session=1", "x-weir-tags": "workflow=w"})
    import urllib.request  # noqa: PLC0415

    with urllib.request.urlopen(f"{stack.simulator}/_simulator/requests") as answer:
        sent = json.load(answer)["requests"][-1]
    assert stack.key not in json.dumps(sent)
    assert "cookie" not in sent["headers"]
    assert not [name for name in sent["headers"] if name.startswith("x-weir")]
