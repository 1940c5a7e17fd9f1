"""Unstreamed answers, both ways.

An answer's `extra` keeps, under this protocol's name, what its objects held beside canonical
fields, with their keys in order: of the whole, of each choice, of each message. The parts of
all choices are the answer's parts; those of a second and later choice say so in `extra`.
"""

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from shared.canonical.answer import Answer
from shared.canonical.events import Finished, Started
from shared.canonical.failures import MalformedAnswerError
from shared.canonical.parts import JsonValue, Part, Refusal, Shape, Text, Thinking, ToolCall
from shared.canonical.request import Message, Role
from shared.protocols.codec import AnswerContext, arrange, decode_answer_object

from .messages import decode_turn, encode_turn
from .usage import decode_usage, encode_usage
from .wire import (
    NAME,
    OWN,
    Wire,
    decode_reason,
    encode_json,
    encode_reason,
    is_list,
    is_object,
    is_own,
)

OBJECT = "chat.completion"

NO_ARGUMENTS = "{}"
"""What Chat's clients expect to parse where other protocols say nothing."""


def decode_response(body: bytes) -> Answer:
    wire = decode_answer_object(body)
    choices, usage = wire.get("choices"), wire.get("usage")
    if not is_list(choices):
        raise MalformedAnswerError("the vendor's answer has no list of choices")
    started = decode_started(wire)
    taken = [*started_fields(started), "choices"]
    parts: list[Part] = []
    notes = [_decode_choice(choice, number, parts) for number, choice in enumerate(choices)]
    if is_object(usage):
        taken.append("usage")
    tier = wire.get("service_tier")
    return Answer(
        started=started,
        parts=tuple(parts),
        finished=_decode_finished(choices, parts),
        usage=decode_usage(usage, tier if type(tier) is str else None)
        if is_object(usage)
        else None,
        extra={NAME: {**_note(wire, taken), "choices": notes}},
        shape=OWN,
    )


def encode_response(answer: Answer, context: AnswerContext) -> bytes:
    own: JsonValue = answer.extra.get(NAME) if is_own(answer) else None
    if is_object(own) and "keys" in own:
        return encode_json(_encode_own(answer, own))
    return encode_json(_encode_foreign(answer, context))


def decode_started(wire: Wire) -> Started:
    answer_id, model, created = wire.get("id"), wire.get("model"), wire.get("created")
    return Started(
        id=answer_id if type(answer_id) is str else "",
        model=model if type(model) is str else "",
        created=created if type(created) is int else None,
    )


def started_fields(started: Started) -> Wire:
    """What Started says, in wire words; without what it does not know."""
    fields = {"id": started.id, "created": started.created, "model": started.model}
    return {key: value for key, value in fields.items() if value not in ("", None)}


def choice_of(part: Part) -> int:
    """Which choice a part belongs to; the first unless it says otherwise."""
    note: JsonValue = part.extra.get(NAME)
    return note.get("choice", 0) if is_object(note) else 0


def mark_choice(number: int) -> Wire:
    return {NAME: {"choice": number}} if number else {}


def only_chat(parts: Iterable[Part]) -> Iterator[Part]:
    """What Chat has a place for in an answer, without what other protocols noted."""
    for part in parts:
        if isinstance(part, ToolCall):
            yield replace(part, arguments=part.arguments or NO_ARGUMENTS, extra={}, shape=None)
        elif isinstance(part, Text | Refusal) or (isinstance(part, Thinking) and part.text):
            yield replace(part, extra={}, shape=None)


def _note(wire: Wire, taken: Iterable[str]) -> Wire:
    """An object's keys in order, and the values that are not canonical."""
    return {
        "keys": list(wire),
        "rest": {key: value for key, value in wire.items() if key not in taken},
    }


def _restored(note: Wire, fields: Wire) -> Wire:
    return arrange(fields, note["rest"], Shape(tuple(note["keys"])))


def _decode_choice(choice: JsonValue, number: int, parts: list[Part]) -> Wire:
    if not is_object(choice):
        return {"whole": choice}
    wire = choice.get("message")
    taken = ["finish_reason"] if number == 0 and type(choice.get("finish_reason")) is str else []
    if not is_object(wire):
        return _note(choice, taken)
    message = decode_turn(wire, Role.ASSISTANT)
    parts += [
        replace(part, extra={**part.extra, **mark_choice(number)}) if number else part
        for part in message.parts
    ]
    note: Wire = {"keys": list(wire), "rest": message.extra}
    note["forms"] = message.shape.forms if message.shape is not None else {}
    note["role"] = wire.get("role")
    return {**_note(choice, [*taken, "message"]), "message": note}


def _decode_finished(choices: list[JsonValue], parts: list[Part]) -> Finished:
    first = choices[0] if choices else None
    word = first.get("finish_reason") if is_object(first) else None
    word = word if type(word) is str else None
    return Finished(reason=decode_reason(word, calls=_calls(parts)), vendor_reason=word)


def _calls(parts: Iterable[Part]) -> bool:
    return any(type(part) is ToolCall and choice_of(part) == 0 for part in parts)


def _encode_own(answer: Answer, own: Wire) -> Wire:
    choices = [_encode_choice(answer, number, note) for number, note in enumerate(own["choices"])]
    fields = {
        **started_fields(answer.started),
        "choices": choices,
        "usage": encode_usage(answer.usage),
    }
    return _restored(own, fields)


def _encode_choice(answer: Answer, number: int, note: Wire) -> JsonValue:
    if "whole" in note:
        return note["whole"]
    fields: Wire = {}
    if "message" in note:
        own = note["message"]
        message = Message(
            role=Role.ASSISTANT,
            parts=tuple(_unmarked(part) for part in answer.parts if choice_of(part) == number),
            extra=own["rest"],
            shape=Shape(tuple(own["keys"]), own["forms"]),
        )
        fields["message"] = encode_turn(message, own["role"])
    if number == 0:
        fields["finish_reason"] = _encode_finished(answer, own=True)
    return _restored(note, fields)


def _unmarked(part: Part) -> Part:
    if NAME not in part.extra:
        return part
    return replace(part, extra={key: part.extra[key] for key in part.extra if key != NAME})


def _encode_finished(answer: Answer, *, own: bool) -> str | None:
    finished = answer.finished
    if finished is None:
        return None
    calls, word = _calls(answer.parts), finished.vendor_reason if own else None
    if own and word is None and decode_reason(None, calls=calls) is finished.reason:
        return None
    return encode_reason(finished.reason, word, calls=calls)


def _encode_foreign(answer: Answer, context: AnswerContext) -> Wire:
    """An answer of another protocol, or one that was folded from a stream of this one."""
    started, own = answer.started, is_own(answer)
    numbers = sorted({0, *map(choice_of, answer.parts)}) if own else [0]
    wire = {
        "id": answer_id(started, context, own=own),
        "object": OBJECT,
        "created": started.created or context.created,
        "model": started.model or context.model,
        "choices": [_foreign_choice(answer, number, own=own) for number in numbers],
    }
    usage = encode_usage(answer.usage)
    return wire if usage is None else {**wire, "usage": usage}


def _foreign_choice(answer: Answer, number: int, *, own: bool) -> Wire:
    parts = [part for part in answer.parts if not own or choice_of(part) == number]
    texts = any(isinstance(part, Text) for part in parts)
    message = Message(
        role=Role.ASSISTANT,
        parts=tuple(only_chat(parts)),
        shape=Shape((), {"content": "string"}) if texts else None,
    )
    wire = {"role": "assistant", "content": None, "refusal": None}
    return {
        "index": number,
        "message": {**wire, **encode_turn(message, "assistant")},
        "logprobs": None,
        "finish_reason": (_encode_finished(answer, own=False) if number == 0 else None) or "stop",
    }


def answer_id(started: Started, context: AnswerContext, *, own: bool) -> str:
    """The vendor's, if it speaks this protocol; else one as OpenAI would make."""
    return (own and started.id) or f"chatcmpl-{context.call_id}"
