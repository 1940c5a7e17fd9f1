"""Requests, both ways: what a client of Chat sends, and what a vendor of Chat is sent.

`FIELDS` is the one table of top-level fields that mean the same here and in canonical form;
the others have a function each way. Fields that are not understood stay in `extra`.
"""

from collections.abc import Callable

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from shared.canonical.failures import InvalidRequestError
from shared.canonical.parts import JsonValue, Shape
from shared.canonical.request import OutputFormat, Request, ThinkingConfig
from shared.protocols.codec import EncodedRequest, Losses, arrange, decode_object, patch_members

from .calls import decode_tool_choice, decode_tools, encode_tool, encode_tool_choice
from .foreign import adopt
from .messages import decode_message, encode_messages
from .wire import (
    NAME,
    Wire,
    encode_json,
    flatten,
    form,
    given,
    is_list,
    is_object,
    leftover,
    nest,
    rebuilt,
    shaped,
)

LIMIT_FIELDS = ("max_completion_tokens", "max_tokens")
"""The newer name wins where a client writes both."""


def _is_bool(value: JsonValue) -> bool:
    return type(value) is bool


def _is_int(value: JsonValue) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _is_number(value: JsonValue) -> bool:
    return type(value) is float or _is_int(value)


def _is_str(value: JsonValue) -> bool:
    return type(value) is str


_BOOL, _INT, _NUMBER, _STR = (
    (_is_bool, "true or false"),
    (_is_int, "an integer"),
    (_is_number, "a number"),
    (_is_str, "a string"),
)

FIELDS: dict[str, tuple[str, tuple[Callable[[JsonValue], bool], str]]] = {
    "temperature": ("temperature", _NUMBER),
    "top_p": ("top_p", _NUMBER),
    "top_k": ("top_k", _INT),
    "frequency_penalty": ("frequency_penalty", _NUMBER),
    "presence_penalty": ("presence_penalty", _NUMBER),
    "seed": ("seed", _INT),
    "n": ("candidates", _INT),
    "parallel_tool_calls": ("parallel_tool_calls", _BOOL),
    "service_tier": ("service_tier", _STR),
    "user": ("user", _STR),
    "stream": ("stream", _BOOL),
}


def decode_request(body: bytes) -> Request:
    wire = decode_object(body)
    fields: Wire = {
        "model": _required(wire, "model", str, "a string"),
        "messages": tuple(map(decode_message, _required(wire, "messages", list, "a list"))),
    }
    taken, forms = set(fields), dict[str, str]()
    for name, (field, (is_right, expected)) in FIELDS.items():
        value = wire.get(name)
        if value is not None:
            _check(name, expected, right=is_right(value))
            fields[field] = value
            taken.add(name)
    _decode_limit(wire, fields, taken, forms)
    _decode_stop(wire, fields, taken, forms)
    for name, (field, decode) in _DECODERS.items():
        value = wire.get(name)
        decoded = decode(value) if value is not None else None
        if decoded is not None:
            fields[field] = decoded
            taken.add(name)
    _decode_stream_options(wire, fields, taken)
    extra = leftover(wire, taken)
    return Request(protocol=NAME, **fields, extra=extra, shape=Shape(tuple(wire), forms))


def encode_request(request: Request, *, model: str, limit_field: str) -> EncodedRequest:
    losses = Losses()
    if request.protocol != NAME:
        request = adopt(request, losses)
    shape = request.shape or Shape()
    fields: Wire = {
        "model": model,
        "messages": encode_messages(request.messages),
        "tools": None if request.tools is None else list(map(encode_tool, request.tools)),
        "tool_choice": request.tool_choice and encode_tool_choice(request.tool_choice),
        "response_format": request.output_format and _encode_format(request.output_format),
        "reasoning_effort": request.thinking and _encode_effort(request.thinking),
        shape.forms.get("limit", limit_field): request.max_output_tokens,
        "stop": _encode_stop(request),
        "metadata": request.metadata,
        **{name: getattr(request, field) for name, (field, _) in FIELDS.items()},
        "stream_options": _encode_stream_options(request),
    }
    body = encode_json(arrange(fields, request.extra, request.shape))
    return EncodedRequest(body=body, dropped=tuple(losses.dropped))


def patch_request(raw: bytes, *, model: str, stream: bool) -> bytes:
    """The model's name, and usage asked for in a stream; every other value keeps its bytes."""
    changes: Wire = {"model": model}
    if stream:
        asked = bytes(msgspec.json.decode(raw, type=_Options).stream_options)
        options = b"{}" if asked in (b"", b"null") else asked
        if options.startswith(b"{"):
            changes["stream_options"] = Raw(patch_members(options, {"include_usage": True}))
    return patch_members(raw, changes)


class _Options(msgspec.Struct):
    stream_options: Raw = Raw()


def _required(wire: Wire, name: str, kind: type, expected: str) -> JsonValue:
    value = wire.get(name)
    _check(name, expected, right=isinstance(value, kind))
    return value


def _check(name: str, expected: str, *, right: bool) -> None:
    if not right:
        raise InvalidRequestError(f"{name} must be {expected}", field=name)


def _decode_limit(wire: Wire, fields: Wire, taken: set[str], forms: dict[str, str]) -> None:
    for name in LIMIT_FIELDS:
        value = wire.get(name)
        if value is not None:
            _check(name, "an integer", right=_is_int(value))
            if "max_output_tokens" not in fields:
                fields["max_output_tokens"] = value
                taken.add(name)
                forms["limit"] = name


def _decode_stop(wire: Wire, fields: Wire, taken: set[str], forms: dict[str, str]) -> None:
    value = wire.get("stop")
    if value is None:
        return
    if type(value) is str:
        fields["stop"], forms["stop"] = (value,), "string"
    else:
        right = is_list(value) and all(map(_is_str, value))
        _check("stop", "a string or a list of strings", right=right)
        fields["stop"] = tuple(value)
    taken.add("stop")


def _encode_stop(request: Request) -> str | list[str] | None:
    if request.stop is None:
        return None
    alone = form(request, "stop") == "string" and len(request.stop) == 1
    return request.stop[0] if alone else list(request.stop)


def _decode_stream_options(wire: Wire, fields: Wire, taken: set[str]) -> None:
    """The object stays in `extra` for its other members; `include_usage` has a name of ours."""
    options = wire.get("stream_options")
    if is_object(options) and type(options.get("include_usage")) is bool:
        fields["stream_usage"] = options["include_usage"]
        if len(options) == 1:
            taken.add("stream_options")


def _encode_stream_options(request: Request) -> Wire | None:
    if request.stream_usage is None:
        return None
    return {**request.extra.get("stream_options", {}), "include_usage": request.stream_usage}


def _decode_tools(value: JsonValue) -> object:
    _check("tools", "a list", right=is_list(value))
    return decode_tools(value)


def _decode_effort(value: JsonValue) -> object:
    """Chat switches thinking off by the effort "none"."""
    _check("reasoning_effort", "a string", right=type(value) is str)
    return ThinkingConfig(mode="disabled") if value == "none" else ThinkingConfig(effort=value)


def _encode_effort(thinking: ThinkingConfig) -> str | None:
    return "none" if thinking.mode == "disabled" else thinking.effort


def _decode_metadata(value: JsonValue) -> object:
    return value if is_object(value) else None


def _decode_format(value: JsonValue) -> object:
    """None for what is not understood, such as a grammar: it stays as it is."""
    if not is_object(value) or value.get("type") not in ("text", "json_object", "json_schema"):
        return None
    flat = flatten(value, "json_schema")
    if flat is None:
        return None
    name, strict, description = (
        flat.get(f"json_schema.{key}") for key in ("name", "strict", "description")
    )
    wanted = OutputFormat(
        kind=flat["type"],
        name=name if type(name) is str else None,
        strict=strict if type(strict) is bool else None,
        description=description if type(description) is str else None,
        schema=flat.get("json_schema.schema"),
    )
    fields = _format_fields(wanted)
    return replace(
        wanted, extra=leftover(flat, set(given(fields))), shape=shaped(flat, given(fields))
    )


def _encode_format(wanted: OutputFormat) -> Wire:
    return nest(rebuilt(_format_fields(wanted), wanted))


def _format_fields(wanted: OutputFormat) -> Wire:
    return {
        "type": wanted.kind,
        "json_schema.name": wanted.name,
        "json_schema.description": wanted.description,
        "json_schema.strict": wanted.strict,
        "json_schema.schema": wanted.schema,
    }


_DECODERS: dict[str, tuple[str, Callable[[JsonValue], object]]] = {
    "tools": ("tools", _decode_tools),
    "tool_choice": ("tool_choice", decode_tool_choice),
    "response_format": ("output_format", _decode_format),
    "reasoning_effort": ("thinking", _decode_effort),
    "metadata": ("metadata", _decode_metadata),
}
