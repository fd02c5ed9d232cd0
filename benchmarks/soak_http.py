"""Clients of the HTTP server for soak.py: good ones, and those that nobody would wish for."""

from __future__ import annotations

import asyncio
import json
import random
import re
from contextlib import suppress
from functools import partial
from typing import Any

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
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

KEY = "soak"
HEADERS = f"Host: a\r\nAuthorization: Bearer {KEY}\r\n"
UPGRADE = (
    f"GET /live HTTP/1.1\r\n{HEADERS}Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
# Each Ogg stream has a number by chance (RFC 3533), and so other checksums.
OGG_PAGE = re.compile(rb"(OggS.{10}).{4}(.{4}).{4}", re.DOTALL)


def compose(path: str, body: bytes, method: str = "POST", headers: str = HEADERS) -> bytes:
    """Return a request; HTTP/1.0, so that the answer comes in one part and ends the connection."""
    head = f"{method} {path} HTTP/1.0\r\n{headers}Content-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def compose_json(path: str, headers: str = HEADERS, **body: Any) -> bytes:
    return compose(path, json.dumps(body).encode(), headers=headers)


async def exchange(port: int, request: bytes) -> tuple[str, bytes]:
    """Send bytes; return the answer's status and body."""
    reader, writer = await open_streams(port)
    try:
        with suppress(ConnectionError):  # it may be answered before all is sent
            writer.write(request)
            await writer.drain()
        answer = bytearray()
        with suppress(ConnectionError):
            while part := await reader.read(1 << 16):
                answer += part
    finally:
        writer.close()
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    return (head.split()[1].decode() if head.startswith(b"HTTP/1.1 ") else "closed"), body


# Good ones.


async def ask(request: bytes, port: int) -> bytes | None:
    status, body = await exchange(port, request)
    if status == "503":
        return None
    if status != "200":
        raise ConnectionError(f"{status} {body[:100]!r}")
    return OGG_PAGE.sub(rb"\1\2", body)


async def converse(text: str, port: int) -> bytes | None:
    """Send a text word by word over the WebSocket; return its sound and its times."""
    times, sound = bytearray(), bytearray()
    async with connect(f"ws://127.0.0.1:{port}/live", compression=None) as client:
        await client.send(json.dumps({"type": "start", "api_key": KEY}))
        for word in text.split(" "):
            await client.send(json.dumps({"type": "text", "text": f"{word} "}))
        await client.send(json.dumps({"type": "end"}))
        async for message in client:
            if isinstance(message, bytes):
                sound += message
            else:
                times += message.encode()
                if json.loads(message)["type"] == "error":
                    if client.close_code == 1013 or b"retry_after" in times:
                        return None
                    raise ConnectionError(message)
    return bytes(times + sound)


GOOD: dict[str, GoodAct] = {}
for number, text in enumerate(TEXTS):
    request = compose_json("/synthesize", text=text)
    GOOD[f"/synthesize {number}"] = partial(ask, request)
    for kind in ("mp3", "opus", "flac", "wav", "pcm"):
        request = compose_json("/v1/audio/speech", input=text, response_format=kind)
        GOOD[f"/v1/audio/speech {kind} {number}"] = partial(ask, request)
    GOOD[f"/live {number}"] = partial(converse, text)


# Bad ones.


async def leave_in_the_body(port: int, _: random.Random) -> str:
    return await leave_in_the_request(port, compose_json("/synthesize", text=LONG_TEXT)[:-500])


async def leave_in_the_answer(port: int, chance: random.Random) -> str:
    request = compose_json("/v1/audio/speech", input=LONG_TEXT, response_format="wav")
    return await leave_after_a_while(port, request, chance)


async def send_nonsense(port: int, chance: random.Random) -> str:
    start = chance.choice((b"", b"POST /synthesize HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n"))
    return (await exchange(port, start + chance.randbytes(2000) + b"\r\n\r\n"))[0]


async def send_much(port: int, chance: random.Random) -> str:
    request = chance.choice(
        (
            compose_json("/synthesize", text="Hello again. " * 4000),
            compose_json("/synthesize", text="x" * 200_000),
            compose_json("/v1/audio/speech", input="a" * 5000),
            compose_json("/synthesize", text="Hello there, " * 380, length_scale=10),
            f"GET / HTTP/1.1\r\n{'x: y' * 50_000}\r\n\r\n".encode(),
        )
    )
    return (await exchange(port, request))[0]


async def send_without_end(port: int, _: random.Random) -> str:
    """Send chunks of a body until the server has had enough."""
    reader, writer = await open_streams(port)
    head = f"POST /synthesize HTTP/1.1\r\n{HEADERS}Transfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode())
    with suppress(ConnectionError):
        for _ in range(2000):
            writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            await writer.drain()
    with suppress(ConnectionError):
        answer = await reader.read(20)
        return answer[9:12].decode() or "closed"
    return "closed"


async def send_bad_json(port: int, chance: random.Random) -> str:
    body = chance.choice(
        (
            b'{"text": "\xff\xfe"}',
            b"[" * 60_000,
            b'{"a":' * 10_000,
            b'{"text": "\\ud800"}',
            b'{"text": NaN}',
            b'{"text": "a", "length_scale": 1e999}',
            b'{"text": "a", "speaker_id": ' + b"9" * 5000 + b"}",
            b'{"text": "\\u0000\\u0001"}',
            b'{"input": "\\ud800", "voice": {"id": 3}}',
        )
    )
    path = chance.choice(("/synthesize", "/v1/audio/speech", "/", "/download"))
    return (await exchange(port, compose(path, body)))[0]


async def name_paths(port: int, chance: random.Random) -> str:
    trick = chance.choice(TRICKS)
    request = chance.choice(
        (
            compose_json("/synthesize", text="a", voice=trick),
            compose_json("/v1/audio/speech", input="a", voice=trick, model=trick),
            compose_json("/synthesize", text="a", speaker=trick),
            compose("/voices/../../../etc/passwd", b"", "GET"),
            compose("/v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd", b"", "GET"),
        )
    )
    status, body = await exchange(port, request)
    return "a file" if b"root:x:" in body else status


async def use_wrong_methods(port: int, chance: random.Random) -> str:
    method = chance.choice(("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "FOO"))
    path = chance.choice(("/synthesize", "/v1/audio/speech", "/live", "/nothing", "/metrics"))
    return (await exchange(port, compose(path, b"", method)))[0]


async def use_wrong_keys(port: int, chance: random.Random) -> str:
    header = chance.choice(
        ("Authorization: Bearer other\r\n", "", "Authorization: \xe9\r\n", "Origin: http://b\r\n")
    )
    request = compose_json("/synthesize", f"Host: a\r\n{header}", text="a")
    return (await exchange(port, request))[0]


async def send_slowly(port: int, _: random.Random) -> str:
    return await send_each_second(port, compose_json("/synthesize", text=LONG_TEXT)[:SLOW_SECONDS])


async def send_a_body_slowly(port: int, _: random.Random) -> str:
    reader, writer = await open_streams(port)
    writer.write(compose_json("/synthesize", text=LONG_TEXT)[:-1000])
    answer = asyncio.ensure_future(reader.read(20))
    with suppress(ConnectionError):
        while not answer.done():
            writer.write(b"x")
            await asyncio.wait([answer], timeout=1)
        return (await answer)[9:12].decode() or "closed"
    return "closed"


async def read_slowly(port: int, _: random.Random) -> str:
    return await read_byte_by_byte(port, compose_json("/synthesize", text=LONG_TEXT))


async def open_half_a_websocket(port: int, chance: random.Random) -> str:
    reader, writer = await open_streams(port)
    writer.write(UPGRADE.encode()[: chance.choice((60, 10_000))])
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(chance.random() * 30):
            while await reader.read(1000):
                pass
    writer.transport.abort()
    return "gone"


async def talk_nonsense(port: int, chance: random.Random) -> str:
    """Open a WebSocket and send what nobody expects; return the code that it is closed with."""
    start = json.dumps({"type": "start", "api_key": KEY})
    say, flush = json.dumps({"type": "text", "text": "Hello."}), json.dumps({"type": "flush"})
    end, stop = json.dumps({"type": "end"}), json.dumps({"type": "cancel"})
    messages: list[str | bytes] = chance.choice(
        (
            [chance.randbytes(100)],
            [start, chance.randbytes(5000)],
            ["x" * 100_000],
            [start, json.dumps({"type": "text", "text": "x" * 60_000})],
            [say, start],
            [start, start],
            [start, say, end, say],
            [start, stop, stop, flush, stop, end, flush],
            [json.dumps({"type": "start", "api_key": "wrong"})],
            [json.dumps({"type": "start", "api_key": KEY, "voice": chance.choice(TRICKS)})],
            ["[" * 60_000],
            [start, "{}", ""],
            [start, json.dumps({"type": "text", "text": "x" * 5001})],
        )
    )
    async with connect(f"ws://127.0.0.1:{port}/live", compression=None) as client:
        with suppress(ConnectionClosed):
            for message in messages:
                await client.send(message)
            async for _ in client:
                pass
        return str(client.close_code)


async def leave_a_conversation(port: int, chance: random.Random) -> str:
    async with connect(f"ws://127.0.0.1:{port}/live", compression=None) as client:
        await client.send(json.dumps({"type": "start", "api_key": KEY}))
        await client.send(json.dumps({"type": "text", "text": LONG_TEXT}))
        await asyncio.sleep(chance.random() * 3)
        client.transport.abort()
    return "gone"


BAD = name_acts(
    *(leave_in_the_body, leave_in_the_answer, send_nonsense, send_much, send_without_end),
    *(send_bad_json, name_paths, use_wrong_methods, use_wrong_keys, send_slowly),
    *(send_a_body_slowly, read_slowly, say_nothing, open_half_a_websocket, talk_nonsense),
    leave_a_conversation,
)
