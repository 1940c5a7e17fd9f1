"""Publishes audit records to JetStream, and knows when they are safe there.

`Admitted` is written ahead of a call's first content; a `CallRecord` is published until it is
acknowledged. At most one terminal record a call can enter the stream: the subject is the
call's own and must be empty (`Nats-Expected-Last-Subject-Sequence: 0`), so a repeat after a
lost acknowledgement is refused by the server, and a refusal means that it is already there.

Acknowledgements come to one inbox of this process; no task or timer is made for a record.
"""

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING

import msgspec
import nats.errors
from msgspec import Struct
from nats.js.api import Header

from shared.bus import topology
from shared.bus.records import Admitted, CallRecord, encode_record

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

log = logging.getLogger("weir.pipeline")

ACK_TIMEOUT = 5.0
RETRY_AFTER = 1.0
WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
"""The subject is not empty. https://github.com/nats-io/nats-server, server/errors.json"""
MAX_UNSAFE = 20_000
"""So many records may wait for JetStream; beyond that no call is admitted."""

Admission = asyncio.Future[None]


class NotRecordedError(Exception):
    """JetStream did not take a record in time."""


class Problem(Struct, frozen=True):
    err_code: int = 0
    description: str = ""


class Acknowledgement(Struct, frozen=True):
    """What JetStream answers to a publish. https://docs.nats.io/reference/reference-protocols"""

    error: Problem | None = None


class Unsafe(Struct):
    """A terminal record that is not yet known to be in the stream."""

    subject: str
    payload: bytes
    sent: float


_decode_ack = msgspec.json.Decoder(Acknowledgement).decode
_ONLY_ONE = {Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: "0"}


class AuditLog:
    def __init__(self, nc: "Client", instance: str) -> None:
        self._nc = nc
        self._instance = instance
        self._number = 0
        self._admissions: dict[int, Admission] = {}
        self._unsafe: dict[int, Unsafe] = {}
        self._all_safe = asyncio.Event()
        self._all_safe.set()
        self._ticker: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self._nc.subscribe(topology.ack_subject(self._instance, "*"), cb=self._on_ack)
        self._ticker = asyncio.create_task(self._tick(), name="audit-log")  # noqa: TID251 - kept

    async def admit(self, record: Admitted) -> Admission:
        """Publishes it; `admitted` waits until it is safe. Raises NotRecordedError."""
        if len(self._unsafe) >= MAX_UNSAFE:
            raise NotRecordedError("the audit stream takes no records")
        number = self._next()
        admission = asyncio.get_running_loop().create_future()
        admission.add_done_callback(lambda _: self._admissions.pop(number, None))
        self._admissions[number] = admission
        subject = topology.audit_subject(record.tenant, record.call_id, "admitted")
        await self._publish(subject, encode_record(record), number)
        return admission

    async def admitted(self, admission: Admission) -> None:
        """Returns when the record is safe. Raises NotRecordedError."""
        if admission.done():
            admission.result()
            return
        try:
            async with asyncio.timeout(ACK_TIMEOUT):
                await admission
        except TimeoutError:
            raise NotRecordedError("the audit stream did not answer in time") from None

    async def finish(self, record: CallRecord) -> None:
        """Sees to it that the record gets into the stream, without waiting until it is there."""
        subject = topology.audit_subject(record.tenant, record.call_id, "finished")
        number = self._next()
        unsafe = Unsafe(subject, encode_record(record), monotonic())
        self._unsafe[number] = unsafe
        self._all_safe.clear()
        await self._publish(subject, unsafe.payload, number, _ONLY_ONE)

    async def flush(self, timeout: float) -> int:
        """Waits for what is still under way; returns how many records remain unsafe."""
        try:
            async with asyncio.timeout(timeout):
                await self._all_safe.wait()
        except TimeoutError:
            pass
        if self._ticker is not None:
            self._ticker.cancel()
        return len(self._unsafe)

    def _next(self) -> int:
        self._number += 1
        return self._number

    async def _publish(
        self, subject: str, payload: bytes, number: int, headers: dict[str, str] | None = None
    ) -> None:
        reply = topology.ack_subject(self._instance, number)
        try:
            await self._nc.publish(subject, payload, reply, headers)
        except nats.errors.Error as error:
            log.warning("a record waits: %s", type(error).__name__)

    async def _on_ack(self, msg: "Msg") -> None:
        try:
            self._acknowledge(int(msg.subject.rpartition(".")[2]), _problem(msg))
        except (Exception, asyncio.CancelledError):
            log.exception("an acknowledgement")

    def _acknowledge(self, number: int, problem: Problem | None) -> None:
        admission = self._admissions.get(number)
        if admission is not None and not admission.done():
            if problem is None:
                admission.set_result(None)
            else:
                admission.set_exception(NotRecordedError(problem.description))
                admission.exception()  # nobody may be waiting for it any more
        elif number in self._unsafe:
            if problem is None or problem.err_code in WRONG_LAST_SEQUENCE:
                self._safe(number)
            else:
                log.warning("a record waits: %s", problem.description)

    def _safe(self, number: int) -> None:
        del self._unsafe[number]
        if not self._unsafe:
            self._all_safe.set()

    async def _tick(self) -> None:
        """Publishes again what has not been acknowledged."""
        while True:
            await asyncio.sleep(RETRY_AFTER)
            now = monotonic()
            if not self._nc.is_connected:
                continue
            for number, unsafe in tuple(self._unsafe.items()):
                if now - unsafe.sent > ACK_TIMEOUT:
                    unsafe.sent = now
                    await self._publish(unsafe.subject, unsafe.payload, number, _ONLY_ONE)


def _problem(msg: "Msg") -> Problem | None:
    """What JetStream did not like; None if it took the record."""
    if not msg.data:  # the server's "no responders": there is no such stream now
        return Problem(description="there is no audit stream")
    return _decode_ack(msg.data).error
