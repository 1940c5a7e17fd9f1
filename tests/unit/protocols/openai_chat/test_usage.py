"""Chat's nested counts as disjoint classes, and back."""

from typing import Any

import pytest

from shared.canonical.usage import Usage
from shared.protocols.openai_chat.usage import decode_usage, encode_usage


def wire(
    prompt: int, output: int, total: int | None = None, prompt_details: Any = None, **details: int
) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output if total is None else total,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": details or None,
    }


def counts(usage: Usage) -> dict[str, Any]:
    """The counts that were reported."""
    fields = {name: getattr(usage, name) for name in Usage.__struct_fields__}
    return {name: value for name, value in fields.items() if type(value) is int}


@pytest.mark.parametrize(
    ("reported", "canonical"),
    [
        (wire(9, 3), {"input": 9, "output": 3}),
        (wire(9, 3, None, {"cached_tokens": 4}), {"input": 5, "cache_read": 4, "output": 3}),
        (
            wire(9, 3, None, {"cached_tokens": 4, "cache_write_tokens": 2}),
            {"input": 3, "cache_read": 4, "cache_write_5m": 2, "output": 3},
        ),
        (wire(9, 3, reasoning_tokens=2), {"input": 9, "output": 3, "reasoning": 2}),
        pytest.param(
            wire(9, 3, 17, reasoning_tokens=5),
            {"input": 9, "output": 8, "reasoning": 5},
            id="thinking is not in the completion",
        ),
        pytest.param(
            wire(9, 3, 17, {"audio_tokens": 5}),
            {"input": 14, "output": 3, "audio_input": 5},
            id="audio is not in the prompt",
        ),
        pytest.param(
            wire(9, 3, 20), {"input": 9, "output": 11}, id="the total knows of unnamed thinking"
        ),
        pytest.param(
            wire(9, 3, None, {"cached_tokens": 20}),
            {"input": 0, "cache_read": 9, "output": 3},
            id="more from the cache than there was",
        ),
        pytest.param(
            {**wire(9, 3), "prompt_cache_hit_tokens": 4},
            {"input": 5, "cache_read": 4, "output": 3},
            id="cached elsewhere",
        ),
        ({}, {}),
        ({"prompt_tokens": "9", "completion_tokens": True, "total_tokens": -1}, {}),
        ({"prompt_tokens": 9, "completion_tokens": None}, {"input": 9}),
    ],
)
def test_classes_are_disjoint(reported: dict[str, Any], canonical: dict[str, int]) -> None:
    usage = decode_usage(reported)
    assert {
        k: v for k, v in counts(usage).items() if type(v) is int and k != "estimated"
    } == canonical
    assert encode_usage(usage) is reported


def test_an_account_that_changed_is_written_anew() -> None:
    usage = decode_usage(wire(9, 3)).merged(Usage(output=5, estimated=True))
    rewritten = encode_usage(usage)
    assert rewritten is not None
    assert (rewritten["prompt_tokens"], rewritten["completion_tokens"]) == (9, 5)


def test_no_usage_is_none() -> None:
    assert encode_usage(None) is None
