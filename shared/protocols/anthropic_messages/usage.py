"""Anthropic's `usage` <-> canonical usage.

`input_tokens` is fresh input already, without what the cache read or wrote. What compaction
consumed stands in `iterations` alone and is billed beside the rest, so it is added here (and
taken off again on the way back); an advisor's iterations are another model's and stay in
`extra`. Source: the descriptions of `BetaUsage.iterations` in Anthropic's Python SDK 2.11.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from shared.canonical.parts import JsonValue, Shape
from shared.canonical.usage import Usage
from shared.protocols.codec import arrange

from .wire import Wire, is_list, is_object, leftover, take

_WRITES = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
_FEE = "_requests"

Counts = tuple[int, int, int, int, int]
"""Input, cache read, cache write 5 m, cache write 1 h, output."""


def decode_usage(wire: Wire, before: Usage | None = None) -> Usage:
    """`before` is what the same call reported earlier: a stream's `message_delta` says how much
    was written to the cache, but not for how long, as `message_start` did."""
    rest = dict(wire)
    written = take(rest, "cache_creation_input_tokens", int)
    short, long = _take_writes(rest)
    if short is None and long is None:
        short, long = _split_writes(written, before)
    fresh = take(rest, "input_tokens", int)
    if fresh is None and before is not None and "iterations" in rest:
        fresh = before.input
    usage = Usage(
        input=fresh,
        cache_read=take(rest, "cache_read_input_tokens", int),
        cache_write_5m=short,
        cache_write_1h=long,
        output=take(rest, "output_tokens", int),
        reasoning=_take_reasoning(rest),
        tool_fees=_take_fees(rest),
        service_tier=take(rest, "service_tier", str),
        extra=leftover(rest),
    )
    return _shifted(usage, 1)


def encode_usage(usage: Usage, *, own: bool, like: JsonValue = None) -> Wire:
    """A message's usage; `like` is an object of the same kind whose order is kept."""
    if own:
        usage = _shifted(usage, -1)
    short, long = usage.cache_write_5m, usage.cache_write_1h
    known = short is not None or long is not None
    fields: Wire = {
        "input_tokens": usage.input or 0,
        "cache_creation_input_tokens": (short or 0) + (long or 0) if known else None,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": None if long is None else {_WRITES[0]: short or 0, _WRITES[1]: long},
        "output_tokens": usage.output or 0,
        "output_tokens_details": _details(usage.reasoning),
        "server_tool_use": _fees(usage.tool_fees) if own else None,
        "service_tier": usage.service_tier if own else None,
    }
    shape = Shape(tuple(like)) if is_object(like) else None
    return arrange(fields, usage.extra if own else {}, shape)


def encode_delta_usage(usage: Usage, *, own: bool) -> Wire:
    """A `message_delta`'s usage, which leaves out how long the cache keeps what was written."""
    wire = encode_usage(usage, own=own)
    wire.pop("cache_creation", None)
    wire.pop("service_tier", None)
    return wire


def _take_writes(rest: Wire) -> tuple[int | None, int | None]:
    wire = rest.get("cache_creation")
    if not is_object(wire):
        return None, None
    inner = dict(wire)
    short, long = take(inner, _WRITES[0], int), take(inner, _WRITES[1], int)
    if not inner:
        del rest["cache_creation"]
    return short, long


def _split_writes(written: int | None, before: Usage | None) -> tuple[int | None, int | None]:
    """Tokens beyond those already known are counted where the earlier ones were."""
    if before is None or written is None:
        return written, None
    short, long = before.cache_write_5m or 0, before.cache_write_1h or 0
    more = max(0, written - short - long)
    return (None, long + more) if long and not short else (short + more, None)


def _take_reasoning(rest: Wire) -> int | None:
    details = rest.get("output_tokens_details")
    if not is_object(details) or type(details.get("thinking_tokens")) is not int:
        return None
    if len(details) == 1:
        del rest["output_tokens_details"]
    return details["thinking_tokens"]


def _take_fees(rest: Wire) -> dict[str, int]:
    """`{"web_search_requests": 2}` as `{"web_search": 2}`."""
    wire = rest.get("server_tool_use")
    if not is_object(wire):
        return {}
    fees = {
        name.removesuffix(_FEE): count
        for name, count in wire.items()
        if name.endswith(_FEE) and type(count) is int
    }
    if len(fees) == len(wire):
        del rest["server_tool_use"]
    return fees


def _fees(fees: dict[str, int]) -> Wire | None:
    return {name + _FEE: count for name, count in fees.items()} or None


def _details(reasoning: int | None) -> Wire | None:
    return None if reasoning is None else {"thinking_tokens": reasoning}


# -- compaction -------------------------------------------------------------------------------


def _shifted(usage: Usage, sign: int) -> Usage:
    """The usage with its compactions added (`sign` 1) or taken off (-1)."""
    if "iterations" not in usage.extra:
        return usage
    for counts in _compactions(usage.extra["iterations"]):
        usage = replace(
            usage,
            input=(usage.input or 0) + sign * counts[0],
            cache_read=_sum(usage.cache_read, sign * counts[1]),
            cache_write_5m=_sum(usage.cache_write_5m, sign * counts[2]),
            cache_write_1h=_sum(usage.cache_write_1h, sign * counts[3]),
            output=(usage.output or 0) + sign * counts[4],
        )
    return usage


def _sum(count: int | None, more: int) -> int | None:
    return count if not more else (count or 0) + more


def _compactions(iterations: JsonValue) -> Iterator[Counts]:
    for entry in iterations if is_list(iterations) else ():
        if is_object(entry) and entry.get("type") == "compaction":
            inner = decode_usage({key: entry[key] for key in entry if key != "iterations"})
            yield (
                inner.input or 0,
                inner.cache_read or 0,
                inner.cache_write_5m or 0,
                inner.cache_write_1h or 0,
                inner.output or 0,
            )
