"""Which target a model's name leads to."""

import pytest

from services.pipeline.router import Router, Target
from shared.config import Settings

BOTH = Settings.from_env(
    {
        "ANTHROPIC_API_KEY": "a",
        "OPENAI_API_KEY": "o",
        "LLM_DEFAULT_MODEL": "house-model",
        "WEIR_LOCAL_MODEL": "smol",
        "WEIR_LOCAL_URL": "http://127.0.0.1:1/v1",
    }
)


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("house-model", Target("anthropic", "anthropic", "house-model")),
        ("smol", Target("local", "openai_compatible", "smol")),
        ("claude-sonnet-4-5", Target("anthropic", "anthropic", "claude-sonnet-4-5")),
        ("gpt-5-mini", Target("openai", "openai", "gpt-5-mini")),
        ("openai/any/name", Target("openai", "openai", "any/name")),
        ("local/x", Target("local", "openai_compatible", "x")),
        ("mistral/x", None),
        ("openai/", None),
        ("no-such-model", None),
        ("", None),
    ],
)
def test_a_name_leads_to_its_target_or_nowhere(model: str, target: Target | None) -> None:
    assert Router(BOTH).resolve(model) == target


def test_a_vendors_model_is_unknown_where_the_vendor_is_not_configured() -> None:
    only_openai = Settings.from_env({"OPENAI_API_KEY": "o"})
    assert Router(only_openai).resolve("claude-sonnet-4-5") is None
