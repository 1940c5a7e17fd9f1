"""The codecs by protocol name: the one table that ingress and providers look into."""

from .anthropic_messages import AnthropicMessages
from .codec import Codec
from .openai_chat import OpenAIChat

CODECS: dict[str, Codec] = {codec.name: codec for codec in (AnthropicMessages(), OpenAIChat())}
