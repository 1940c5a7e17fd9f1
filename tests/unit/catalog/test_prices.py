"""Prices: invoices written out by hand, and the catalogue's own arithmetic as a second opinion."""

import subprocess
import sys
import time
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Decimal

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot

from shared.canonical.usage import Usage
from shared.catalog import overrides, prices
from shared.catalog.overrides import Override
from shared.catalog.prices import known_models, price
from shared.catalog.rates import Rate, Rates, atto

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
VERSION = f"genai-prices/{genai_prices.__version__}"


# Each line: tokens x dollars a million tokens = nano-dollars.
INVOICES: list[tuple[str, str, Usage, int]] = [
    ("anthropic", "claude-sonnet-4-5", Usage(input=1, output=0), 1 * 3_000),
    (
        "anthropic",
        "claude-sonnet-4-5",
        Usage(
            input=1_234,  # x $3     =  3,702,000
            cache_read=50_001,  # x $0.30  = 15,000,300
            cache_write_5m=7_003,  # x $3.75  = 26,261,250
            cache_write_1h=11,  # x $6     =     66,000
            output=517,  # x $15    =  7,755,000
            reasoning=400,  # in output
            tool_fees={"web_search": 3},  # x $10/1,000 = 30,000,000
        ),
        3_702_000 + 15_000_300 + 26_261_250 + 66_000 + 7_755_000 + 30_000_000,
    ),
    (  # 200,000 tokens of prompt are still the lower tier
        "anthropic",
        "claude-sonnet-4-5",
        Usage(input=100_000, cache_read=100_000, output=10),
        300_000_000 + 30_000_000 + 150_000,
    ),
    (  # one more, and every class is billed at the higher: $6, $0.60, $22.50
        "anthropic",
        "claude-sonnet-4-5",
        Usage(input=100_001, cache_read=100_000, output=10),
        600_006_000 + 60_000_000 + 225_000,
    ),
    (  # cached input at $1.25; nothing is charged for a class that was not used
        "openai",
        "gpt-4o",
        Usage(input=900, cache_read=1_100, output=75),
        2_250_000 + 1_375_000 + 750_000,
    ),
    (  # $0.15, $0.075, $0.60: half a nano-dollar is rounded up, once, at the end
        "openai",
        "gpt-4o-mini",
        Usage(input=7, cache_read=3, output=2),
        2_475,
    ),
    ("openai", "gpt-5-nano", Usage(input=1, cache_read=1, output=0), 50 + 5),
    ("openai", "gpt-4.1", Usage(input=10, output=10, service_tier="default"), 20_000 + 80_000),
    ("openai", "gpt-4.1", Usage(input=10, output=10, service_tier="priority"), 35_000 + 140_000),
    (
        "anthropic",
        "claude-haiku-4-5",
        Usage(input=10, output=0, tool_fees={"web_fetch": 9}),
        10_000,
    ),
]


@pytest.mark.parametrize(("vendor", "model", "usage", "nano"), INVOICES)
def test_an_invoice_is_right_to_the_nano_dollar(
    vendor: str, model: str, usage: Usage, nano: int
) -> None:
    charge = price(vendor, model, usage, AT)
    assert charge == prices.Charge(nano, "USD", True, VERSION)


def test_the_price_is_that_of_the_time_of_the_call() -> None:
    # o3 went from $10 to $2 a million input tokens on 10 June 2025.
    usage = Usage(input=1_000_000, output=0)
    before = price("openai", "o3", usage, datetime(2025, 6, 9, 23, 59, tzinfo=UTC))
    after = price("openai", "o3", usage, datetime(2025, 6, 11, tzinfo=UTC))
    assert (before.cost_nano, after.cost_nano) == (10_000_000_000, 2_000_000_000)


def test_a_price_may_depend_on_the_time_of_day() -> None:
    usage = Usage(input=1_000_000, output=0)
    # DeepSeek's off-peak discount ran from 16:30 to 00:30 UTC.
    peak = price("deepseek", "deepseek-chat", usage, datetime(2025, 5, 1, 16, 29, tzinfo=UTC))
    off_peak = price("deepseek", "deepseek-chat", usage, datetime(2025, 5, 1, 16, 31, tzinfo=UTC))
    assert peak.cost_nano is not None
    assert off_peak.cost_nano is not None
    assert off_peak.cost_nano < peak.cost_nano


def test_microseconds_and_datetimes_are_the_same_time() -> None:
    usage = Usage(input=10, output=10)
    assert price("openai", "gpt-4o", usage, int(AT.timestamp() * 1_000_000)) == price(
        "openai", "gpt-4o", usage, AT
    )


@pytest.mark.parametrize("vendor", ["", "openai", "no-such-vendor"])
def test_an_unknown_model_is_never_free(vendor: str) -> None:
    charge = price(vendor, "no-such-model", Usage(input=1, output=1), AT)
    assert charge == prices.Charge(None, "USD", False, "")


def test_usage_that_nobody_reported_has_no_cost() -> None:
    assert price("openai", "gpt-4o", Usage(), AT) == prices.Charge(None, "USD", False, VERSION)
    assert price("openai", "gpt-4o", Usage(input=0, output=0), AT).cost_nano == 0


def test_a_use_without_a_price_leaves_the_call_unpriced() -> None:
    assert not price("openai", "gpt-4o", Usage(input=1, tool_fees={"teleport": 1}), AT).priced
    assert price("openai", "gpt-4o", Usage(input=1, tool_fees={"teleport": 0}), AT).priced
    # An embedding model has no price for output.
    assert price("openai", "text-embedding-3-small", Usage(input=50), AT).cost_nano == 1_000
    assert not price("openai", "text-embedding-3-small", Usage(input=50, output=1), AT).priced


def test_a_self_hosted_model_costs_nothing_and_says_why() -> None:
    charge = price("openai_compatible", "smollm2-135m", Usage(input=30, output=9), AT)
    assert charge == prices.Charge(0, "USD", True, "weir-overrides/1:self-hosted")


def test_the_latest_override_for_the_very_model_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (
        Override(vendor="v", version="any", input=Decimal(1)),
        Override(vendor="v", model="m", version="old", input=Decimal(2)),
        Override(vendor="v", model="m", start=AT.date(), version="new", input=Decimal(3)),
    )
    monkeypatch.setattr(prices, "OVERRIDES", rows)
    usage = Usage(input=1)

    def charged(model: str, at: datetime) -> tuple[int | None, str]:
        charge = price("v", model, usage, at)
        return charge.cost_nano, charge.price_version

    assert charged("other", AT) == (1_000, "any")
    assert charged("m", datetime(2026, 10, 31, tzinfo=UTC)) == (2_000, "old")
    assert charged("m", AT) == (3_000, "new")


def test_overrides_name_each_row_once() -> None:
    keys = [(row.vendor, row.model, row.start) for row in overrides.OVERRIDES]
    assert len(keys) == len(set(keys))


def test_audio_and_reasoning_are_taken_out_of_their_whole_where_they_have_a_price() -> None:
    rates = Rates(
        version="x",
        input=Rate(atto(Decimal(1), 1_000_000)),
        audio_input=Rate(atto(Decimal(10), 1_000_000)),
        output=Rate(atto(Decimal(2), 1_000_000)),
        reasoning=Rate(atto(Decimal(20), 1_000_000)),
    )
    usage = Usage(input=100, audio_input=40, output=50, reasoning=30, audio_output=5)
    assert rates.cost_nano(usage) == 60 * 1_000 + 40 * 10_000 + 20 * 2_000 + 30 * 20_000


def test_noise_from_floats_is_rounded_off() -> None:
    assert atto(Decimal("0.18000000000000002"), 1_000_000) == atto(Decimal("0.18"), 1_000_000)


@pytest.mark.parametrize("prompt", [(900, 90, 9), (150_000, 120_000, 9_999)])
def test_every_model_costs_what_the_catalogue_itself_computes(prompt: tuple[int, int, int]) -> None:
    fresh, read, write = prompt
    usage = Usage(input=fresh, cache_read=read, cache_write_5m=write, output=777)
    theirs = genai_prices.Usage(
        input_tokens=sum(prompt),
        cache_read_tokens=read,
        cache_write_tokens=write,
        output_tokens=777,
    )
    compared = 0
    for provider in get_snapshot().providers:
        for model in provider.models:
            charge = price(provider.id, model.id, usage, AT)
            if charge.cost_nano is None:
                continue
            expected = genai_prices.calc_price(
                theirs, model.id, provider_id=provider.id, genai_request_timestamp=AT
            )
            exact = expected.total_price * 10**9 + Decimal("0.5")
            assert charge.cost_nano == int(exact.to_integral_value(ROUND_FLOOR)), model.id
            compared += 1
    assert compared > 1_000


def test_known_models_can_be_called_and_priced() -> None:
    for vendor, expected in (("anthropic", "claude-sonnet-4-5"), ("openai", "gpt-4o-mini")):
        models = known_models(vendor)
        assert expected in models
        assert all(price(vendor, model, Usage(input=1, output=1), AT).priced for model in models)
    assert known_models("openai_compatible") == ()


def test_a_repeat_is_fast_enough_for_every_call() -> None:
    usage = Usage(input=1000, cache_read=100, output=50)
    price("openai", "gpt-4o", usage, AT)
    at = int(AT.timestamp() * 1_000_000)
    best = 1.0
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(200):
            price("openai", "gpt-4o", usage, at)
        best = min(best, (time.perf_counter() - start) / 200)
    assert best < 50e-6  # 2 us on an idle core; the bound allows for a busy one


def test_the_catalogue_is_loaded_late_and_never_from_the_network() -> None:
    code = (
        "import sys, socket\n"
        "from shared.catalog import prices\n"
        "assert 'genai_prices' not in sys.modules\n"
        "def refuse(*_): raise AssertionError('the network')\n"
        "socket.socket.connect = refuse\n"
        "socket.getaddrinfo = refuse\n"
        "prices.load()\n"
        "assert 'genai_prices' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
