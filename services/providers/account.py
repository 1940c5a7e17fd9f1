"""A configured upstream account: a vendor, an endpoint, a credential and its HTTP client."""

from collections.abc import Mapping

import httpx

from services.providers.transport import open_transport
from services.providers.vendors import Vendor
from shared.config import ConfigError, ProviderSettings, Settings
from shared.protocols.codec import Codec
from shared.protocols.registry import CODECS

CREDENTIAL_MASK = "[credential]"


class Account:
    """What an attempt needs to call one vendor with one credential."""

    def __init__(self, settings: ProviderSettings, vendor: Vendor, connect_timeout: float) -> None:
        self.name = settings.name
        self.vendor = vendor
        self.codec: Codec = CODECS[vendor.protocol]
        self.url = httpx.URL(vendor.base_url(settings.base_url).rstrip("/") + vendor.path)
        self._credential = settings.credential
        self._transport = open_transport()
        self._extensions = {"timeout": {"connect": connect_timeout}}

    def headers(
        self, caller: Mapping[str, str], *, same_protocol: bool, streamed: bool
    ) -> dict[str, str]:
        """Default headers, then the caller's that may pass, then ours, which win."""
        headers = dict(self.vendor.default_headers)
        if same_protocol:
            passed = self.vendor.caller_headers
            headers |= {name: text for name, text in caller.items() if name.startswith(passed)}
        headers.setdefault("user-agent", "weir")
        headers["content-type"] = "application/json"
        headers["accept"] = "text/event-stream" if streamed else "application/json"
        headers["accept-encoding"] = "identity"
        if self._credential is not None:
            headers.update(self.vendor.authorize(self._credential.get_secret_value()))
        return headers

    def visible_headers(self, answer: httpx.Headers) -> dict[str, str]:
        """Those of the vendor's headers that a client may see, and the content type."""
        visible = {
            name: value
            for name, value in answer.items()
            if name.startswith(self.vendor.answer_headers)
        }
        if "content-type" in answer:
            visible["content-type"] = answer["content-type"]
        return visible

    def scrub(self, text: str) -> str:
        """Vendors quote a refused key in their error: ours must not leave with it."""
        if self._credential is None:
            return text
        return text.replace(self._credential.get_secret_value(), CREDENTIAL_MASK)

    def scrub_bytes(self, data: bytes) -> bytes:
        if self._credential is None or not data:
            return data
        return data.replace(self._credential.get_secret_value().encode(), CREDENTIAL_MASK.encode())

    async def send(self, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """The vendor's answer, its body unread. Raises httpx.HTTPError."""
        encoded = [
            (name.encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in headers.items()
        ]
        request = httpx.Request(
            "POST", self.url, content=body, headers=encoded, extensions=self._extensions
        )
        return await self._transport.handle_async_request(request)

    async def close(self) -> None:
        await self._transport.aclose()


def open_accounts(
    settings: Settings, vendors: Mapping[str, Vendor], wanted: frozenset[str]
) -> dict[str, Account]:
    """The accounts of the wanted vendors (all, if none is named). Raises ConfigError."""
    unknown = sorted(wanted - vendors.keys())
    if unknown:
        raise ConfigError(f"unknown vendor {unknown[0]}; known are {', '.join(sorted(vendors))}")
    return {
        provider.name: Account(provider, vendors[provider.vendor], settings.timeouts.connect)
        for provider in settings.providers
        if not wanted or provider.vendor in wanted
    }
