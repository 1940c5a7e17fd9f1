"""Thinking, effort and structured output <-> canonical.

`output_config` holds both the effort and the output format; the beta's top-level
`output_format` is its older spelling and goes back as it came. Which model takes which form
(budget, adaptive, effort) is not known here: the vendor judges, the catalog may know.
"""

from shared.canonical.parts import JsonValue, Shape
from shared.canonical.request import OutputFormat, Request, ThinkingConfig
from shared.protocols.codec import Losses, arrange
from shared.protocols.paths import field_path

from .wire import NAME, Wire, decode_json, encode_json, is_object, leftover, rebuilt, shaped, take

MIN_THINKING_BUDGET = 1024

_MODES = ("enabled", "disabled", "adaptive")
_EFFORTS = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
_THINKING = (("type",), ("type", "budget_tokens"))
_FORMAT = (("type", "schema"),)


# -- thinking ---------------------------------------------------------------------------------


def take_thinking(rest: Wire, effort: str | None) -> ThinkingConfig | None:
    """Removes and gives `thinking`, if it is of a known type, joined with the effort."""
    wire = rest.get("thinking")
    inner = dict(wire) if is_object(wire) else {}
    mode = take(inner, "type", str)
    if not is_object(wire) or mode not in _MODES:
        return ThinkingConfig(effort=effort) if effort is not None else None
    del rest["thinking"]
    return ThinkingConfig(
        mode=mode,
        budget_tokens=take(inner, "budget_tokens", int),
        effort=effort,
        extra=leftover(inner),
        shape=shaped(wire, _THINKING),
    )


def encode_thinking(request: Request, losses: Losses) -> Wire | None:
    thinking = request.thinking
    if thinking is None:
        return None
    if request.protocol == NAME:
        if thinking.mode is None:
            return None
        fields: Wire = {"type": thinking.mode, "budget_tokens": thinking.budget_tokens}
        return rebuilt(fields, thinking, own=True)
    losses.drop_extra(field_path(request.protocol, "thinking"), thinking.extra)
    return _encode_foreign_thinking(thinking)


def _encode_foreign_thinking(thinking: ThinkingConfig) -> Wire | None:
    budget = thinking.budget_tokens
    if thinking.mode == "disabled" or thinking.effort == "none" or budget == 0:
        return {"type": "disabled"}
    if budget is not None and budget > 0:
        return {"type": "enabled", "budget_tokens": max(budget, MIN_THINKING_BUDGET)}
    if thinking.mode is not None or budget is not None:
        return {"type": "adaptive"}
    return None


# -- output_config ----------------------------------------------------------------------------


def take_output_config(rest: Wire, forms: dict[str, str]) -> tuple[str | None, OutputFormat | None]:
    """Removes and gives effort and format; unknown members stay, the order goes to `forms`."""
    effort: str | None = None
    output_format: OutputFormat | None = None
    wire = rest.get("output_config")
    if is_object(wire):
        inner = dict(wire)
        effort = take(inner, "effort", str)
        output_format = _decode_format(inner.get("format"))
        if output_format is not None:
            del inner["format"]
        forms["output_config"] = encode_json(list(wire)).decode()
        rest["output_config"] = leftover(inner) or None
    if output_format is None:
        output_format = _decode_format(rest.get("output_format"))
        if output_format is not None:
            del rest["output_format"]
            forms["output_format"] = "top"
    return effort, output_format


def encode_output(request: Request, losses: Losses) -> Wire:
    """The fields `output_config` and `output_format`, either of them None for "leave out"."""
    effort = request.thinking.effort if request.thinking is not None else None
    if request.protocol != NAME:
        members: Wire = {
            "effort": _foreign_effort(request, effort, losses),
            "format": _foreign_format(request, losses),
        }
        return {"output_config": {key: value for key, value in members.items() if value} or None}
    forms = request.shape.forms if request.shape is not None else {}
    output_format = _encode_format(request.output_format)
    on_top = forms.get("output_format") == "top"
    members = {"effort": effort, "format": None if on_top else output_format}
    return {
        "output_config": _own_config(members, request, forms.get("output_config")),
        "output_format": output_format if on_top else None,
    }


def _own_config(members: Wire, request: Request, keys: str | None) -> Wire | None:
    rest = request.extra.get("output_config")
    if keys is None:
        return {key: value for key, value in members.items() if value is not None} or None
    shape = Shape(tuple(decode_json(keys)), {})
    return arrange(members, rest if is_object(rest) else {}, shape)


def _decode_format(wire: JsonValue) -> OutputFormat | None:
    if not is_object(wire) or wire.get("type") != "json_schema" or wire.get("schema") is None:
        return None
    rest = dict(wire)
    del rest["type"]
    return OutputFormat(
        kind="json_schema",
        schema=rest.pop("schema"),
        extra=leftover(rest),
        shape=shaped(wire, _FORMAT),
    )


def _encode_format(output_format: OutputFormat | None) -> Wire | None:
    if output_format is None:
        return None
    fields: Wire = {"type": output_format.kind, "schema": output_format.schema}
    return rebuilt(fields, output_format, own=True)


def _foreign_effort(request: Request, effort: str | None, losses: Losses) -> str | None:
    if effort is None or effort == "none":
        return None
    mapped = _EFFORTS.get(effort)
    if mapped is None:
        losses.drop(field_path(request.protocol, "thinking.effort"))
    return mapped


def _foreign_format(request: Request, losses: Losses) -> Wire | None:
    """A schema's name and strictness mean nothing here: Anthropic always holds to the schema."""
    output_format = request.output_format
    if output_format is None or output_format.kind == "text":
        return None
    path = field_path(request.protocol, "output_format")
    if output_format.kind != "json_schema" or not is_object(output_format.schema):
        losses.drop(path)
        return None
    losses.drop_extra(path, output_format.extra)
    if output_format.description is not None:
        losses.drop(f"{path}.description")
    return {"type": "json_schema", "schema": output_format.schema}
