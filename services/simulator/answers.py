"""From a request to the tape that answers it: routing, options, refusals, and tapes kept.

`server.py` calls it. It opens no socket and looks at no clock, and whatever a request contains
it has an answer in its vendor's words.
"""

from .options import OptionError, Options, options_text, parse_options
from .script import Refusal, Request, Script, script_for
from .tape import Tape, encode_whole, record_answer, record_stream, vendor_headers
from .wire.registry import find_format
from .wire.wire_format import Operation, WireFormat

MOST_KEPT_BYTES = 16 * 1024 * 1024
MOST_TAPE_BYTES = 1024 * 1024
_METHODS: dict[Operation, str] = {"call": "POST", "models": "GET"}


class Answers:
    """Answers requests; the same question gets the same tape again."""

    def __init__(self) -> None:
        self._tapes: dict[tuple[WireFormat, bool, Script, Options], Tape] = {}
        self._kept_bytes = 0

    def tape_for(self, request: Request) -> Tape:
        wire, operation = find_format(request)
        try:
            tape = self._answer(wire, operation, request)
        except Refusal as refusal:
            tape = _refuse(wire, refusal, Options())
        except OptionError as error:
            tape = _refuse(wire, Refusal(400, str(error)), Options())
        return _without_body(tape) if request.method == "HEAD" else tape

    def _answer(self, wire: WireFormat, operation: Operation | None, request: Request) -> Tape:
        if request.path == "/" and request.method in ("GET", "HEAD"):
            return Tape((encode_whole(200, b""),))
        if operation is None:
            raise Refusal(404, f"Invalid URL ({request.method} {request.path})")
        if request.method != _METHODS[operation]:
            raise Refusal(405, f"Not allowed to {request.method} on {request.path}.")
        if request.oversized:
            raise Refusal(413, "Request exceeds the maximum size")
        wire.authorize(request.headers)
        if operation == "models":
            return Tape((encode_whole(200, wire.encode_models(), wire.encode_headers(200)),))
        return self._call(wire, request)

    def _call(self, wire: WireFormat, request: Request) -> Tape:
        ask = wire.read(request)
        options = parse_options(options_text(ask.model, request.headers))
        if options.status is not None:
            return _refuse(wire, Refusal(options.status), options)
        script = script_for(ask, options, len(request.body))
        key = (wire, ask.streamed, script, options)
        tape = self._tapes.get(key)
        if tape is None:
            record = record_stream if ask.streamed else record_answer
            tape = record(wire, script, options)
            self._keep(key, tape)
        return tape

    def _keep(self, key: tuple[WireFormat, bool, Script, Options], tape: Tape) -> None:
        size = tape.size
        if size > MOST_TAPE_BYTES:
            return
        if self._kept_bytes + size > MOST_KEPT_BYTES:
            self._tapes.clear()
            self._kept_bytes = 0
        self._tapes[key] = tape
        self._kept_bytes += size


def _refuse(wire: WireFormat, refusal: Refusal, options: Options) -> Tape:
    body = wire.encode_refusal(refusal)
    headers = vendor_headers(wire, refusal.status, options)
    return Tape((encode_whole(refusal.status, body, headers),), options.first / 1000)


def _without_body(tape: Tape) -> Tape:
    head, blank, _ = b"".join(tape.writes).partition(b"\r\n\r\n")
    return Tape((head + blank,))
