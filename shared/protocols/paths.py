"""Where a client's own JSON has what the canonical request holds.

Encoders name a field that they drop or refuse by the path that the client wrote. They know
the client's protocol by its name only, so the names stand here, one table a protocol.
"""

from collections.abc import Mapping

from shared.canonical.parts import Opaque, Part, Refusal, Thinking, ToolCall
from shared.canonical.request import Message, Request

FIELDS: Mapping[str, Mapping[str, str]] = {
    "anthropic_messages": {
        "max_output_tokens": "max_tokens",
        "output_format": "output_config.format",
        "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
        "stop": "stop_sequences",
        "user": "metadata.user_id",
    },
    "openai_chat": {
        "candidates": "n",
        "max_output_tokens": "max_completion_tokens",
        "output_format": "response_format",
        "stream_usage": "stream_options.include_usage",
        "thinking": "reasoning_effort",
        "thinking.effort": "reasoning_effort",
    },
}
"""Only where the client's name is not the canonical one."""

BESIDE: Mapping[str, Mapping[type, str]] = {
    "openai_chat": {ToolCall: "tool_calls", Thinking: "reasoning_content", Refusal: "refusal"},
}
"""Parts that stand beside a message's content and not in it."""


def field_path(protocol: str, field: str) -> str:
    """The client's path of a canonical request field, such as `stop_sequences` for `stop`."""
    return FIELDS.get(protocol, {}).get(field, field)


def message_paths(request: Request) -> list[str]:
    """The client's path of each canonical message.

    A message that the client did not write as one (Anthropic's `system`) says so itself, in
    its shape's form `path`, and takes no index.
    """
    paths: list[str] = []
    index = 0
    for message in request.messages:
        place = message.shape.forms.get("path") if message.shape is not None else None
        paths.append(place or f"messages.{index}")
        index += place is None
    return paths


def part_paths(protocol: str, message: Message, path: str) -> list[str]:
    """The client's path of each part of a message that stands at `path`."""
    if message.shape is not None and "path" in message.shape.forms:
        return [f"{path}.{index}" for index in range(len(message.parts))]
    beside = BESIDE.get(protocol, {})
    counts: dict[str, int] = {}
    paths: list[str] = []
    for part in message.parts:
        field = beside.get(type(part), "content")
        index = counts.get(field, 0)
        counts[field] = index + 1
        listed = field in ("content", "tool_calls")
        paths.append(f"{path}.{field}.{index}" if listed else f"{path}.{field}")
    return paths


def describe(part: Part) -> str:
    """What a part is called in an error message: a word, never content."""
    if isinstance(part, Opaque) and part.type.isidentifier():
        return part.type[:40].replace("_", " ")
    return str(part.__struct_config__.tag).replace("_", " ")
