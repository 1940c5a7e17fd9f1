"""Contents of answers: text, thinking and tool arguments, the same for the same question.

`script.py` calls it. Text is ASCII, so that a size in bytes is also one in characters.
"""

from typing import Any

from msgspec import json

from .documents import as_list, as_object

_TEXT = (
    "A weir is a low dam that lets a stream through while it regulates and measures it. "
    "Nothing in this answer was thought by anybody: it was cut from one short text, "
    "and the same question is always answered the same. "
)
_THOUGHTS = ("Let me think about the water. ", "It flows downhill. ", "So it can be measured. ")
_FRAGMENT = 12
_DEEPEST = 8
_MOST_ITEMS = 100

_BY_FORMAT = {
    "date-time": "2025-01-01T12:00:00Z",
    "date": "2025-01-01",
    "time": "12:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def text(chunks: int, size: int) -> tuple[str, ...]:
    """So many chunks of so many bytes, cut from an endless repetition of one text."""
    endless = _TEXT * (size // len(_TEXT) + 2)
    starts = [index * size % len(_TEXT) for index in range(chunks)]
    return tuple([endless[start : start + size] for start in starts])


def thinking(chunks: int) -> tuple[str, ...]:
    return tuple(_THOUGHTS[index % len(_THOUGHTS)] for index in range(chunks))


def fragments(schema: dict[str, Any]) -> tuple[str, ...]:
    """Arguments that satisfy the schema's required properties, as pieces of JSON."""
    written = json.encode(as_object(_value(schema, schema, 0))).decode()
    return tuple(written[at : at + _FRAGMENT] for at in range(0, len(written), _FRAGMENT))


def _value(schema: dict[str, Any], root: dict[str, Any], depth: int) -> Any:
    """A value for the schema: simple, not complete (no patterns, no `not`, no conditions)."""
    if depth > _DEEPEST:
        return None
    if "$ref" in schema:
        return _value(_referred(schema["$ref"], root), root, depth + 1)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if as_list(schema.get("enum")):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if as_list(schema.get(key)):
            return _value(as_object(schema[key][0]), root, depth + 1)
    return _by_type(schema, root, depth)


def _by_type(schema: dict[str, Any], root: dict[str, Any], depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = as_list(kind)[0] if as_list(kind) else kind
    if kind == "object":
        known = as_object(schema.get("properties"))
        needed = [name for name in as_list(schema.get("required")) if isinstance(name, str)]
        return {name: _value(as_object(known.get(name)), root, depth + 1) for name in needed}
    if kind == "array":
        count = min(max(_number(schema, "minItems", 1), 1), _MOST_ITEMS)
        return [_value(as_object(schema.get("items")), root, depth + 1)] * int(count)
    if kind == "string":
        made = _BY_FORMAT.get(str(schema.get("format")), "sample")
        return made[: int(max(_number(schema, "maxLength", len(made)), 0))]
    scalars: dict[str, float] = {
        "integer": int(_number(schema, "minimum", 1)),
        "number": _number(schema, "minimum", 1.5),
        "boolean": True,
    }
    return scalars.get(str(kind))


def _number(schema: dict[str, Any], key: str, otherwise: float) -> float:
    value = schema.get(key)
    return value if isinstance(value, (int, float)) else otherwise


def _referred(pointer: Any, root: dict[str, Any]) -> dict[str, Any]:
    """What a local `#/...` pointer points at."""
    at: Any = root
    for step in str(pointer).removeprefix("#").split("/")[1:]:
        at = as_object(at).get(step)
    return as_object(at)
