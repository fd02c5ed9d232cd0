"""The HTTP server: an application of routers over the same voices and queue, and its connections.

Another way to speak is another router that is made here with the same `SpeechService`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from http import HTTPStatus
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client import Counter as CounterMetric
from pydantic import BaseModel
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from piper import __version__
from piper.server import http, openai
from piper.server.piper import create_piper_router
from piper.server.settings import ServerSettings, SpeechLimits
from piper.server.sockets import bind_socket
from piper.server.speech import SpeechService
from piper.server.store import Downloader, VoiceStore
from piper.server.upload import create_upload_router, is_upload
from piper.server.websocket import create_live_router
from piper.system import allow_files

_LOGGER = logging.getLogger(__name__)

_BUCKETS_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_OTHER = "other"
"""A label for all addresses that are none of ours, lest every nonsense make a line of its own."""
_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "POST", "PUT", "WEBSOCKET"))
_Address = tuple[str, int]
_LOOK_SECONDS = 0.1
"""From one look at the open connections to the next."""
_NEW_SECONDS = 0.5
"""After so long a request that came with its connection has been read, even in a burst."""
_MAX_EXTRA = 1000
"""Connections beyond those that are allowed, as long as all are too new to be judged."""
_RETRY_SECONDS = 5
"""After which a refused client may come again."""
_GRACE_SECONDS = 3
"""So long may answers take that are on their way when the server is told to end."""
_BACKLOG = 256
"""So many connections asyncio accepts before it looks at one of them."""
_BURST = 4096
"""Connections that may come between two looks; at such a burst files were not used up."""
_HANG_SECONDS = 10
"""So long uvicorn waits after that for connections that do not end."""


class Metrics:
    """The figures of one application; safe to use from many threads.

    Named by https://prometheus.io/docs/practices/naming/.
    """

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        build = Gauge("piper_build", "What runs.", ["version"], registry=registry)
        build.labels(__version__).set(1)
        self._requests = CounterMetric(
            "piper_requests",
            "Answers, by endpoint and status code; 101 is a WebSocket.",
            ["method", "endpoint", "status"],
            registry=registry,
        )
        self._open = Gauge(
            "piper_open_connections",
            "Requests and WebSockets that are being answered.",
            registry=registry,
        )
        self.accepted = Gauge(
            "piper_accepted_speech_requests",
            "Requests for speech that are spoken or wait for it.",
            registry=registry,
        )
        self.audio = CounterMetric(
            "piper_audio_seconds", "Seconds of sound that were made.", registry=registry
        )
        self.first = Histogram(
            "piper_first_audio_seconds",
            "From accepting a request for speech to its first sound.",
            buckets=_BUCKETS_SECONDS,
            registry=registry,
        )

    def _count(self, scope: Scope, status: int) -> None:
        endpoint = getattr(scope.get("route"), "path", _OTHER)
        method = scope.get("method", "WEBSOCKET")
        self._requests.labels(method if method in _METHODS else _OTHER, endpoint, status).inc()

    def write(self) -> bytes:
        """Return the figures as Prometheus reads them."""
        return generate_latest(self._registry)

    def create_middleware(self, app: ASGIApp) -> ASGIApp:
        """Return the application, with all of its answers counted."""

        async def count(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await app(scope, receive, send)
                return

            async def send_and_count(message: Message) -> None:
                if message["type"].endswith("http.response.start"):
                    self._count(scope, message["status"])
                elif message["type"] == "websocket.accept":
                    self._count(scope, 101)
                await send(message)

            with self._open.track_inprogress():
                await app(scope, receive, send_and_count)

        return count


class Connections:
    """Bounds connections on which little or nothing comes or goes.

    uvicorn waits for ever for a request's head, and for a client that reads nothing of its answer.
    So its connections are looked at every so often; which of them has a request, the middleware
    knows by the client's address.
    """

    def __init__(self, limits: SpeechLimits) -> None:
        self._limits = limits
        self._server: uvicorn.Server | None = None
        self._busy: Counter[_Address | None] = Counter()
        self._silent_since: dict[_Address | None, float] = {}

    def create_middleware(self, app: ASGIApp) -> ASGIApp:
        """Return the application; requests and WebSockets beyond so many are refused."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await app(scope, receive, send)
            elif self._busy.total() >= self._limits.max_connections:
                status = HTTPStatus.SERVICE_UNAVAILABLE
                sentence = "The server has too many clients; try again later."
                body = _describe(scope["path"], status, sentence)
                refusal = JSONResponse(body, status, {"Retry-After": str(_RETRY_SECONDS)})
                await refusal(scope, receive, send)
            else:
                await self._answer(app, scope, receive, send)

        return answer

    async def _answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        client = _find_client(scope["client"])
        transports = self._find_all()
        transport = transports.get(client)
        if transport is not None:
            # So that sending waits as long as there are bytes that wait for the client.
            transport.set_write_buffer_limits(high=0)
        loop = asyncio.get_running_loop()

        async def send_or_end(message: Message) -> None:
            if transport is None:
                await send(message)
                return
            timer = loop.call_later(self._limits.max_idle_seconds, transport.abort)
            try:
                await send(message)
            finally:
                timer.cancel()

        self._silent_since.pop(client, None)
        self._busy[client] += 1
        if len(transports) > self._limits.max_connections:
            self.look()
        try:
            await app(scope, receive, send_or_end)
        finally:
            self._busy[client] -= 1
            if not self._busy[client]:
                del self._busy[client]

    async def watch(self, server: uvicorn.Server) -> None:
        """Look at a server's connections until it is told to end."""
        self._server = server
        while not server.should_exit:
            self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    def look(self) -> None:
        """End the connections that have been silent for too long, or have to make room."""
        now = asyncio.get_running_loop().time()
        transports = self._find_all()
        num_extra = len(transports) - self._limits.max_connections
        silent = [address for address in self._silent_since if address in transports]
        silent += transports.keys() - self._silent_since.keys() - self._busy.keys()
        self._silent_since = {one: self._silent_since.get(one, now) for one in silent}
        for address in silent:  # the longest silent first
            silent_seconds = now - self._silent_since[address]
            is_new = silent_seconds < _NEW_SECONDS and num_extra <= _MAX_EXTRA
            if silent_seconds > self._limits.max_head_seconds or (num_extra > 0 and not is_new):
                transports[address].abort()
                num_extra -= 1

    def end_all(self) -> None:
        """End all connections, whatever is on its way."""
        for transport in self._find_all().values():
            transport.abort()

    def _find_all(self) -> dict[_Address | None, asyncio.Transport]:
        open_now = self._server.server_state.connections if self._server else ()
        transports = [connection.transport for connection in open_now]
        return {
            _find_client(one.get_extra_info("peername")): one
            for one in transports
            # One that is being closed still waits for a client that does not read the rest.
            if not one.is_closing() or one.get_write_buffer_size()
        }


def _find_client(name: Any) -> _Address | None:
    """Return a client's address and port as uvicorn says them; None where it has gone at once."""
    return (str(name[0]), int(name[1])) if name else None


class Health(BaseModel):
    """What `/health` says."""

    status: str = "ok"
    version: str = __version__
    requests: int
    """Accepted and not answered yet."""


def create_app(voices: VoiceStore, settings: ServerSettings | None = None) -> FastAPI:
    """Return the application; `app.state` has what works for it, and its `connections`."""
    settings = settings or ServerSettings()
    metrics = Metrics()
    service = SpeechService(
        voices, settings.defaults, settings.limits, metrics.audio.inc, metrics.first.observe
    )
    metrics.accepted.set_function(service.queue.__len__)
    downloader = Downloader(settings.downloads)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.queue.close()

    # The pages of documentation would load scripts from elsewhere; /openapi.json is enough.
    app = FastAPI(
        title="Piper",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses=http.describe_statuses(*http.GUARDS),
    )
    app.state.service = service
    app.state.downloader = downloader
    app.state.connections = Connections(settings.limits)
    http.add_error_handlers(app, _describe)
    key = http.ApiKey(settings.access.api_key)
    _add_middleware(app, settings, metrics, key)

    @app.get("/health")
    async def health() -> Health:
        """Whether the server answers, and how much it has to do."""
        return Health(requests=len(service.queue))

    @app.get(
        "/metrics",
        response_class=Response,
        responses={200: {"description": "The figures", "content": {"text/plain": {}}}},
    )
    async def figures() -> Response:
        """Figures for Prometheus."""
        headers = {"Content-Type": CONTENT_TYPE_LATEST}
        return Response(metrics.write(), headers=headers)

    has_key = settings.access.api_key is not None
    app.include_router(create_piper_router(service, downloader, can_upload=has_key))
    app.include_router(openai.create_openai_router(service))
    app.include_router(create_live_router(service, key))
    folder = settings.downloads.folder
    app.include_router(create_upload_router(voices, folder, settings.limits, has_key=has_key))
    return app


def _add_middleware(
    app: FastAPI, settings: ServerSettings, metrics: Metrics, key: http.ApiKey
) -> None:
    """Put the guards before the endpoints; what is added last is asked first."""
    limits, access = settings.limits, settings.access
    app.add_middleware(http.answer_head_as_get)
    app.add_middleware(
        http.limit_bodies,
        max_bytes=limits.max_body_bytes,
        max_seconds=limits.max_body_seconds,
        is_exempt=is_upload,
    )
    app.add_middleware(http.AccessGuard, access=access, key=key, describe=_describe)
    if access.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(access.allowed_origins),
            allow_methods=["*"],
            allow_headers=["*"],
        )
    app.add_middleware(app.state.connections.create_middleware)
    app.add_middleware(metrics.create_middleware)


def _describe(path: str, status: int, sentence: str) -> dict[str, Any]:
    """Return the body of an answer that is not what was asked for."""
    if path.startswith(f"{openai.PREFIX}/"):
        return openai.describe_openai_mistake(status, sentence)
    return http.describe_mistake(path, status, sentence)


def serve(app: FastAPI, host: str, port: int, *, is_debug: bool = False) -> None:
    """Answer requests until the process is told to end."""
    state = app.state
    allow_files(state.service.limits.max_connections + _MAX_EXTRA + _BURST)
    with closing(bind_socket(host, port)) as listener:
        # Before anybody is told the address: a request now waits for the loop, and is not refused.
        listener.listen(_BACKLOG)
        name, number = listener.getsockname()[:2]
        address = f"[{name}]" if ":" in name else name
        _LOGGER.info("Listening on http://%s:%d (Ctrl+C ends it)", address, number)
        try:
            asyncio.run(answer(app, create_server(app, is_debug=is_debug), listener))
        finally:
            # A second Ctrl+C ends the loop at once; threads must not keep the process.
            state.downloader.close()
            state.service.queue.close_jobs()


def create_server(app: FastAPI, *, is_debug: bool = False) -> uvicorn.Server:
    """Return what runs an application of `create_app`; with `is_debug` each request is logged."""
    config = uvicorn.Config(
        app,
        http="h11",
        ws="websockets-sansio",
        # The command has set up logging; uvicorn is not to do so again.
        log_config=None,
        log_level="debug" if is_debug else "warning",
        access_log=is_debug,
        backlog=_BACKLOG,
        # A connection is known by its own client, also where that is a proxy.
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS + _HANG_SECONDS,
        ws_max_size=app.state.service.limits.max_body_bytes,
        # Speech is not made smaller by it, and each connection would take 300 kB more.
        ws_per_message_deflate=False,
    )
    return uvicorn.Server(config)


async def answer(app: FastAPI, server: uvicorn.Server, listener: socket.socket) -> None:
    """Answer requests that come to a socket until the server is told to end."""
    watching = asyncio.create_task(_watch(app, server))
    try:
        await server.serve(sockets=[listener])
    finally:
        watching.cancel()


async def _watch(app: FastAPI, server: uvicorn.Server) -> None:
    """Bound connections, and in the end what would outlast the server."""
    state = app.state
    await state.connections.watch(server)
    # A download can be taken up again; speech that was cut off cannot.
    state.downloader.close()
    await asyncio.sleep(_GRACE_SECONDS)
    state.service.queue.close_jobs()
    # A client that reads nothing would hold up its answer, and the answer the end.
    state.connections.end_all()
