"""Words of HTTP that ClickHouse's answers use: headers and content types. Pure but for `send`."""

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from .engine import Summary
from .request import Query

Headers = list[tuple[bytes, bytes]]

TEXT = b"text/plain; charset=UTF-8"
BINARY = b"application/octet-stream"
TABS = b"text/tab-separated-values; charset=UTF-8"
CONTENT_TYPES = {
    "arrow": BINARY,
    "arrowstream": BINARY,
    "csv": b"text/csv; charset=UTF-8; header=absent",
    "csvwithnames": b"text/csv; charset=UTF-8; header=present",
    "json": b"application/json; charset=UTF-8",
    "jsoncompact": b"application/json; charset=UTF-8",
    "jsoneachrow": b"application/x-ndjson; charset=UTF-8",
    "native": BINARY,
    "parquet": BINARY,
    "rowbinary": BINARY,
    "tabseparated": TABS,
    "tabseparatedwithnames": TABS,
    "tsv": TABS,
}
DISPLAY_NAME = b"weir"


def answer_headers(query: Query, summary: Summary, timezone: str) -> Headers:
    """A statement that answers with rows has a format, even if there are none."""
    headers = [
        (b"x-clickhouse-query-id", (query.query_id or secrets.token_hex(16)).encode()),
        (b"x-clickhouse-server-display-name", DISPLAY_NAME),
        (b"x-clickhouse-summary", _summary(query, summary)),
        (b"x-clickhouse-timezone", timezone.encode()),
    ]
    if query.statement.answers:
        output = query.output_format
        content_type = CONTENT_TYPES.get(output.lower(), TEXT)
        headers += [(b"content-type", content_type), (b"x-clickhouse-format", output.encode())]
    return headers


def _summary(query: Query, found: Summary) -> bytes:
    rows, size = str(found.rows), str(found.bytes)
    written = query.statement.data is not None
    return msgspec.json.encode(
        {
            "read_rows": rows,
            "read_bytes": size,
            "written_rows": rows if written else "0",
            "written_bytes": size if written else "0",
            "total_rows_to_read": "0",
            "result_rows": rows,
            "result_bytes": size,
            "elapsed_ns": str(int(found.seconds * 1e9)),
        }
    )


async def send_whole(
    send: Callable[[dict[str, Any]], Awaitable[None]], status: int, headers: Headers, body: bytes
) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
