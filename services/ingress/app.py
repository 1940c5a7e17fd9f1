"""The ingress role: HTTP in front, the bus behind.

Routes are a table: (method, path) to an endpoint. Everything that is not in it is answered
with 404 or 405 in the caller's own protocol, and nothing is derived from `Host`.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Generator

import uvicorn
from starlette.routing import Route, Router

from services.ingress.auth import KeyMirror, presented_principal
from services.ingress.client import Running
from services.ingress.exchange import Exchange, Gateway
from services.ingress.http import Receive, ResponseWriter, Scope, Send
from services.ingress.models import ModelList
from services.ingress.refusal import refuse, speaks_anthropic
from services.ingress.resume import Resume, listen
from shared.bus import topology
from shared.bus.bus import Bus
from shared.bus.replay import ReplayKeeper
from shared.canonical.events import Failed
from shared.canonical.failures import FailureClass
from shared.clock import new_call_id
from shared.config import Settings
from shared.lifecycle import Stop, settle
from shared.protocols.codec import Codec
from shared.protocols.registry import CODECS

JSON = "application/json"
Endpoint = Callable[[Scope, Receive, Send], Awaitable[None]]
BACKLOG = 2048
LINGER = 0.2
CUT_GRACE = 3.0
"""How long a client may take to read how its answer ended, in seconds."""

CALL_PATHS = {"/v1/messages": "anthropic_messages", "/v1/chat/completions": "openai_chat"}
"""Where each protocol's calls come in."""


class Methods:
    """An endpoint for some methods; the others get 405 in the caller's protocol."""

    def __init__(self, endpoint: Endpoint, *methods: str, codec: Codec | None = None) -> None:
        self._endpoint = endpoint
        self._methods = methods
        self._codec = codec

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in self._methods:
            await self._endpoint(scope, receive, send)
            return
        failed = Failed(
            failure=FailureClass.INVALID_REQUEST,
            status=405,
            message=f"{scope['path']} takes {', '.join(self._methods)}",
        )
        allow = (b"allow", ", ".join(self._methods).encode())
        await refuse(scope, send, failed, codec=self._codec, headers=[allow])


class App:
    """The ASGI application of one ingress process."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._models = ModelList(gateway.settings)
        routes = [
            Route(path, Methods(Exchange(CODECS[name], gateway), "POST", codec=CODECS[name]))
            for path, name in CALL_PATHS.items()
        ]
        reads = ("GET", "HEAD")
        routes += [
            Route("/v1/models", Methods(self._list_models, *reads)),
            Route("/v1/models/{model:path}", Methods(self._show_model, *reads)),
            Route("/v1/streams/{call_id}", Methods(Resume(gateway.bus, gateway.keys), "GET")),
            Route("/livez", Methods(self._live, *reads)),
            Route("/readyz", Methods(self._ready, *reads)),
            Route("/", Methods(self._live, *reads)),
        ]
        self._router = Router(routes, redirect_slashes=False, default=self._not_found)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._router(scope, receive, send)

    async def _list_models(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if await self._known_caller(scope, send):
            body = self._models.listing(anthropic=speaks_anthropic(scope["headers"]))
            await ResponseWriter(send, new_call_id()).whole(200, body, JSON)

    async def _show_model(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if not await self._known_caller(scope, send):
            return
        model = scope["path_params"]["model"]
        body = self._models.entry(model, anthropic=speaks_anthropic(scope["headers"]))
        if body is None:
            message = f"there is no model named {model[:200]!r}"
            await refuse(scope, send, Failed(failure=FailureClass.NOT_FOUND, message=message))
        else:
            await ResponseWriter(send, new_call_id()).whole(200, body, JSON)

    async def _known_caller(self, scope: Scope, send: Send) -> bool:
        if presented_principal(self._gateway.keys, scope["headers"]) is not None:
            return True
        failed = Failed(failure=FailureClass.AUTHENTICATION, message="no valid virtual key")
        await refuse(scope, send, failed)
        return False

    async def _live(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await ResponseWriter(send, new_call_id()).whole(200, b'{"status":"live"}', JSON)

    async def _ready(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Ready means that the bus is there and that callers can be told apart."""
        ready = self._gateway.bus.ready and self._gateway.keys.loaded
        body = b'{"status":"ready"}' if ready else b'{"status":"not ready"}'
        await ResponseWriter(send, new_call_id()).whole(200 if ready else 503, body, JSON)

    async def _not_found(self, scope: Scope, _receive: Receive, send: Send) -> None:
        message = f"there is nothing at {scope['path'][:200]}"
        await refuse(scope, send, Failed(failure=FailureClass.NOT_FOUND, message=message))


class Server(uvicorn.Server):
    """uvicorn without its signal handling: the role ends it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def _bind(host: str, port: int) -> socket.socket:
    """Raises OSError, before anything else has started."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError:
        listening.close()
        raise
    listening.listen(BACKLOG)
    return listening


async def serve(settings: Settings, ready: Callable[[dict[str, str]], None]) -> None:
    """Serves clients until SIGTERM, then finishes what runs. Raises OSError for the port."""
    listening = _bind(settings.host, settings.port)
    bus = Bus("ingress")
    await bus.connect(settings.nats_url)
    stop = Stop()
    js = bus.nc.jetstream()
    await topology.declare(js, settings.replicas)
    keys = KeyMirror(js)
    replays = ReplayKeeper(js, settings.replicas)
    bus.on_reconnected += (keys.read_afresh, replays.restore)
    await keys.start()
    running = Running()
    await listen(bus, running)
    config = uvicorn.Config(
        App(Gateway(bus, keys, settings, running)),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))  # noqa: TID251 - awaited
    host, port = listening.getsockname()[:2]
    settle()
    ready({"url": f"http://{f'[{host}]' if ':' in host else host}:{port}"})
    await stop.requested.wait()
    await _stop_listening(server)
    server.should_exit = True
    await _finish(serving, stop, running, settings.timeouts.drain)
    running.stop()
    await keys.stop()
    replays.stop()
    await bus.close()


async def _stop_listening(server: Server) -> None:
    """Uvicorn's shutdown closes connections that have sent nothing yet: a request on its way would
    be lost. So whoever has just connected has a moment to send it."""
    for listener in server.servers:
        listener.close()
    await asyncio.sleep(LINGER)


async def _finish(serving: asyncio.Task[None], stop: Stop, running: Running, grace: float) -> None:
    """Waits until every answer is written; cuts what is left at the grace's end, or at once."""
    cut = asyncio.create_task(stop.cut.wait())  # noqa: TID251 - awaited
    await asyncio.wait((serving, cut), timeout=grace, return_when=asyncio.FIRST_COMPLETED)
    cut.cancel()
    running.cut()
    await asyncio.wait((serving,), timeout=CUT_GRACE)
    if not serving.done():  # a client that neither sends nor reads
        serving.cancel()
        await asyncio.wait((serving,), timeout=CUT_GRACE)
