"""Publishes audit records to JetStream, and knows when they are safe there.

`Admitted` is written ahead of a call's first content; a `CallRecord` is published until it is
acknowledged. At most one terminal record a call can enter the stream: the subject is the
call's own and must be empty (`Nats-Expected-Last-Subject-Sequence: 0`), so a repeat after a
lost acknowledgement is refused by the server, and a refusal means that it is already there.
"""

import asyncio
import logging
from typing import TYPE_CHECKING

import nats.errors
from nats.js.api import Header
from nats.js.errors import APIError

from shared.bus import topology
from shared.bus.records import Admitted, CallRecord, encode_record

if TYPE_CHECKING:
    from nats.js import JetStreamContext
    from nats.js.api import PubAck

log = logging.getLogger("weir.pipeline")

ACK_TIMEOUT = 5.0
RETRY_AFTER = 0.5
WRONG_LAST_SEQUENCE = 10071  # https://github.com/nats-io/nats-server, server/errors.json
MAX_UNACKNOWLEDGED = 20_000


class NotRecordedError(Exception):
    """JetStream did not take a record in time."""


class AuditLog:
    def __init__(self, js: "JetStreamContext") -> None:
        self.js = js
        self._finishing: set[asyncio.Task[None]] = set()

    async def admit(self, record: Admitted) -> "asyncio.Future[PubAck]":
        """Publishes it; the future is done once it is safe. See `admitted`."""
        subject = topology.audit_subject(record.tenant, record.call_id, "admitted")
        return await self.js.publish_async(subject, encode_record(record))

    async def admitted(self, admission: "asyncio.Future[PubAck]") -> None:
        """Returns when the record is safe. Raises NotRecordedError."""
        try:
            async with asyncio.timeout(ACK_TIMEOUT):
                await admission
        except (TimeoutError, nats.errors.Error) as error:
            raise NotRecordedError(f"the audit stream did not answer: {_kind(error)}") from None

    def finish(self, record: CallRecord) -> None:
        """Sees to it that the record gets into the stream, without waiting for it."""
        task = asyncio.create_task(self._publish_until_safe(record))  # noqa: TID251 - kept
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def flush(self, timeout: float) -> int:
        """Waits for what is still under way; returns how many records remain unsafe."""
        if self._finishing:
            await asyncio.wait(self._finishing, timeout=timeout)
        return len(self._finishing)

    async def _publish_until_safe(self, record: CallRecord) -> None:
        subject = topology.audit_subject(record.tenant, record.call_id, "finished")
        payload = encode_record(record)
        while True:
            headers = {Header.EXPECTED_LAST_SUBJECT_SEQUENCE: "0"}
            try:
                async with asyncio.timeout(ACK_TIMEOUT):
                    await (await self.js.publish_async(subject, payload, headers=headers))
            except APIError as error:
                if error.err_code == WRONG_LAST_SEQUENCE:
                    return
                log.warning("call %s not recorded yet: %s", record.call_id, error.description)
            except (TimeoutError, nats.errors.Error) as error:
                log.warning("call %s not recorded yet: %s", record.call_id, _kind(error))
            else:
                return
            await asyncio.sleep(RETRY_AFTER)


def _kind(error: Exception) -> str:
    return type(error).__name__
