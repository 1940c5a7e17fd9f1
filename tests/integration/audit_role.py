"""The audit role under test, with its NATS server, and a database of its own."""

from pathlib import Path
from typing import Any
from uuid import uuid4

from services.audit.queries import KEYS, SUMS, TOKENS
from tests.servers import ClickHouse, Nats, Role
from tests.stack import eventually


class Audit(Role):
    def __init__(
        self, folder: Path, nats_server: Nats, clickhouse: ClickHouse, database: str = ""
    ) -> None:
        self.nats = nats_server
        self.clickhouse = clickhouse
        self.database = database or f"audit_{uuid4().hex[:8]}"
        super().__init__(
            ["run", "audit"],
            folder,
            NATS_URL=nats_server.url,
            CLICKHOUSE_URL=f"{clickhouse.url}/{self.database}",
        )

    def query(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        client = self.clickhouse.client(database=self.database)
        try:
            return [tuple(row) for row in client.query(sql, parameters=parameters).result_rows]
        finally:
            client.close()

    def command(self, sql: str) -> None:
        client = self.clickhouse.client(database=self.database)
        client.command(sql)
        client.close()

    def count(self, table: str = "calls") -> int:
        return self.query(f"SELECT count() FROM {table}")[0][0]  # noqa: S608

    def wait_for(self, calls: int, timeout: float = 40.0) -> None:
        eventually(lambda: self.count() >= calls, timeout)

    def check(self, calls: int, admissions: int = 0) -> None:
        """Each record has one row, and the rollup is the rows' sum, by every key."""
        self.wait_for(calls)
        eventually(lambda: self.count("admissions") >= admissions)
        assert self.query("SELECT count(), uniqExact(call_id) FROM calls") == [(calls, calls)]
        assert self.count("admissions") == admissions
        eventually(lambda: self.rollup() == self.sums(), 5)  # the rows come first

    def rollup(self) -> list[tuple[Any, ...]]:
        sums = ", ".join(f"sum({name})" for name in SUMS)
        return self.query(f"SELECT {KEYS}, {sums} FROM cost_hourly GROUP BY {KEYS} ORDER BY ALL")  # noqa: S608

    def sums(self) -> list[tuple[Any, ...]]:
        """The rollup, worked out from the rows by other means than the view's."""
        tokens = ", ".join(f"sumIf(assumeNotNull({name}), {name} IS NOT NULL)" for name in TOKENS)
        return self.query(
            f"SELECT toStartOfHour(started) AS hour, tenant, agent, key_id, "  # noqa: S608
            f"tags['workflow'] AS workflow, provider, vendor, model, vendor_model, outcome, "
            f"currency, count(), countIf(outcome <> 'ok'), countIf(cost IS NULL), {tokens}, "
            f"sum(arraySum(mapValues(tool_fees))), sum(coalesce(cost, 0)) FROM calls "
            f"GROUP BY {KEYS} ORDER BY ALL"
        )
