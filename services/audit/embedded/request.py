"""An HTTP request of ClickHouse's interface, decoded: the statement and what goes with it. Pure.

The parameters are those of https://clickhouse.com/docs/interfaces/http; a parameter that is none
of them is a setting of the query.
"""

import re
from collections.abc import Mapping
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP

from msgspec import Struct

from .errors import EngineError
from .statement import Statement, read_statement

BAD_ARGUMENTS = 36
NOT_IMPLEMENTED = 48
UNKNOWN_SETTING = 115

PARAMETER = "param_"
TRANSPORT = frozenset(
    {
        *("buffer_size", "client_protocol_version", "close_session", "compress", "database"),
        *("decompress", "default_format", "enable_http_compression", "http_compression"),
        *("http_headers_progress_interval_ms", "http_zlib_compression_level", "password", "query"),
        *("query_id", "quota_key", "role", "send_progress_in_http_headers", "session_check"),
        *("session_id", "session_timeout", "stacktrace", "user", "wait_end_of_query"),
        "cancel_http_readonly_queries_on_client_close",
    }
)
"""What is said to the HTTP server rather than to the query."""

_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
DEFAULT_FORMAT = "TabSeparated"
SESSION_SECONDS, MOST_SESSION_SECONDS = 60.0, 3600.0


class Query(Struct, frozen=True, kw_only=True):
    """One statement to run. `parameters` are in ClickHouse's escaped text form."""

    statement: Statement
    settings: dict[str, str]
    parameters: dict[str, str]
    database: str = ""
    default_format: str = DEFAULT_FORMAT
    query_id: str = ""
    session_id: str = ""
    session_seconds: float = SESSION_SECONDS
    read_only: bool = False

    @property
    def output_format(self) -> str:
        return self.statement.output_format or self.default_format


def decode_query(
    method: str, url: Mapping[str, str], headers: Mapping[str, str], body: bytes
) -> Query:
    """`body` is already decompressed. Raises EngineError."""
    fields = dict(url)
    if headers.get("content-type", "").startswith("multipart/form-data"):
        fields |= _decode_form(headers["content-type"], body)
        body = b""
    if fields.get("compress") == "1" or fields.get("decompress") == "1":
        raise EngineError(
            NOT_IMPLEMENTED,
            "ClickHouse's own block compression is not offered here: use Content-Encoding",
        )
    text = fields.get("query", "").encode()
    if body:
        text = text + b"\n" + body if text else body
    return Query(
        statement=read_statement(text),
        settings=_settings(fields),
        parameters={
            name[len(PARAMETER) :]: value
            for name, value in fields.items()
            if name.startswith(PARAMETER)
        },
        database=fields.get("database") or headers.get("x-clickhouse-database", ""),
        default_format=(
            fields.get("default_format") or headers.get("x-clickhouse-format") or DEFAULT_FORMAT
        ),
        query_id=fields.get("query_id", ""),
        session_id=fields.get("session_id", ""),
        session_seconds=_seconds(fields.get("session_timeout", "")),
        read_only=method != "POST",
    )


def _settings(fields: Mapping[str, str]) -> dict[str, str]:
    found = {
        name: value
        for name, value in fields.items()
        if name not in TRANSPORT and not name.startswith(PARAMETER)
    }
    for name in found:
        if not _SETTING_NAME.fullmatch(name):
            raise EngineError(UNKNOWN_SETTING, "Unknown setting: a name is letters and digits")
    return found


def _seconds(text: str) -> float:
    if not text:
        return SESSION_SECONDS
    if not text.isdecimal():
        raise EngineError(BAD_ARGUMENTS, "session_timeout must be a number of seconds")
    return min(float(text), MOST_SESSION_SECONDS)


def _decode_form(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a form, in which clients send a query whose parameters are long."""
    head = f"content-type: {content_type}\r\n\r\n".encode()
    form = BytesParser(policy=HTTP).parsebytes(head + body)
    fields: dict[str, str] = {}
    for part in form.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if not isinstance(name, str) or part.get_filename() is not None:
            raise EngineError(NOT_IMPLEMENTED, "External tables are not offered here")
        fields[name] = _text_of(part)
    return fields


def _text_of(part: Message) -> str:
    payload = part.get_payload(decode=True)
    text = payload if isinstance(payload, bytes) else b""
    return text.decode().replace("\r\n", "\n")
