"""The installed price catalogue, `genai-prices`, as `Rates`. Called by `prices` alone.

Its data comes with its package; nothing is ever fetched. It takes 0.1 s (cold: 0.5 s) and
30 MB to load, so it is loaded where it is first needed.
"""

from datetime import datetime
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from .rates import Rate, Rates, atto

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

NAME = "genai-prices"
PROVIDERS = {  # our vendors -> its providers, where the names differ
    "azure_openai": "azure",
    "bedrock": "aws",
    "gemini": "google",
    "vertex": "google",
    "xai": "x-ai",
}
TOOL_PRICES = {"web_search": "web_searches_kcount", "file_search": "storage_searches_kcount"}
TOKENS_PER_PRICE = 1_000_000
USES_PER_PRICE = 1000


def find(vendor: str, model: str) -> "ModelInfo | None":
    provider = PROVIDERS.get(vendor, vendor)
    try:
        return _snapshot().find_provider_model(model, None, provider, None)[1]
    except LookupError:
        return None


def names(vendor: str, at: datetime) -> tuple[str, ...]:
    """The names by which a vendor's API knows its models that answer in tokens."""
    provider = PROVIDERS.get(vendor, vendor)
    return tuple(
        info.id
        for known in _snapshot().providers
        if known.id == provider
        for info in known.models
        if not info.deprecated and _is_name(info) and info.get_prices(at).output_mtok is not None
    )


def depends_on_the_hour(info: "ModelInfo") -> bool:
    from genai_prices.types import ModelPrice, TimeOfDateConstraint  # noqa: PLC0415 - see above

    prices = [] if isinstance(info.prices, ModelPrice) else info.prices
    dated = [*prices, *(info.price_variants or ())]
    return any(isinstance(row.constraint, TimeOfDateConstraint) for row in dated)


def compile_rates(info: "ModelInfo", at: datetime, context: dict[str, str]) -> Rates:
    """`context` selects among the variants of a price: {"service_tier": "priority"}."""
    prices = info.get_prices(at, context)
    requests = prices.requests_kcount
    return Rates(
        version=_version(),
        input=_rate(prices, "input_mtok"),
        audio_input=_rate(prices, "input_audio_mtok"),
        cache_read=_rate(prices, "cache_read_mtok", "input_mtok"),
        cache_write_5m=_rate(prices, "cache_write_5m_mtok", "cache_write_mtok", "input_mtok"),
        cache_write_1h=_rate(prices, "cache_write_1h_mtok", "cache_write_mtok", "input_mtok"),
        output=_rate(prices, "output_mtok"),
        reasoning=_rate(prices, "output_reasoning_mtok"),
        audio_output=_rate(prices, "output_audio_mtok"),
        request=atto(requests, USES_PER_PRICE) if isinstance(requests, Decimal) else 0,
        tools=_fees(prices),
    )


def _rate(prices: "ModelPrice", *keys: str) -> Rate | None:
    """A class without a price of its own is billed as the class that contains it."""
    for key in keys:
        found: Decimal | TieredPrices | None = getattr(prices, key)
        if isinstance(found, Decimal):
            return Rate(atto(found, TOKENS_PER_PRICE))
        if found is not None:
            tiers = [(tier.start, atto(tier.price, TOKENS_PER_PRICE)) for tier in found.tiers]
            return Rate(atto(found.base, TOKENS_PER_PRICE), tuple(sorted(tiers, reverse=True)))
    return None


def _fees(prices: "ModelPrice") -> dict[str, int]:
    fees: dict[str, int] = {}
    for tool, key in TOOL_PRICES.items():
        fee: Decimal | TieredPrices | None = getattr(prices, key)
        if isinstance(fee, Decimal):
            fees[tool] = atto(fee, USES_PER_PRICE)
    return fees


def _is_name(info: "ModelInfo") -> bool:
    """It also lists families of names, such as `ft:gpt-4o`."""
    return ":" not in info.id and not info.id.endswith("-") and info.is_match(info.id)


@cache
def _version() -> str:
    return f"{NAME}/{version(NAME)}"


@cache
def _snapshot() -> "DataSnapshot":
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - see above

    return get_snapshot()
