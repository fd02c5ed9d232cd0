"""Listens for Wyoming clients until the process is told to end. Knows no events."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import stat
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TextIO
from urllib.parse import SplitResult, urlsplit

from wyoming.error import Error
from wyoming.event import async_write_event

from piper.errors import PiperError
from piper.server.settings import WyomingSettings
from piper.server.sockets import allow_files, bind_socket, bind_unix_socket
from piper.server.speech import SpeechService
from piper.server.wyoming.connection import Connection

_logger = logging.getLogger(__name__)

DEFAULT_PORT = 10200
_GRACE_SECONDS = 3
"""So long may answers take that are on their way when the server is told to end."""
_BACKLOG = 100
"""asyncio's: so many connections may come before one of them is looked at."""


class WyomingServer:
    """All clients of a server.

    Args:
        service: What speaks.
        settings: How clients are answered.
    """

    def __init__(self, service: SpeechService, settings: WyomingSettings | None = None) -> None:
        self._service = service
        self._settings = settings or WyomingSettings()
        self._connections: dict[Connection, asyncio.Task[None]] = {}

    @property
    def max_connections(self) -> int:
        """Clients at the same time."""
        return self._service.limits.max_connections

    async def listen(self, listener: socket.socket) -> asyncio.Server:
        """Begin to answer the clients of a bound socket."""
        limit = self._service.limits.max_body_bytes
        if listener.family == socket.AF_UNIX:
            return await asyncio.start_unix_server(self._accept, sock=listener, limit=limit)
        return await asyncio.start_server(self._accept, sock=listener, limit=limit)

    async def answer_standard_streams(self) -> None:
        """Answer the events at standard input on standard output, until the input ends.

        Raises:
            PiperError: They are files.
        """
        if not (_can_be_waited_for(sys.stdin) and _can_be_waited_for(sys.stdout)):
            raise PiperError(
                "Standard input and output must be pipes for --uri stdio://; "
                "put `cat FILE |` before the command and `| cat > FILE` after it."
            )
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=self._service.limits.max_body_bytes)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        transport, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, sys.stdout
        )
        # So that all has been written when the last event has been sent, and the process ends.
        transport.set_write_buffer_limits(high=0)
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        await self._answer(reader, writer, replace(self._settings, is_patient=True))

    async def close(self) -> None:
        """End all connections, with a little time for what is being spoken."""
        tasks = list(self._connections.values())
        await asyncio.gather(*(one.end(_GRACE_SECONDS) for one in list(self._connections)))
        if tasks:
            await asyncio.wait(tasks, timeout=_GRACE_SECONDS)
        await self._service.queue.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._has_room():
            await self._answer(reader, writer, self._settings)
            return
        refusal = Error("The server has too many clients; try again later.", "busy")
        with suppress(OSError):
            await async_write_event(refusal.event(), writer)
        writer.close()

    def _has_room(self) -> bool:
        """Return whether another client may come, maybe in place of one that has long been idle."""
        if len(self._connections) < self.max_connections:
            return True
        idle = [one for one in self._connections if one.idle_since is not None]
        if not idle:
            return False
        min(idle, key=lambda one: one.idle_since or 0.0).give_up()
        return True

    async def _answer(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        settings: WyomingSettings,
    ) -> None:
        connection = Connection(self._service, reader, writer, settings)
        task = asyncio.create_task(connection.run())
        self._connections[connection] = task
        try:
            await task
        finally:
            del self._connections[connection]


def _can_be_waited_for(stream: TextIO) -> bool:
    """Return whether an event loop can wait for it; not for a file, nor for /dev/null."""
    mode = os.fstat(stream.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stream.isatty()


def serve(service: SpeechService, uri: str, settings: WyomingSettings) -> None:
    """Answer clients until the process is told to end.

    Args:
        service: What speaks.
        uri: `tcp://HOST:PORT`, where the port 0 takes a free one; `unix://PATH`; or `stdio://`.
        settings: How clients are answered.

    Raises:
        PiperError: The address makes no sense or cannot be had.
        KeyboardInterrupt: Ctrl+C ended it.
    """
    if asyncio.run(_serve(service, uri, settings)) == signal.SIGINT:
        raise KeyboardInterrupt


async def _serve(service: SpeechService, uri: str, settings: WyomingSettings) -> int | None:
    """Answer clients; return the signal that ended it, None where the input ended."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(number: int) -> None:
        if not ended.done():
            ended.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, number)
    server = WyomingServer(service, settings)
    try:
        if uri == "stdio://":
            answering = asyncio.ensure_future(server.answer_standard_streams())
            answering.add_done_callback(lambda _: ended.cancel())
            with suppress(asyncio.CancelledError):
                await ended
            if answering.done():
                answering.result()
        else:
            await _serve_socket(server, uri, ended)
    finally:
        await server.close()
    return None if ended.cancelled() else ended.result()


async def _serve_socket(server: WyomingServer, uri: str, ended: asyncio.Future[int]) -> None:
    listener = bind_uri(uri)
    allow_files(server.max_connections + _BACKLOG)
    listening = await server.listen(listener)
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        address = f"unix://{name}"
    else:
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        address = f"tcp://{host}:{name[1]}"
    _logger.info("Listening on %s (Ctrl+C ends it)", address)
    try:
        await ended
    finally:
        listening.close()
        if listener.family == socket.AF_UNIX:
            Path(name).unlink(missing_ok=True)


def bind_uri(uri: str) -> socket.socket:
    """Return a socket that is bound to an address and does not listen yet.

    Raises:
        PiperError: It is no address, or cannot be had.
    """
    try:
        parts = urlsplit(uri)
        port = DEFAULT_PORT if parts.port is None else parts.port
    except ValueError:
        parts, port = SplitResult("", "", "", "", ""), 0
    path = parts.netloc + parts.path
    if parts.scheme == "unix" and path:
        return bind_unix_socket(path)
    if parts.scheme == "tcp" and parts.hostname:
        return bind_socket(parts.hostname, port, "--uri")
    raise PiperError(
        f"{uri} is no address to listen on; give --uri tcp://HOST:PORT, unix://PATH or stdio://."
    )
