"""What a call costs: `price`, for the pipeline's records; and which models have a price.

Our own dated overrides go before the installed catalogue's prices. A process that prices calls
loads the catalogue at its start, by `load`, so that no call waits for it.
"""

from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from shared.canonical.usage import Usage

from . import catalogue
from .overrides import ANY_MODEL, FREE_TOOLS, OVERRIDES, Override
from .rates import Rate, Rates, atto

MILLION = 1_000_000
MINUTE_US = 60 * MILLION
DAY_US = 24 * 60 * MINUTE_US

Context = tuple[tuple[str, str], ...]


class Charge(Struct, frozen=True):
    """`cost_nano` is None, and `priced` false, where usage or price are not known."""

    cost_nano: int | None
    currency: str
    priced: bool
    price_version: str


UNKNOWN_MODEL = Charge(None, "USD", False, "")


def price(vendor: str, model: str, usage: Usage, at: datetime | int) -> Charge:
    """What this usage costs at the vendor's list price of that time (microseconds, or aware)."""
    at_us = at if isinstance(at, int) else int(at.timestamp() * MILLION)
    rates = _rates(vendor, model, _context(usage), at_us)
    if rates is None:
        return UNKNOWN_MODEL
    cost = None if _is_unreported(usage) else rates.cost_nano(usage)
    return Charge(cost, "USD", cost is not None, rates.version)


def known_models(vendor: str) -> tuple[str, ...]:
    """Names of a vendor's models that answer in tokens, as its API knows them."""
    return catalogue.names(vendor, datetime.now(UTC))


def load() -> None:
    """Loads the catalogue now."""
    catalogue.find("openai", "gpt-4o")


def _context(usage: Usage) -> Context:
    """What a price depends on beside the model and the time."""
    tier, speed = usage.service_tier, usage.extra.get("speed")
    if tier is None and speed is None:
        return ()
    found: list[tuple[str, str]] = []
    if tier is not None:
        # Anthropic reports a batch as a tier; the catalogue names it otherwise.
        found.append(("processing" if tier == "batch" else "service_tier", tier))
    if isinstance(speed, str):
        found.append(("speed", speed))
    return tuple(found)


def _is_unreported(usage: Usage) -> bool:
    return usage.output is None and usage.prompt_total is None and not usage.tool_fees


BY_THE_MINUTE = Rates(version="by the minute")
"""Stands for a model whose price depends on the time of day."""


def _rates(vendor: str, model: str, context: Context, at_us: int) -> Rates | None:
    if not vendor or not model:
        return None
    found = _rates_of_day(vendor, model, context, at_us // DAY_US)
    if found is BY_THE_MINUTE:
        return _rates_of_minute(vendor, model, context, at_us // MINUTE_US)
    return found


@lru_cache(maxsize=4096)
def _rates_of_day(vendor: str, model: str, context: Context, day: int) -> Rates | None:
    """Prices change at midnight UTC: compiled once a model and day."""
    at = datetime.fromtimestamp(day * DAY_US // MILLION, UTC)
    override = _override(vendor, model, at)
    if override is not None:
        return _with_free_tools(vendor, _own_rates(override))
    info = catalogue.find(vendor, model)
    if info is None:
        return None
    if catalogue.depends_on_the_hour(info):
        return BY_THE_MINUTE
    return _with_free_tools(vendor, catalogue.compile_rates(info, at, dict(context)))


@lru_cache(maxsize=4096)
def _rates_of_minute(vendor: str, model: str, context: Context, minute: int) -> Rates | None:
    at = datetime.fromtimestamp(minute * MINUTE_US // MILLION, UTC)
    info = catalogue.find(vendor, model)
    if info is None:
        return None
    return _with_free_tools(vendor, catalogue.compile_rates(info, at, dict(context)))


def _override(vendor: str, model: str, at: datetime) -> Override | None:
    """The one that started last; one for the very model goes before one for any."""
    rows = [
        row
        for row in OVERRIDES
        if row.vendor == vendor and row.model in (model, ANY_MODEL) and row.start <= at.date()
    ]
    return max(rows, key=lambda row: (row.model != ANY_MODEL, row.start), default=None)


def _own_rates(row: Override) -> Rates:
    return Rates(
        version=row.version,
        input=_flat(row.input),
        cache_read=_flat(row.cache_read),
        cache_write_5m=_flat(row.cache_write),
        cache_write_1h=_flat(row.cache_write),
        output=_flat(row.output),
    )


def _flat(dollars: Decimal | None) -> Rate | None:
    return None if dollars is None else Rate(atto(dollars, MILLION))


def _with_free_tools(vendor: str, rates: Rates) -> Rates:
    free = {tool: 0 for owner, tool in FREE_TOOLS if owner == vendor}
    return replace(rates, tools={**free, **rates.tools})
