"""The server's one application: routers over the same voices and the same queue. No endpoint's own.

Another way to speak (OpenAI's, WebSocket, a page) is another router that is made here with the same
`SpeechService` and `Downloader`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

from piper import __version__
from piper.server.downloads import Downloader
from piper.server.http import BodyLimit, add_error_handlers
from piper.server.piper import create_piper_router
from piper.server.settings import ServerSettings
from piper.server.speech import SpeechService
from piper.server.store import VoiceStore


class Health(BaseModel):
    """What `/health` says."""

    status: str = "ok"
    version: str = __version__
    requests: int
    """Accepted and not answered yet."""


def create_app(voices: VoiceStore, settings: ServerSettings | None = None) -> FastAPI:
    """Return the application; `app.state.service` speaks for it.

    Args:
        voices: The voices that it speaks with.
        settings: Defaults, limits, downloads.
    """
    settings = settings or ServerSettings()
    service = SpeechService(voices, settings.defaults, settings.limits)
    downloader = Downloader(settings.downloads)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        downloader.close()
        await service.queue.close()

    # The pages of documentation would load scripts from elsewhere; /openapi.json is enough.
    app = FastAPI(
        title="Piper", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.service = service
    add_error_handlers(app)
    app.add_middleware(BodyLimit, max_bytes=settings.limits.max_body_bytes)
    app.include_router(_create_health_router(service))
    app.include_router(create_piper_router(service, downloader))
    return app


def _create_health_router(service: SpeechService) -> APIRouter:
    router = APIRouter()

    @router.get("/health")
    async def health() -> Health:
        """Whether the server answers, and how much it has to do."""
        return Health(requests=len(service.queue))

    return router
