"""The wire formats that the simulator speaks, in the order in which they are asked.

A new one is a file beside this one and a line here.
"""

from services.simulator.script import Request

from .anthropic_messages import AnthropicMessages
from .openai_chat import OpenAIChat
from .wire_format import Operation, WireFormat

# The last one speaks to everybody: it answers what no other claims.
FORMATS: tuple[WireFormat, ...] = (AnthropicMessages(), OpenAIChat())


def find_format(request: Request) -> tuple[WireFormat, Operation | None]:
    """Whose path it is and what it asks for; without one, whose error answers it."""
    for wire in FORMATS:
        operation = wire.operation(request.path, request.headers)
        if operation:
            return wire, operation
    return next(wire for wire in FORMATS if wire.speaks(request.headers)), None
