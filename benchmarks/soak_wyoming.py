"""Clients of the Wyoming server for soak.py, as in soak_http.py; bad ones return error codes."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from functools import partial

from soak_clients import (
    LONG_TEXT,
    SLOW_SECONDS,
    TEXTS,
    TRICKS,
    GoodAct,
    leave_after_a_while,
    leave_in_the_request,
    name_acts,
    open_streams,
    read_byte_by_byte,
    say_nothing,
    send_each_second,
)
from wyoming.client import AsyncTcpClient
from wyoming.event import Event, async_read_event
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop

END_SECONDS = 5
"""After so long without an answer a client says that it sends no more."""
PING = b'{"type": "ping"}\n'


async def ask(events: list[Event], last: str, port: int) -> bytes | None:
    """Send events; return all sound up to an event."""
    sound = bytearray()
    async with AsyncTcpClient("127.0.0.1", port) as client:
        for event in events:
            await client.write_event(event)
        while (answer := await client.read_event()) is not None:
            if answer.type == "error":
                if answer.data["code"] == "busy":
                    return None
                raise ConnectionError(answer.data["text"])
            sound += answer.payload or b""
            if answer.type == last:
                return bytes(sound)
    raise ConnectionError("the server has ended the connection")


def divide(text: str) -> list[Event]:
    words = [SynthesizeChunk(f"{word} ").event() for word in text.split(" ")]
    return [SynthesizeStart().event(), *words, SynthesizeStop().event()]


GOOD: dict[str, GoodAct] = {
    **{
        f"synthesize {number}": partial(ask, [Synthesize(text).event()], "audio-stop")
        for number, text in enumerate(TEXTS)
    },
    **{
        f"synthesize-start {number}": partial(ask, divide(text), "synthesize-stopped")
        for number, text in enumerate(TEXTS)
    },
}


def compose(**data: object) -> bytes:
    return json.dumps({"type": "synthesize", "data": data}).encode() + b"\n"


async def exchange(port: int, content: bytes) -> str:
    """Send bytes; return the code of the first error, `spoken`, or `closed`."""
    reader, writer = await open_streams(port)
    try:
        with suppress(ConnectionError):
            writer.write(content)
            await writer.drain()
            outcome = asyncio.ensure_future(find_outcome(reader))
            await asyncio.wait([outcome], timeout=END_SECONDS)
            if not outcome.done():
                writer.write_eof()
            return await outcome
    finally:
        writer.close()
    return "closed"


async def find_outcome(reader: asyncio.StreamReader) -> str:
    while (event := await async_read_event(reader)) is not None:
        if event.type == "error":
            return str(event.data["code"])
        if event.type == "audio-stop":
            return "spoken"
    return "closed"


async def send_nonsense(port: int, chance: random.Random) -> str:
    start = chance.choice((b"", b"GET / HTTP/1.1\r\n", b'{"type": "synthesize", "data": {'))
    return await exchange(port, start + chance.randbytes(2000) + b"\n")


async def send_bad_events(port: int, chance: random.Random) -> str:
    content = chance.choice(
        (
            b"[" * 60_000 + b"\n",
            b'{"type": "ping", "data": ' + b'{"a":' * 10_000 + b"\n",
            b'{"type": "\xff"}\n',
            b'{"type": "synthesize", "data": {"text": "\\ud800"}}\n',
            b'{"type": "synthesize"}\n',
            b'{"type": "synthesize", "data": {"text": 3}}\n',
            b'{"type": "synthesize", "data": {"text": "a", "voice": 3}}\n',
            b'{"type": "synthesize", "data_length": 2000000000}\n',
            b'{"type": "audio-chunk", "payload_length": -1}\n',
            b'{"type": "audio-chunk", "payload_length": 1000000}\n' + bytes(1_000_000),
            b"{}\n[]\n\n",
        )
    )
    return await exchange(port, content)


async def send_out_of_order(port: int, chance: random.Random) -> str:
    start, stop = SynthesizeStart().event(), SynthesizeStop().event()
    events = [start, stop, SynthesizeChunk("Hello.").event(), Synthesize("Hello.").event()]
    lines = [json.dumps({"type": event.type, "data": event.data}) for event in events]
    return await exchange(port, "".join(f"{chance.choice(lines)}\n" for _ in range(8)).encode())


async def send_much(port: int, chance: random.Random) -> str:
    text = "x" * chance.choice((6000, 60_000, 1_000_000))
    return await exchange(port, compose(text=text))


async def send_without_end(port: int, _: random.Random) -> str:
    _, writer = await open_streams(port)
    with suppress(ConnectionError):
        for _ in range(2000):
            writer.write(b"x" * 4096)
            await writer.drain()
    writer.transport.abort()
    return "closed"


async def name_paths(port: int, chance: random.Random) -> str:
    voice = {chance.choice(("name", "language", "speaker")): chance.choice(TRICKS)}
    return await exchange(port, compose(text="a", voice=voice))


async def leave_in_an_event(port: int, _: random.Random) -> str:
    start = b'{"type": "synthesize", "data_length": 1000}\n{"text": "'
    return await leave_in_the_request(port, start)


async def leave_in_the_answer(port: int, chance: random.Random) -> str:
    return await leave_after_a_while(port, compose(text=LONG_TEXT), chance)


async def send_slowly(port: int, _: random.Random) -> str:
    content = b'{"type": "synthesize", "data": {"text": "' + b"x" * SLOW_SECONDS
    return await send_each_second(port, content)


async def read_slowly(port: int, _: random.Random) -> str:
    return await read_byte_by_byte(port, compose(text=LONG_TEXT))


async def ping_without_reading(port: int, _: random.Random) -> str:
    _, writer = await open_streams(port, is_slow=True)
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(SLOW_SECONDS):
            for _ in range(5000):
                writer.write(PING * 100)
                await writer.drain()
    writer.transport.abort()
    return "closed"


BAD = name_acts(
    *(send_nonsense, send_bad_events, send_out_of_order, send_much, send_without_end, name_paths),
    *(leave_in_an_event, leave_in_the_answer, send_slowly, read_slowly, ping_without_reading),
    say_nothing,
)
