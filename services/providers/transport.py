"""HTTP towards vendors: one kept transport a provider, httpx over aiohttp's connections.

On this path aiohttp costs a fifth of httpx's own transport per streamed call (measured), and
httpx's client above it would add authentication flows, redirects and cookies that a call must
not have: requests go straight to the transport, httpx's own seam. Nothing of one call reaches
another, no proxy is read from the environment, and nobody but the operator chooses where a
call goes. https://www.python-httpx.org/advanced/transports/
"""

import ssl
from collections.abc import AsyncIterator
from functools import partial
from typing import cast

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

KEEP_ALIVE_SECONDS = 30.0
MAX_HEADER_BYTES = 64 * 1024
READ_BUFFER_BYTES = 256 * 1024


def _session(verify: ssl.SSLContext) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,  # how many calls may run is the slots' business, not the pool's
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            ssl=verify,
            ttl_dns_cache=30,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        read_bufsize=READ_BUFFER_BYTES,
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    )


def open_transport() -> AiohttpTransport:
    """A transport that has no timeouts of its own: each request brings its extensions."""
    verify = httpx.create_ssl_context(trust_env=False)
    return AiohttpTransport(client=partial(_session, verify))


def read(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body as it comes off the wire; decoded only where a vendor compresses unasked."""
    if response.headers.get("content-encoding", "identity") == "identity":
        return aiter(cast("httpx.AsyncByteStream", response.stream))
    return response.aiter_bytes()
