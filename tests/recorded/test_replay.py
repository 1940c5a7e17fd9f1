"""Recorded vendor traffic through the whole running gateway, in its own protocol.

What the vendor receives is the client's own values, in order, with the model's name changed
and, on Chat streams, usage asked for. What the client receives is the vendor's answer, byte
for byte.
"""

import http.client
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from msgspec import Raw

from tests.recorded.replay_vendor import ID_HEADER, load, recorded_body, replaying
from tests.stack import Stack, gateway, vendors_at

FOLDER = os.environ.get("WEIR_RECORDED", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="WEIR_RECORDED names no recorded traffic")

FILES = {
    "anthropic": ("anthropic-messages.jsonl", "/v1/messages"),
    "openai": ("openai-chat.jsonl", "/v1/chat/completions"),
}
CLIENTS = 8
_members = msgspec.json.Decoder(dict[str, Raw])


@pytest.fixture(scope="module")
def interactions() -> dict[str, list[dict[str, Any]]]:
    return {provider: load(Path(FOLDER), name) for provider, (name, _) in FILES.items()}


@pytest.fixture(scope="module")
def replay(
    tmp_path_factory: pytest.TempPathFactory, interactions: dict[str, list[dict[str, Any]]]
) -> Iterator[tuple[Stack, dict[str, bytes]]]:
    everything = [item for items in interactions.values() for item in items]
    folder = tmp_path_factory.mktemp("replay")
    with replaying(everything) as vendor, gateway(folder, vendors_at(vendor.url)) as stack:
        yield stack, vendor.received


def client_bytes(item: dict[str, Any], provider: str) -> bytes:
    """The recorded request as its client might have written it: with odd spacing, so that a
    gateway which parses and writes again is found out."""
    body = dict(item["request_body"])
    body["model"] = f"{provider}/{body['model']}"
    return json.dumps(body, indent=1, ensure_ascii=len(item["id"]) % 2 == 0).encode()


def call(stack: Stack, path: str, item: dict[str, Any], body: bytes) -> tuple[int, bytes]:
    where = urlsplit(stack.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port or 0, timeout=60)
    query = urlsplit(item["uri"]).query
    connection.request(
        "POST",
        f"{path}?{query}" if query else path,
        body,
        {"x-api-key": stack.key, ID_HEADER: item["id"], "x-weir-tags": f"replay={item['id']}"},
    )
    answer = connection.getresponse()
    received = answer.read()
    connection.close()
    return answer.status, received


def expected(item: dict[str, Any]) -> bytes:
    """The recorded answer; without the usage chunk in the two recordings that have one although
    their requests, as recorded, had not asked: a client sees that chunk only if it did."""
    body = recorded_body(item)
    asked = (item["request_body"].get("stream_options") or {}).get("include_usage")
    if asked or not item["streamed"] or b'"choices":[],' not in body:
        return body
    frames = body.split(b"\n\n")
    return b"\n\n".join(
        frame
        for frame in frames
        if not (b'"choices":[],' in frame and b'"usage":' in frame and b'"usage":null' not in frame)
    )


def difference(sent: bytes, received: bytes, model: str, *, chat: bool) -> str:
    """How the vendor's bytes differ from the client's beyond what they must; "" if not."""
    ours, theirs = _members.decode(sent), _members.decode(received)
    ours["model"] = Raw(json.dumps(model).encode())
    if chat and bytes(ours.get("stream", b"")) == b"true":
        options = msgspec.json.decode(bytes(ours.get("stream_options", b"null"))) or {}
        wanted = {**options, "include_usage": True}
        if msgspec.json.decode(bytes(theirs["stream_options"])) != wanted:
            return "stream_options"
        ours["stream_options"] = theirs["stream_options"]
    if list(ours) != list(theirs):
        return f"keys {list(ours)} became {list(theirs)}"
    changed = [
        key
        for key in ours
        if bytes(ours[key]) != bytes(theirs[key])
        and not (key == "model" and json.loads(bytes(theirs[key])) == model)
    ]
    return f"values of {changed}" if changed else ""


@pytest.mark.parametrize("provider", FILES)
def test_every_recorded_interaction_passes_unchanged(
    replay: tuple[Stack, dict[str, bytes]],
    interactions: dict[str, list[dict[str, Any]]],
    provider: str,
) -> None:
    stack, received = replay
    path = FILES[provider][1]

    def problem(item: dict[str, Any]) -> str:
        body = client_bytes(item, provider)
        status, answer = call(stack, path, item, body)
        if (status, answer) != (item["status"], expected(item)):
            return f"{item['id']}: answered {status} with {answer[-200:]!r}"
        model = item["request_body"]["model"]
        changed = difference(body, received[item["id"]], model, chat=provider == "openai")
        return f"{item['id']}: {changed}" if changed else ""

    items = interactions[provider]
    with ThreadPoolExecutor(CLIENTS) as clients:
        problems = [found for found in clients.map(problem, items) if found]
    print(f"{provider}: {len(items) - len(problems)} of {len(items)} unchanged")
    assert problems == []
    seen = stack.rows(
        f"vendor = '{provider}' AND tags['replay'] != ''", "outcome, status", len(items)
    )
    assert len(seen) == len(items)
    succeeded = sum(1 for item in items if item["status"] == 200)
    assert sum(1 for outcome, _ in seen if outcome == "ok") == succeeded
