"""`weir clickhouse`: the engine on a folder, its HTTP interface on a port, until SIGTERM."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Generator
from ipaddress import ip_address
from pathlib import Path

import uvicorn

from services.audit.stopping import stop_event
from shared.config import ConfigError

from .app import App
from .engine import Engine
from .errors import EngineError

log = logging.getLogger("weir.clickhouse")

KEEP_ALIVE_SECONDS = 60
BACKLOG = 256


async def serve(
    data_dir: Path, host: str, port: int, ready: Callable[[dict[str, str]], None]
) -> None:
    """`port` 0 takes a free one; `ready` is told the `url`. Raises ConfigError for
    the folder and the host, OSError for the port."""
    stopped = stop_event()
    listening = _bind(host, port)
    try:
        engine = Engine(data_dir)
    except (EngineError, OSError) as error:
        listening.close()
        raise ConfigError(f"ClickHouse can't open {data_dir}: {_reason(error)}") from None
    app = App(engine)
    server = _Server(_config(app))
    serving = asyncio.create_task(server.serve(sockets=[listening]))  # noqa: TID251 - awaited
    try:
        ready({"url": _url(listening)})
        await stopped.wait()
    finally:
        server.should_exit = True
        await serving
        await asyncio.to_thread(app.close)
        engine.close()


class _Server(uvicorn.Server):
    """uvicorn without its signal handling: `serve` ends it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def _config(app: App) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=10,
    )


def _bind(host: str, port: int) -> socket.socket:
    if host != "localhost" and not _is_loopback(host):
        raise ConfigError("the embedded ClickHouse has no password: it serves loopback alone")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError:
        listening.close()
        raise
    listening.listen(BACKLOG)
    return listening


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _reason(error: EngineError | OSError) -> str:
    """Without ClickHouse's code: the operator has not asked ClickHouse anything."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error).partition("\n")[0].partition("DB::Exception: ")[2][:300]
