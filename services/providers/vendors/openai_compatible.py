"""Any server that speaks OpenAI Chat: llama.cpp, vLLM, Ollama, LM Studio, other gateways."""

from .vendor import Vendor, bearer

VENDOR = Vendor(
    name="openai_compatible",
    protocol="openai_chat",
    path="/chat/completions",
    authorize=bearer,
    caller_headers=("user-agent", "x-stainless-"),
    answer_headers=("x-request-id", "x-ratelimit-", "retry-after"),
)
