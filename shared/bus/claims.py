"""The claim check: a body too large for a message waits in the object store.

Ingress deposits it and sends its name; whoever needs the body collects it; the pipeline
discards it when the call has ended, and the bucket's TTL does if no pipeline lives to do so.
"""

from typing import TYPE_CHECKING

import nats.errors
from nats.js.errors import Error as JetStreamError

from . import topology

if TYPE_CHECKING:
    from nats.js import JetStreamContext


class ClaimError(Exception):
    """The object store did not take a body, or no longer has it."""


async def deposit(js: "JetStreamContext", name: str, body: bytes) -> None:
    """Raises ClaimError."""
    try:
        store = await js.object_store(topology.BODIES_BUCKET)
        await store.put(name, body)
    except (nats.errors.Error, JetStreamError) as error:
        raise ClaimError(f"the body could not be stored: {type(error).__name__}") from None


async def collect(js: "JetStreamContext", name: str) -> bytes:
    """Raises ClaimError."""
    try:
        store = await js.object_store(topology.BODIES_BUCKET)
        return (await store.get(name)).data or b""
    except (nats.errors.Error, JetStreamError) as error:
        raise ClaimError(f"the stored body is not there: {type(error).__name__}") from None


async def discard(js: "JetStreamContext", name: str) -> None:
    """Whether it succeeds or not: what stays is dropped when its time is over."""
    try:
        store = await js.object_store(topology.BODIES_BUCKET)
        await store.delete(name)
    except (nats.errors.Error, JetStreamError):
        pass
