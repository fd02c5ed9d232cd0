"""A Wyoming server on loopback in the test's own loop, and what its clients say. For tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from wyoming.client import AsyncTcpClient
from wyoming.event import Event

from piper.config import SynthesisConfig
from piper.server.settings import SpeechDefaults, SpeechLimits
from piper.server.sockets import bind_socket
from piper.server.speech import SpeechService
from piper.server.store import VoiceStore
from piper.server.wyoming import WyomingServer, WyomingSettings
from piper.voices import find_voice

MAX_SECONDS = 120
NO_NOISE = SpeechDefaults(config=SynthesisConfig(noise_scale=0, noise_w_scale=0))


@dataclass
class Running:
    port: int
    service: SpeechService
    server: WyomingServer

    def connect(self) -> AsyncTcpClient:
        return AsyncTcpClient("127.0.0.1", self.port, read_timeout=MAX_SECONDS)

    async def wait_until_idle(self) -> None:
        """Wait until no request is accepted and not done."""
        async with asyncio.timeout(MAX_SECONDS):
            while len(self.service.queue):
                await asyncio.sleep(0.01)


@asynccontextmanager
async def run_wyoming(
    folder: Path,
    limits: SpeechLimits | None = None,
    settings: WyomingSettings | None = None,
    defaults: SpeechDefaults = NO_NOISE,
) -> AsyncIterator[Running]:
    """Run a server with the voices of a folder; `tiny` is the default one."""
    store = VoiceStore(find_voice(folder / "tiny.onnx"), data_dirs=[folder], listed_by="describe")
    service = SpeechService(store, defaults, limits or SpeechLimits())
    server = WyomingServer(service, settings)
    listener = bind_socket("127.0.0.1", 0)
    listening = await server.listen(listener)
    try:
        yield Running(listener.getsockname()[1], service, server)
    finally:
        listening.close()
        await server.close()


async def read(client: AsyncTcpClient) -> Event:
    event = await client.read_event()
    assert event is not None, "the server has ended the connection"
    return event


async def read_until(client: AsyncTcpClient, kind: str) -> list[Event]:
    events = [await read(client)]
    while events[-1].type != kind:
        events.append(await read(client))
    return events


def collect_samples(events: list[Event]) -> npt.NDArray[np.int16]:
    """Return the sound of all audio chunks."""
    chunks = [event.payload or b"" for event in events if event.type == "audio-chunk"]
    return np.frombuffer(b"".join(chunks), dtype="<i2")


def list_kinds(events: list[Event]) -> list[str]:
    """Return the types of events; one of several audio chunks that follow each other."""
    kinds: list[str] = []
    for event in events:
        if event.type != "audio-chunk" or kinds[-1:] != ["audio-chunk"]:
            kinds.append(event.type)
    return kinds
