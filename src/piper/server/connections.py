"""uvicorn's protocols with bounds for clients that are slow or silent. Knows nothing of speech.

uvicorn waits for ever for a request's head, and for a client that reads nothing of its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MAX_EXTRA_CONNECTIONS = 1000
"""Beyond those that are allowed, as long as all are too new to be judged."""
_NEW_SECONDS = 0.5
"""After so long a request that came with its connection has been read, even in a burst."""
_RETRY_SECONDS = 5


@dataclass
class ConnectionBounds:
    """What the connections of a server may cost.

    Attributes:
        max_open: Connections; beyond it those go whose next request is waited for longest.
        max_silent_seconds: So long a request may take to begin, head included.
        max_unread_seconds: So long bytes may lie that a client does not read.
        silent: Those whose request is waited for, the longest waiting first.
    """

    max_open: int
    max_silent_seconds: float
    max_unread_seconds: float
    silent: dict[HttpConnection, asyncio.TimerHandle] = field(default_factory=dict)


class BoundedConfig(uvicorn.Config):
    """uvicorn's settings, with protocols that keep to bounds.

    Args:
        app: What answers.
        bounds: Of its connections.
        options: uvicorn's own.
    """

    def __init__(self, app: ASGIApp, bounds: ConnectionBounds, **options: Any) -> None:
        super().__init__(app, http=HttpConnection, ws=WebSocketConnection, **options)
        self.bounds = bounds


class _ReadConnection(asyncio.Protocol):
    """What both protocols of uvicorn's get: a client that reads what lies for it."""

    config: BoundedConfig
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _unread: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """Give the client time to read."""
        super().pause_writing()
        seconds = self.config.bounds.max_unread_seconds
        self._unread = self.loop.call_later(seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on, all has been read."""
        super().resume_writing()
        self._forget_unread()

    def connection_lost(self, exc: Exception | None) -> None:
        """Clear up."""
        self._forget_unread()
        super().connection_lost(exc)

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()


class HttpConnection(_ReadConnection, H11Protocol):  # type: ignore[misc] # config has bounds
    """A connection on which requests come, and come soon."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        # So that a pause lasts as long as there are bytes that wait for the client.
        transport.set_write_buffer_limits(high=0)
        self._wait_or_not()
        self._make_room()

    def data_received(self, data: bytes) -> None:
        """Take what a client sends."""
        super().data_received(data)
        self._wait_or_not()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._wait_or_not()

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Hand the connection over."""
        self._forget_timers()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Clear up."""
        self._stop_waiting()
        super().connection_lost(exc)

    def give_up(self) -> None:
        """End the connection, whatever is on its way."""
        self._forget_timers()
        self.connections.discard(self)  # now: until asyncio says so others may come
        self.transport.abort()

    def _make_room(self) -> None:
        bounds = self.config.bounds
        while (num_extra := len(self.connections) - bounds.max_open) > 0:
            longest, timer = next(iter(bounds.silent.items()))
            left_seconds = timer.when() - self.loop.time()
            is_new = left_seconds > bounds.max_silent_seconds - _NEW_SECONDS
            if longest is self or (is_new and num_extra <= MAX_EXTRA_CONNECTIONS):
                return
            longest.give_up()

    def _wait_or_not(self) -> None:
        """Let the time run while no request is being answered; a byte does not begin it anew."""
        silent = self.config.bounds.silent
        is_silent = self in self.connections and (
            self.cycle is None or self.cycle.response_complete
        )
        if is_silent and self not in silent:
            seconds = self.config.bounds.max_silent_seconds
            silent[self] = self.loop.call_later(seconds, self.give_up)
        elif not is_silent:
            self._stop_waiting()

    def _stop_waiting(self) -> None:
        timer = self.config.bounds.silent.pop(self, None)
        if timer is not None:
            timer.cancel()

    def _forget_timers(self) -> None:
        self._stop_waiting()
        self._forget_unread()


class WebSocketConnection(_ReadConnection, WebSocketsSansIOProtocol):  # type: ignore[misc] # likewise
    """A WebSocket whose client reads; uvicorn's pings tell whether it is still there."""


class OpenLimit:
    """Refuses requests and WebSockets beyond so many that are being answered.

    uvicorn's own limit counts no WebSockets, and its answer does not say when to come again.

    Args:
        app: What is protected.
        max_open: At the same time.
        describe: Path, status code and sentence to the refusal's body.
    """

    def __init__(
        self, app: ASGIApp, max_open: int, describe: Callable[[str, int, str], dict[str, Any]]
    ) -> None:
        self._app = app
        self._max_open = max_open
        self._describe = describe
        self._num_open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do so."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if self._num_open >= self._max_open:
            await self._refuse(scope, receive, send)
            return
        self._num_open += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._num_open -= 1

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = HTTPStatus.SERVICE_UNAVAILABLE
        sentence = "The server has too many clients; try again later."
        body = self._describe(scope["path"], status, sentence)
        answer = JSONResponse(body, status, {"Retry-After": str(_RETRY_SECONDS)})
        await answer(scope, receive, send)
