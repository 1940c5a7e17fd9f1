"""Settings, and the only reader of the environment.

Every process reads its settings once, at start, through `Settings.from_env`. With nothing set
at all a working single-tenant gateway comes out; a value that cannot be right is a
`ConfigError` that names the variable.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

MIB = 1024 * 1024


class ConfigError(Exception):
    """A setting that cannot be right: one clear line for the operator, never a secret."""


class Timeouts(BaseModel):
    """Seconds. `first_token` runs until the vendor's first byte, `idle` between two reads."""

    model_config = ConfigDict(frozen=True)

    connect: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    first_token: float = Field(default=300.0, gt=0, allow_inf_nan=False)
    idle: float = Field(default=120.0, gt=0, allow_inf_nan=False)
    total: float = Field(default=900.0, gt=0, allow_inf_nan=False)
    dispatch: float = Field(default=0.8, gt=0, allow_inf_nan=False)
    drain: float = Field(default=30.0, gt=0, allow_inf_nan=False)


class ProviderSettings(BaseModel):
    """A configured upstream account. `models` are names that it alone answers for."""

    model_config = ConfigDict(frozen=True)

    name: str
    vendor: str
    base_url: str
    credential: SecretStr | None = None
    models: tuple[str, ...] = ()


class Settings(BaseModel):
    """What a process needs to know before it starts."""

    model_config = ConfigDict(frozen=True)

    nats_url: str = "nats://127.0.0.1:4222"
    clickhouse_url: str = "http://127.0.0.1:8123"
    replicas: int = Field(default=1, ge=1, le=5)
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    data_dir: Path = Path(".weir")
    log_level: str = "info"
    max_body_bytes: int = Field(default=32 * MIB, gt=0)
    slots: int = Field(default=512, gt=0)
    providers: tuple[ProviderSettings, ...] = ()
    default_provider: str | None = None
    default_model: str | None = None
    timeouts: Timeouts = Timeouts()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Raises ConfigError naming the variable at fault."""
        env = {k: v.strip() for k, v in (os.environ if environ is None else environ).items()}
        values: dict[str, object] = {
            field: env[variable] for variable, field in _VARIABLES.items() if env.get(variable)
        }
        timeouts = {
            field: env[variable]
            for field in Timeouts.model_fields
            if env.get(variable := f"WEIR_TIMEOUT_{field.upper()}")
        }
        if timeouts:
            values["timeouts"] = timeouts
        providers = _providers(env)
        values["providers"] = providers
        _choose_default(env, providers, values)
        _check_urls(values)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(_describe(error)) from None


def environment(overrides: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with `overrides`: what a child process is started with."""
    return {**os.environ, **overrides}


_VARIABLES = {
    "NATS_URL": "nats_url",
    "CLICKHOUSE_URL": "clickhouse_url",
    "WEIR_REPLICAS": "replicas",
    "WEIR_HOST": "host",
    "WEIR_PORT": "port",
    "WEIR_DATA": "data_dir",
    "WEIR_LOG_LEVEL": "log_level",
    "WEIR_MAX_BODY_BYTES": "max_body_bytes",
    "WEIR_SLOTS": "slots",
}

_VENDOR_URLS = {"anthropic": "https://api.anthropic.com", "openai": "https://api.openai.com/v1"}
_VENDOR_MODELS = {"anthropic": "claude-sonnet-4-5", "openai": "gpt-5-mini"}
_SEED_PROVIDERS = ("openai", "anthropic", "openai_compatible")


def _providers(env: Mapping[str, str]) -> tuple[ProviderSettings, ...]:
    """The accounts that the environment names.

    `LLM_PROVIDER` with `LLM_BASE_URL` configures one; `ANTHROPIC_API_KEY` and
    `OPENAI_API_KEY` (with `..._BASE_URL`) add theirs. Towards an `openai_compatible` server
    `LLM_API_KEY` is the key, or `OPENAI_API_KEY` where that is the only one. `weir up` says
    with `WEIR_LOCAL_MODEL` and `WEIR_LOCAL_URL` which model it runs itself: it comes last.
    """
    chosen = env.get("LLM_PROVIDER", "")
    if chosen and chosen not in _SEED_PROVIDERS:
        raise ConfigError(f"LLM_PROVIDER must be one of {', '.join(_SEED_PROVIDERS)}")
    found: list[ProviderSettings] = []
    openai_key = env.get("OPENAI_API_KEY")
    if chosen == "openai_compatible":
        if not env.get("LLM_BASE_URL"):
            raise ConfigError("LLM_PROVIDER=openai_compatible needs LLM_BASE_URL")
        own_key = env.get("LLM_API_KEY")
        found.append(_provider(chosen, env["LLM_BASE_URL"], own_key or openai_key))
        if own_key is None:
            openai_key = None
    for vendor, key in (("anthropic", env.get("ANTHROPIC_API_KEY")), ("openai", openai_key)):
        own_url = env.get("LLM_BASE_URL") if chosen == vendor else None
        credential = key or (env.get("LLM_API_KEY") if chosen == vendor else None)
        if credential or chosen == vendor:
            url = own_url or env.get(f"{vendor.upper()}_BASE_URL") or _VENDOR_URLS[vendor]
            found.append(_provider(vendor, url, credential))
    if env.get("WEIR_LOCAL_MODEL") and env.get("WEIR_LOCAL_URL"):
        found.append(_local_provider(env["WEIR_LOCAL_URL"], env["WEIR_LOCAL_MODEL"]))
    return tuple(found)


def _local_provider(base_url: str, model: str) -> ProviderSettings:
    upstream = _provider("openai_compatible", base_url, None)
    return upstream.model_copy(update={"name": "local", "models": (model,)})


def _provider(vendor: str, base_url: str, key: str | None) -> ProviderSettings:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"the base URL of {vendor} must be an http or https URL")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(f"the base URL of {vendor} takes no user, query or fragment")
    return ProviderSettings(
        name=vendor,
        vendor=vendor,
        base_url=base_url.rstrip("/"),
        credential=SecretStr(key) if key else None,
    )


def _choose_default(
    env: Mapping[str, str], providers: tuple[ProviderSettings, ...], values: dict[str, object]
) -> None:
    if not providers:
        return
    name = env.get("LLM_PROVIDER") or providers[0].name
    own = next(provider.models for provider in providers if provider.name == name)
    model = env.get("LLM_DEFAULT_MODEL") or _VENDOR_MODELS.get(name) or next(iter(own), None)
    if model is None:
        raise ConfigError(f"LLM_PROVIDER={name} needs LLM_DEFAULT_MODEL")
    values["default_provider"] = name
    values["default_model"] = model


_URL_SCHEMES = {
    "nats_url": ("NATS_URL", ("nats", "tls", "ws", "wss")),
    "clickhouse_url": ("CLICKHOUSE_URL", ("http", "https")),
}


def _check_urls(values: Mapping[str, object]) -> None:
    for field, (variable, schemes) in _URL_SCHEMES.items():
        if field not in values:
            continue
        for url in str(values[field]).split(","):
            try:
                parts = urlsplit(url)
                valid = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
            except ValueError:
                valid = False
            if not valid:
                raise ConfigError(f"{variable} must be a URL that starts with {schemes[0]}://")


def _describe(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    path = [str(step) for step in first["loc"]]
    variables = {field: variable for variable, field in _VARIABLES.items()}
    if path[0] == "timeouts":
        name = f"WEIR_TIMEOUT_{path[-1].upper()}"
    else:
        name = variables.get(path[0], ".".join(path))
    return f"{name}: {first['msg']}"
