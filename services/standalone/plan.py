"""What `weir up` starts, in which order, and what each part is told about the others.

Foundations first (bus, ClickHouse, a model if no vendor is configured), side by side; then audit,
which migrates the tables; then the workers; last the ingress, so that its port opens when a
call can be answered. Addresses go to the children by environment, as in any deployment.
"""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path

from msgspec import Struct

from shared.bus.keys import ensure_first_key
from shared.config import Settings

from . import local_model, nats_server, ports
from .child import Info, Part
from .data_dir import DataDir
from .display import Display
from .supervisor import Supervisor
from .welcome import Summary

USUAL_NATS_PORT, USUAL_CLICKHOUSE_PORT = 4222, 8123
SIMULATED_MODEL = "sim"


class Options(Struct, frozen=True):
    """`weir up`'s command line. None: not said."""

    host: str | None = None
    port: int | None = None
    nats_port: int | None = None
    clickhouse_port: int | None = None
    data: Path | None = None
    ready_file: Path | None = None
    model: bool = True
    log_level: str | None = None


class Plan:
    def __init__(
        self, options: Options, settings: Settings, env: dict[str, str], data: DataDir
    ) -> None:
        """Raise ConfigError if a port that was asked for is in use."""
        self._env = {**env, "WEIR_DATA": str(data.path)}
        self._settings = settings
        self._data = data
        local = options.model and local_model.is_installed()
        self._stand_in_model = local_model.NAME if local else SIMULATED_MODEL
        # A vendor's key adds the vendor; only who chose a provider gets that one alone.
        beside_vendors = local and not env.get("LLM_PROVIDER")
        self._wants_stand_in = beside_vendors or not settings.providers
        self._host = options.host or settings.host
        port = settings.port if options.port is None else options.port
        self._port = ports.claim(port, "--port", self._host)
        self._nats_port = ports.prefer(options.nats_port, USUAL_NATS_PORT, "--nats-port")
        self._clickhouse_port = ports.prefer(
            options.clickhouse_port, USUAL_CLICKHOUSE_PORT, "--clickhouse-port"
        )

    async def start(self, supervisor: Supervisor, display: Display) -> Summary:
        """Raises StartError for the first part that does not get ready."""

        async def start(part: Part) -> Info:
            display.begin(part.role)
            info = await supervisor.start(part)
            display.ready(part.role, part.shows or info.get("url", ""))
            return info

        foundations = [start(self._nats()), start(self._clickhouse())]
        if self._wants_stand_in:
            foundations.append(start(self._stand_in()))
        nats, clickhouse, *stand_in = await _together(*foundations)
        self._env |= {"NATS_URL": nats["url"], "CLICKHOUSE_URL": clickhouse["url"]}
        for answering in stand_in:
            self._env |= {
                "WEIR_LOCAL_MODEL": self._stand_in_model,
                "WEIR_LOCAL_URL": f"{answering['url']}/v1",
            }
        await start(self._role("audit"))
        await _together(start(self._role("provider")), start(self._role("pipeline")))
        # Before ingress: it has read every key by the time that it is ready.
        key = await ensure_first_key(nats["url"], self._data.path)
        ingress = await start(self._role("ingress", "--host", self._host, port=self._port))
        return self._summary(key, ingress, nats, clickhouse)

    def _summary(self, key: str, ingress: Info, nats: Info, clickhouse: Info) -> Summary:
        return Summary(
            url=ingress["url"].replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:"),
            key=key,
            model=Settings.from_env(self._env).default_model or "",
            nats_url=nats["url"],
            clickhouse_url=clickhouse["url"],
            data_dir=str(self._data.path),
        )

    def _nats(self) -> Part:
        folder = self._data.nats

        def command(port: int) -> list[str]:
            config = nats_server.write_config(
                folder, port=port, max_body_bytes=self._settings.max_body_bytes
            )
            return [nats_server.find_binary(), "--config", str(config)]

        return Part(
            "nats",
            command,
            self._env,
            port=self._nats_port,
            probe=lambda: nats_server.read_addresses(folder),
        )

    def _clickhouse(self) -> Part:
        return self._own(
            "clickhouse",
            ["clickhouse", "--data", str(self._data.clickhouse)],
            port=self._clickhouse_port,
        )

    def _stand_in(self) -> Part:
        """Return what answers when no vendor is configured: a small model, or made-up answers."""
        if self._stand_in_model == local_model.NAME:
            return self._own("model", ["model"], shows=f"{local_model.NAME}, on this machine")
        return self._own("simulator", ["simulate"], shows="made-up answers: no vendor, no model")

    def _role(self, role: str, *words: str, port: int | None = None) -> Part:
        return self._own(role, ["run", role, *words], port=port)

    def _own(self, role: str, words: list[str], *, port: int | None = 0, shows: str = "") -> Part:
        """Return a part that is this program again. `port` None: it takes none."""

        def command(port_now: int) -> list[str]:
            where = [] if port is None else ["--port", str(port_now)]
            return [sys.executable, "-P", "-m", "services", *words, *where]

        return Part(role, command, dict(self._env), port=port or 0, shows=shows)


async def _together(*starts: Coroutine[None, None, Info]) -> list[Info]:
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(start) for start in starts]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
