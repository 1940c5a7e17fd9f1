"""OpenAI's own API. https://platform.openai.com/docs/api-reference/chat"""

from .vendor import Vendor, bearer

VENDOR = Vendor(
    name="openai",
    protocol="openai_chat",
    path="/chat/completions",
    authorize=bearer,
    caller_headers=("openai-", "user-agent", "x-stainless-", "x-client-request-id"),
    answer_headers=("openai-", "x-request-id", "x-ratelimit-", "retry-after", "x-should-retry"),
)
