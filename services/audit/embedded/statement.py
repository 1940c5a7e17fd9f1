"""What a statement is, found by reading its tokens: just enough to run it. Pure.

ClickHouse gets an INSERT's rows in the same text as the statement. The embedded engine cuts such
inline rows at the first empty line, and runs several statements in one text; so the rows are
split off here and given to it in a file, and a second statement is refused, as a server does.
"""

import re
from collections.abc import Iterator

from msgspec import Struct

from .errors import EngineError

SYNTAX_ERROR = 62
NOT_IMPLEMENTED = 48

ROWS = frozenset(
    {"SELECT", "WITH", "FROM", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK", "("}
)
"""How statements begin that answer with rows."""


class Statement(Struct, frozen=True, kw_only=True):
    """`data` is what follows `FORMAT x` or `VALUES` in an INSERT; None in any other statement."""

    sql: bytes
    verb: str
    data: bytes | None = None
    data_format: str = ""
    settings_at: int = 0
    """Where the SETTINGS clause of an INSERT with data starts, or where the statement ends."""
    output_format: str | None = None
    keeps_state: bool = False
    """Means something for the statements that follow it in the same session."""

    @property
    def answers(self) -> bool:
        return self.verb in ROWS

    @property
    def streams(self) -> bool:
        return self.verb in ("SELECT", "WITH")

    def insert_from(self, path: str) -> bytes:
        """The same INSERT, with its rows in a file."""
        head, settings = self.sql[: self.settings_at], self.sql[self.settings_at :]
        quoted = path.replace("\\", "\\\\").replace("'", "\\'")
        source = f" FROM INFILE '{quoted}' COMPRESSION 'none' ".encode()
        return head + source + settings + b" FORMAT " + self.data_format.encode()


class _Token(Struct, frozen=True):
    word: str  # in upper case; a mark is itself; "" for a string or a name in quotes
    start: int
    end: int
    depth: int


_SKIPPED = re.compile(rb"(?:\s+|--[^\n]*|#[ !][^\n]*|/\*.*?\*/)+", re.DOTALL)
_TOKEN = re.compile(
    rb"""(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*`
    | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$
    | .""",
    re.DOTALL | re.VERBOSE,
)
_AFTER_FORMAT = re.compile(rb"[ \t\f\v]*\r?\n?")


def read_statement(text: bytes) -> Statement:
    """Raises EngineError for an empty text, several statements, or a file at the server."""
    tokens = _tokens(text)
    first = next(tokens, None)
    if first is None:
        raise EngineError(SYNTAX_ERROR, "Empty query")
    if first.word == "INSERT":
        return _read_insert(text, tokens)
    return _read_other(text, first, tokens)


def _tokens(text: bytes) -> Iterator[_Token]:
    position, depth = 0, 0
    while True:
        skipped = _SKIPPED.match(text, position)
        if skipped:
            position = skipped.end()
        found = _TOKEN.match(text, position)
        if found is None:
            return
        start, position = position, found.end()
        mark = text[start:position]
        if mark == b")":
            depth -= 1
        is_word = found["word"] is not None or len(mark) == 1
        word = mark.decode("latin-1").upper() if is_word else ""
        yield _Token(word, start, position, depth)
        if mark == b"(":
            depth += 1


def _read_insert(text: bytes, tokens: Iterator[_Token]) -> Statement:
    settings_at: int | None = None
    named = False
    for token in tokens:
        if token.depth or token.word in ("INTO", "TABLE", "FUNCTION"):
            continue
        if not named:  # the table may bear any name, a keyword too
            named = True
        elif token.word == "SETTINGS":
            settings_at = token.start
        elif token.word in ("SELECT", "WITH"):
            return _refuse_more(Statement(sql=text, verb="INSERT SELECT"), tokens)
        elif token.word == "INFILE":
            raise EngineError(NOT_IMPLEMENTED, "FROM INFILE is for a client, not for a server")
        elif token.word in ("FORMAT", "VALUES"):
            return _with_data(text, token, tokens, settings_at)
    return Statement(sql=text, verb="INSERT")


def _with_data(
    text: bytes, token: _Token, tokens: Iterator[_Token], settings_at: int | None
) -> Statement:
    """`token` is the FORMAT or VALUES after which the rows begin."""
    data_format, begin = "Values", token.end
    if token.word == "FORMAT":
        name = next(tokens, None)
        if name is None or not name.word:
            raise EngineError(SYNTAX_ERROR, "Syntax error: FORMAT takes a name")
        data_format, begin = text[name.start : name.end].decode(), name.end
    skipped = _AFTER_FORMAT.match(text, begin)
    return Statement(
        sql=text[: token.start],
        verb="INSERT",
        data=text[skipped.end() if skipped else begin :],
        data_format=data_format,
        settings_at=token.start if settings_at is None else settings_at,
    )


def _read_other(text: bytes, first: _Token, tokens: Iterator[_Token]) -> Statement:
    words = [first.word]
    output_format: str | None = None
    last = first
    for token in tokens:
        if token.word == ";" and not token.depth:
            _refuse_another(tokens)
            text = text[: token.start]
            break
        if token.word == "OUTFILE" and last.word == "INTO":
            raise EngineError(NOT_IMPLEMENTED, "INTO OUTFILE is for a client, not for a server")
        if last.word == "FORMAT" and token.word and not token.depth:
            output_format = text[token.start : token.end].decode()
        if len(words) < 4:
            words.append(token.word)
        last = token
    return Statement(
        sql=text,
        verb=first.word,
        output_format=output_format,
        keeps_state=first.word in ("SET", "USE") or "TEMPORARY" in words,
    )


def _refuse_more(statement: Statement, tokens: Iterator[_Token]) -> Statement:
    for token in tokens:
        if token.word == ";" and not token.depth:
            _refuse_another(tokens)
    return statement


def _refuse_another(tokens: Iterator[_Token]) -> None:
    if any(token.word != ";" for token in tokens):
        raise EngineError(SYNTAX_ERROR, "Syntax error: Multi-statements are not allowed")
