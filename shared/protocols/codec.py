"""What every codec offers, and the small pieces that codecs share.

Ingress uses a codec as the server does (decode requests, encode answers and events), a
provider as the client does (encode requests, decode answers and events). A codec is pure: no
socket, clock, randomness, environment or logging; ids and times are passed in.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Raw, Struct

from shared.canonical.answer import Answer
from shared.canonical.events import Event, Failed
from shared.canonical.failures import InvalidRequestError, MalformedAnswerError
from shared.canonical.parts import JsonValue, Shape
from shared.canonical.request import Request
from shared.framing.sse import SseFrame


class AnswerContext(Struct, frozen=True, kw_only=True):
    """What an encoder needs to know that the events do not say.

    `call_id` seeds made-up ids; `model` is the name that the client asked for; `created` is
    in seconds since the epoch; `stream_usage` is whether the client wants usage in a stream.
    """

    call_id: str
    model: str
    created: int
    stream_usage: bool = False


class EncodedRequest(Struct, frozen=True, kw_only=True):
    """A request as the vendor gets it. `dropped` names the client's fields that the vendor's
    protocol has no place for, as paths in the client's JSON."""

    body: bytes
    dropped: tuple[str, ...] = ()


class StreamDecoder(Protocol):
    def feed(self, frame: SseFrame) -> list[Event]:
        """The events of one frame. An unknown wire event is `Unrecognized`.

        Raises MalformedAnswerError for a frame that is not JSON or not an object.
        """
        ...

    def close(self) -> list[Event]:
        """What the end of the bytes still brings: nothing after a terminal event, else the
        Finished that the protocol leaves implicit, or Failed for a stream that broke off."""
        ...


class StreamEncoder(Protocol):
    def encode(self, events: Sequence[Event]) -> bytes:
        """The frames for the events that arrived together; may be empty."""
        ...


class Codec(Protocol):
    name: str
    framing: str
    keep_alive: bytes
    """What a silent stream may be sent once it has begun."""
    usage_is_extra: bool
    """Whether a stream's usage comes in frames of its own, only if it was asked for."""

    def decode_request(self, body: bytes) -> Request:
        """Raises InvalidRequestError naming the field. Lenient where only the vendor can
        judge: what has no canonical meaning becomes `extra`, `Opaque` or an opaque message."""
        ...

    def encode_request(self, request: Request, *, model: str) -> EncodedRequest:
        """The request for a vendor's model, from any client protocol. Raises
        InvalidRequestError for what the protocol cannot say and must not lose."""
        ...

    def patch_request(self, raw: bytes, *, model: str, stream: bool) -> bytes:
        """The client's own bytes of the same protocol, changed only in what routing and
        metering need: the model's name, and usage inside a stream."""
        ...

    def decode_response(self, body: bytes) -> Answer:
        """Raises MalformedAnswerError."""
        ...

    def encode_response(self, answer: Answer, context: AnswerContext) -> bytes: ...

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Failed: ...

    def encode_error(self, failed: Failed, call_id: str) -> tuple[int, bytes]:
        """Status and body of an error answer."""
        ...

    def encode_stream_error(self, failed: Failed, call_id: str) -> bytes:
        """The terminal frames of a stream that fails after its 200."""
        ...

    def stream_decoder(self) -> StreamDecoder: ...

    def stream_encoder(self, context: AnswerContext) -> StreamEncoder: ...


_OBJECT = msgspec.json.Decoder(dict[str, Any])
_MEMBERS = msgspec.json.Decoder(dict[str, Raw])


def decode_object(body: bytes) -> dict[str, Any]:
    """The JSON object that a client sent. Raises InvalidRequestError."""
    try:
        return _OBJECT.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(f"the request body is not a JSON object: {error}") from None


def decode_answer_object(body: bytes) -> dict[str, Any]:
    """The JSON object that a vendor sent. Raises MalformedAnswerError."""
    try:
        return _OBJECT.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedAnswerError(f"the vendor's answer is not a JSON object: {error}") from None


def patch_members(raw: bytes, changes: Mapping[str, JsonValue]) -> bytes:
    """A JSON object with some top-level members replaced or added.

    All other values keep their own bytes and all keys their order. A key that stands twice
    keeps its last value alone, so that what was judged is what is sent.
    """
    members = _MEMBERS.decode(raw)
    for name, value in changes.items():
        members[name] = Raw(msgspec.json.encode(value))
    return msgspec.json.encode(members)


def shape_of(wire: Mapping[str, JsonValue], forms: dict[str, str] | None = None) -> Shape:
    """The order of an object's keys, and the forms noted for some of them."""
    return Shape(tuple(wire), forms or {})


def arrange(
    fields: dict[str, JsonValue], extra: Mapping[str, JsonValue], shape: Shape | None
) -> dict[str, JsonValue]:
    """A wire object from its known fields and its extra ones, in the order of its source.

    A field whose value is None is left out, unless the source had written it as null.
    """
    arranged: dict[str, JsonValue] = {}
    for key in shape.keys if shape is not None else ():
        value = fields.get(key)
        arranged[key] = extra.get(key) if value is None else value
    for source in (fields, extra):
        for key, value in source.items():
            if value is not None and key not in arranged:
                arranged[key] = value
    return arranged


class Losses:
    """Collects, by path, what a target protocol has no place for."""

    def __init__(self) -> None:
        self.dropped: list[str] = []

    def drop(self, path: str) -> None:
        if path not in self.dropped:
            self.dropped.append(path)

    def drop_extra(self, prefix: str, names: Iterable[str]) -> None:
        for name in names:
            self.drop(f"{prefix}.{name}" if prefix else name)
