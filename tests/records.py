"""Made-up audit records, and a publisher of them."""

import asyncio
import random
from typing import Self
from uuid import UUID

import nats
from nats.aio.client import Client
from nats.js.api import Header

from shared.bus import topology
from shared.bus.records import Admitted, CallRecord, Outcome, encode_record
from shared.canonical.usage import Usage
from shared.clock import now_us

SECOND = 1_000_000
NOON = 1_796_040_000 * SECOND
"""30 November 2026, 12:00 UTC."""


def call_id(number: int) -> str:
    return str(UUID(int=0x0190_0000_0000_7000_8000_0000_0000_0000 + number))


def finished(number: int, **changes: object) -> CallRecord:
    """A record that is a function of its number, no two alike."""
    rng = random.Random(number)  # noqa: S311 - made up
    outcome = rng.choice(list(Outcome))
    started = NOON + number * 700_000
    values: dict[str, object] = {
        "call_id": call_id(number),
        "tenant": f"tenant-{number % 7}",
        "agent": f"agent-{number % 3}",
        "key_id": f"key-{number % 5}",
        "model": f"model-{number % 4}",
        "protocol": "openai_chat",
        "streamed": number % 2 == 0,
        "outcome": outcome,
        "status": 200 if outcome is Outcome.OK else 502,
        "started": started,
        "first_token": started + 1000 if number % 2 == 0 else None,
        "ended": started + rng.randrange(SECOND),
        "provider": "openai",
        "vendor": "openai",
        "vendor_model": "gpt-4o",
        "error_class": "" if outcome is Outcome.OK else "transport",
        "error_message": "" if outcome is Outcome.OK else "it's \n broken",
        "usage": Usage(
            input=rng.randrange(10_000),
            cache_read=None if number % 3 else rng.randrange(1000),
            output=rng.randrange(1000),
            reasoning=None if number % 2 else 7,
            tool_fees={"web_search": 2} if number % 5 == 0 else {},
        ),
        "cost_nano": None if number % 11 == 0 else rng.randrange(10**10),
        "priced": number % 11 != 0,
        "price_version": "genai-prices/0",
        "attempts": 1,
        "tags": {"workflow": f"flow-{number % 2}", "it's": "x\ty"} if number % 4 else {},
        "instance": "pipeline-1",
    }
    return CallRecord(**(values | changes))  # type: ignore[arg-type]


def admitted(number: int, **changes: object) -> Admitted:
    """The admission of `finished(number)`."""
    record = finished(number)
    values: dict[str, object] = {
        name: getattr(record, name) for name in Admitted.__struct_fields__ if name != "lease_until"
    }
    return Admitted(**(values | {"lease_until": now_us() + 900 * SECOND} | changes))  # type: ignore[arg-type]


class Publisher:
    """Puts records into the audit stream as the pipeline does."""

    def __init__(self, nc: Client) -> None:
        self.nc = nc
        self.js = nc.jetstream()

    @classmethod
    async def connect(cls, url: str) -> "Publisher":
        """Brings the server to its topology."""
        publisher = cls(await nats.connect(url))
        await topology.declare(publisher.js)
        return publisher

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self.nc.close()

    async def publish(self, *records: Admitted | CallRecord) -> None:
        """In order. Raises what JetStream answers: nats-py's `publish_async` never would."""
        for start in range(0, len(records), 500):
            await asyncio.gather(*map(self._publish, records[start : start + 500]))

    async def _publish(self, record: Admitted | CallRecord) -> None:
        kind = "admitted" if isinstance(record, Admitted) else "finished"
        subject = topology.audit_subject(record.tenant, record.call_id, kind)
        only_once = {Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: "0"}
        await self.js.publish(subject, encode_record(record), headers=only_once, timeout=20)
