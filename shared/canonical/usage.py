"""What a vendor says a call consumed, in disjoint classes."""

from msgspec import Struct

from .parts import JsonValue


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Token counts; the input classes are disjoint and `None` means "not reported".

    `input` is fresh input only: what was read from or written to the vendor's prompt cache
    is counted in its own class. `reasoning` is a part of `output`, not an addition to it.
    `tool_fees` counts billed tool uses by name, such as {"web_search": 2}. `extra` keeps the
    protocol's own usage fields that have no canonical name.
    """

    input: int | None = None
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    output: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None  # a part of `input`
    audio_output: int | None = None  # a part of `output`
    tool_fees: dict[str, int] = {}
    service_tier: str | None = None
    estimated: bool = False
    extra: dict[str, JsonValue] = {}

    @property
    def prompt_total(self) -> int | None:
        """All input tokens, cached ones included; None if nothing was reported."""
        counts = (self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h)
        known = [count for count in counts if count is not None]
        return sum(known) if known else None

    def merged(self, later: "Usage") -> "Usage":
        """This report updated by a later, cumulative one of the same call.

        Vendors split one account over frames (Anthropic: input in `message_start`, output in
        `message_delta`); a class that the later report leaves out keeps its value.
        """
        return Usage(
            input=_newest(self.input, later.input),
            cache_read=_newest(self.cache_read, later.cache_read),
            cache_write_5m=_newest(self.cache_write_5m, later.cache_write_5m),
            cache_write_1h=_newest(self.cache_write_1h, later.cache_write_1h),
            output=_newest(self.output, later.output),
            reasoning=_newest(self.reasoning, later.reasoning),
            audio_input=_newest(self.audio_input, later.audio_input),
            audio_output=_newest(self.audio_output, later.audio_output),
            tool_fees={**self.tool_fees, **later.tool_fees},
            service_tier=later.service_tier or self.service_tier,
            estimated=later.estimated,
            extra={**self.extra, **later.extra},
        )


def _newest(earlier: int | None, later: int | None) -> int | None:
    return earlier if later is None else later
