"""Anthropic's own API. https://docs.anthropic.com/en/api/overview"""

from .vendor import Vendor, x_api_key


def _without_version(base_url: str) -> str:
    """Both spellings are in use: with and without the path's `/v1`."""
    return base_url.removesuffix("/v1")


VENDOR = Vendor(
    name="anthropic",
    protocol="anthropic_messages",
    path="/v1/messages",
    authorize=x_api_key,
    base_url=_without_version,
    default_headers={"anthropic-version": "2023-06-01"},
    caller_headers=(
        "anthropic-beta",
        "anthropic-version",
        "anthropic-dangerous-direct-browser-access",
        "user-agent",
        "x-stainless-",
        "x-app",
    ),
    answer_headers=("anthropic-ratelimit-", "request-id", "retry-after", "x-should-retry"),
    request_id_header="request-id",
)
