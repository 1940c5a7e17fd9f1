"""What each `weir` command does, once its words are parsed.

Called by `__main__` alone. A role is imported by the command that runs it, so a provider worker
never loads ClickHouse's client, nor an ingress llama.cpp.
"""

import asyncio
import errno
import json
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Coroutine
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import cast

from nats.errors import NoServersError
from nats.js.errors import KeyNotFoundError

from services.standalone.files import write_private
from services.standalone.lifeline import watch_parent
from shared.bus.keys import open_store
from shared.config import ConfigError, Settings

FOLDERS = {"ingress": "ingress", "pipeline": "pipeline", "provider": "providers", "audit": "audit"}
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

Announce = Callable[[dict[str, str]], None]


def operator_line(error: BaseException) -> str | None:
    """Say in one line what the operator can mend; None if it is not theirs to mend."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    if isinstance(error, ConfigError):
        return str(error)
    if isinstance(error, NoServersError | ConnectionRefusedError):
        return "no NATS server answers: is NATS_URL right, and the server up?"
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return "the port is in use: choose another with --port"
    return None


def up(options: Namespace) -> int:
    from services.standalone import up as standalone
    from services.standalone.plan import Options

    _level_number(options.log_level or Settings.from_env().log_level)
    return standalone.run(
        Options(
            host=options.host,
            port=options.port,
            nats_port=options.nats_port,
            clickhouse_port=options.clickhouse_port,
            data=options.data,
            ready_file=options.ready_file,
            model=not options.no_model,
            log_level=options.log_level,
        )
    )


def run(options: Namespace) -> int:
    settings = Settings.from_env()
    given = {"host": options.host, "port": options.port, "log_level": options.log_level}
    settings = settings.model_copy(update={k: v for k, v in given.items() if v is not None})
    if options.vendor and options.role != "provider":
        raise ConfigError("only a provider takes --vendor")
    _log_to_stderr(settings.log_level)
    app = import_module(f"services.{FOLDERS[options.role]}.app")
    extra = {"vendors": frozenset(options.vendor)} if options.vendor else {}
    return _serve(options, app.serve(settings, _announce_to(options), **extra))


def simulate(options: Namespace) -> int:
    from services.simulator import app

    announce = _announce_to(options)

    def ready(port: int) -> None:
        host = f"[{options.host}]" if ":" in options.host else options.host
        url = f"http://{host}:{port}"
        print(f"Simulating vendors at {url}", flush=True)
        if options.ready_file:
            told = {"url": url, "port": port, "pid": os.getpid()}
            write_private(options.ready_file, json.dumps(told).encode())
        announce({"url": url})

    serving = app.serve(
        options.host,
        options.port,
        record=options.record,
        ready=ready,
        allow_remote=options.allow_remote,
    )
    try:
        return _serve(options, serving)
    except app.RemoteHostError as error:
        raise ConfigError(str(error)) from None


def clickhouse(options: Namespace) -> int:
    from services.audit import embedded

    _log_to_stderr("info")
    return _serve(
        options,
        embedded.serve(options.data, options.host, options.port, _announce_to(options)),
    )


def model(options: Namespace) -> int:
    from services.standalone import local_model

    return _serve(options, local_model.serve(options.port, _announce_to(options)))


def keys(options: Namespace) -> int:
    logging.disable()  # nats-py logs a traceback for every address that does not answer
    return asyncio.run(_manage_keys(options))


async def _manage_keys(options: Namespace) -> int:
    async with open_store(Settings.from_env().nats_url) as store:
        try:
            if options.action == "create":
                print(await store.create(options.tenant, options.agent))
            elif options.action == "revoke":
                await store.revoke(options.id)
            else:
                for record in await store.all():
                    state = "revoked" if record.revoked else "in use"
                    print(f"{record.id}  {record.tenant}  {record.agent}  {state}")
        except KeyNotFoundError:
            raise ConfigError(f"there is no key {options.id}") from None
        except ValueError as error:
            raise ConfigError(str(error)) from None
    return 0


def tail(options: Namespace) -> int:
    from services.tail import tail as show
    from shared.bus.tap import Interest

    interest = Interest(options.tenant, options.agent, options.call)
    asyncio.run(show(Settings.from_env().nats_url, interest))
    return 0


def show_version(_: Namespace) -> int:
    try:
        number = version("weir")
    except PackageNotFoundError:
        number = "(from source, not installed)"
    print(f"weir {number}, Python {sys.version.split()[0]}")
    return 0


COMMANDS: dict[str, Callable[[Namespace], int]] = {
    "up": up,
    "run": run,
    "simulate": simulate,
    "clickhouse": clickhouse,
    "model": model,
    "keys": keys,
    "tail": tail,
    "version": show_version,
}


def _serve(options: Namespace, serving: Coroutine[None, None, None]) -> int:
    """Run a role until it returns. A child of `weir up` ends with it, however that ended."""
    import uvloop

    if options.ready_fd is not None:
        watch_parent()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving)
    return 0


def _announce_to(options: Namespace) -> Announce:
    """Return what a role calls once it is ready: `weir up`, if it started it, is told."""

    def announce(info: dict[str, str]) -> None:
        if options.ready_fd is not None:
            os.write(options.ready_fd, json.dumps(info).encode() + b"\n")
            os.close(options.ready_fd)

    return announce


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(level=_level_number(level), format=LOG_FORMAT)


def _level_number(level: str) -> int:
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ConfigError("WEIR_LOG_LEVEL must be one of debug, info, warning, error")
    return number
