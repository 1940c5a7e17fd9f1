"""OpenAI's own API. https://platform.openai.com/docs/api-reference/chat"""

from .vendor import Vendor, bearer

VENDOR = Vendor(
    name="openai",
    protocol="openai_chat",
    path="/chat/completions",
    authorize=bearer,
    caller_headers=("openai-beta", "user-agent", "x-stainless-", "x-client-request-id"),
    answer_headers=(
        "openai-model",
        "openai-processing-ms",
        "openai-version",
        "retry-after",
        "x-ratelimit-",
        "x-request-id",
        "x-should-retry",
    ),
)
