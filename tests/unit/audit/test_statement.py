"""Reading statements: where an INSERT's rows begin, and what must not run at all."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.audit.embedded.errors import EngineError
from services.audit.embedded.statement import Statement, read_statement


def insert(text: bytes) -> tuple[bytes, str]:
    statement = read_statement(text)
    assert statement.verb == "INSERT"
    assert statement.data is not None
    return statement.data, statement.data_format


@pytest.mark.parametrize(
    ("text", "data", "data_format"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2\n", b"1,2\n", "CSV"),
        (b"INSERT INTO t FORMAT CSV\r\n1,2\n", b"1,2\n", "CSV"),
        (b"INSERT INTO t FORMAT CSV 1,2", b"1,2", "CSV"),
        (b"INSERT INTO t FORMAT CSV", b"", "CSV"),
        (b"insert into t format Native\n\n\n", b"\n\n", "Native"),
        (b"INSERT INTO t (a, b) VALUES (1, 'x')", b"(1, 'x')", "Values"),
        (b'INSERT INTO t (`values`, "format") VALUES (1, 2)', b"(1, 2)", "Values"),
        (b"INSERT INTO values VALUES (1)", b"(1)", "Values"),
        (b"INSERT INTO TABLE db.t SETTINGS a='FORMAT' FORMAT TSV\n1", b"1", "TSV"),
        (b"INSERT /* FORMAT CSV */ INTO t -- VALUES\nFORMAT TSV\n1", b"1", "TSV"),
        (b"-- a note\nINSERT INTO t FORMAT TSV\n1", b"1", "TSV"),
        (b"INSERT INTO FUNCTION file('FORMAT', CSV) FORMAT TSV\n1", b"1", "TSV"),
    ],
)
def test_the_rows_of_an_insert_are_found(text: bytes, data: bytes, data_format: str) -> None:
    assert insert(text) == (data, data_format)


def test_rows_go_in_from_a_file_with_their_settings() -> None:
    statement = read_statement(b"INSERT INTO t (a) SETTINGS x = 1 FORMAT CSV\n1")
    assert b" ".join(statement.insert_from("/it's/\\here").split()) == (
        b"INSERT INTO t (a) FROM INFILE '/it\\'s/\\\\here' COMPRESSION 'none' "
        b"SETTINGS x = 1 FORMAT CSV"
    )


@pytest.mark.parametrize(
    "text",
    [
        b"INSERT INTO t SELECT 1 FORMAT CSV",
        b"INSERT INTO t (a) SELECT 'VALUES'",
        b"INSERT INTO t (SELECT 1)",
        b"INSERT INTO t WITH 1 AS x SELECT x",
        b"INSERT INTO t",
    ],
)
def test_an_insert_without_rows_of_its_own_runs_as_it_is(text: bytes) -> None:
    statement = read_statement(text)
    assert statement.data is None
    assert statement.sql == text
    assert not statement.answers


@pytest.mark.parametrize(
    ("text", "output_format"),
    [
        (b"SELECT 1", None),
        (b"SELECT 1 FORMAT JSON", "JSON"),
        (b"SELECT 1 format JSON;", "JSON"),
        (b"SELECT 1 FORMAT JSON SETTINGS max_threads = 1", "JSON"),
        (b"SELECT 'FORMAT CSV'", None),
        (b"SELECT * FROM (SELECT 1 FORMAT Null)", None),
        (b"SELECT $$ FORMAT CSV $$", None),
        (b"SELECT 1 -- FORMAT CSV", None),
    ],
)
def test_the_format_of_an_answer_is_found(text: bytes, output_format: str | None) -> None:
    statement = read_statement(text)
    assert statement.output_format == output_format
    assert statement.answers
    assert statement.streams


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", 62),
        (b"  -- nothing\n /* at all */ ", 62),
        (b"SELECT 1; SELECT 2", 62),
        (b"SELECT 1;; DROP TABLE t", 62),
        (b"INSERT INTO t SELECT 1; DROP TABLE t", 62),
        (b"INSERT INTO t FORMAT", 62),
        (b"SELECT 1 INTO OUTFILE 'x'", 48),
        (b"SELECT 1 INTO/**/OUTFILE 'x'", 48),
        (b"INSERT INTO t FROM INFILE 'x' FORMAT CSV", 48),
    ],
)
def test_what_a_server_does_not_run_is_refused(text: bytes, code: int) -> None:
    with pytest.raises(EngineError) as refused:
        read_statement(text)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "text", [b"SELECT 1;", b"SELECT ';'", b"SELECT 1 ; -- end", b"SELECT `a;b`", b"SELECT 'a''b;'"]
)
def test_one_statement_may_end_with_a_semicolon(text: bytes) -> None:
    assert read_statement(text).verb == "SELECT"


@pytest.mark.parametrize(
    ("text", "keeps_state"),
    [
        (b"SET a = 1", True),
        (b"USE db", True),
        (b"CREATE TEMPORARY TABLE t (a Int8)", True),
        (b"CREATE OR REPLACE TEMPORARY TABLE t (a Int8)", True),
        (b"CREATE TABLE t (temporary Int8)", False),
        (b"SELECT 1", False),
    ],
)
def test_what_a_session_must_keep(text: bytes, keeps_state: bool) -> None:
    assert read_statement(text).keeps_state is keeps_state


@given(st.binary(max_size=200))
def test_any_bytes_are_a_statement_or_a_refusal(text: bytes) -> None:
    with suppress(EngineError):
        assert isinstance(read_statement(text), Statement)


@given(st.binary(max_size=100))
def test_rows_are_never_looked_into(data: bytes) -> None:
    found, _ = insert(b"INSERT INTO t FORMAT RowBinary\n" + data)
    assert found == data
