"""What of a client's headers goes on, and what its tags are."""

import pytest

from services.ingress import client_headers

HOP = ["Connection", "Host", "Content-Length", "Transfer-Encoding", "TE", "Proxy-Authorization"]
SECRET = ["Authorization", "X-Api-Key", "Cookie", "X-Goog-Api-Key"]
OWN = ["X-Weir-Tags", "X-Weir-Resumable", "X-Forwarded-For", "Accept-Encoding"]


def raw(name: str, value: str = "v") -> tuple[bytes, bytes]:
    return name.lower().encode(), value.encode()


@pytest.mark.parametrize("name", [*HOP, *SECRET, *OWN])
def test_headers_of_this_hop_and_secrets_stay(name: str) -> None:
    assert client_headers.forwarded([raw(name)]) == {}


def test_others_go_on_and_repeated_ones_together() -> None:
    headers = [raw("anthropic-beta", "a"), raw("anthropic-beta", "b"), raw("user-agent", "sdk")]
    assert client_headers.forwarded(headers) == {"anthropic-beta": "a, b", "user-agent": "sdk"}


def test_tags_are_a_list_of_names_and_values() -> None:
    headers = [raw("x-weir-tags", "workflow=nightly, step = 3"), raw("x-weir-tags", "a=")]
    assert client_headers.tags(headers) == {"workflow": "nightly", "step": "3", "a": ""}


@pytest.mark.parametrize("value", ["novalue", "=x", "a=" + "x" * 300])
def test_what_is_no_tag_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="x-weir-tags"):
        client_headers.tags([raw("x-weir-tags", value)])
