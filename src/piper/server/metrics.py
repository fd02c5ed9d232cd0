"""Figures for Prometheus: requests, waiting, sound made. Knows no endpoints.

https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from piper import __version__
from piper.server.request import SpeechPiece

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
