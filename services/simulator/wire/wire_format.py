"""What every wire format offers to the simulator.

A format reads a request as its vendor would, refusing what the vendor refuses, and writes a
`Script` as a body or as the frames of a stream. It knows neither sockets, time nor HTTP's own
framing; whatever must differ from call to call it builds from `SERIAL`.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

from services.simulator.script import Ask, Refusal, Request, Script

Operation = Literal["call", "models"]


class Frame(NamedTuple):
    """What a vendor sends in one piece; `content` frames carry what the model said."""

    data: bytes
    content: bool = False


class WireFormat(Protocol):
    """One vendor protocol, server side."""

    stream_type: str
    malformed: bytes  # a frame of a stream: framed well, but not JSON inside

    def operation(self, path: str, headers: dict[str, str]) -> Operation | None:
        """What is asked for under the path; None if it is not one of this format's."""
        ...

    def speaks(self, headers: dict[str, str]) -> bool:
        """Whether the answer to an unknown path belongs into this format."""
        ...

    def authorize(self, headers: dict[str, str]) -> None:
        """Refuse a request without a credential; any credential will do."""
        ...

    def read(self, request: Request) -> Ask: ...

    def encode_answer(self, script: Script) -> bytes: ...

    def encode_stream(self, script: Script) -> Iterator[Frame]: ...

    def encode_stream_error(self) -> bytes: ...

    def encode_refusal(self, refusal: Refusal) -> bytes: ...

    def encode_headers(self, status: int) -> dict[str, str]:
        """The vendor's own headers, beside those of HTTP."""
        ...

    def encode_models(self) -> bytes: ...
