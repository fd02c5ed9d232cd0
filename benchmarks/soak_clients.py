"""What clients of both servers do in soak.py: texts, tricks, ways to be slow. No protocol."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

TEXTS = ("Yes.", "The train to the coast leaves at nine. It is late.", "Turn left, then right!")
LONG_TEXT = "The museum is on the right, opposite the old town hall. " * 80
SMALL_BUFFER_BYTES = 4096
SLOW_SECONDS = 60
TRICKS = (
    *("../../etc/passwd", "/etc/passwd", "..\\..\\x", "x\0.onnx", "%2e%2e%2f", "C:\\x", "~root"),
    *("a" * 150, "con", "voice.onnx.json", ".", "..", "\u202e", "x\n", "file:///etc/passwd"),
)

GoodAct = Callable[[int], Awaitable[bytes | None]]
"""Asks at a port; returns the answer, None where the server has too much to do."""
BadAct = Callable[[int, random.Random], Awaitable[str]]
"""Returns what became of it: a status code, a WebSocket's close code, or `closed`."""
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def open_streams(port: int, *, is_slow: bool = False) -> Streams:
    """Connect; one that is slow has hardly a buffer for what it does not read."""
    client = socket.socket()
    if is_slow:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=client, limit=SMALL_BUFFER_BYTES)


async def send_each_second(port: int, content: bytes) -> str:
    """Send a byte a second until the server has enough of it."""
    reader, writer = await open_streams(port)
    with suppress(ConnectionError):
        for byte in content:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(1)
            if reader.at_eof():
                break
    writer.close()
    return "closed"


async def read_byte_by_byte(port: int, request: bytes) -> str:
    """Ask, and read two bytes of the answer a second."""
    reader, writer = await open_streams(port, is_slow=True)
    writer.write(request)
    with suppress(ConnectionError):
        for _ in range(2 * SLOW_SECONDS):
            if not await reader.read(1):
                break
            await asyncio.sleep(0.5)
    writer.transport.abort()
    return "closed"


async def leave_after_a_while(port: int, request: bytes, chance: random.Random) -> str:
    """Ask, read a part of the answer, and go."""
    reader, writer = await open_streams(port)
    writer.write(request)
    with suppress(TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(chance.random() * 5):
            await reader.readexactly(20_000)
    writer.transport.abort()
    return "gone"


async def leave_in_the_request(port: int, start: bytes) -> str:
    """Send the start of a request, and go."""
    _, writer = await open_streams(port)
    writer.write(start)
    await writer.drain()
    writer.transport.abort()
    return "gone"


def name_acts(*acts: BadAct) -> dict[str, BadAct]:
    return {act.__name__.replace("_", " "): act for act in acts}


async def say_nothing(port: int, chance: random.Random) -> str:
    """Connect often, and go after a while."""
    streams = [await open_streams(port) for _ in range(50)]
    await asyncio.sleep(chance.random() * 30)
    for _, writer in streams:
        writer.close()
    return "gone"
