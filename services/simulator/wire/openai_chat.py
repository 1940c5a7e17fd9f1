"""OpenAI Chat Completions, as api.openai.com speaks it.

Field sets and their order, the indented bodies, the `obfuscation` that evens out a frame's
length: all as in recorded traffic of 2026. `registry.py` lists it.
"""

from collections.abc import Iterator
from typing import Any

from msgspec import json

from services.simulator.documents import as_list, as_object, decode_object
from services.simulator.options import Finish
from services.simulator.script import SERIAL, Ask, Refusal, Request, Script, Tool

from .wire_format import Frame, Operation

_PATHS: dict[str, Operation] = {"/v1/chat/completions": "call", "/v1/models": "models"}
_CREATED = 1_735_689_600  # the first second of 2025: answers are the same on every day
_KEY_MISSING = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header "
    "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with "
    "blank username) if you're accessing the API from your browser and are prompted for a "
    "username and password. You can obtain an API key from "
    "https://platform.openai.com/account/api-keys."
)
_NOT_JSON = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using "
    "your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was "
    "not valid JSON.)"
)

# field: its type and whether it must be there
_FIELDS: dict[str, tuple[type, bool]] = {
    "model": (str, True),
    "messages": (list, True),
    "stream": (bool, False),
    "tools": (list, False),
    "max_tokens": (int, False),
    "max_completion_tokens": (int, False),
}
_NOUNS = {str: "a string", int: "an integer", list: "an array", bool: "a boolean"}
_ROLES = ("system", "assistant", "user", "function", "tool", "developer")

# status: type, code and message of an error that was asked for
_ERRORS: dict[int, tuple[str, str | None, str]] = {
    401: (
        "invalid_request_error",
        "invalid_api_key",
        "Incorrect API key provided: sk-sim.",
    ),
    403: (
        "request_forbidden",
        "unsupported_country_region_territory",
        "Country, region, or territory not supported",
    ),
    404: (
        "invalid_request_error",
        "model_not_found",
        "The model does not exist or you do not have access to it.",
    ),
    429: (
        "requests",
        "rate_limit_exceeded",
        "Rate limit reached on requests per min (RPM): Limit 3, Used 3, Requested 1.",
    ),
    503: ("server_error", None, "The engine is currently overloaded, please try again later"),
}
_BAD_REQUEST = ("invalid_request_error", None, "The request was refused.")
_SERVER_ERROR = (
    "server_error",
    None,
    "The server had an error while processing your request. Sorry about that!",
)
_FINISH_REASONS: dict[Finish, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "refusal": "content_filter",
}
_HEADERS = {
    "openai-processing-ms": "1",
    "openai-version": "2020-10-01",
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-limit-tokens": "50000000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-remaining-tokens": "49999999",
    "x-ratelimit-reset-requests": "6ms",
    "x-ratelimit-reset-tokens": "0s",
    "x-request-id": f"req_000000000000{SERIAL}",
}
_NOISE = "Qm7vXk2LpZ9aTd4W"


class OpenAIChat:
    """`POST /v1/chat/completions` and `GET /v1/models`; what no other format claims is its too."""

    stream_type = "text/event-stream; charset=utf-8"
    malformed = b'data: {"id":"chatcmpl-\n\n'

    def operation(self, path: str, headers: dict[str, str]) -> Operation | None:
        return _PATHS.get(path)

    def speaks(self, headers: dict[str, str]) -> bool:
        return True

    def authorize(self, headers: dict[str, str]) -> None:
        if not headers.get("authorization", "").partition("Bearer ")[2]:
            raise Refusal(401, _KEY_MISSING)

    def read(self, request: Request) -> Ask:
        document = decode_object(request.body)
        if document is None:
            raise Refusal(400, _NOT_JSON)
        _check(document)
        choice: Any = document.get("tool_choice")
        limit = document.get("max_completion_tokens", document.get("max_tokens"))
        return Ask(
            model=document["model"],
            streamed=bool(document.get("stream")),
            tool=_tool(document, choice),
            tool_required=choice == "required" or isinstance(choice, dict),
            parallel=document.get("parallel_tool_calls") is not False,
            limit=limit,
            variant=_variant(as_object(document.get("stream_options"))),
        )

    def encode_answer(self, script: Script) -> bytes:
        calls = {"tool_calls": _tool_calls(script)} if script.calls else {}
        said = "".join(script.text)
        message = {
            "role": "assistant",
            "content": said if said or not calls else None,
            **calls,
            "refusal": None,
            "annotations": [],
        }
        choice: dict[str, Any] = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": _FINISH_REASONS[script.finish],
        }
        document = {
            **_head(script, "chat.completion"),
            "choices": [choice],
            "usage": _usage(script),
            "service_tier": "default",
            "system_fingerprint": "fp_0000000000",
        }
        return _indented(document)

    def encode_stream(self, script: Script) -> Iterator[Frame]:
        head = {
            **_head(script, "chat.completion.chunk"),
            "service_tier": "default",
            "system_fingerprint": "fp_0000000000",
        }
        asked_usage = "include_usage" in script.variant
        # Where several calls open the message, the vendor tells the usage before the choices,
        # in all chunks but the last.
        early = asked_usage and len(script.calls) > 1 and not script.text
        noisy = "plain" not in script.variant
        for place, (delta, reason, content) in enumerate(_deltas(script)):
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
            document: dict[str, Any] = dict(head)
            if early and reason is None:
                document["usage"] = None
            document["choices"] = [choice]
            if asked_usage:
                document["usage"] = None
            yield _frame(document, place if noisy else None, content=content)
        if asked_usage:
            document = {**head, "choices": [], "usage": _usage(script)}
            yield _frame(document, 0 if noisy else None)
        yield Frame(b"data: [DONE]\n\n")

    def encode_stream_error(self) -> bytes:
        return b"data: " + json.encode(_error(Refusal(500))) + b"\n\n"

    def encode_refusal(self, refusal: Refusal) -> bytes:
        return _indented(_error(refusal))

    def encode_headers(self, status: int) -> dict[str, str]:
        return _HEADERS

    def encode_models(self) -> bytes:
        model = {"id": "sim", "object": "model", "created": _CREATED, "owned_by": "weir"}
        return _indented({"object": "list", "data": [model]})


def _check(document: dict[str, Any]) -> None:
    for name, (kind, required) in _FIELDS.items():
        value = document.get(name)
        if value is None:
            if required:
                message = f"Missing required parameter: '{name}'."
                raise Refusal(400, message, param=name, code="missing_required_parameter")
        elif type(value) is not kind:
            message = f"Invalid type for '{name}': expected {_NOUNS[kind]}."
            raise Refusal(400, message, param=name, code="invalid_type")
        elif value == []:
            message = (
                f"Invalid '{name}': empty array. Expected an array with minimum length 1, "
                "but got an empty array instead."
            )
            raise Refusal(400, message, param=name, code="empty_array")
    if document.get("stream_options") and not document.get("stream"):
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Refusal(400, message, param="stream_options")
    for index, said in enumerate(document["messages"]):
        role = as_object(said).get("role")
        if role not in _ROLES:
            message = f"Invalid value: '{role}'. Supported values are: {', '.join(_ROLES)}."
            raise Refusal(400, message, param=f"messages[{index}].role", code="invalid_value")


def _tool(document: dict[str, Any], choice: Any) -> Tool | None:
    """The function to call: the forced one, else the first."""
    if document["messages"][-1]["role"] != "user" or choice == "none":
        return None
    forced = as_object(as_object(choice).get("function")).get("name")
    for tool in as_list(document.get("tools")):
        function = as_object(as_object(tool).get("function"))
        name = function.get("name")
        if isinstance(name, str) and forced in (None, name):
            return Tool(name, as_object(function.get("parameters")))
    return None


def _variant(options: dict[str, Any]) -> frozenset[str]:
    asked = {"include_usage"} if options.get("include_usage") else set[str]()
    return frozenset(asked | ({"plain"} if options.get("include_obfuscation") is False else set()))


def _head(script: Script, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-000000000{SERIAL}",
        "object": kind,
        "created": _CREATED,
        "model": script.model,
    }


def _deltas(script: Script) -> Iterator[tuple[dict[str, Any], str | None, bool]]:
    """Each delta with its finish reason and whether it is content."""
    lone = len(script.calls) == 1 and not script.text
    yield _opening(script, lone=lone), None, False
    for text in script.text:
        yield {"content": text}, None, True
    for index, call in enumerate(script.calls):
        if not lone:
            yield {"tool_calls": [_call_head(script, index)]}, None, False
        for fragment in call.fragments:
            piece = {"index": index, "function": {"arguments": fragment}}
            yield {"tool_calls": [piece]}, None, True
    yield {}, _FINISH_REASONS[script.finish], False


def _opening(script: Script, *, lone: bool) -> dict[str, Any]:
    """The delta that opens the message; a lone call with no text before it rides on it."""
    if lone:
        calls = [_call_head(script, 0)]
        return {"role": "assistant", "content": None, "tool_calls": calls, "refusal": None}
    if script.calls and not script.text:
        return {"role": "assistant", "content": None}
    return {"role": "assistant", "content": "", "refusal": None}


def _call_head(script: Script, index: int) -> dict[str, Any]:
    function = {"name": script.calls[index].name, "arguments": ""}
    return {"index": index, "id": _call_id(index), "type": "function", "function": function}


def _tool_calls(script: Script) -> list[dict[str, Any]]:
    return [
        {
            "id": _call_id(index),
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for index, call in enumerate(script.calls)
    ]


def _call_id(index: int) -> str:
    return f"call_{SERIAL}{index:04}"


def _usage(script: Script) -> dict[str, Any]:
    usage = script.usage
    prompt = usage.input + usage.cache_read + usage.cache_write + usage.cache_write_1h
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output,
        "total_tokens": prompt + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _error(refusal: Refusal) -> dict[str, Any]:
    other = _BAD_REQUEST if refusal.status < 500 else _SERVER_ERROR
    kind, code, message = _ERRORS.get(refusal.status, other)
    if refusal.message:
        kind, code, message = other[0], refusal.code, refusal.message
    return {"error": {"message": message, "type": kind, "param": refusal.param, "code": code}}


def _frame(document: dict[str, Any], place: int | None, *, content: bool = False) -> Frame:
    if place is not None:
        document["obfuscation"] = _NOISE[: 1 + place * 7 % len(_NOISE)]
    return Frame(b"data: %b\n\n" % json.encode(document), content)


def _indented(document: dict[str, Any]) -> bytes:
    return json.format(json.encode(document), indent=2) + b"\n"
