"""`GET /v1/models` and `/v1/models/{id}`: what can be called, in the asker's dialect.

Anthropic's dialect where the request bears `anthropic-version`, as its SDKs do; else OpenAI's.
"""

from typing import Any
from urllib.parse import unquote

import msgspec

from shared.catalog.prices import known_models
from shared.config import Settings

EPOCH = "1970-01-01T00:00:00Z"
"""Anthropic's `created_at` for a model whose date is not known, as its API documents it."""


class ModelList:
    """The models of the configured providers, the default one first."""

    def __init__(self, settings: Settings) -> None:
        self._owners: dict[str, str] = {}
        if settings.default_model and settings.default_provider:
            self._owners[settings.default_model] = settings.default_provider
        for provider in settings.providers:
            for model in (*provider.models, *known_models(provider.vendor)):
                self._owners.setdefault(model, provider.name)

    def listing(self, *, anthropic: bool) -> bytes:
        if anthropic:
            entries = [_anthropic_entry(model) for model in self._owners]
            return msgspec.json.encode(
                {
                    "data": entries,
                    "has_more": False,
                    "first_id": next(iter(self._owners), None),
                    "last_id": next(reversed(self._owners), None) if self._owners else None,
                }
            )
        entries = [_openai_entry(model, owner) for model, owner in self._owners.items()]
        return msgspec.json.encode({"object": "list", "data": entries})

    def entry(self, model: str, *, anthropic: bool) -> bytes | None:
        model = unquote(model)
        owner = self._owners.get(model)
        if owner is None:
            return None
        return msgspec.json.encode(
            _anthropic_entry(model) if anthropic else _openai_entry(model, owner)
        )


def _anthropic_entry(model: str) -> dict[str, Any]:
    return {"type": "model", "id": model, "display_name": model, "created_at": EPOCH}


def _openai_entry(model: str, owner: str) -> dict[str, Any]:
    return {"id": model, "object": "model", "created": 0, "owned_by": owner}
