"""Prices that the price catalogue does not have, as data: they go before the catalogue's.

Read by `prices` alone. A row holds from its start until the next row for the same vendor and
model starts. Prices are dollars for a million tokens; a price that is left out is not known,
and a call that needs it is not priced.
"""

from datetime import date
from decimal import Decimal

from msgspec import Struct

ANY_MODEL = "*"


class Override(Struct, frozen=True, kw_only=True):
    """`version` is what a call's row says about where its price came from."""

    vendor: str
    model: str = ANY_MODEL
    start: date = date.min
    version: str
    input: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    output: Decimal | None = None


FREE = Decimal(0)

OVERRIDES: tuple[Override, ...] = (
    # A server that somebody runs for themselves: what it costs is not counted in tokens.
    Override(
        vendor="openai_compatible",
        version="weir-overrides/1:self-hosted",
        input=FREE,
        cache_read=FREE,
        cache_write=FREE,
        output=FREE,
    ),
)

FREE_TOOLS: frozenset[tuple[str, str]] = frozenset(
    {
        # "Web fetch usage has no additional charges beyond standard token costs."
        ("anthropic", "web_fetch"),
    }
)
"""Tool uses that a vendor counts but does not bill, as (vendor, tool)."""
