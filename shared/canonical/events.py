"""The canonical stream: what a model's answer is, piece by piece.

Providers decode a vendor's answer into these events, steps look at and change them, ingress
encodes them for the client. The legal order is the table `ORDER`, the same for every role:

    Started -> (PartStarted -> PartDelta* -> PartEnded)* -> Finished | Failed | Cancelled

with parts allowed to interleave (they bear an index), and `UsageReported` and `Unrecognized`
allowed anywhere before the terminal event. A failed call may end without having started.
"""

from enum import StrEnum

from .failures import FailureClass
from .parts import JsonValue, Node, Part
from .usage import Usage


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    PAUSE = "pause"
    OTHER = "other"


class DeltaKind(StrEnum):
    TEXT = "text"  # of Text, Refusal or Thinking: more of `text`
    ARGUMENTS = "arguments"  # of ToolCall: more of the JSON text
    VENDOR_DATA = "vendor_data"  # `value` is merged into the part's `vendor_data`, Opaque's `value`
    CITATION = "citation"  # `value` is one more citation of a Text
    OPAQUE = "opaque"  # of any part: `value` is a protocol's own delta


class Started(Node, frozen=True, tag_field="is", tag="started"):
    """The vendor has begun to answer. `id` and `model` are the vendor's own."""

    id: str = ""
    model: str = ""
    created: int | None = None  # seconds since the epoch, where the protocol says it


class PartStarted(Node, frozen=True, tag_field="is", tag="part_started"):
    """A part begins; `part` holds what is known of it so far (often without its text)."""

    index: int
    part: Part


class PartDelta(Node, frozen=True, tag_field="is", tag="part_delta"):
    index: int
    kind: DeltaKind
    text: str = ""
    value: JsonValue = None


class PartEnded(Node, frozen=True, tag_field="is", tag="part_ended"):
    index: int


class UsageReported(Node, frozen=True, tag_field="is", tag="usage"):
    """Cumulative usage so far; later reports are merged over earlier ones."""

    usage: Usage


class Unrecognized(Node, frozen=True, tag_field="is", tag="unrecognized"):
    """A wire event without a canonical meaning (a ping, a field from the future)."""

    type: str
    value: JsonValue = None


class Finished(Node, frozen=True, tag_field="is", tag="finished"):
    """The answer is complete. `vendor_reason` is the protocol's own word for `reason`."""

    reason: FinishReason
    vendor_reason: str | None = None
    stop_sequence: str | None = None


class Failed(Node, frozen=True, tag_field="is", tag="failed"):
    """The call ended in failure, before or after content.

    `status` is the HTTP status for the client while none was sent yet (None: by class).
    `vendor_status` and `vendor_type` are what the vendor said; `retry_after` is seconds;
    `field` names the request's field at fault.
    """

    failure: FailureClass
    message: str
    status: int | None = None
    field: str | None = None
    vendor_status: int | None = None
    vendor_type: str | None = None
    vendor_code: str | None = None
    retry_after: float | None = None


class Cancelled(Node, frozen=True, tag_field="is", tag="cancelled"):
    """The caller went away; nobody is left to read an answer."""

    reason: str = "client_gone"


Event = (
    Started
    | PartStarted
    | PartDelta
    | PartEnded
    | UsageReported
    | Unrecognized
    | Finished
    | Failed
    | Cancelled
)

TERMINAL = (Finished, Failed, Cancelled)
