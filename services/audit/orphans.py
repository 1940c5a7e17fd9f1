"""Closes calls whose pipeline died: admitted, and no record of their end, although their pipeline
is no longer on the bus, or their lease is over.

Each shard's writer knows the calls of its tenants that are open: from ClickHouse when it takes
over, then from what it writes. The stream takes one terminal record a call, so if the pipeline
was only slow, one of the two wins and the other is refused.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nats.errors import Error as NatsError
from nats.js.api import Header
from nats.js.errors import APIError

from shared.bus import topology
from shared.bus.records import Admitted, CallRecord, Outcome, encode_record
from shared.canonical.failures import STATUS, FailureClass
from shared.clock import now_us

from .batch import Batch
from .presence import Presence

if TYPE_CHECKING:
    from nats.js import JetStreamContext

log = logging.getLogger("weir.audit")

LOOK_SECONDS = 2.0
GRACE_US = 1_000_000
WRONG_LAST_SEQUENCE = frozenset({10071, 10164})  # nats-server, server/errors.json
MESSAGE = "the process that ran this call ended before the call did"


class Orphans:
    """The open calls of one shard."""

    def __init__(self, js: "JetStreamContext", instance: str, presence: Presence) -> None:
        self._js = js
        self._instance = instance
        self._presence = presence
        self._open: dict[str, Admitted] = {}

    def expect(self, admissions: Iterable[Admitted]) -> None:
        self._open = {admitted.call_id: admitted for admitted in admissions}

    def note(self, batch: Batch) -> None:
        for _, admitted in batch.admissions:
            self._open[admitted.call_id] = admitted
        for _, record in batch.calls:
            self._open.pop(record.call_id, None)

    def forget(self) -> None:
        self._open.clear()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.close_expired(now_us())
                await self.close_deserted(now_us())
            except (NatsError, TimeoutError) as error:
                log.warning("abandoned calls wait to be closed: %s", type(error).__name__)

    async def close_expired(self, now: int) -> int:
        """Returns how many it closed. Raises nats-py's errors."""
        expired = [call for call in self._open.values() if call.lease_until + GRACE_US < now]
        return await self._close_all(expired, now)

    async def close_deserted(self, now: int) -> int:
        """Of pipelines that have left the bus; returns how many. Raises nats-py's errors."""
        gone = await self._presence.gone(call.instance for call in self._open.values())
        deserted = [call for call in self._open.values() if call.instance in gone]
        return await self._close_all(deserted, now)

    async def _close_all(self, calls: list[Admitted], now: int) -> int:
        closed = 0
        for admitted in calls:
            closed += await self._close(admitted, now)
            self._open.pop(admitted.call_id, None)
        return closed

    async def _close(self, admitted: Admitted, now: int) -> bool:
        subject = topology.audit_subject(admitted.tenant, admitted.call_id, "finished")
        record = abandoned(admitted, now, self._instance)
        headers = {Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: "0"}
        try:
            await self._js.publish(subject, encode_record(record), headers=headers)
        except APIError as error:
            if error.err_code in WRONG_LAST_SEQUENCE:
                return False  # it has ended after all
            raise
        log.warning("call %s was abandoned by %s", admitted.call_id, admitted.instance)
        return True


def abandoned(admitted: Admitted, ended: int, instance: str) -> CallRecord:
    """What is known of a call whose pipeline died. Its usage is not."""
    return CallRecord(
        call_id=admitted.call_id,
        tenant=admitted.tenant,
        agent=admitted.agent,
        key_id=admitted.key_id,
        model=admitted.model,
        protocol=admitted.protocol,
        streamed=admitted.streamed,
        outcome=Outcome.ABANDONED,
        status=STATUS[FailureClass.TRANSPORT],
        started=admitted.started,
        ended=ended,
        error_class=FailureClass.TRANSPORT,
        error_message=MESSAGE,
        tags=admitted.tags,
        instance=instance,
    )
