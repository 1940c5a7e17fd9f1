"""ClickHouse's errors as its HTTP interface shows them: a code, a text, a status. Pure."""

import re

_CODE = re.compile(r"Code: (\d+)\.")

# src/Server/HTTP/exceptionCodeToHTTPStatus.cpp of ClickHouse: what is not listed is a 500.
_BAD_REQUEST = (
    *(6, 8, 15, 25, 26, 27, 36, 38, 41, 43, 44, 53, 62, 69, 72, 117, 167, 168, 223, 376, 427, 441),
    *(456, 457, 467, 675, 676),
)
_NOT_FOUND = (46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 336, 511)
_STATUS: dict[int, int] = {
    **dict.fromkeys(_BAD_REQUEST, 400),
    **dict.fromkeys(_NOT_FOUND, 404),
    48: 501,  # NOT_IMPLEMENTED
    76: 503,  # CANNOT_OPEN_FILE
    159: 408,  # TIMEOUT_EXCEEDED
    209: 503,  # SOCKET_TIMEOUT
    439: 503,  # CANNOT_SCHEDULE_TASK
    497: 403,  # ACCESS_DENIED
    1006: 413,  # no code of ClickHouse's: a body over our limit
}


class EngineError(Exception):
    """An answer in ClickHouse's words: `Code: 62. DB::Exception: ... `."""

    def __init__(self, code: int, message: str) -> None:
        text = (
            message if message.startswith("Code: ") else f"Code: {code}. DB::Exception: {message}"
        )
        super().__init__(text)
        self.code = code

    @classmethod
    def of(cls, error: RuntimeError) -> "EngineError":
        text = str(error)
        found = _CODE.search(text)
        return cls(int(found[1]) if found else 1002, text)  # 1002: UNKNOWN_EXCEPTION

    @classmethod
    def of_undecodable(cls, error: UnicodeDecodeError) -> "EngineError":
        """The engine quotes what it could not parse, and bytes that are no text break that."""
        return cls.of(RuntimeError(error.object.decode(errors="backslashreplace")))

    @property
    def status(self) -> int:
        return _STATUS.get(self.code, 500)
