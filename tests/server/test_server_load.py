"""A server under load: isolation, bounds, clients that go away."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers import ask_for_speech, connect

from piper import PiperVoice
from piper.config import SynthesisConfig
from piper.server.settings import ServerSettings, SpeechDefaults, SpeechLimits
from piper.server.store import VoiceStore
from piper.voices import find_voice

LONG_TEXT = "Hello there, and hello again. " * 90
"""With a length scale of 3 some 20 MB of speech: more than a connection holds unread."""

Start = Callable[..., Any]


def begin_long_request(server: Any) -> socket.socket:
    """Ask for a long speech and read nothing of it."""
    connection = connect(server.port)
    ask_for_speech(connection, LONG_TEXT, length_scale=3)
    return connection


def test_a_text_without_stops_is_spoken(start_server: Start) -> None:
    # It was refused, and with it the whole text around it.
    server = start_server(ServerSettings(limits=SpeechLimits(max_audio_seconds=3000)))
    items = "\n".join(f"- {number} of the apples that we like" for number in ("one", "two") * 18)
    for path, text in (
        ("/synthesize", ("hello there and you " * 100)[:2000]),
        ("/v1/audio/speech", f"Buy these. {items}"),
    ):
        body = {"text": text, "input": text, "length_scale": 0.2, "speed": 4}
        answer = server.ask("POST", path, json.dumps(body))
        assert (answer.status, len(answer.body) > 100_000) == (200, True)
    server.wait_until_idle()


def test_beyond_the_bound_it_is_503_until_a_client_goes(start_server: Start) -> None:
    limits = SpeechLimits(at_once=1, max_waiting=1, max_audio_seconds=3600)
    server = start_server(ServerSettings(limits=limits))
    clients = [begin_long_request(server) for _ in range(2)]
    server.wait_for_requests(2)
    refused = server.synthesize(text="Hello.")
    assert refused.status == 503
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.sentence == "The server has too much to do; try again later."
    assert json.loads(server.get("/health").body)["requests"] == 2
    # One that is being spoken and one that is waiting or being sent.
    for client in clients:
        client.close()
    server.wait_until_idle()
    assert server.synthesize(text="Hello.").status == 200


def test_a_client_that_goes_away_stops_its_work(start_server: Start) -> None:
    limits = SpeechLimits(at_once=1, max_waiting=1, max_audio_seconds=1e6)
    server = start_server(ServerSettings(limits=limits))
    server.synthesize(text="Hello.")
    start = time.monotonic()
    server.synthesize(text=LONG_TEXT, length_scale=3)
    whole = time.monotonic() - start
    # While it is being planned, before anything is sent: what follows does not wait for its end.
    waits = []
    for _ in range(3):  # a busy machine may keep one or two of them waiting
        client = begin_long_request(server)
        server.wait_for_requests(1)
        client.close()
        server.wait_until_idle()
        start = time.monotonic()
        assert server.synthesize(text="Hello.").status == 200
        waits.append(time.monotonic() - start)
    assert min(waits) < max(0.5, whole / 2)


def test_clients_that_break_off_leave_nothing_behind(server: Any) -> None:
    before = threading.active_count()
    for _ in range(10):
        begin_long_request(server).close()
        half = socket.create_connection(("127.0.0.1", server.port))
        half.sendall(
            b"POST /synthesize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
        )
        half.close()
        nonsense = socket.create_connection(("127.0.0.1", server.port))
        nonsense.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        nonsense.close()
    server.wait_until_idle()
    assert server.synthesize(text="Hello.").status == 200
    assert threading.active_count() <= before + 8


def test_defaults_of_the_server(start_server: Start, voices_folder: Path) -> None:
    defaults = SpeechDefaults(
        speaker="0",
        config=SynthesisConfig(
            length_scale=2.0, noise_scale=0, noise_w_scale=0, sentence_silence_seconds=0.5
        ),
    )
    server = start_server(ServerSettings(defaults=defaults))
    text = "Hello. Hello."
    slow = server.synthesize(text=text)
    assert slow.body == server.synthesize(text=text, length_scale=2.0).body
    assert len(slow.body) - len(server.synthesize(text=text, length_scale=1.0).body) > 8000
    one = server.synthesize(text="Hello.")
    assert len(slow.body) - 44 == 2 * (len(one.body) - 44) + 16000


def test_voices_are_kept_up_to_a_number(
    voices_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = VoiceStore(
        find_voice(voices_folder / "tiny.onnx"), data_dirs=[voices_folder], max_loaded=1
    )
    tiny = store.load(store.find(None))
    assert isinstance(tiny, PiperVoice)
    assert store.load(store.find("tiny")) is tiny
    store.load(store.find("speakers"))
    assert store.load(store.find("tiny.onnx")) is not tiny
