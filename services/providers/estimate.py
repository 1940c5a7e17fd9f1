"""What a call probably consumed whose vendor never said it: a stream that was broken off.

Pure. About four bytes of text make a token in the common vocabularies; good enough to charge
for what was delivered, and marked as an estimate on the row.
"""

from msgspec.structs import replace

from shared.canonical.usage import Usage

BYTES_PER_TOKEN = 4


def estimated(known: Usage | None, *, sent_bytes: int, received_chars: int) -> Usage:
    """The last report, filled up: input from the request's size, output from the text's."""
    usage = known or Usage()
    output = max(usage.output or 0, received_chars // BYTES_PER_TOKEN)
    fresh = sent_bytes // BYTES_PER_TOKEN if usage.prompt_total is None else usage.input
    return replace(usage, input=fresh, output=output, estimated=True)
