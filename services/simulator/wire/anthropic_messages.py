"""Anthropic Messages, as api.anthropic.com speaks it.

Field sets and their order, the spaces that pad a frame's JSON, the ping: all as in recorded
traffic of 2026. `registry.py` lists it.
"""

from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha512
from typing import Any

from msgspec import json

from services.simulator.documents import as_list, as_object, decode_object
from services.simulator.options import Finish
from services.simulator.script import SERIAL, Ask, Refusal, Request, Script, Tool, ToolCall

from .wire_format import Frame, Operation

_REQUEST_ID = f"req_0100{SERIAL}"
_PATHS: dict[str, Operation] = {"/v1/messages": "call", "/v1/models": "models"}

# field: its type and whether it must be there
_FIELDS: dict[str, tuple[type, bool]] = {
    "model": (str, True),
    "max_tokens": (int, True),
    "messages": (list, True),
    "stream": (bool, False),
    "tools": (list, False),
}
_NOUNS = {str: "string", int: "integer", list: "list", bool: "boolean"}
_ROLES = ("user", "assistant", "system")  # system: between the turns, since 2026

# status: type, and message where an error was asked for
_ERRORS = {
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your API key does not have permission to use the resource."),
    404: ("not_found_error", "Not found"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your account's rate limit."),
    504: ("timeout_error", "The request timed out."),
    529: ("overloaded_error", "Overloaded"),
}
_BAD_REQUEST = ("invalid_request_error", "The request was refused.")
_SERVER_ERROR = ("api_error", "Internal server error")
_STOP_REASONS: dict[Finish, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "refusal": "refusal",
}
_HEADERS = {
    "request-id": _REQUEST_ID,
    "anthropic-ratelimit-requests-limit": "4000",
    "anthropic-ratelimit-requests-remaining": "3999",
    "anthropic-ratelimit-requests-reset": "2025-01-01T00:00:00Z",
    "anthropic-ratelimit-tokens-limit": "280000",
    "anthropic-ratelimit-tokens-remaining": "279000",
    "anthropic-ratelimit-tokens-reset": "2025-01-01T00:00:00Z",
}


class AnthropicMessages:
    """`POST /v1/messages`, and `GET /v1/models` for who names a version of this API."""

    stream_type = "text/event-stream; charset=utf-8"
    malformed = b'event: content_block_delta\ndata: {"type":"content_block_delta","ind\n\n'

    def operation(self, path: str, headers: dict[str, str]) -> Operation | None:
        operation = _PATHS.get(path)
        return None if operation == "models" and not self.speaks(headers) else operation

    def speaks(self, headers: dict[str, str]) -> bool:
        return "anthropic-version" in headers

    def authorize(self, headers: dict[str, str]) -> None:
        bearer = headers.get("authorization", "").partition("Bearer ")[2]
        if not (headers.get("x-api-key") or bearer):
            raise Refusal(401, "x-api-key header is required")

    def read(self, request: Request) -> Ask:
        if "anthropic-version" not in request.headers:
            raise Refusal(400, "anthropic-version: header is required")
        document = decode_object(request.body)
        if document is None:
            raise Refusal(400, "The request body is not valid JSON.")
        _check(document)
        choice = as_object(document.get("tool_choice"))
        thinking = as_object(document.get("thinking"))
        return Ask(
            model=document["model"],
            streamed=bool(document.get("stream")),
            tool=_tool(document, choice),
            tool_required=choice.get("type") in ("any", "tool"),
            parallel=not choice.get("disable_parallel_tool_use"),
            thinking=thinking.get("type") in ("enabled", "adaptive"),
            limit=document["max_tokens"],
        )

    def encode_answer(self, script: Script) -> bytes:
        content: list[dict[str, Any]] = []
        if script.thinking:
            thought = "".join(script.thinking)
            content.append(
                {"type": "thinking", "thinking": thought, "signature": _signature(script)}
            )
        if script.text:
            content.append({"type": "text", "text": "".join(script.text)})
        for index, call in enumerate(script.calls):
            content.append(_tool_use(index, call, json.decode(call.arguments)))
        usage = _usage(script, script.usage.output, detailed=True)
        return json.encode(_message(script, content, _STOP_REASONS[script.finish], usage))

    def encode_stream(self, script: Script) -> Iterator[Frame]:
        usage = _usage(script, 1, detailed=False)
        message = _message(script, [], None, usage)
        yield _frame(0, "message_start", message=message)
        ping = [Frame(b'event: ping\ndata: {"type": "ping"}\n\n')]
        for index, (block, deltas) in enumerate(_blocks(script)):
            yield _frame(index, "content_block_start", index=index, content_block=block)
            while ping:
                yield ping.pop()
            for place, (delta, content) in enumerate(deltas):
                frame = _frame(place, "content_block_delta", index=index, delta=delta)
                yield Frame(frame.data, content)
            yield _frame(index + 7, "content_block_stop", index=index)
        yield from ping
        yield _frame(3, "message_delta", delta=_stop(script), usage=_final_usage(script))
        yield _frame(5, "message_stop")

    def encode_stream_error(self) -> bytes:
        error = {"details": None, "type": "overloaded_error", "message": "Overloaded"}
        return _frame(0, "error", error=error, request_id=_REQUEST_ID).data

    def encode_refusal(self, refusal: Refusal) -> bytes:
        other = _BAD_REQUEST if refusal.status < 500 else _SERVER_ERROR
        kind, message = _ERRORS.get(refusal.status, other)
        error = {"type": kind, "message": refusal.message or message}
        return json.encode({"type": "error", "error": error, "request_id": _REQUEST_ID})

    def encode_headers(self, status: int) -> dict[str, str]:
        if status == 200:
            return _HEADERS
        retry = "true" if status in (408, 409, 429) or status >= 500 else "false"
        return {"request-id": _REQUEST_ID, "x-should-retry": retry}

    def encode_models(self) -> bytes:
        model = {
            "type": "model",
            "id": "sim",
            "display_name": "Simulator",
            "created_at": "2025-01-01T00:00:00Z",
            "max_input_tokens": 200_000,
            "max_tokens": 64_000,
            "capabilities": None,
        }
        return json.encode(
            {"data": [model], "has_more": False, "first_id": "sim", "last_id": "sim"}
        )


def _check(document: dict[str, Any]) -> None:
    for name, (kind, required) in _FIELDS.items():
        if required and name not in document:
            raise Refusal(400, f"{name}: Field required")
        if document.get(name) is None and not required:
            continue
        if type(document[name]) is not kind:
            raise Refusal(400, f"{name}: Input should be a valid {_NOUNS[kind]}")
    if document["max_tokens"] < 1:
        raise Refusal(400, "max_tokens: must be greater than or equal to 1")
    if not document["messages"]:
        raise Refusal(400, "messages: at least one message is required")
    for index, message in enumerate(document["messages"]):
        if "content" not in as_object(message):
            raise Refusal(400, f"messages.{index}: Input does not match the expected shape.")
        if message.get("role") not in _ROLES:
            raise Refusal(400, f"messages.{index}.role: Input should be 'user' or 'assistant'")


def _tool(document: dict[str, Any], choice: dict[str, Any]) -> Tool | None:
    """The tool to call: the forced one, else the first that runs at the client."""
    last = as_object(document["messages"][-1])
    parts = map(as_object, as_list(last["content"]))
    answered = any(part.get("type") == "tool_result" for part in parts)
    if answered or last["role"] != "user" or choice.get("type") == "none":
        return None
    forced = choice.get("name") if choice.get("type") == "tool" else None
    for tool in map(as_object, as_list(document.get("tools"))):
        name = tool.get("name")
        if "input_schema" in tool and isinstance(name, str) and forced in (None, name):
            return Tool(name, as_object(tool["input_schema"]))
    return None


def _message(
    script: Script, content: list[dict[str, Any]], stop_reason: str | None, usage: dict[str, Any]
) -> dict[str, Any]:
    return {
        "model": script.model,
        "id": f"msg_0100{SERIAL}",
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "stop_details": None,
        "usage": usage,
    }


def _blocks(script: Script) -> Iterator[tuple[dict[str, Any], list[tuple[dict[str, Any], bool]]]]:
    """Each content block as it starts, and its deltas with whether they are content."""
    if script.thinking:
        start = {"type": "thinking", "thinking": "", "signature": ""}
        deltas = [({"type": "thinking_delta", "thinking": said}, True) for said in script.thinking]
        yield (
            start,
            [*deltas, ({"type": "signature_delta", "signature": _signature(script)}, False)],
        )
    if script.text:
        deltas = [({"type": "text_delta", "text": said}, True) for said in script.text]
        yield {"type": "text", "text": ""}, deltas
    for index, call in enumerate(script.calls):
        pieces = [("", False), *((fragment, True) for fragment in call.fragments)]
        yield (
            _tool_use(index, call, {}),
            [({"type": "input_json_delta", "partial_json": json}, said) for json, said in pieces],
        )


def _tool_use(index: int, call: ToolCall, arguments: Any) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": f"toolu_01{SERIAL}{index:02}",
        "name": call.name,
        "input": arguments,
        "caller": {"type": "direct"},
    }


def _signature(script: Script) -> str:
    """As opaque as the vendor's, and bound to the thinking that it signs."""
    digest = sha512("".join(script.thinking).encode()).digest()
    return b64encode(digest * 3).decode()


def _stop(script: Script) -> dict[str, Any]:
    reason = _STOP_REASONS[script.finish]
    return {"stop_reason": reason, "stop_sequence": None, "stop_details": None}


def _usage(script: Script, output: int, *, detailed: bool) -> dict[str, Any]:
    """As in a whole message and, without details of the output, in `message_start`."""
    usage = script.usage
    details = {"output_tokens_details": {"thinking_tokens": usage.reasoning}} if detailed else {}
    return {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": output,
        **details,
        "service_tier": "standard",
        "inference_geo": "not_available",
    }


def _final_usage(script: Script) -> dict[str, Any]:
    usage = script.usage
    return {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
    }


def _frame(place: int, event: str, **fields: Any) -> Frame:
    """The vendor pads the JSON with spaces before its last brace, against guesses by length."""
    document = json.encode({"type": event, **fields})
    padding = b" " * (place * 5 % 16)
    return Frame(b"event: %b\ndata: %b%b}\n\n" % (event.encode(), document[:-1], padding))
