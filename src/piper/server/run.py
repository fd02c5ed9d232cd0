"""Runs the application by uvicorn on a socket until it is told to end.

uvicorn waits for ever for a request's head, and for a client that reads nothing of its answer.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from piper.errors import PiperError
from piper.server.queue import JobQueue
from piper.server.store import Downloader

_OWN_FILES = 200
"""Beside connections: an idle server has 12 open, more while it loads and downloads voices."""


def allow_files(num_connections: int) -> None:
    """Let the process have so many connections, where the system allows it.

    Many systems let a process have 1,024 files by default; without one to spare a server cannot
    even accept a connection to end it.
    """
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such limit
        return
    wanted = num_connections + _OWN_FILES
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY:
        wanted = min(wanted, most)
    if least != resource.RLIM_INFINITY and least < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def bind_socket(host: str, port: int, options: str = "--host and --port") -> socket.socket:
    """Return a socket that is bound and does not listen yet.

    Args:
        host: Address or name to listen on.
        port: 0 takes a free one.
        options: The command's options that say where; an error names them.

    Raises:
        PiperError: The address or the port cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        option = options.partition(" ")[0]
        raise PiperError(
            f"{host} is no address of this machine ({error.strerror}); mend {option}."
        ) from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise PiperError(
            f"The server cannot listen on {host}, port {port} ({error.strerror}); "
            f"choose others with {options}."
        ) from None
    return listener


def bind_unix_socket(path: str) -> socket.socket:
    """Return a socket in the file system that is bound and does not listen yet.

    One that an earlier server has left there is replaced; no other file is.

    Raises:
        PiperError: The place is taken, or cannot be had.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_dead_socket(path)
        listener.bind(path)
    except OSError as error:
        listener.close()
        raise PiperError(
            f"The server cannot listen on {path} ({error.strerror or error}); "
            "choose another place with --uri."
        ) from None
    return listener


def _remove_dead_socket(path: str) -> None:
    """Remove a socket that nobody listens on.

    Raises:
        OSError: Somebody does, or it cannot be removed.
    """
    place = Path(path)
    if not place.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(path)
        except ConnectionRefusedError:
            place.unlink(missing_ok=True)


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


_logger = logging.getLogger(__name__)

_GRACE_SECONDS = 3
"""So long may answers take that are on their way when the server is told to end."""
_BACKLOG = 256
"""So many connections asyncio accepts before it looks at one of them. With uvicorn's 2,048 a burst
of 4,000 took all files that a process may have."""
_BURST = 4
"""Backlogs that are accepted before the end of a connection gives its file back."""
_HANG_SECONDS = 10
"""So long uvicorn waits after that for connections that do not end."""


def serve(app: FastAPI, host: str, port: int, *, is_debug: bool = False) -> None:
    """Answer requests until the process is told to end.

    Args:
        app: From `create_app`.
        host: Address or name to listen on.
        port: 0 takes a free one; the log says which.
        is_debug: Log each request.

    Raises:
        PiperError: The address or the port cannot be had.
        KeyboardInterrupt: Ctrl+C ended it.
    """
    queue, downloader = app.state.service.queue, app.state.downloader
    config = create_config(app, is_debug=is_debug)
    allow_files(config.bounds.max_open + MAX_EXTRA_CONNECTIONS + _BURST * _BACKLOG)
    with closing(bind_socket(host, port)) as listener:
        try:
            _Server(config, queue, downloader).run(sockets=[listener])
        finally:
            # A second Ctrl+C ends the loop at once; threads must not keep the process.
            downloader.close()
            queue.close_jobs()


def create_config(app: FastAPI, *, is_debug: bool = False) -> BoundedConfig:
    """Return how uvicorn runs the application.

    Args:
        app: From `create_app`.
        is_debug: Log each request.
    """
    limits = app.state.service.limits
    bounds = ConnectionBounds(
        max_open=limits.max_connections,
        max_silent_seconds=limits.max_head_seconds,
        max_unread_seconds=limits.max_idle_seconds,
    )
    return BoundedConfig(
        app,
        bounds,
        # The command has set up logging; uvicorn is not to do so again.
        log_config=None,
        log_level="debug" if is_debug else "warning",
        access_log=is_debug,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_GRACE_SECONDS + _HANG_SECONDS,
        ws_max_size=limits.max_body_bytes,
        # Speech is not made smaller by it, and each connection would take 300 kB more.
        ws_per_message_deflate=False,
    )


class _Server(uvicorn.Server):
    """Says where it listens, and ends jobs that would outlast it.

    Args:
        config: uvicorn's.
        queue: What runs the jobs.
        downloader: What downloads voices.
    """

    def __init__(
        self, config: uvicorn.Config, queue: JobQueue[object], downloader: Downloader
    ) -> None:
        super().__init__(config)
        self._queue = queue
        self._downloader = downloader

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        for listener in sockets or ():
            host, port = listener.getsockname()[:2]
            address = f"[{host}]" if ":" in host else host
            _logger.info("Listening on http://%s:%d (Ctrl+C ends it)", address, port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, with a little time for what is on its way."""
        # A download can be taken up again; speech that was cut off cannot.
        self._downloader.close()
        asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._end_what_is_left)
        await super().shutdown(sockets)

    def _end_what_is_left(self) -> None:
        self._queue.close_jobs()
        # A client that reads nothing would hold up its answer, and the answer the end.
        for connection in self.server_state.connections:
            connection.transport.abort()
