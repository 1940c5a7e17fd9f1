"""Which target answers for a model's name. Pure: a name and the configured providers go in.

A model's name is, in this order: the default model; a model that one provider alone has;
`<provider>/<vendor's name>`; a name that belongs to a vendor by the table in the catalog.
Everything else is not found.
"""

from msgspec import Struct

from shared.catalog.models import vendor_of
from shared.config import Settings


class Target(Struct, frozen=True):
    """A provider, its vendor, and the vendor's name of the model."""

    provider: str
    vendor: str
    model: str


class Router:
    def __init__(self, settings: Settings) -> None:
        self._vendors = {provider.name: provider.vendor for provider in settings.providers}
        self._owners = {
            model: provider.name for provider in settings.providers for model in provider.models
        }
        if settings.default_model and settings.default_provider:
            self._owners[settings.default_model] = settings.default_provider

    def resolve(self, model: str) -> Target | None:
        """The target for a model's name, or None for a name that nobody knows."""
        owner = self._owners.get(model)
        if owner is not None:
            return self._target(owner, model)
        provider, slash, rest = model.partition("/")
        if slash and rest and provider in self._vendors:
            return self._target(provider, rest)
        vendor = vendor_of(model)
        for name, known in self._vendors.items():
            if known == vendor:
                return self._target(name, model)
        return None

    def _target(self, provider: str, model: str) -> Target:
        return Target(provider, self._vendors[provider], model)
