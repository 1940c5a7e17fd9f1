"""The queries in docs/analysts.md run, on the tables as the migrations make them."""

import re
from pathlib import Path
from uuid import uuid4

from services.audit.batch import Stored, read_batch
from services.audit.rows import CALLS
from services.audit.store import Store
from shared.bus.records import encode_record, shard_of
from tests.records import finished
from tests.servers import ClickHouse

PAGE = (Path(__file__).parents[2] / "docs" / "analysts.md").read_text()


def test_every_query_on_the_page_runs(clickhouse: ClickHouse) -> None:
    database = f"page_{uuid4().hex[:8]}"
    store = Store(f"{clickhouse.url}/{database}")
    store.prepare()
    messages = [
        Stored(number, "", encode_record(finished(7 * number + 1))) for number in range(1, 50)
    ]
    batch = read_batch(1, shard_of("tenant-1"), 0, messages)
    store.insert(CALLS, batch.calls, batch, "t")
    store.close()
    client = clickhouse.client(database=database)
    blocks = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    queries = [query for block in blocks for query in block.split(";\n") if query.strip()]
    assert len(queries) >= 7
    for query in queries:
        client.raw_query(query)
    client.close()


def test_the_page_names_every_column(clickhouse: ClickHouse) -> None:
    database = f"page_{uuid4().hex[:8]}"
    store = Store(f"{clickhouse.url}/{database}")
    store.prepare()
    store.close()
    client = clickhouse.client(database=database)
    for table in ("calls", "cost_hourly"):
        names = {row[0] for row in client.query(f"DESCRIBE TABLE {table}").result_rows}
        assert {name for name in names if f"`{name}`" not in PAGE and name not in PAGE} == set()
    client.close()
