"""What a vendor is: a declaration. One file a vendor, found through entry points.

A third party adds a vendor with a package whose entry point in the group `weir.vendors`
names a `Vendor`. Everything that differs between vendors stands in such a declaration.
"""

from collections.abc import Callable, Mapping

from msgspec import Struct

ENTRY_POINTS = "weir.vendors"


class Vendor(Struct, frozen=True, kw_only=True):
    """Who is called and how.

    `authorize` gives the headers that carry a credential; they win over everything. The
    caller wins over `default_headers`. `caller_headers` are the prefixes of those headers of
    a caller of the same protocol that go through; towards another protocol none do.
    `answer_headers` are the prefixes of the vendor's headers that a client may see.
    """

    name: str
    protocol: str
    path: str
    authorize: Callable[[str], Mapping[str, str]]
    base_url: Callable[[str], str] = str
    default_headers: Mapping[str, str] = {}
    caller_headers: tuple[str, ...] = ()
    answer_headers: tuple[str, ...] = ()
    request_id_header: str = "x-request-id"


def bearer(credential: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {credential}"}


def x_api_key(credential: str) -> Mapping[str, str]:
    return {"x-api-key": credential}
