"""The server's one application: routers over the same voices and the same queue. No endpoint's own.

https://prometheus.io/docs/practices/naming/

Another way to speak is another router that is made here with the same `SpeechService`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from pydantic import BaseModel
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from piper import __version__
from piper.server import openai
from piper.server.access import AccessGuard, ApiKey
from piper.server.http import BodyLimit, HeadAsGet, Mistake, add_error_handlers, describe_mistake
from piper.server.piper import create_piper_router
from piper.server.run import OpenLimit
from piper.server.settings import ServerSettings
from piper.server.speech import SpeechPiece, SpeechService
from piper.server.store import Downloader, VoiceStore
from piper.server.websocket import create_live_router

CONTENT_TYPE = CONTENT_TYPE_LATEST

_BUCKETS_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_OTHER = "other"
"""A label for all addresses that are none of ours, lest every nonsense make a line of its own."""
_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "POST", "WEBSOCKET"))


class Metrics:
    """The figures of one application; safe to use from many threads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        build = Gauge("piper_build", "What runs.", ["version"], registry=self._registry)
        build.labels(__version__).set(1)
        self._requests = Counter(
            "piper_requests",
            "Answers, by endpoint and status code; 101 is a WebSocket.",
            ["method", "endpoint", "status"],
            registry=self._registry,
        )
        self._open = Gauge(
            "piper_open_connections",
            "Requests and WebSockets that are being answered.",
            registry=self._registry,
        )
        self._audio = Counter(
            "piper_audio_seconds", "Seconds of sound that were made.", registry=self._registry
        )
        self._first = Histogram(
            "piper_first_audio_seconds",
            "From accepting a request for speech to its first sound.",
            buckets=_BUCKETS_SECONDS,
            registry=self._registry,
        )

    def watch_queue(self, find_length: Callable[[], int]) -> None:
        """Show how many requests for speech are accepted and not answered."""
        gauge = Gauge(
            "piper_accepted_speech_requests",
            "Requests for speech that are spoken or wait for it.",
            registry=self._registry,
        )
        gauge.set_function(find_length)

    def count_piece(self, piece: SpeechPiece, waited_seconds: float | None) -> None:
        """Count sound that was made; see `SpeechMeter`."""
        self._audio.inc(piece.seconds)
        if waited_seconds is not None:
            self._first.observe(waited_seconds)

    def count_answer(self, scope: Scope, status: int) -> None:
        """Count an answer."""
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
                    self.count_answer(scope, message["status"])
                elif message["type"] == "websocket.accept":
                    self.count_answer(scope, 101)
                await send(message)

            with self._open.track_inprogress():
                await app(scope, receive, send_and_count)

        return count


class Health(BaseModel):
    """What `/health` says."""

    status: str = "ok"
    version: str = __version__
    requests: int
    """Accepted and not answered yet."""


_GUARDS: dict[int | str, dict[str, Any]] = {
    status: {"model": Mistake} for status in (401, 403, 503)
}
"""What every endpoint may be answered with before it is asked."""


def create_app(voices: VoiceStore, settings: ServerSettings | None = None) -> FastAPI:
    """Return the application; `app.state` has the `service` and the `downloader` that work for it.

    Args:
        voices: The voices that it speaks with.
        settings: Defaults, limits, downloads, who may use it.
    """
    settings = settings or ServerSettings()
    metrics = Metrics()
    service = SpeechService(voices, settings.defaults, settings.limits, metrics)
    metrics.watch_queue(service.queue.__len__)
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
        responses=_GUARDS,
    )
    app.state.service = service
    app.state.downloader = downloader
    add_error_handlers(app, _describe)
    key = ApiKey(settings.access.api_key)
    _add_middleware(app, settings, metrics, key)
    app.include_router(_create_state_router(service, metrics))
    app.include_router(create_piper_router(service, downloader))
    app.include_router(openai.create_openai_router(service))
    app.include_router(create_live_router(service, key))
    return app


def _add_middleware(app: FastAPI, settings: ServerSettings, metrics: Metrics, key: ApiKey) -> None:
    """Put the guards before the endpoints; what is added last is asked first."""
    limits, access = settings.limits, settings.access
    app.add_middleware(HeadAsGet)
    app.add_middleware(
        BodyLimit, max_bytes=limits.max_body_bytes, max_seconds=limits.max_body_seconds
    )
    app.add_middleware(AccessGuard, access=access, key=key, describe=_describe)
    if access.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(access.allowed_origins),
            allow_methods=["*"],
            allow_headers=["*"],
        )
    app.add_middleware(OpenLimit, max_open=limits.max_connections, describe=_describe)
    app.add_middleware(metrics.create_middleware)


def _describe(path: str, status: int, sentence: str) -> dict[str, Any]:
    if path.startswith(f"{openai.PREFIX}/"):
        return openai.describe_openai_mistake(status, sentence)
    return describe_mistake(path, status, sentence)


def _create_state_router(service: SpeechService, metrics: Metrics) -> APIRouter:
    router = APIRouter()

    @router.get("/health")
    async def health() -> Health:
        """Whether the server answers, and how much it has to do."""
        return Health(requests=len(service.queue))

    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"description": "The figures", "content": {"text/plain": {}}}},
    )
    async def figures() -> Response:
        """Figures for Prometheus."""
        return Response(metrics.write(), headers={"Content-Type": CONTENT_TYPE})

    return router
