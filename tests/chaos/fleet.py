"""A gateway as it is deployed: every role a process of its own, any of which can be killed.

Two of each role with survivors, or one of each. Everything is on loopback, on free ports that a
process keeps when it is started again.
"""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from shared.bus.keys import open_store
from tests.chaos.cluster import Cluster
from tests.servers import ClickHouse, Nats, Role, free_port
from tests.stack import eventually, vendors_at

MIB = 1024 * 1024

NOTHING: Mapping[str, str] = MappingProxyType({})


class Fleet:
    """What runs, and what is known of it."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self.env = env
        clustered = env.get("WEIR_REPLICAS", "1") != "1"
        self.nats = Cluster(folder / "nats") if clustered else Nats(folder / "nats")
        self.clickhouse = ClickHouse(folder / "clickhouse")
        self.simulator = Role(["simulate", "--port", "0", "--record", "0"], folder / "simulator")
        self.audits: list[Role] = []
        self.providers: list[Role] = []
        self.pipelines: list[Role] = []
        self.ingresses: list[Role] = []
        self.urls: list[str] = []
        self.key = ""

    @property
    def nats_url(self) -> str:
        return self.nats.url

    def named(self, role: str) -> list[Role]:
        return {
            "audit": self.audits,
            "provider": self.providers,
            "pipeline": self.pipelines,
            "ingress": self.ingresses,
        }[role]

    def role(self, name: str, number: int, *words: str, **env: str) -> Role:
        """One role, not yet started."""
        return Role(
            ["run", name, *words],
            self.folder / f"{name}-{number}",
            **{
                "NATS_URL": self.nats_url,
                "CLICKHOUSE_URL": self.clickhouse.url,
                **vendors_at(self.simulator.info["url"].removesuffix("/v1")),
                **self.env,
                **env,
            },
        )

    def ingress(self, number: int, **env: str) -> Role:
        port = free_port()
        self.urls.append(f"http://127.0.0.1:{port}")
        return self.role("ingress", number, "--port", str(port), **env)

    def pids(self) -> dict[str, int]:
        """Of what handles calls, and the bus."""
        found = {"nats": self.nats.pid}
        for name in ("provider", "pipeline", "ingress", "audit"):
            for number, role in enumerate(self.named(name)):
                found[f"{name}-{number}"] = role.pid
        return found

    def in_flight_at_vendor(self) -> int:
        return int(self.simulator_facts("stats")["in_flight"])

    def simulator_facts(self, path: str) -> Any:
        url = f"{self.simulator.info['url']}/_simulator/{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)

    def status(self, path: str, number: int = 0) -> int:
        """Of a GET at an ingress; 0 where nothing answers."""
        asked = urllib.request.Request(
            f"{self.urls[number]}{path}", headers={"x-api-key": self.key}
        )
        try:
            with urllib.request.urlopen(asked, timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def monitoring(self, path: str) -> Any:
        """What the NATS server tells about itself."""
        with urllib.request.urlopen(f"{self.nats.monitoring_url}/{path}", timeout=10) as answer:
            return json.load(answer)

    def new_key(self) -> str:
        async def create() -> str:
            async with open_store(self.nats_url) as store:
                return await store.create("default", "default")

        return asyncio.run(create())

    def answered(self, url: str) -> bool:
        asked = urllib.request.Request(f"{url}/v1/models", headers={"x-api-key": self.key})
        try:
            with urllib.request.urlopen(asked, timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def unclosed(self) -> list[str]:
        """Calls that were admitted and have no row."""
        rows = self.clickhouse.query(
            "SELECT toString(call_id) FROM admissions "
            "WHERE call_id NOT IN (SELECT call_id FROM calls)"
        )
        return [row[0] for row in rows]

    def doubled(self) -> list[str]:
        rows = self.clickhouse.query(
            "SELECT toString(call_id) FROM calls GROUP BY call_id HAVING count() > 1"
        )
        return [row[0] for row in rows]

    def outcomes(self, call_ids: list[str]) -> dict[str, str]:
        rows = self.clickhouse.query(
            "SELECT toString(call_id), toString(outcome) FROM calls "
            "WHERE call_id IN {ids:Array(UUID)}",
            ids=call_ids,
        )
        return dict(rows)

    def await_rows(self, call_ids: list[str], timeout: float = 30.0) -> dict[str, str]:
        """The outcome of each of these calls, once all have their row, and none has two."""
        wanted = sorted({call_id for call_id in call_ids if call_id})

        def complete() -> dict[str, str] | None:
            found = self.outcomes(wanted)
            return found if len(found) == len(wanted) and not self.unclosed() else None

        found = eventually(complete, timeout)
        assert self.doubled() == []
        return found


@contextmanager
def running(
    folder: Path, *, each: int = 1, max_payload: int | None = None, env: Mapping[str, str] = NOTHING
) -> Generator[Fleet]:
    """A whole fleet, with `each` of every role that can stand beside another."""
    fleet = Fleet(folder, dict(env))
    fleet.nats.max_payload = max_payload
    with ExitStack() as stack:
        fleet.nats.start()
        stack.callback(fleet.nats.stop)
        starting = [fleet.clickhouse, fleet.simulator]
        for server in starting:
            stack.callback(_end, server)
        _start_all(starting)
        fleet.audits.append(fleet.role("audit", 0))
        for number in range(each):
            fleet.providers.append(fleet.role("provider", number))
            fleet.pipelines.append(fleet.role("pipeline", number))
            fleet.ingresses.append(fleet.ingress(number))
        roles = [*fleet.audits, *fleet.providers, *fleet.pipelines, *fleet.ingresses]
        for role in roles:
            stack.callback(_end, role)
        _start_all(roles)
        fleet.key = fleet.new_key()
        for url in fleet.urls:
            eventually(lambda url=url: fleet.answered(url))
        yield fleet


def _start_all(roles: list[Role]) -> None:
    """Side by side: most of a start is importing."""
    for role in roles:
        role.launch()
    for role in roles:
        role.await_ready()


def _end(role: Role) -> None:
    """At a test's end: what is left of it may be anything."""
    if role.running:
        role.kill()
