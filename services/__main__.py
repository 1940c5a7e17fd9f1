"""The `weir` command's entry: parses, then calls.

What is called stands in `commands.py`, imported only then, so that `weir --help` is instant. What
an operator can mend (a setting, a port, a folder) is one line and exit status 2, never a traceback.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

ROLES = ("ingress", "pipeline", "provider", "audit")
LOG_LEVELS = ("debug", "info", "warning", "error")

AddParser = Callable[..., argparse.ArgumentParser]


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    from services import commands

    try:
        return commands.COMMANDS[options.command](options)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        line = commands.operator_line(error)
        if line is None:
            raise
        print(f"weir: {line}", file=sys.stderr)
        return 2


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as everything else here does."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"weir: {message} (see `{self.prog} --help`)\n")


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError
    return port


_port.__name__ = "port"  # argparse says "invalid port value"


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="weir",
        description="A governed, metered gateway for LLM calls, on NATS and ClickHouse.",
    )
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True
    )
    add: AddParser = commands.add_parser
    _add_up(add)
    _add_run(add)
    _add_keys(add)
    _add_tail(add)
    _add_servers(add)
    add("version", help="print the version")
    return parser


def _add_up(add: AddParser) -> None:
    up = add("up", help="the whole gateway on this machine, nothing else needed")
    up.add_argument("--host", help="where the gateway listens (WEIR_HOST, 127.0.0.1)")
    up.add_argument("--port", type=_port, help="its port (WEIR_PORT, 8080); 0: any free one")
    up.add_argument("--nats-port", type=_port, metavar="PORT", help="4222 if free; 0: any")
    up.add_argument("--clickhouse-port", type=_port, metavar="PORT", help="8123 if free; 0: any")
    up.add_argument("--data", type=Path, metavar="DIR", help="the data folder (WEIR_DATA, .weir)")
    up.add_argument("--ready-file", type=Path, metavar="PATH", help="written once all is ready")
    up.add_argument("--no-model", action="store_true", help="simulate instead of a local model")
    up.add_argument("--log-level", choices=LOG_LEVELS, help="of every role (WEIR_LOG_LEVEL)")


def _add_run(add: AddParser) -> None:
    run = add("run", help="one role, against NATS_URL and CLICKHOUSE_URL")
    run.add_argument("role", choices=ROLES, metavar="ROLE", help=", ".join(ROLES))
    run.add_argument("--host", help="where the ingress listens (WEIR_HOST)")
    run.add_argument("--port", type=_port, help="its port (WEIR_PORT)")
    run.add_argument("--vendor", type=_names, metavar="A,B", help="only these vendors' attempts")
    run.add_argument("--log-level", choices=LOG_LEVELS, help="WEIR_LOG_LEVEL")
    _add_ready_fd(run)


def _add_keys(add: AddParser) -> None:
    actions = add("keys", help="virtual keys: create, list, revoke").add_subparsers(
        dest="action", metavar="ACTION", required=True
    )
    create = actions.add_parser("create", help="make a key; it is shown this once")
    create.add_argument("--tenant", default="default", help="who pays (default)")
    create.add_argument("--agent", default="default", help="who calls (default)")
    actions.add_parser("list", help="id, tenant, agent and state of every key")
    revoke = actions.add_parser("revoke", help="end a key, everywhere, within seconds")
    revoke.add_argument("id", help="as `weir keys list` shows it")


def _add_tail(add: AddParser) -> None:
    tail = add("tail", help="running calls' events, live")
    tail.add_argument("--tenant", default="", help="only this tenant's")
    tail.add_argument("--agent", default="", help="only this agent's")
    tail.add_argument("--call", default="", metavar="ID", help="only this call's")


def _add_servers(add: AddParser) -> None:
    simulate = add("simulate", help="vendors' wire formats with made-up answers")
    simulate.add_argument("--host", default="127.0.0.1")
    simulate.add_argument("--port", type=_port, default=0, help="0: any free one")
    simulate.add_argument("--record", type=int, default=0, metavar="N", help="keep N requests")
    simulate.add_argument("--ready-file", type=Path, metavar="PATH", help="written once ready")
    simulate.add_argument("--allow-remote", action="store_true", help="not on loopback alone")

    clickhouse = add("clickhouse", help="the embedded ClickHouse")
    clickhouse.add_argument("--data", type=Path, metavar="DIR", default=Path(".weir/clickhouse"))
    clickhouse.add_argument("--host", default="127.0.0.1")
    clickhouse.add_argument("--port", type=_port, default=8123, help="0: any free one")

    model = add("model", help="the small local model, as an OpenAI-compatible server")
    model.add_argument("--port", type=_port, default=0, help="0: any free one")
    for parser in (simulate, clickhouse, model):
        _add_ready_fd(parser)


def _add_ready_fd(parser: argparse.ArgumentParser) -> None:
    """A child of `weir up` says on this file descriptor that it is ready."""
    parser.add_argument("--ready-fd", type=int, metavar="N", help=argparse.SUPPRESS)


if __name__ == "__main__":
    sys.exit(main())
