"""The server's one application: routers over the same voices and the same queue. No endpoint's own.

Another way to speak is another router that is made here with the same `SpeechService`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.middleware.cors import CORSMiddleware

from piper import __version__
from piper.server import openai
from piper.server.access import AccessGuard, ApiKey
from piper.server.connections import OpenLimit
from piper.server.downloads import Downloader
from piper.server.http import BodyLimit, HeadAsGet, Mistake, add_error_handlers, describe_mistake
from piper.server.metrics import CONTENT_TYPE, Metrics
from piper.server.piper import create_piper_router
from piper.server.settings import ServerSettings
from piper.server.speech import SpeechService
from piper.server.store import VoiceStore
from piper.server.websocket import create_live_router


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
