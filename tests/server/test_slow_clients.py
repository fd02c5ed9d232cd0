"""Connections on which little or nothing comes or goes: bounded, and never in the way of others."""

from __future__ import annotations

import base64
import json
import re
import resource
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers import ask_for_speech, connect, wait_until

from piper.server.settings import ServerSettings, SpeechLimits
from piper.system import allow_files

LONG = SpeechLimits(max_idle_seconds=1.0, max_audio_seconds=3600)
LESS_THAN_DEFAULT_SECONDS = 15
"""Less than any limit has by default, and far more than those that the tests set."""
HANDSHAKE = (
    b"GET /live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n\r\n"
)

Start = Callable[..., Any]


def is_ended(connection: socket.socket) -> bool:
    """Wait until the server ends a connection on which it has said nothing."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def count_open(server: Any) -> int:
    """Return how many connections a server has not closed."""
    sockets = Path("/proc/self/net/tcp").read_text(encoding="ascii")
    # Columns: number, here, there, state; 01 is ESTABLISHED, 08 CLOSE_WAIT.
    return len(re.findall(rf"\d+: [0-9A-F]{{8}}:{server.port:04X} \S+ 0[18] ", sockets))


def test_a_connection_without_a_request_ends(start_server: Start) -> None:
    server = start_server(ServerSettings(limits=SpeechLimits(max_head_seconds=0.5)))
    start = time.monotonic()
    with connect(server.port) as silent, connect(server.port) as half, connect(server.port) as slow:
        half.sendall(b"POST /synthesize HTTP/1.1\r\nHost")
        # Bytes one at a time do not lengthen it.
        with pytest.raises(ConnectionError):
            for byte in b"GET /health?" + b"x" * 1000:
                slow.sendall(bytes([byte]))
                time.sleep(0.05)
        assert is_ended(silent)
        assert is_ended(half)
    assert 0.4 < time.monotonic() - start < LESS_THAN_DEFAULT_SECONDS


def test_a_body_one_byte_at_a_time_is_408(start_server: Start) -> None:
    server = start_server(ServerSettings(limits=SpeechLimits(max_body_seconds=0.5)))
    with connect(server.port) as connection:
        connection.sendall(
            b"POST /synthesize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n"
        )
        start = time.monotonic()
        while not select.select([connection], [], [], 0.05)[0]:
            connection.sendall(b"{")
            assert time.monotonic() - start < LESS_THAN_DEFAULT_SECONDS
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_silent_connections_make_room(start_server: Start) -> None:
    limits = SpeechLimits(max_connections=20, max_head_seconds=300)
    server = start_server(ServerSettings(limits=limits))
    silent = [connect(server.port) for _ in range(31)]
    # Which of them came first is known to a tenth of a second.
    time.sleep(0.5)
    silent += [connect(server.port) for _ in range(19)]
    assert server.synthesize(text="Hello.").status == 200
    # What is new may still be about to say something.
    time.sleep(0.6)
    assert server.synthesize(text="Hello.").status == 200
    # Those that waited longest went first.
    assert all(is_ended(connection) for connection in silent[:31])
    silent[-1].sendall(b"GET /health HTTP/1.0\r\n\r\n")
    assert silent[-1].recv(100).startswith(b"HTTP/1.1 200 ")
    for connection in silent:
        connection.close()


def test_a_thousand_silent_connections_leave_others_answered(start_server: Start) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    allow_files(4000)
    silent: list[socket.socket] = []
    try:
        server = start_server(ServerSettings(limits=SpeechLimits(max_head_seconds=300)))
        silent += [connect(server.port) for _ in range(1200)]
        assert server.synthesize(text="Hello.").status == 200
        wait_until(lambda: count_open(server) <= SpeechLimits.max_connections)
        assert server.synthesize(text="Hello.").status == 200
    finally:
        for connection in silent:
            connection.close()
        wait_until(lambda: count_open(server) == 0)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_more_requests_than_connections_are_503(start_server: Start) -> None:
    server = start_server(
        ServerSettings(limits=SpeechLimits(max_connections=2, max_audio_seconds=3600))
    )
    busy = [connect(server.port) for _ in range(2)]
    for connection in busy:
        ask_for_speech(connection, "Hello there again. " * 250, length_scale=3)
    server.wait_for_requests(2)
    refused = server.synthesize(text="Hello.")
    assert refused.status == 503
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.sentence == "The server has too many clients; try again later."
    refused = server.speech(input="Hello.")
    assert json.loads(refused.body)["error"]["type"] == "server_error"
    with connect(server.port) as connection:
        connection.sendall(HANDSHAKE)
        assert connection.recv(1000).startswith(b"HTTP/1.1 503 ")
    for connection in busy:
        connection.close()
    server.wait_until_idle()
    assert server.synthesize(text="Hello.").status == 200


def test_who_reads_nothing_loses_the_connection(start_server: Start) -> None:
    server = start_server(ServerSettings(limits=LONG))
    with connect(server.port) as connection:
        wait_until(lambda: count_open(server) == 1)
        ask_for_speech(connection, "Hello there again. " * 250, length_scale=3)
        wait_until(lambda: count_open(server) == 0, LESS_THAN_DEFAULT_SECONDS)
    server.wait_until_idle()


def test_who_leaves_the_end_of_an_answer_loses_the_connection(start_server: Start) -> None:
    # The application is done by then, and the connection closed but for what lies there.
    limits = SpeechLimits(max_head_seconds=0.5)
    server = start_server(ServerSettings(limits=limits), send_buffer_bytes=4096)
    with connect(server.port) as connection:
        connection.sendall(
            b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        connection.recv(100)
        wait_until(lambda: count_open(server) == 0, LESS_THAN_DEFAULT_SECONDS)


def test_a_websocket_that_reads_nothing_is_closed(start_server: Start) -> None:
    server = start_server(ServerSettings(limits=LONG))
    with connect(server.port) as connection:
        connection.sendall(HANDSHAKE)
        assert connection.recv(1000).startswith(b"HTTP/1.1 101 ")
        text = "Hello there again. " * 200
        for message in (
            {"type": "start", "length_scale": 10},
            {"type": "text", "text": text},
            {"type": "flush"},
        ):
            payload = json.dumps(message).encode()
            # Masked by zeros, as RFC 6455 wants it of clients.
            head = bytes([0x81, 0x80 | 126]) + len(payload).to_bytes(2, "big") + bytes(4)
            connection.sendall(head + payload)
        server.wait_for_requests(1)
        wait_until(lambda: count_open(server) == 0, LESS_THAN_DEFAULT_SECONDS)
    server.wait_until_idle()


def test_a_server_may_have_more_files_than_the_default() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, before[1]))
        allow_files(50)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (300, before[1])
        allow_files(500)
        assert 500 < resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 1000
        allow_files(10**12)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
