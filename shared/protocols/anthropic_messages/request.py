"""The request as a whole: decode_request and encode_request, side by side.

Decoding refuses only what is certainly wrong; encoding in the family gives the client's JSON
back. From another protocol each field is said in Anthropic's words, dropped by name, or
refused.
"""

from typing import Any

from shared.canonical.failures import InvalidRequestError
from shared.canonical.parts import JsonValue
from shared.canonical.request import Message, Request, Tool
from shared.protocols.codec import (
    EncodedRequest,
    Losses,
    arrange,
    decode_object,
    shape_of,
)
from shared.protocols.paths import field_path

from .messages import ConversationEncoder, decode_message, decode_system
from .options import encode_output, encode_thinking, take_output_config, take_thinking
from .tools import decode_tool, encode_choice, encode_tools, take_choice
from .wire import NAME, Wire, encode_json, is_list, is_object, leftover

DEFAULT_MAX_TOKENS = 8192
"""Anthropic requires a limit; this one is set where a client of another protocol gave none.
Every model now served can write as much (the smallest limit is 8,192, of Claude Haiku 3.5)."""

_SERVICE_TIERS = {"auto": "auto", "default": "standard_only"}
_MAX_TEMPERATURE = 1.0
_MAX_INTEGER = 2**63 - 1

# What Anthropic has no word for, with the value that says nothing.
_UNKNOWN_HERE: dict[str, JsonValue] = {
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "seed": None,
    "metadata": {},
}


def decode_request(body: bytes) -> Request:
    """Raises InvalidRequestError naming the field."""
    wire = decode_object(body)
    fields = _Fields(wire)
    forms = fields.forms
    model = fields.required("model", str, "a string")
    messages = fields.required("messages", list, "a list")
    effort, output_format = take_output_config(fields.rest, forms)
    tool_choice, parallel = take_choice(fields.rest)
    return Request(
        protocol=NAME,
        model=model,
        messages=(*fields.system(), *map(decode_message, messages)),
        stream=fields.optional("stream", bool, "true or false"),
        max_output_tokens=fields.optional("max_tokens", int, "an integer"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.optional("top_k", int, "an integer"),
        stop=fields.texts("stop_sequences"),
        tools=fields.tools(),
        tool_choice=tool_choice,
        parallel_tool_calls=parallel,
        output_format=output_format,
        thinking=take_thinking(fields.rest, effort),
        service_tier=fields.service_tier(),
        user=fields.user(),
        extra=leftover(fields.rest),
        shape=shape_of(wire, forms),
    )


def encode_request(request: Request, *, model: str) -> EncodedRequest:
    """Raises InvalidRequestError for what Anthropic cannot be told and must not be lost."""
    losses = Losses()
    own = request.protocol == NAME
    if not own:
        _drop_foreign(request, losses)
    conversation = ConversationEncoder(request, losses)
    thinking = encode_thinking(request, losses)
    fields: Wire = {
        "model": model,
        "max_tokens": request.max_output_tokens if own else _max_tokens(request, thinking),
        "system": conversation.system,
        "messages": conversation.turns,
        "tools": encode_tools(request, losses),
        "tool_choice": encode_choice(request, losses),
        "thinking": thinking,
        **encode_output(request, losses),
        "temperature": _temperature(request, losses),
        "top_p": _number(request, "top_p", request.top_p),
        "top_k": request.top_k,
        "stop_sequences": _stop_sequences(request, losses),
        "stream": request.stream,
        "metadata": _metadata(request),
        "service_tier": _service_tier(request, losses),
    }
    extra, shape = (request.extra, request.shape) if own else ({}, None)
    return EncodedRequest(
        body=encode_json(arrange(fields, extra, shape)), dropped=tuple(losses.dropped)
    )


class _Fields:
    """Takes a request's fields one by one; what is left over is `extra`."""

    def __init__(self, wire: Wire) -> None:
        self.rest = dict(wire)
        self.forms: dict[str, str] = {}

    def required(self, name: str, kind: type, expected: str) -> Any:
        value = self.optional(name, kind, expected)
        if value is None:
            raise InvalidRequestError(f"{name}: is required and must be {expected}", field=name)
        return value

    def optional(self, name: str, kind: type, expected: str) -> Any:
        value = self.rest.get(name)
        if value is None:
            return None
        if type(value) is not kind or (kind is int and abs(value) > _MAX_INTEGER):
            raise InvalidRequestError(f"{name}: must be {expected}", field=name)
        return self.rest.pop(name)

    def number(self, name: str) -> float | None:
        if type(self.rest.get(name)) is int:
            self.forms[name] = "integer"
            return float(self.optional(name, int, "a number"))
        return self.optional(name, float, "a number")

    def texts(self, name: str) -> tuple[str, ...] | None:
        value = self.optional(name, list, "a list of strings")
        if value is None:
            return None
        if not all(type(item) is str for item in value):
            raise InvalidRequestError(f"{name}: must be a list of strings", field=name)
        return tuple(value)

    def system(self) -> tuple[Message, ...]:
        value = self.rest.get("system")
        if value is None:
            return ()
        if type(value) is not str and not is_list(value):
            raise InvalidRequestError("system: must be a string or a list", field="system")
        return (decode_system(self.rest.pop("system")),)

    def tools(self) -> tuple[Tool, ...] | None:
        value = self.optional("tools", list, "a list")
        if value is None:
            return None
        return tuple(decode_tool(tool, f"tools.{index}") for index, tool in enumerate(value))

    def service_tier(self) -> str | None:
        return self.rest.pop("service_tier") if type(self.rest.get("service_tier")) is str else None

    def user(self) -> str | None:
        """`metadata.user_id`; what else `metadata` holds stays where it is."""
        metadata = self.rest.get("metadata")
        user = metadata.get("user_id") if is_object(metadata) else None
        if not is_object(metadata) or type(user) is not str:
            return None
        # The object keeps its keys and their order; the user's place in it stands empty.
        self.rest["metadata"] = {**metadata, "user_id": None}
        if len(metadata) == 1:
            del self.rest["metadata"]
        return user


def _metadata(request: Request) -> JsonValue:
    kept = request.extra.get("metadata") if request.protocol == NAME else None
    if request.user is None:
        return None if not is_object(kept) else kept
    return {**kept, "user_id": request.user} if is_object(kept) else {"user_id": request.user}


def _drop_foreign(request: Request, losses: Losses) -> None:
    protocol = request.protocol
    if request.candidates is not None and request.candidates > 1:
        path = field_path(protocol, "candidates")
        raise InvalidRequestError(f"{path}: Anthropic answers once, not more often", field=path)
    for name, nothing in _UNKNOWN_HERE.items():
        if getattr(request, name) not in (None, nothing):
            losses.drop(field_path(protocol, name))
    losses.drop_extra("", request.extra)


def _max_tokens(request: Request, thinking: Wire | None) -> int:
    if request.max_output_tokens is not None:
        return request.max_output_tokens
    # Thinking counts towards the limit, which must be above its budget.
    return DEFAULT_MAX_TOKENS + ((thinking or {}).get("budget_tokens") or 0)


def _stop_sequences(request: Request, losses: Losses) -> list[str] | None:
    """Anthropic refuses a sequence without a character to see."""
    if request.stop is None:
        return None
    if request.protocol == NAME:
        return list(request.stop)
    stop = [sequence for sequence in request.stop if sequence and not sequence.isspace()]
    if len(stop) < len(request.stop):
        losses.drop(field_path(request.protocol, "stop"))
    return stop or None


def _temperature(request: Request, losses: Losses) -> float | None:
    """Others allow up to 2; what lies above Anthropic's 1 is cut, and said to be."""
    value = request.temperature
    if value is not None and value > _MAX_TEMPERATURE and request.protocol != NAME:
        losses.drop(field_path(request.protocol, "temperature"))
        return _MAX_TEMPERATURE
    return _number(request, "temperature", value)


def _number(request: Request, name: str, value: float | None) -> float | None:
    """A number as the client wrote it: 1 stays 1 and does not become 1.0."""
    if value is None or request.shape is None or request.shape.forms.get(name) != "integer":
        return value
    return int(value) if value.is_integer() else value


def _service_tier(request: Request, losses: Losses) -> str | None:
    tier = request.service_tier
    if tier is None or request.protocol == NAME:
        return tier
    if tier not in _SERVICE_TIERS:
        losses.drop(field_path(request.protocol, "service_tier"))
    return _SERVICE_TIERS.get(tier)
