"""`system` and `messages` <-> canonical messages.

Anthropic has no tool role: results are blocks of a user turn, before anything else in it.
Instructions of other protocols, wherever they stand, are collected into `system`; Anthropic's
own messages of role `system` keep their place.
"""

from shared.canonical.failures import InvalidRequestError
from shared.canonical.parts import JsonValue, Opaque, Part, Refusal, Shape, Text, ToolResult
from shared.canonical.request import Message, Request, Role
from shared.protocols.codec import Losses
from shared.protocols.paths import message_paths, part_paths

from .blocks import decode_block, encode_blocks, plain_text
from .foreign import admit_parts, refuse_part
from .wire import NAME, Wire, form, is_list, is_object, leftover, rebuilt, shaped

_ORDERS = (("role", "content"),)
_STRING_CONTENT = Shape(("role", "content"), {"content": "text"})
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}


def decode_system(wire: str | list[JsonValue]) -> Message:
    if isinstance(wire, str):
        forms = {"path": "system", "content": "text"}
        return Message(role=Role.SYSTEM, parts=(Text(text=wire),), shape=Shape((), forms))
    parts = tuple(map(decode_block, wire))
    return Message(role=Role.SYSTEM, parts=parts, shape=Shape((), {"path": "system"}))


def decode_message(wire: JsonValue) -> Message:
    """A message of unknown role or unexpected shape is kept whole; the vendor judges it."""
    if is_object(wire):
        name, content = wire.get("role"), wire.get("content")
        role = _ROLES.get(name) if type(name) is str else None
        if role is not None and (type(content) is str or is_list(content)):
            return _decode_turn(wire, role, content)
    return Message(role=Role.OPAQUE, parts=(Opaque(type="message", value=wire),))


def _decode_turn(wire: Wire, role: Role, content: str | list[JsonValue]) -> Message:
    parts: tuple[Part, ...]
    forms: dict[str, str] = {}
    if isinstance(content, str):
        parts = (Text(text=content),)
        if role is not Role.SYSTEM and tuple(wire) == _STRING_CONTENT.keys:
            return Message(role=role, parts=parts, shape=_STRING_CONTENT)
        forms["content"] = "text"
    else:
        parts = tuple(map(decode_block, content))
    if role is Role.SYSTEM:
        forms["in"] = "messages"
    extra: Wire = {}
    if len(wire) > len(_STRING_CONTENT.keys):
        extra = leftover({key: wire[key] for key in wire if key not in _STRING_CONTENT.keys})
    return Message(role=role, parts=parts, extra=extra, shape=shaped(wire, _ORDERS, forms))


class ConversationEncoder:
    """Encodes one request's messages: `add` them all, then read `system` and `turns`."""

    def __init__(self, request: Request, losses: Losses) -> None:
        self.turns: list[JsonValue] = []
        self._own = request.protocol == NAME
        self._protocol = request.protocol
        self._losses = losses
        self._system: list[Message] = []
        self._results: list[JsonValue] | None = None  # the content of a turn of tool results
        for message, path in zip(request.messages, message_paths(request), strict=True):
            self._add(message, path)

    @property
    def system(self) -> JsonValue:
        """None without instructions; a string where the source wrote one, or blocks."""
        if not self._system:
            return None
        parts = tuple(part for message in self._system for part in message.parts)
        text = plain_text(parts)
        if text is not None and (not self._own or form(self._system[0], "content") == "text"):
            return text
        if not parts and not self._own:
            return None
        return encode_blocks(parts, own=self._own)

    def _add(self, message: Message, path: str) -> None:
        role = message.role
        if role is Role.OPAQUE:
            self._add_opaque(message, path)
            return
        if not self._own:
            message = self._admitted(message, path)
        if role is Role.TOOL:
            self._add_results(message)
        elif role in (Role.SYSTEM, Role.DEVELOPER) and form(message, "in") is None:
            self._add_system(message, path)
        else:
            self._add_turn(message)

    def _admitted(self, message: Message, path: str) -> Message:
        self._losses.drop_extra(path, message.extra)
        if message.name is not None:
            self._losses.drop(f"{path}.name")
        paths = part_paths(self._protocol, message, path)
        parts = list(admit_parts(message.parts, paths, self._losses))
        if message.role is Role.USER:
            parts.sort(key=lambda part: not isinstance(part, ToolResult))  # stable
        return Message(role=message.role, parts=tuple(parts))

    def _add_opaque(self, message: Message, path: str) -> None:
        for part in message.parts:
            if not (self._own and isinstance(part, Opaque)):
                raise refuse_part(part, path)
            self.turns.append(part.value)
        self._results = None

    def _add_system(self, message: Message, path: str) -> None:
        for part in message.parts:
            if not self._own and not isinstance(part, Text | Refusal):
                raise InvalidRequestError(f"{path}: instructions must be text", field=path)
        self._system.append(message)

    def _add_results(self, message: Message) -> None:
        if self._results is None:
            self._results = []
            self.turns.append({"role": "user", "content": self._results})
        self._results.extend(encode_blocks(message.parts, own=self._own))

    def _add_turn(self, message: Message) -> None:
        if message.role is Role.USER and self._results is not None:
            self._add_results(message)
        elif message.parts or self._own:
            self._results = None
            fields = {"role": message.role.value, "content": self._content(message)}
            self.turns.append(rebuilt(fields, message, own=self._own))

    def _content(self, message: Message) -> JsonValue:
        text = plain_text(message.parts)
        if text is not None and (not self._own or form(message, "content") == "text"):
            return text
        return encode_blocks(message.parts, own=self._own)
