"""JSON from strangers: what a field is, or something empty where it is of another kind.

For fields that a vendor's validation, as far as it is simulated, has not looked at.
"""

from typing import Any, cast

from msgspec import DecodeError, json


def decode_object(body: bytes) -> dict[str, Any] | None:
    """The body's JSON object; None if it is something else."""
    try:
        return json.decode(body, type=dict[str, Any])
    except (DecodeError, UnicodeDecodeError):
        return None


def as_object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
