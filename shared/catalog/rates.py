"""A model's prices as integers, ready to multiply: compiled once, used for every call.

Called by `prices`. Knows nothing of where prices come from. Rates are atto-dollars (10^-18) for
one token or one use, so that sums are exact; only the total is rounded, half up, to nano-dollars.
"""

from decimal import Decimal

from msgspec import Struct

from shared.canonical.usage import Usage

ATTO = 10**18
ATTO_PER_NANO = 10**9


class Rate(Struct, frozen=True):
    """Atto-dollars for one token. The highest tier whose start the prompt exceeds holds for
    all tokens of its class."""

    base: int
    tiers: tuple[tuple[int, int], ...] = ()  # (start, rate), highest start first

    def at(self, prompt_tokens: int) -> int:
        for start, rate in self.tiers:
            if prompt_tokens > start:
                return rate
        return self.base


class Rates(Struct, frozen=True, kw_only=True):
    """What one model costs. None: no price is known for that class."""

    version: str
    input: Rate | None = None
    audio_input: Rate | None = None
    cache_read: Rate | None = None
    cache_write_5m: Rate | None = None
    cache_write_1h: Rate | None = None
    output: Rate | None = None
    reasoning: Rate | None = None
    audio_output: Rate | None = None
    request: int = 0
    tools: dict[str, int] = {}

    def cost_nano(self, usage: Usage) -> int | None:
        """None if something was used that has no price."""
        prompt = usage.prompt_total or 0
        total = self.request
        for rate, count in self._classes(usage):
            if count:
                if rate is None:
                    return None
                total += count * (rate.at(prompt) if rate.tiers else rate.base)
        for tool, count in usage.tool_fees.items():
            fee = self.tools.get(tool)
            if fee is None and count:
                return None
            total += count * (fee or 0)
        return (total + ATTO_PER_NANO // 2) // ATTO_PER_NANO

    def _classes(self, usage: Usage) -> tuple[tuple[Rate | None, int | None], ...]:
        """Disjoint counts. A part that has a price of its own is taken out of its whole."""
        fresh, output = usage.input or 0, usage.output or 0
        audio_input = audio_output = reasoning = 0
        if self.audio_input is not None and usage.audio_input:
            audio_input = min(usage.audio_input, fresh)
        if self.audio_output is not None and usage.audio_output:
            audio_output = min(usage.audio_output, output)
        if self.reasoning is not None and usage.reasoning:
            reasoning = min(usage.reasoning, output - audio_output)
        return (
            (self.input, fresh - audio_input),
            (self.audio_input, audio_input),
            (self.cache_read, usage.cache_read),
            (self.cache_write_5m, usage.cache_write_5m),
            (self.cache_write_1h, usage.cache_write_1h),
            (self.output, output - audio_output - reasoning),
            (self.reasoning, reasoning),
            (self.audio_output, audio_output),
        )


def atto(dollars: Decimal, per: int) -> int:
    """Atto-dollars for one of `per` things that cost so many dollars.

    The catalogue has prices that went through a float, such as 0.18000000000000002: what is
    finer than an atto-dollar is that noise, and is rounded off.
    """
    return int((dollars * ATTO / per).to_integral_value())
