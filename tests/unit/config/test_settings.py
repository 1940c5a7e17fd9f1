"""What the environment means."""

import pytest

from shared.config import ConfigError, Settings

COMPATIBLE = {
    "LLM_PROVIDER": "openai_compatible",
    "LLM_BASE_URL": "http://127.0.0.1:11434/v1/",
    "LLM_DEFAULT_MODEL": "llama3.2",
}


def names(env: dict[str, str]) -> list[str]:
    return [provider.name for provider in Settings.from_env(env).providers]


def test_nothing_set_is_a_gateway_without_vendors() -> None:
    settings = Settings.from_env({})
    assert settings.providers == ()
    assert settings.default_model is None


def test_each_vendor_key_brings_its_vendor() -> None:
    assert names({"ANTHROPIC_API_KEY": "a"}) == ["anthropic"]
    assert names({"OPENAI_API_KEY": "o", "ANTHROPIC_API_KEY": "a"}) == ["anthropic", "openai"]


def test_a_compatible_server_takes_the_openai_key_unless_it_has_its_own() -> None:
    alone = Settings.from_env({**COMPATIBLE, "OPENAI_API_KEY": "ollama"})
    assert [p.name for p in alone.providers] == ["openai_compatible"]
    assert alone.providers[0].credential is not None
    assert alone.providers[0].base_url == "http://127.0.0.1:11434/v1"
    assert names({**COMPATIBLE, "OPENAI_API_KEY": "o", "LLM_API_KEY": "l"}) == [
        "openai_compatible",
        "openai",
    ]


def test_the_default_model_is_the_chosen_providers() -> None:
    settings = Settings.from_env({**COMPATIBLE, "ANTHROPIC_API_KEY": "a"})
    assert (settings.default_provider, settings.default_model) == ("openai_compatible", "llama3.2")


def test_a_vendors_key_outranks_the_local_model() -> None:
    local = {"WEIR_LOCAL_MODEL": "smol", "WEIR_LOCAL_URL": "http://127.0.0.1:1/v1"}
    assert Settings.from_env(local).default_model == "smol"
    with_key = Settings.from_env({**local, "ANTHROPIC_API_KEY": "a"})
    assert with_key.default_provider == "anthropic"
    assert [p.name for p in with_key.providers] == ["anthropic", "local"]


@pytest.mark.parametrize(
    ("env", "variable"),
    [
        ({"WEIR_PORT": "many"}, "WEIR_PORT"),
        ({"WEIR_PORT": "70000"}, "WEIR_PORT"),
        ({"WEIR_SLOTS": "0"}, "WEIR_SLOTS"),
        ({"WEIR_TIMEOUT_IDLE": "-1"}, "WEIR_TIMEOUT_IDLE"),
        ({"NATS_URL": "localhost"}, "NATS_URL"),
        ({"NATS_URL": "http://localhost:4222"}, "NATS_URL"),
        ({"CLICKHOUSE_URL": "clickhouse://x"}, "CLICKHOUSE_URL"),
        ({"LLM_PROVIDER": "nobody"}, "LLM_PROVIDER"),
        ({"LLM_PROVIDER": "openai_compatible"}, "LLM_BASE_URL"),
        ({**COMPATIBLE, "LLM_DEFAULT_MODEL": ""}, "LLM_DEFAULT_MODEL"),
        ({**COMPATIBLE, "LLM_BASE_URL": "ftp://x"}, "base URL"),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://u:p@x/v1"}, "base URL"),
    ],
)
def test_a_wrong_value_is_named_and_never_quoted(env: dict[str, str], variable: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.from_env(env)
    assert variable in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_credential_does_not_show() -> None:
    settings = Settings.from_env({"OPENAI_API_KEY": "sk-canary"})
    assert "sk-canary" not in repr(settings)
    assert "sk-canary" not in settings.model_dump_json()
