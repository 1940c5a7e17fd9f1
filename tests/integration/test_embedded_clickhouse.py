"""The embedded ClickHouse, as its clients see it: clickhouse-connect, curl, plain HTTP."""

import gzip
import json
import shutil
import signal
import subprocess
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import lz4.frame
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, Error

from services.audit.embedded.coding import zstd
from tests.servers import ClickHouse, Role, free_port

KINDS = """
    id UUID, name LowCardinality(String), cost Nullable(Decimal(18, 9)),
    at DateTime64(6, 'UTC'), first Nullable(DateTime64(6, 'UTC')), tags Map(String, String),
    fees Map(LowCardinality(String), UInt32), ok Bool, tokens Nullable(UInt64), status UInt16,
    big Decimal(38, 9), list Array(Nullable(Int32)), day Date, kind Enum8('a' = 1, 'b' = 2),
    note Nullable(String), label LowCardinality(Nullable(String))
"""
ROW: list[Any] = [
    UUID("0190163d-8694-739b-aea5-966c26f8ad91"),
    "name ' \\ \" \n\n ünï",
    Decimal("123456789.000000001"),
    datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC),
    None,
    {"workflow": "it's", "": "x\ty"},
    {"web_search": 2},
    True,
    None,
    529,
    Decimal("-12345678901234567890.123456789"),
    [1, None, -3],
    datetime(2026, 11, 1, tzinfo=UTC).date(),
    "b",
    None,
    "warm",
]


def http(
    server: ClickHouse,
    query: dict[str, str] | None = None,
    body: bytes = b"",
    *,
    method: str = "POST",
    path: str = "/",
    **headers: str,
) -> tuple[int, dict[str, str], bytes]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    target = f"{path}?{urlencode(query)}" if query else path
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, target, body, named)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, content


@pytest.mark.parametrize("compress", [True, False, "gzip", "lz4", "zstd"])
def test_every_type_comes_back_as_it_went_in(clickhouse: ClickHouse, compress: Any) -> None:
    client = clickhouse.client(compress=compress)
    client.command(f"CREATE OR REPLACE TABLE kinds ({KINDS}) ENGINE = MergeTree ORDER BY id")
    columns = [[value] * 3 for value in ROW]
    summary = client.insert("kinds", columns, column_oriented=True)
    assert summary.written_rows == 3
    client.insert("kinds", [ROW, ROW])
    result = client.query("SELECT * FROM kinds")
    expected = tuple(value.replace(tzinfo=None) if value == ROW[3] else value for value in ROW)
    assert result.result_rows == [expected] * 5  # this client leaves UTC unsaid
    assert result.column_names == tuple(part.split()[0] for part in _columns())
    assert [kind.name for kind in result.column_types][1] == "LowCardinality(String)"
    client.command("DROP TABLE kinds")
    client.close()


def _columns() -> list[str]:
    parts, depth = [""], 0
    for character in KINDS:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def test_parameters_are_bound_at_the_server(clickhouse: ClickHouse) -> None:
    client = clickhouse.client()
    given = {"text": "o'clock\n\\", "number": 7, "list": ["a", "b'c"], "at": ROW[3]}
    sql = (
        "SELECT {text:String}, {number:UInt32}, {list:Array(String)}, {at:DateTime64(6)}, "
        "{none:Nullable(String)}"
    )
    row = client.query(sql, parameters={**given, "none": None}).result_rows[0]
    assert row[:3] == ("o'clock\n\\", 7, ["a", "b'c"])
    assert row[3].replace(tzinfo=UTC) == given["at"]
    assert row[4] is None
    long = "x" * 100_000  # clients send what does not fit in a URL as a form
    assert client.query("SELECT {a:String}", parameters={"a": long}).result_rows == [(long,)]
    client.close()


def test_settings_hold_for_their_query_alone(clickhouse: ClickHouse) -> None:
    client = clickhouse.client()
    read = "SELECT getSetting('max_threads'), getSetting('log_comment')"
    default = client.query(read).result_rows
    changed = client.query(read, settings={"max_threads": 1, "log_comment": "it's"}).result_rows
    assert changed == [(1, "it's")]
    assert client.query(read).result_rows == default
    client.close()


def test_a_repeated_token_is_dropped_in_the_table_and_in_its_view(clickhouse: ClickHouse) -> None:
    client = clickhouse.client()
    for name in ("dedup_view", "dedup_sums", "dedup"):
        client.command(f"DROP TABLE IF EXISTS {name}")
    window = "SETTINGS non_replicated_deduplication_window = 100"
    client.command(f"CREATE TABLE dedup (a UInt64) ENGINE = MergeTree ORDER BY a {window}")
    client.command(
        f"CREATE TABLE dedup_sums (n Int64) ENGINE = SummingMergeTree ORDER BY () {window}"
    )
    client.command(
        "CREATE MATERIALIZED VIEW dedup_view TO dedup_sums AS "
        "SELECT toInt64(count()) AS n FROM dedup"
    )
    for token in ("first", "first", "second"):
        client.insert("dedup", [[1], [2]], ["a"], settings={"insert_deduplication_token": token})
    assert client.query("SELECT count() FROM dedup").result_rows == [(4,)]
    assert client.query("SELECT sum(n) FROM dedup_sums").result_rows == [(4,)]
    client.close()


def test_a_big_result_streams_and_comes_whole(clickhouse: ClickHouse) -> None:
    rows = 1_000_000
    client = clickhouse.client()
    sql = "SELECT number, toString(number) AS text FROM numbers({rows:UInt64})"
    result = client.query(sql, parameters={"rows": rows})
    assert result.row_count == rows
    assert result.result_columns[0][-1] == rows - 1
    client.close()


def test_a_reader_that_leaves_ends_its_query(clickhouse: ClickHouse) -> None:
    for _ in range(6):  # more than there are threads
        connection = HTTPConnection("127.0.0.1", clickhouse.port, timeout=30)
        connection.request("POST", "/", b"SELECT number FROM system.numbers")
        assert connection.getresponse().read(2) == b"0\n"
        connection.close()
    assert http(clickhouse, body=b"SELECT 1")[2] == b"1\n"


def test_an_empty_result_is_no_error(clickhouse: ClickHouse) -> None:
    client = clickhouse.client()
    assert client.query("SELECT 1 AS a WHERE 0").result_rows == []
    assert client.query("SELECT 1 AS a, 'x' AS b LIMIT 0").column_names == ("a", "b")
    assert client.command("SELECT 1 WHERE 0") == ""
    client.close()


def test_an_error_is_clickhouses_own(clickhouse: ClickHouse) -> None:
    client = clickhouse.client()
    with pytest.raises(DatabaseError) as caught:
        client.query("SELECT * FROM no_such_table")
    assert caught.value.code == 60
    assert caught.value.name == "UNKNOWN_TABLE"
    with pytest.raises(DatabaseError) as caught:
        client.query("SELECT throwIf(number = 3, 'three') FROM numbers(10)")
    assert "three" in str(caught.value)
    with pytest.raises(DatabaseError, match="does not exist"):
        clickhouse.client(database="no_such_database").query("SELECT 1")
    client.close()


def test_an_error_after_the_first_rows_reaches_the_client(clickhouse: ClickHouse) -> None:
    client = clickhouse.client()
    sql = "SELECT throwIf(number = 3000000, 'late') FROM numbers(4000000)"
    with pytest.raises(Error, match="late"):
        client.query(sql).result_rows  # noqa: B018 - results are read late
    assert client.query("SELECT 1").result_rows == [(1,)]
    client.close()


@pytest.mark.parametrize(
    ("sql", "status", "code"),
    [
        ("SELEC 1", 400, 62),
        ("", 400, 62),
        ("SELECT 1; SELECT 2", 400, 62),
        ("SELECT * FROM nowhere", 404, 60),
        ("SELECT nothing", 404, 47),
        ("SELECT nofunction(1)", 404, 46),
        ("SELECT 1 SETTINGS nosetting = 1", 404, 115),
        ("SELECT toUInt8('x')", 400, 6),
        ("SELECT 1 INTO OUTFILE 'x'", 501, 48),
        ("INSERT INTO t FROM INFILE 'x' FORMAT CSV", 501, 48),
        ("SELECT 1 FORMAT NoFormat", 404, 73),
        ("SELECT groupArray(number) FROM numbers(500000000)", 500, 241),
        ("SELECT {missing:String}", 400, 456),
    ],
)
def test_what_is_wrong_has_a_status_and_a_code(
    clickhouse: ClickHouse, sql: str, status: int, code: int
) -> None:
    answer = http(clickhouse, body=sql.encode())
    assert answer[0] == status
    assert answer[1]["x-clickhouse-exception-code"] == str(code)
    assert answer[2].startswith(f"Code: {code}. DB::Exception: ".encode())
    assert http(clickhouse, body=b"SELECT 1")[2] == b"1\n"


def test_bytes_that_are_no_text_break_nothing(clickhouse: ClickHouse) -> None:
    assert http(clickhouse, body=b"SELECT '\xff\xfe'")[2] == b"\xff\xfe\n"
    status, _, text = http(clickhouse, body=b"SELECT toUInt8('\xff')")
    assert (status, text[:9]) == (400, b"Code: 6. ")


def test_probes_and_headers(clickhouse: ClickHouse) -> None:
    assert http(clickhouse, method="GET", path="/ping")[::2] == (200, b"Ok.\n")
    assert http(clickhouse, method="GET")[::2] == (200, b"Ok.\n")
    assert http(clickhouse, method="GET", path="/nowhere")[0] == 404
    status, headers, body = http(clickhouse, {"query": "SELECT 1", "query_id": "mine"})
    assert (status, body) == (200, b"1\n")
    assert headers["x-clickhouse-query-id"] == "mine"
    assert headers["x-clickhouse-format"] == "TabSeparated"
    assert headers["x-clickhouse-timezone"]
    assert headers["x-clickhouse-server-display-name"] == "weir"
    assert set(json.loads(headers["x-clickhouse-summary"])) >= {"read_rows", "written_rows"}
    assert headers["content-type"] == "text/tab-separated-values; charset=UTF-8"


def test_a_format_is_chosen_in_the_statement_the_url_or_a_header(clickhouse: ClickHouse) -> None:
    expected = b'{"a":1}\n'
    assert http(clickhouse, body=b"SELECT 1 AS a FORMAT JSONEachRow")[2] == expected
    assert http(clickhouse, {"default_format": "JSONEachRow"}, b"SELECT 1 AS a")[2] == expected
    assert http(clickhouse, body=b"SELECT 1 AS a", x_clickhouse_format="JSONEachRow")[2] == expected
    headers = http(clickhouse, body=b"SELECT 1 AS a FORMAT JSON")[1]
    assert headers["content-type"] == "application/json; charset=UTF-8"


def test_get_only_reads(clickhouse: ClickHouse) -> None:
    assert http(clickhouse, {"query": "SELECT 1"}, method="GET")[2] == b"1\n"
    status, headers, _ = http(clickhouse, {"query": "CREATE DATABASE evil"}, method="GET")
    assert (status, headers["x-clickhouse-exception-code"]) == (500, "164")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"sec_fetch_site": "cross-site"},
        {"host": "evil.example"},
        {"host": "evil.example:8123"},
    ],
)
def test_a_web_page_gets_nothing(clickhouse: ClickHouse, headers: dict[str, str]) -> None:
    status, answer, _ = http(clickhouse, None, b"SELECT 1", **headers)
    assert (status, answer["x-clickhouse-exception-code"]) == (403, "497")


CODERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
    "lz4": lz4.frame.compress,
}
DECODERS = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "zstd": zstd.decompress,
    "lz4": lz4.frame.decompress,
}


@pytest.mark.parametrize("coding", CODERS)
def test_bodies_may_be_compressed_in_any_number_of_frames(
    clickhouse: ClickHouse, coding: str
) -> None:
    frames = [b"SELECT 1", b"+1"] if coding != "deflate" else [b"SELECT 1+1"]
    body = b"".join(CODERS[coding](frame) for frame in frames)
    assert http(clickhouse, body=body, content_encoding=coding)[2] == b"2\n"
    assert http(clickhouse, body=body[:-6], content_encoding=coding)[0] == 500
    assert http(clickhouse, body=b"not it", content_encoding=coding)[0] == 500


@pytest.mark.parametrize("coding", DECODERS)
@pytest.mark.parametrize("rows", [1, 300_000])
def test_answers_are_compressed_only_if_asked_for(
    clickhouse: ClickHouse, coding: str, rows: int
) -> None:
    sql = b"SELECT number FROM numbers(%d)" % rows
    plain = http(clickhouse, body=sql, accept_encoding=coding)
    assert "content-encoding" not in plain[1]
    small = http(clickhouse, {"enable_http_compression": "1"}, sql, accept_encoding=f"br, {coding}")
    assert small[1]["content-encoding"] == coding
    assert DECODERS[coding](small[2]) == plain[2]


def test_rows_may_hold_anything_that_looks_like_sql(clickhouse: ClickHouse) -> None:
    http(clickhouse, body=b"CREATE OR REPLACE TABLE odd (a String) ENGINE = MergeTree ORDER BY a")
    texts = ["\n\n", "; DROP TABLE odd;", "'", "FORMAT CSV", "-- \n/*", "x" * 300_000, "\x00\r\n"]
    rows = "".join(f"{json.dumps({'a': text})}\n\n" for text in texts).encode()
    assert http(clickhouse, body=b"INSERT INTO odd FORMAT JSONEachRow\n" + rows)[0] == 200
    in_url = {"query": "INSERT INTO odd FORMAT JSONEachRow"}
    status, headers, _ = http(clickhouse, in_url, rows)
    assert status == 200
    assert json.loads(headers["x-clickhouse-summary"])["written_rows"] == str(len(texts))
    client = clickhouse.client()
    client.insert("odd", [[text] for text in texts], ["a"])
    found = client.query("SELECT a, count() FROM odd GROUP BY a").result_rows
    assert dict(found) == dict.fromkeys(texts, 3)
    client.close()


@pytest.mark.parametrize("columns", [9, 10, 13, 32])
def test_a_block_may_begin_with_what_looks_like_white_space(
    clickhouse: ClickHouse, columns: int
) -> None:
    names = [f"c{number}" for number in range(columns)]
    declared = ", ".join(f"{name} UInt8" for name in names)
    client = clickhouse.client(compress=False)
    client.command(f"CREATE OR REPLACE TABLE wide ({declared}) ENGINE = MergeTree ORDER BY ()")
    client.insert("wide", [[10] * columns] * 10, names)
    assert client.query("SELECT count(), sum(c1) FROM wide").result_rows == [(10, 100)]
    client.close()


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO forms (a, b) VALUES (1, 'x;y'), (2, 'z')",
        "insert into table forms settings max_threads=1 format CSV\n1,x;y\n2,z\n",
        "INSERT INTO `forms` (`a`, `b`) FORMAT TSV 1\tx;y\n2\tz",
        (
            "INSERT /* FORMAT CSV */ INTO forms -- VALUES\n FORMAT JSONEachRow "
            '{"a": 1, "b": "x;y"} {"a": 2, "b": "z"}'
        ),
        "INSERT INTO forms SELECT number + 1, ['x;y', 'z'][number + 1] FROM numbers(2);",
        "INSERT INTO forms (SELECT number + 1, ['x;y', 'z'][number + 1] FROM numbers(2))",
        "INSERT INTO FUNCTION remote_free('x') SELECT 1",
    ],
)
def test_inserts_of_every_form(clickhouse: ClickHouse, sql: str) -> None:
    table = "CREATE OR REPLACE TABLE forms (a UInt8, b String) ENGINE = MergeTree ORDER BY a"
    http(clickhouse, body=table.encode())
    status, _, text = http(clickhouse, body=sql.encode())
    if "remote_free" in sql:
        assert (status, text[:8]) == (404, b"Code: 46")
        return
    assert status == 200, text
    assert http(clickhouse, body=b"SELECT * FROM forms ORDER BY a")[2] == b"1\tx;y\n2\tz\n"


def test_rows_that_do_not_fit_are_refused_whole(clickhouse: ClickHouse) -> None:
    http(clickhouse, body=b"CREATE OR REPLACE TABLE strict (a UInt8) ENGINE = MergeTree ORDER BY a")
    rows = b'INSERT INTO strict FORMAT JSONEachRow {"a": 1} {"a": "two"}'
    assert http(clickhouse, body=rows)[0] == 400
    assert (
        http(clickhouse, body=b"INSERT INTO strict FORMAT Native\n\x01\x01\x01a\x05UInt8")[0] >= 400
    )
    assert http(clickhouse, body=b"SELECT count() FROM strict")[2] == b"0\n"


def test_a_session_keeps_what_it_is_told(clickhouse: ClickHouse) -> None:
    client = clickhouse.client(session_id="mine")
    client.command("CREATE TEMPORARY TABLE mine (a UInt8) ENGINE = Memory")
    client.insert("mine", [[1], [2]], ["a"])
    client.command("SET max_block_size = 77")
    read = "SELECT sum(a), getSetting('max_block_size'), getSetting('max_threads') FROM mine"
    assert client.query(read, settings={"max_threads": 1}).result_rows == [(3, 77, 1)]
    assert client.query(read).result_rows[0][:2] == (3, 77)
    assert client.query(read).result_rows[0][2] != 1
    other = clickhouse.client(session_id="other")
    with pytest.raises(DatabaseError):
        other.query("SELECT * FROM mine")
    other.close()
    client.close()


def test_a_session_does_one_thing_at_a_time(clickhouse: ClickHouse) -> None:
    session = {"session_id": "busy"}
    http(clickhouse, session, b"SET max_threads = 1")
    slow, quick = b"SELECT sleepEachRow(0.1) FROM numbers(3)", b"SELECT 1"
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda sql: http(clickhouse, session, sql)[::2], [slow, quick] * 4)
    assert list(answers) == [(200, b"0\n0\n0\n"), (200, b"1\n")] * 4


def test_curl_as_an_analyst_uses_it(clickhouse: ClickHouse) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")

    def curl(*words: str) -> str:
        ran = subprocess.run(["curl", "-sS", *words], capture_output=True, check=True, text=True)
        return ran.stdout

    assert curl(f"{clickhouse.url}/?query=SELECT%201%2B1") == "2\n"
    assert curl(clickhouse.url, "--data-binary", "SELECT 'a' FORMAT CSV") == '"a"\n'
    compressed = curl(
        "--compressed", f"{clickhouse.url}/?enable_http_compression=1", "-d", "SELECT 7"
    )
    assert compressed == "7\n"


def test_reads_and_writes_run_side_by_side(clickhouse: ClickHouse) -> None:
    client = clickhouse.client()
    client.command("CREATE OR REPLACE TABLE busy (a UInt64) ENGINE = MergeTree ORDER BY a")
    stop = threading.Event()

    def slow() -> int:
        runs = 0
        while not stop.is_set():
            http(clickhouse, body=b"SELECT sleepEachRow(0.2) FROM numbers(3)")
            runs += 1
        return runs

    def write(number: int) -> int:
        rows = b"INSERT INTO busy FORMAT TSV\n" + b"".join(b"%d\n" % i for i in range(100))
        return http(clickhouse, body=rows)[0]

    with ThreadPoolExecutor(10) as pool:
        readers = [pool.submit(slow) for _ in range(6)]
        assert set(pool.map(write, range(40))) == {200}
        stop.set()
        assert all(reader.result() for reader in readers)
    assert client.query("SELECT count() FROM busy").result_rows == [(4000,)]
    client.close()


def test_rows_are_there_after_a_restart_and_after_a_kill(tmp_path: Path) -> None:
    server = ClickHouse(tmp_path)
    server.start()
    client = server.client()
    client.command("CREATE TABLE kept (a UInt64, at DateTime) ENGINE = MergeTree ORDER BY a")
    client.insert("kept", [[1, datetime.now(UTC)]])
    assert server.stop() == 0
    server.start()
    server.client().insert("kept", [[2, datetime.now(UTC) + timedelta(days=40)]])
    server.kill()
    server.start()
    assert server.query("SELECT a FROM kept ORDER BY a") == [(1,), (2,)]
    assert server.stop() == 0


def test_kill_9_amid_inserts_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    server = ClickHouse(tmp_path)
    server.start()
    http(server, body=b"CREATE TABLE hit (a UInt64) ENGINE = MergeTree ORDER BY a")
    acknowledged = 0
    for _ in range(3):
        killer = threading.Timer(0.15, server.kill)
        killer.start()
        try:
            while True:
                rows = b"".join(b"%d\n" % acknowledged for _ in range(10))
                if http(server, body=b"INSERT INTO hit FORMAT TSV\n" + rows)[0] == 200:
                    acknowledged += 1
        except (OSError, HTTPException):
            killer.join()
        server.start()
        counts = dict(server.query("SELECT a, count() FROM hit GROUP BY a"))
        assert set(counts.values()) == {10}
        assert counts.keys() >= set(range(acknowledged))
        acknowledged = len(counts)
    assert server.stop() == 0


def test_what_an_operator_can_mend_is_one_line_and_exit_status_2(tmp_path: Path) -> None:
    server = ClickHouse(tmp_path / "first")
    server.start()
    store = tmp_path / "first" / "clickhouse"
    a_file = tmp_path / "a-file"
    a_file.write_text("")
    for words in (
        ["--data", str(tmp_path / "second"), "--port", str(server.port)],
        ["--data", str(store), "--port", str(free_port())],
        ["--data", str(a_file), "--port", "0"],
        ["--data", str(tmp_path / "third"), "--port", "0", "--host", "0.0.0.0"],  # noqa: S104
    ):
        role = Role(["clickhouse", *words], tmp_path / words[-1])
        role.start(wait=False)
        assert role.process.wait(20) == 2, role.log
        assert role.log.startswith("weir: "), role.log
        assert len(role.log.splitlines()) == 1, role.log
    assert server.stop() == 0


def test_sigint_ends_it_too(tmp_path: Path) -> None:
    server = ClickHouse(tmp_path)
    server.start()
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(20) == 0
