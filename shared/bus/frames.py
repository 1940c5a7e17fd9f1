"""The bytes of the reply contract: frames of an answer, and what is said back about them.

A frame is `[seq, kind, payload]` in msgpack. EVENTS, END, PIECE and DROP are numbered 1, 2, 3...
without a gap; the others take no number: PING repeats the last one that was sent.
"""

from enum import IntEnum

import msgspec
from msgspec import Struct


class Kind(IntEnum):
    ACCEPTED = 0  # payload: the control subject of who answers
    EVENTS = 1  # payload: Delivery
    PING = 2  # payload: the control subject again, in case ACCEPTED was lost
    END = 3  # payload: End
    BUSY = 4  # the worker is full: ask another
    LOST = 5  # frames that were asked for again are no longer there
    PIECE = 6  # the beginning of a payload that goes on in the next frame
    DROP = 7  # the pieces until here belong to nothing: what they began was given up


NUMBERED = frozenset({Kind.EVENTS, Kind.END, Kind.PIECE, Kind.DROP})


class Frame(Struct, frozen=True, array_like=True, gc=False):
    seq: int
    kind: Kind
    payload: bytes = b""


class Op(IntEnum):
    GRANT = 0
    RESEND = 1
    CANCEL = 2


class Control(Struct, frozen=True, array_like=True, gc=False):
    """Said by the receiver to the sender.

    GRANT: everything through `seq` is consumed, and `frames` more frames of together `size`
    bytes may be under way. RESEND: send again from `seq` on. CANCEL: nobody listens.
    """

    op: Op
    seq: int = 0
    frames: int = 0
    size: int = 0


class Settled(Struct, frozen=True, array_like=True, gc=False):
    """Said on a process's control subject number `SETTLED`: these streams have arrived whole."""

    numbers: tuple[int, ...]


SETTLED = 0

encode_frame = msgspec.msgpack.Encoder().encode
decode_frame = msgspec.msgpack.Decoder(Frame).decode
encode_control = msgspec.msgpack.Encoder().encode
decode_control = msgspec.msgpack.Decoder(Control).decode
encode_settled = msgspec.msgpack.Encoder().encode
decode_settled = msgspec.msgpack.Decoder(Settled).decode
