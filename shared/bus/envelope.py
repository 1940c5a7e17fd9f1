"""What wraps a call on its way to the pipeline, an attempt on its way to a provider, and the
answer on its way back. All msgpack; times are microseconds since the epoch.

The canonical request travels encoded inside its envelope, as JSON (its integers have no
bound), so that who does not need it does not pay for decoding it.
"""

import msgspec
from msgspec import Struct

from shared.canonical.events import Cancelled, Event, Failed, Finished
from shared.canonical.request import Request
from shared.canonical.usage import Usage


class Principal(Struct, frozen=True, array_like=True):
    """Who calls: resolved from a virtual key by ingress, believed by everybody after it."""

    tenant: str
    agent: str
    key_id: str


class CallEnvelope(Struct, frozen=True, kw_only=True, array_like=True):
    """One client call.

    `request` is the encoded canonical request and `raw` the client's body; a body too large for
    a message lies in the object store, under the name in `claim`. `refused` is set instead where
    ingress could not decode it: such a call only becomes a row and an answer.
    """

    call_id: str
    principal: Principal
    protocol: str
    model: str
    streamed: bool
    started: int
    deadline: int
    stream_usage: bool = False
    request: bytes = b""
    raw: bytes = b""
    headers: dict[str, str] = {}
    tags: dict[str, str] = {}
    traceparent: str = ""
    refused: Failed | None = None
    claim: str = ""


class AttemptEnvelope(Struct, frozen=True, kw_only=True, array_like=True):
    """One call to one target.

    Either `request` is set, the canonical form as a step has changed it, or the client's own
    body goes on: in `raw`, or in the object store under `claim`.
    `want_events` asks for decoded events beside the raw bytes, because somebody will look.
    """

    call_id: str
    number: int
    provider: str
    model: str
    protocol: str
    streamed: bool
    stream_usage: bool
    deadline: int
    request: bytes = b""
    raw: bytes = b""
    claim: str = ""
    headers: dict[str, str] = {}
    traceparent: str = ""
    want_events: bool = False


class Head(Struct, frozen=True, kw_only=True, array_like=True):
    """What precedes the body of a vendor's answer. `protocol` is the vendor's; `headers` are
    those that a client may see; `dropped` names request fields that were left out."""

    status: int
    protocol: str
    headers: dict[str, str] = {}
    dropped: tuple[str, ...] = ()


class Chunk(Struct, frozen=True, array_like=True, gc=False):
    """Wire frames of the vendor's answer as they came, and what they mean.

    `raw` may be given to a client of the same protocol, and is empty where a step changed
    something; `events` is empty where nobody asked to look.
    """

    raw: bytes
    events: tuple[Event, ...] = ()


class Delivery(Struct, frozen=True, kw_only=True, array_like=True):
    """Payload of an EVENTS frame: everything that one read from the vendor brought."""

    head: Head | None = None
    chunks: tuple[Chunk, ...] = ()


class End(Struct, frozen=True, kw_only=True, array_like=True):
    """Payload of an END frame: how it ended, with the last of the answer.

    `head` and `chunks` are what was not delivered yet (an unstreamed answer comes whole, in
    its END). `raw` is the vendor's own error body or error frame, for a client of the same
    protocol. `usage` is merged from all reports.
    """

    outcome: Finished | Failed | Cancelled
    head: Head | None = None
    chunks: tuple[Chunk, ...] = ()
    raw: bytes = b""
    usage: Usage | None = None
    vendor_model: str = ""
    vendor_request_id: str = ""


encode = msgspec.msgpack.Encoder().encode
encode_request = msgspec.json.Encoder().encode
decode_request = msgspec.json.Decoder(Request).decode
decode_call = msgspec.msgpack.Decoder(CallEnvelope).decode
decode_attempt = msgspec.msgpack.Decoder(AttemptEnvelope).decode
decode_delivery = msgspec.msgpack.Decoder(Delivery).decode
decode_end = msgspec.msgpack.Decoder(End).decode
