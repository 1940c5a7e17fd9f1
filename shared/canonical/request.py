"""What a client asks for, whatever protocol it spoke."""

from enum import StrEnum

from .parts import CacheControl, JsonValue, Node, Part


class Role(StrEnum):
    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    OPAQUE = "opaque"
    """A message with no canonical meaning: one `Opaque` part that holds it whole."""


class Message(Node, frozen=True):
    """One turn. Instructions are leading messages of role `system` (or `developer`).

    `vendor_role` keeps a role that has no canonical name.
    """

    role: Role
    parts: tuple[Part, ...] = ()
    name: str | None = None


class Tool(Node, frozen=True):
    """A function the model may call. `opaque` marks a vendor's own (server) tool: then
    `name` is for error messages only and `opaque` is its JSON as it came."""

    name: str
    description: str | None = None
    parameters: JsonValue = None  # JSON schema
    strict: bool | None = None
    cache: CacheControl | None = None
    opaque: JsonValue = None


class ToolMode(StrEnum):
    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"


class ToolChoice(Node, frozen=True):
    mode: ToolMode
    name: str | None = None


class OutputFormat(Node, frozen=True):
    """Structured output: `kind` is "text", "json_object" or "json_schema"."""

    kind: str
    name: str | None = None
    schema: JsonValue = None
    strict: bool | None = None
    description: str | None = None


class ThinkingConfig(Node, frozen=True):
    """How much the model may reason. `mode`: "enabled", "disabled" or "adaptive"; `effort`:
    "minimal", "low", "medium", "high"...; `budget_tokens` where the protocol counts."""

    mode: str | None = None
    budget_tokens: int | None = None
    effort: str | None = None


class Request(Node, frozen=True):
    """A call, canonical.

    `protocol` names the protocol that the client spoke: the only one for which `extra`,
    `shape` and opaque values anywhere below have a meaning.
    """

    protocol: str
    model: str
    messages: tuple[Message, ...] = ()
    stream: bool | None = None
    stream_usage: bool | None = None  # the client wants usage inside the stream
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    candidates: int | None = None
    stop: tuple[str, ...] | None = None
    tools: tuple[Tool, ...] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    output_format: OutputFormat | None = None
    thinking: ThinkingConfig | None = None
    service_tier: str | None = None
    user: str | None = None
    metadata: dict[str, JsonValue] | None = None
