"""Another protocol's conversation, made sayable in Chat's words: messages and their parts.

Called for requests that did not come from this protocol. A turn of tool results becomes one
`tool` message a result. Those hold text alone: images and documents of a result move into the
user message that follows the results.
"""

from collections.abc import Callable
from typing import ClassVar

from shared.canonical.failures import InvalidRequestError
from shared.canonical.parts import (
    Audio,
    Document,
    Image,
    Opaque,
    Part,
    Refusal,
    Shape,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from shared.canonical.request import Message, Request, Role, Tool
from shared.protocols.codec import Losses
from shared.protocols.paths import describe, message_paths, part_paths

_EMPTY_CONTENT = Shape(("role", "content"), {"content": "string"})
_EMPTY_RESULT = Shape(("role", "tool_call_id", "content"), {"content": "string"})
_NULL_CONTENT = Shape(("role", "content"))


class Conversation:
    """Adopts one request's messages, and remembers what was already told of its losses."""

    def __init__(self, request: Request, losses: Losses) -> None:
        self._request = request
        self._losses = losses
        self._told: set[str] = set()
        self._adopted: list[Message] = []
        self._moved: list[Part] = []

    def messages(self) -> list[Message]:
        request = self._request
        for message, path in zip(request.messages, message_paths(request), strict=True):
            if message.role is Role.OPAQUE:
                raise InvalidRequestError(f"{path}: Chat has no message like this", field=path)
            self._losses.drop_extra(path, message.extra)
            self._add_turn(message, self._add_results(message, path))
        self._add_moved()
        return self._adopted

    def drop_notes(self, node: Part | Tool, path: str) -> None:
        """What only the client's protocol knows. Cache marks are told of once: they are many."""
        self._losses.drop_extra(path, node.extra)
        source: Source | None = getattr(node, "source", None)
        if source is not None:
            self._losses.drop_extra(f"{path}.source", source.extra)
        if getattr(node, "cache", None) is not None:
            self._drop_once("cache", f"{path}.cache_control")

    def _drop_once(self, kind: str, path: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._losses.drop(path)

    def _add_results(self, message: Message, path: str) -> list[Part]:
        """Adds the results in a message; gives its other parts, adopted."""
        parts: list[Part] = []
        places = part_paths(self._request.protocol, message, path)
        for part, place in zip(message.parts, places, strict=True):
            if isinstance(part, ToolResult):
                self._add_result(part, place)
            else:
                parts.extend(self._adopt(part, place))
        return parts

    def _add_result(self, result: ToolResult, path: str) -> None:
        self.drop_notes(result, path)
        if result.is_error:
            self._losses.drop(f"{path}.is_error")
        texts: list[Part] = []
        for index, part in enumerate(result.parts):
            for adopted in self._adopt(part, f"{path}.content.{index}"):
                (texts if isinstance(adopted, Text) else self._moved).append(adopted)
        plain = ToolResult(call_id=result.call_id, parts=tuple(texts))
        shape = None if texts else _EMPTY_RESULT
        self._adopted.append(Message(role=Role.TOOL, parts=(plain,), shape=shape))

    def _add_turn(self, message: Message, parts: list[Part]) -> None:
        """A turn of nothing but results, or of what was dropped, leaves no message."""
        if message.parts and not parts:
            return
        if message.role is Role.USER:
            parts, self._moved = [*self._moved, *parts], []
        self._add_moved()
        shape = None
        if not any(not isinstance(part, ToolCall) for part in parts):
            shape = _NULL_CONTENT if parts else _EMPTY_CONTENT
        adopted = Message(role=message.role, parts=tuple(parts), name=message.name, shape=shape)
        self._adopted.append(adopted)

    def _add_moved(self) -> None:
        if self._moved:
            self._adopted.append(Message(role=Role.USER, parts=tuple(self._moved)))
            self._moved = []

    def _adopt(self, part: Part, path: str) -> list[Part]:
        return self._PARTS[type(part)](self, part, path)

    def _text(self, part: Text, path: str) -> list[Part]:
        self.drop_notes(part, path)
        if part.citations is not None:
            self._losses.drop(f"{path}.citations")
        return [Text(text=part.text)]

    def _image(self, part: Image, path: str) -> list[Part]:
        self.drop_notes(part, path)
        if part.source.url is None and part.source.data is None:
            raise _refusal(part, path)
        source = Source(url=part.source.url, data=part.source.data)
        return [Image(source=source, media_type=part.media_type, detail=part.detail)]

    def _audio(self, part: Audio, path: str) -> list[Part]:
        self.drop_notes(part, path)
        if part.source.data is None:
            raise _refusal(part, path)
        return [Audio(source=Source(data=part.source.data), format=part.format)]

    def _document(self, part: Document, path: str) -> list[Part]:
        """Text goes as text, base64 as a file; Chat has neither URLs nor others' file ids."""
        self.drop_notes(part, path)
        source = part.source
        if part.context is not None:
            self._losses.drop(f"{path}.context")
        if source.text is not None:
            if part.name is not None:
                self._losses.drop(f"{path}.title")
            return [Text(text=source.text)]
        if source.data is None:
            raise _refusal(part, path)
        media_type = part.media_type or "application/pdf"
        name = part.name or f"document.{media_type.rpartition('/')[2]}"
        return [Document(source=Source(data=source.data), media_type=media_type, name=name)]

    def _thinking(self, part: Thinking, path: str) -> list[Part]:
        """OpenAI refuses messages with thinking in them; nobody has use for another's. Told of
        once: a long conversation has it in every turn."""
        self._drop_once("thinking", path)
        return []

    def _call(self, part: ToolCall, path: str) -> list[Part]:
        self.drop_notes(part, path)
        return [ToolCall(id=part.id, name=part.name, arguments=part.arguments or "{}")]

    def _refused_text(self, part: Refusal, path: str) -> list[Part]:
        self.drop_notes(part, path)
        return [Refusal(text=part.text)]

    def _refuse(self, part: Part, path: str) -> list[Part]:
        raise _refusal(part, path)

    _PARTS: ClassVar[dict[type, Callable[..., list[Part]]]] = {
        Text: _text,
        Image: _image,
        Audio: _audio,
        Document: _document,
        Thinking: _thinking,
        ToolCall: _call,
        ToolResult: _refuse,
        Refusal: _refused_text,
        Opaque: _refuse,
    }


def _refusal(part: Part, path: str) -> InvalidRequestError:
    kind = part.type if isinstance(part, Opaque) else describe(part)
    return InvalidRequestError(f"{path}: Chat has no place for this {kind}", field=path)
