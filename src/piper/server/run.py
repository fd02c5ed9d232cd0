"""Runs the application by uvicorn on a socket until it is told to end. Knows nothing of speech."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import closing

import uvicorn
from fastapi import FastAPI

from piper.server.connections import MAX_EXTRA_CONNECTIONS, BoundedConfig, ConnectionBounds
from piper.server.downloads import Downloader
from piper.server.queue import JobQueue
from piper.server.sockets import allow_files, bind_socket

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
