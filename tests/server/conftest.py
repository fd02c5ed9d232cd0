"""A real server on loopback, and a client that shows what it answers."""

from __future__ import annotations

import asyncio
import functools
import http.client
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from servers import copy_voice, wait_until, write_catalogue

from piper import PiperVoice, SynthesisConfig
from piper.server.app import answer, create_app, create_server
from piper.server.settings import ServerSettings
from piper.server.sockets import bind_socket
from piper.server.store import VoiceStore
from piper.voices import VoiceFiles, find_voice
from publishing import serve_hub

PUBLISHED = "en_US-new-low"
"""The voice of the catalogue."""


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def sentence(self) -> str:
        """The one sentence of a mistake."""
        answer = json.loads(self.body)
        assert list(answer) == ["detail"]
        assert self.headers["Content-Type"] == "application/json"
        return str(answer["detail"])


@dataclass
class RunningServer:
    port: int
    app: FastAPI

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        connection = self.connect()
        kind = {} if body is None else {"Content-Type": content_type}
        data = body.encode() if isinstance(body, str) else body
        connection.request(method, path, data, {**kind, **(headers or {})})
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        connection.close()
        return answer

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def get_json(self, path: str) -> Any:
        return json.loads(self.get(path).body)

    def synthesize(self, **request: Any) -> Answer:
        return self.ask("POST", "/synthesize", json.dumps(request))

    def speech(self, **request: Any) -> Answer:
        """Ask by OpenAI's endpoint."""
        return self.ask("POST", "/v1/audio/speech", json.dumps(request))

    def wait_for_requests(self, number: int) -> None:
        """Wait until so many requests are accepted and not done."""
        wait_until(lambda: len(self.app.state.service.queue) == number)

    def wait_until_idle(self) -> None:
        self.wait_for_requests(0)


Start = Callable[..., RunningServer]


@pytest.fixture(scope="session")
def voices_folder(
    tiny_voice: Path, tiny_voice_multi_speaker: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with the voices `tiny` (default) and `speakers`, and beside it one with `secret`."""
    root = tmp_path_factory.mktemp("served")
    for folder, name, model in (
        ("voices", "tiny", tiny_voice),
        ("voices", "speakers", tiny_voice_multi_speaker),
        ("other", "secret", tiny_voice),
    ):
        (root / folder).mkdir(exist_ok=True)
        copy_voice(model, root / folder / f"{name}.onnx")
    return root / "voices"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """What runs the tests that are coroutines."""
    return "asyncio"


@pytest.fixture
async def start(voices_folder: Path) -> AsyncIterator[Any]:
    """Start Wyoming servers in the test's own loop; they end with the test."""
    from wyoming_clients import Running, run_wyoming

    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> Running:
            return await stack.enter_async_context(run_wyoming(voices_folder, **options))

        yield start


@pytest.fixture(scope="session")
def speak(voices_folder: Path) -> Callable[..., Any]:
    """Return the 16-bit samples that the library gives by a voice of the folder, without noise."""
    load = functools.cache(lambda name: PiperVoice.load(voices_folder / f"{name}.onnx"))

    def speak(text: str, name: str = "tiny", **values: Any) -> Any:
        values = {"normalize_audio": False, "noise_scale": 0, "noise_w_scale": 0, **values}
        chunks = load(name).synthesize(text, SynthesisConfig(**values))
        return np.concatenate([chunk.audio_int16_array for chunk in chunks])

    return speak


@pytest.fixture(scope="session")
def start_server(voices_folder: Path) -> Iterator[Start]:
    """Start servers on free ports; they end with the tests."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(
        settings: ServerSettings | None = None,
        folder: Path = voices_folder,
        *,
        has_websocket: bool = True,
        fallback: VoiceFiles | None = None,
        store: VoiceStore | None = None,
        send_buffer_bytes: int | None = None,
    ) -> RunningServer:
        if store is None:
            default = find_voice(voices_folder / "tiny.onnx")
            store = VoiceStore(default, data_dirs=[folder], fallback=fallback)
        app = create_app(store, settings)
        listener = bind_socket("127.0.0.1", 0)
        if send_buffer_bytes is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
        server = create_server(app)
        if not has_websocket:
            server.config.ws = "none"
        thread = threading.Thread(target=asyncio.run, args=[answer(app, server, listener)])
        thread.start()
        running.append((server, thread))
        # The socket takes connections once the application has started.
        wait_until(lambda: server.started)
        return RunningServer(listener.getsockname()[1], app)

    yield start
    for server, _ in running:
        server.should_exit = True
    for _, thread in running:
        thread.join(120)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def server(start_server: Start) -> RunningServer:
    """A server with default settings; not to be filled up by a test."""
    return start_server()


@pytest.fixture
def published(tmp_path: Path, voices_folder: Path) -> Iterator[tuple[Path, str]]:
    """A folder with a catalogue and a voice, and the catalogue's address."""
    with serve_hub(tmp_path / "published") as hub:
        (hub.root / "en").mkdir()
        copy_voice(voices_folder / "speakers.onnx", hub.root / "en" / f"{PUBLISHED}.onnx")
        write_catalogue(hub.root, "en", PUBLISHED, aliases=["en-new"], quality="low")
        yield hub.root, hub.url
