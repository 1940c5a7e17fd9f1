"""`weir simulate`: binds the simulator, says where it listens, and runs until told to stop.

The CLI, tests and benchmarks call `serve`. It binds loopback only, unless told otherwise in so
many words, and logs nothing: what it has seen is asked over HTTP.
"""

import asyncio
import signal
import threading
from collections.abc import Callable
from ipaddress import ip_address
from socket import gaierror

from .server import Connection, Simulator

BACKLOG = 1024


class RemoteHostError(ValueError):
    """The host to bind is not known to be on loopback, and nobody said that it may be elsewhere."""


async def serve(
    host: str,
    port: int,
    *,
    record: int = 0,
    ready: Callable[[int], None] | None = None,
    allow_remote: bool = False,
) -> None:
    """Run until cancelled or SIGTERM; `ready` gets the bound port, `record` requests are kept."""
    address = await _bindable(host, allow_remote=allow_remote)
    loop = asyncio.get_running_loop()
    simulator = Simulator(record)
    server = await loop.create_server(lambda: Connection(simulator), address, port, backlog=BACKLOG)
    stopped = asyncio.Event()
    signals = threading.current_thread() is threading.main_thread()
    try:
        if signals:
            loop.add_signal_handler(signal.SIGTERM, stopped.set)
        if ready is not None:
            ready(server.sockets[0].getsockname()[1])
        await stopped.wait()
    finally:
        if signals:
            loop.remove_signal_handler(signal.SIGTERM)
        server.close()
        simulator.close()
        await server.wait_closed()


async def _bindable(host: str, *, allow_remote: bool) -> str:
    """The one address to bind: a name is looked up once, so that what was checked is bound."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, 0)
    except gaierror as error:
        raise RemoteHostError(f"{host} is no host to bind: {error.strerror}") from None
    addresses = sorted({str(entry[4][0]) for entry in found}, key=lambda it: (":" in it, it))
    remote = [it for it in addresses if not ip_address(it.partition("%")[0]).is_loopback]
    if remote and not allow_remote:
        raise RemoteHostError(
            f"{host} ({remote[0]}) is not on loopback: anybody could call it (--allow-remote)"
        )
    return addresses[0]
