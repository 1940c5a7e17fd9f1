"""An unstreamed answer: decode_response and encode_response, side by side."""

from collections.abc import Collection, Iterable, Iterator

from msgspec.structs import replace

from shared.canonical.answer import Answer
from shared.canonical.events import Finished, FinishReason, Started
from shared.canonical.failures import MalformedAnswerError
from shared.canonical.parts import Node, Part, Refusal, Shape, Text, Thinking, ToolCall
from shared.protocols.codec import AnswerContext, arrange, decode_answer_object

from .blocks import decode_block, encode_blocks
from .usage import decode_usage, encode_usage
from .wire import (
    FINISH_REASONS,
    OWN,
    STOP_REASONS,
    Wire,
    encode_json,
    is_list,
    is_object,
    is_own,
    leftover,
    take,
    take_name,
)

ENDING = ("stop_details", "container", "context_management")
"""Said of an answer's end: in the message when unstreamed, in `message_delta` in a stream."""

_CONSTANTS = {"type": "message", "role": "assistant"}


def decode_response(body: bytes) -> Answer:
    """Raises MalformedAnswerError."""
    wire = decode_answer_object(body)
    content = wire.get("content")
    if not is_list(content):
        raise MalformedAnswerError("the vendor's answer has no list of content")
    rest = {key: value for key, value in wire.items() if key != "content"}
    started = take_started(rest)
    finished = take_finished(rest)
    usage = rest.get("usage")  # stays in `rest`: it goes back as it came if nobody changed it
    return Answer(
        started=started,
        parts=tuple(map(decode_block, content)),
        finished=finished,
        usage=decode_usage(usage) if is_object(usage) else None,
        extra=answer_extra(rest),
        shape=Shape(tuple(wire), OWN.forms),
    )


def take_started(rest: Wire) -> Started:
    """Removes and gives what is known from a message's head; its extra is the caller's."""
    for key, constant in _CONSTANTS.items():
        if rest.get(key) == constant:
            del rest[key]
    return Started(id=take_name(rest, "id"), model=take_name(rest, "model"))


def answer_extra(rest: Wire) -> Wire:
    """What nobody took; of the constants also a null, lest it be taken for the usual value."""
    nulls = {key: None for key in _CONSTANTS if key in rest and rest[key] is None}
    return {**leftover(rest), **nulls}


def take_finished(rest: Wire) -> Finished:
    reason = take(rest, "stop_reason", str)
    return Finished(
        reason=FINISH_REASONS.get(reason or "", FinishReason.OTHER),
        vendor_reason=reason,
        stop_sequence=take(rest, "stop_sequence", str),
        extra={key: rest.pop(key) for key in ENDING if rest.get(key) is not None},
        shape=OWN,
    )


def encode_response(answer: Answer, context: AnswerContext) -> bytes:
    own = is_own(answer)
    finished = answer.finished or Finished(reason=FinishReason.OTHER)
    parts = answer.parts if own else tuple(shown_parts(answer.parts, context))
    fields: Wire = {
        **message_head(answer.started, answer if own else None, context),
        "content": encode_blocks(parts, own=own),
        "stop_reason": stop_reason(finished, {type(part) for part in answer.parts}),
        "stop_sequence": finished.stop_sequence,
        "usage": _usage(answer, own=own),
    }
    if not own:
        return encode_json(fields)
    ending = {key: finished.extra[key] for key in ENDING if key in finished.extra}
    return encode_json(arrange(fields, {**answer.extra, **ending}, answer.shape))


def message_head(started: Started, source: Node | None, context: AnswerContext) -> Wire:
    """What stands at the beginning of every message.

    `source` is what holds the shape and extra of a message of this protocol: what its vendor
    left out stays out, and what it wrote otherwise stands in `extra`.
    """
    if source is None:
        return {
            "id": f"msg_{context.call_id}",
            **_CONSTANTS,
            "model": started.model or context.model,
        }
    head: Wire = {"id": started.id, "model": started.model, **_CONSTANTS}
    keys = source.shape.keys if source.shape is not None else ()
    return {
        key: value
        for key, value in head.items()
        if value and key in keys and key not in source.extra
    }


def stop_reason(finished: Finished, kinds: Collection[type]) -> str | None:
    """Anthropic's word for the end: its own as it came, another's by meaning.

    `kinds` are the types of the answer's parts: clients of this protocol go by the reason
    where others look whether there are tool calls or a refusal.
    """
    if is_own(finished):
        return finished.vendor_reason
    if finished.stop_sequence is not None:
        return "stop_sequence"
    reason = finished.reason
    if reason is FinishReason.STOP and Refusal in kinds:
        reason = FinishReason.REFUSAL
    elif reason is FinishReason.STOP and ToolCall in kinds:
        reason = FinishReason.TOOL_CALLS
    return STOP_REASONS[reason]


def shown_parts(parts: Iterable[Part], context: AnswerContext) -> Iterator[Part]:
    """Another vendor's parts as a client of this protocol may see them in an answer."""
    for index, part in enumerate(parts):
        shown = shown_part(part, index, context)
        if shown is not None and not (isinstance(part, Text | Refusal) and not part.text):
            yield shown


def shown_part(part: Part, index: int, context: AnswerContext) -> Part | None:
    """None for what has no place in an answer of this protocol: images, sounds, sealed
    reasoning of another vendor. Reasoning that can be read is shown without a seal."""
    match part:
        case Text() | Refusal():
            return part
        case Thinking(redacted=False):
            signature = part.vendor_data.get("signature")
            seal = signature if isinstance(signature, str) else ""
            return replace(part, vendor_data={"signature": seal})
        case ToolCall():
            return part if part.id else replace(part, id=f"toolu_{context.call_id}_{index}")
        case _:
            return None


def _usage(answer: Answer, *, own: bool) -> Wire | None:
    raw = answer.extra.get("usage") if own else None
    if is_object(raw) and (answer.usage is None or decode_usage(raw) == answer.usage):
        return raw
    if answer.usage is None:
        return None if own else {"input_tokens": 0, "output_tokens": 0}
    return encode_usage(answer.usage, own=own, like=raw)
