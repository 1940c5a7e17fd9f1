"""HTTP requests of ClickHouse's interface, decoded."""

import gzip

import pytest

from services.audit.embedded import coding
from services.audit.embedded.coding import decode_body, encoder
from services.audit.embedded.errors import EngineError
from services.audit.embedded.request import decode_query


def test_parameters_settings_and_transport_are_told_apart() -> None:
    url = {
        "query": "SELECT {a:String}",
        "param_a": "x",
        "max_threads": "1",
        "database": "db",
        "query_id": "q",
        "session_id": "s",
        "session_timeout": "7",
        "wait_end_of_query": "1",
        "default_format": "CSV",
    }
    query = decode_query("POST", url, {}, b"")
    assert query.parameters == {"a": "x"}
    assert query.settings == {"max_threads": "1"}
    assert (query.database, query.query_id, query.session_id) == ("db", "q", "s")
    assert query.session_seconds == 7
    assert query.output_format == "CSV"
    assert not query.read_only


def test_the_statement_stands_in_the_url_the_body_or_both() -> None:
    assert decode_query("POST", {}, {}, b"SELECT 1").statement.sql == b"SELECT 1"
    assert decode_query("GET", {"query": "SELECT 1"}, {}, b"").read_only
    both = decode_query("POST", {"query": "INSERT INTO t FORMAT CSV"}, {}, b"1\n")
    assert both.statement.data == b"1\n"


def test_headers_may_name_database_and_format() -> None:
    headers = {"x-clickhouse-database": "db", "x-clickhouse-format": "JSON"}
    query = decode_query("POST", {}, headers, b"SELECT 1")
    assert (query.database, query.output_format) == ("db", "JSON")


def test_a_form_may_hold_what_is_long_for_a_url() -> None:
    fields = {"query": "SELECT {a:String}", "param_a": "ünï\nx"}
    body = b"".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    )
    headers = {"content-type": "multipart/form-data; boundary=b"}
    query = decode_query("POST", {}, headers, body + b"--b--\r\n")
    assert query.statement.sql == b"SELECT {a:String}"
    assert query.parameters == {"a": "ünï\nx"}


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ({"query": "SELECT 1", "compress": "1"}, 48),
        ({"query": "SELECT 1", "a-b": "1"}, 115),
        ({"query": "SELECT 1", "session_timeout": "x"}, 36),
    ],
)
def test_what_is_not_offered_is_refused(url: dict[str, str], code: int) -> None:
    with pytest.raises(EngineError) as refused:
        decode_query("POST", url, {}, b"")
    assert refused.value.code == code


def test_an_external_table_is_refused() -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="t"; filename="t"\r\n\r\n1\r\n--b--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=b"}
    with pytest.raises(EngineError, match="External tables"):
        decode_query("POST", {"query": "SELECT * FROM t"}, headers, body)


@pytest.mark.parametrize("name", ["gzip", "deflate", "zstd", "lz4"])
def test_every_coding_is_undone(name: str) -> None:
    found = encoder(f"br;q=1.0, {name};q=0.5")
    assert found is not None
    assert found[0] == name
    packed = found[1].compress(b"abc" * 1000) + found[1].compress(b"end") + found[1].flush()
    assert decode_body(packed, name) == b"abc" * 1000 + b"end"


def test_a_coding_that_is_not_wanted_is_not_used() -> None:
    assert encoder("") is None
    assert encoder("br, gzip;q=0") is None


def test_a_body_has_a_limit_however_well_it_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coding, "MOST_BYTES", 1000)
    assert len(decode_body(gzip.compress(bytes(1000)), "gzip")) == 1000
    for frames in (gzip.compress(bytes(1001)), gzip.compress(bytes(600)) * 2):
        with pytest.raises(EngineError) as refused:
            decode_body(frames, "gzip")
        assert refused.value.status == 413


@pytest.mark.parametrize("name", ["gzip", "deflate", "zstd", "lz4", "rot13"])
def test_a_body_that_is_not_what_it_says_is_refused(name: str) -> None:
    with pytest.raises(EngineError):
        decode_body(b"SELECT 1", name)
