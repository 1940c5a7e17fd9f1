"""What goes on of a client's headers, and which of them are Weir's own."""

HOP_BY_HOP = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    }
)
"""Hop-by-hop (RFC 9110, section 7.6.1), routing, and what describes the body's transfer."""
SECRET = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key"})
DROPPED_PREFIXES = ("x-weir-", "x-forwarded-", "proxy-", "accept", "sec-")

TAGS_HEADER = "x-weir-tags"
MAX_TAGS = 20
MAX_TAG_BYTES = 200


def forwarded(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers that may travel with a call: no secret, nothing of this hop alone."""
    passed: dict[str, str] = {}
    for raw_name, value in headers:
        name = raw_name.decode("latin-1")
        if name in HOP_BY_HOP or name in SECRET or name.startswith(DROPPED_PREFIXES):
            continue
        text = value.decode("latin-1")
        passed[name] = f"{passed[name]}, {text}" if name in passed else text
    return passed


def tags(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """`x-weir-tags: workflow=nightly, step=3` as a dict, for the call's row.

    Raises ValueError for what is not a list of `name=value`.
    """
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        if raw_name.decode("latin-1") != TAGS_HEADER:
            continue
        for item in raw_value.decode("latin-1").split(","):
            name, equals, value = (piece.strip() for piece in item.partition("="))
            if not (name and equals) or len(item) > MAX_TAG_BYTES:
                raise ValueError(f"{TAGS_HEADER} takes a list of name=value")
            found[name] = value
    if len(found) > MAX_TAGS:
        raise ValueError(f"{TAGS_HEADER} takes at most {MAX_TAGS} tags")
    return found
