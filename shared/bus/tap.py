"""The tap: running calls, shown live to an operator who asks, and free while nobody does.

Who listens says so again and again on `TAP_CALLS`; a pipeline publishes what its calls send on
`weir.v1.tap.<tenant>.<agent>` only while it has heard that lately. Payloads are those of the
reply frames, as they are.
"""

from time import monotonic
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from . import topology
from .envelope import CallEnvelope
from .frames import Kind

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

SAY_EVERY = 2.0
BELIEVE_FOR = 6.0


class Interest(Struct, frozen=True, array_like=True):
    """Whose calls somebody wants to see; "" is everybody's."""

    tenant: str = ""
    agent: str = ""
    call_id: str = ""

    def covers(self, call: CallEnvelope) -> bool:
        return (
            self.tenant in ("", call.principal.tenant)
            and self.agent in ("", call.principal.agent)
            and self.call_id in ("", call.call_id)
        )


class Tapped(Struct, frozen=True, kw_only=True, array_like=True):
    """One frame of one call. `payload` is a `Delivery` (EVENTS) or an `End` (END)."""

    call_id: str
    tenant: str
    agent: str
    model: str
    protocol: str
    kind: Kind
    payload: bytes


encode_interest = msgspec.msgpack.Encoder().encode
decode_interest = msgspec.msgpack.Decoder(Interest).decode
decode_tapped = msgspec.msgpack.Decoder(Tapped).decode
_encode_tapped = msgspec.msgpack.Encoder().encode


class Tap:
    """A pipeline's side. `listening` is all that a frame costs while nobody does."""

    def __init__(self, nc: "Client") -> None:
        self._nc = nc
        self._interests: dict[Interest, float] = {}
        self.listening = False

    async def open(self) -> None:
        await self._nc.subscribe(topology.TAP_CALLS, cb=self._heard)

    async def show(self, call: CallEnvelope, kind: Kind, payload: bytes) -> None:
        """Publishes a frame if somebody wants to see this call's."""
        now = monotonic()
        self._interests = {who: until for who, until in self._interests.items() if until > now}
        self.listening = bool(self._interests)
        if any(interest.covers(call) for interest in self._interests):
            tapped = Tapped(
                call_id=call.call_id,
                tenant=call.principal.tenant,
                agent=call.principal.agent,
                model=call.model,
                protocol=call.protocol,
                kind=kind,
                payload=payload,
            )
            subject = topology.tap_subject(call.principal.tenant, call.principal.agent)
            await self._nc.publish(subject, _encode_tapped(tapped))

    async def _heard(self, msg: "Msg") -> None:
        try:
            self._interests[decode_interest(msg.data)] = monotonic() + BELIEVE_FOR
            self.listening = True
        except msgspec.DecodeError:
            pass  # not ours
