"""`usage` <-> canonical usage.

Called for answers and stream frames alike. Chat's counts include one another; the canonical
classes are disjoint:

    prompt_tokens      = input + cache_read + cache_write
    completion_tokens  = output, of which reasoning_tokens are reasoning

The vendor's object is kept whole in `extra` under this protocol's name: it goes back as it
came for as long as it says the same as the canonical counts.
"""

from shared.canonical.parts import JsonValue
from shared.canonical.usage import Usage

from .wire import NAME, Wire, is_object

_CACHED_ELSEWHERE = ("cached_tokens", "num_cached_tokens", "prompt_cache_hit_tokens")
"""Where Moonshot, Mistral and DeepSeek say it if `prompt_tokens_details` does not."""


def decode_usage(wire: Wire, service_tier: str | None = None) -> Usage:
    prompt, output = _count(wire, "prompt_tokens"), _count(wire, "completion_tokens")
    prompt_details = _details(wire, "prompt_tokens_details")
    output_details = _details(wire, "completion_tokens_details")
    audio_input = _count(prompt_details, "audio_tokens")
    reasoning = _count(output_details, "reasoning_tokens")
    beyond = (_count(wire, "total_tokens") or 0) - (prompt or 0) - (output or 0)
    if prompt is not None and output is not None and beyond > 0:
        # Mistral's prompt leaves audio out; xAI's and Gemini's completion leaves thinking out.
        if beyond == audio_input:
            prompt += beyond
        else:
            output += beyond
    read, written = _cached(wire, prompt_details, prompt)
    return Usage(
        input=None if prompt is None else prompt - (read or 0) - (written or 0),
        cache_read=read,
        cache_write_5m=written,
        output=output,
        reasoning=reasoning,
        audio_input=audio_input,
        audio_output=_count(output_details, "audio_tokens"),
        service_tier=service_tier,
        extra={NAME: wire},
    )


def encode_usage(usage: Usage | None) -> Wire | None:
    if usage is None:
        return None
    own: JsonValue = usage.extra.get(NAME)
    if is_object(own) and decode_usage(own, usage.service_tier) == usage:
        return own
    prompt, output = usage.prompt_total or 0, usage.output or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read or 0,
            **_known("cache_write_tokens", _sum(usage.cache_write_5m, usage.cache_write_1h)),
            **_known("audio_tokens", usage.audio_input),
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning or 0,
            **_known("audio_tokens", usage.audio_output),
        },
    }


def _cached(wire: Wire, details: Wire, prompt: int | None) -> tuple[int | None, int | None]:
    """Tokens read from and written to the cache, never more than the prompt's.

    Some resellers report more (recorded: 2,161 read and 2,161 written of 2,168), which would
    bill the same token twice.
    """
    read, written = _count(details, "cached_tokens"), _count(details, "cache_write_tokens")
    for name in _CACHED_ELSEWHERE:
        read = _count(wire, name) if read is None else read
    if prompt is None:
        return read, written
    read = None if read is None else min(read, prompt)
    return read, None if written is None else min(written, prompt - (read or 0))


def _count(wire: Wire, name: str) -> int | None:
    value = wire.get(name)
    return value if type(value) is int and value >= 0 else None


def _details(wire: Wire, name: str) -> Wire:
    value = wire.get(name)
    return value if is_object(value) else {}


def _known(name: str, count: int | None) -> Wire:
    return {} if count is None else {name: count}


def _sum(*counts: int | None) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
