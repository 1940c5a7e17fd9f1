"""The pipeline role: takes calls off the bus and sees each one through to its record.

Subscribes to `weir.v1.call.*` in one queue group; knows no wire format and opens no socket
but the bus's.
"""

import logging
from collections.abc import Callable

from services.pipeline import step
from services.pipeline.audit_log import AuditLog
from services.pipeline.call import Call, Services
from services.pipeline.router import Router
from shared.bus import topology
from shared.bus.envelope import decode_call
from shared.bus.replies import ReplySender
from shared.bus.tap import Tap
from shared.bus.worker import Worker
from shared.catalog import prices
from shared.config import Settings
from shared.lifecycle import Stop, settle

log = logging.getLogger("weir.pipeline")


async def serve(settings: Settings, ready: Callable[[dict[str, str]], None]) -> None:
    """Serves calls until SIGTERM, then lets what runs finish."""
    worker = Worker("pipeline", settings)
    await worker.connect()
    stop = Stop()
    await topology.declare(worker.bus.nc.jetstream(), settings.replicas)
    audit = AuditLog(worker.bus.nc, worker.bus.instance)
    await audit.open()
    tap = Tap(worker.bus.nc)
    await tap.open()
    services = Services(worker.bus, Router(settings), step.load(), audit, tap, settings.timeouts)

    async def run(body: bytes, sender: ReplySender) -> None:
        await Call(decode_call(body), sender, services).run()

    prices.load()
    worker.subscribe(topology.CALLS, topology.CALLS_QUEUE, run, "Calls from ingress")
    await worker.start()
    settle()
    ready({})
    await stop.requested.wait()
    await worker.drain(stop.cut)
    lost = await audit.flush(settings.timeouts.drain)
    if lost:
        log.error("%d calls could not be recorded before the end", lost)
    await worker.close()
