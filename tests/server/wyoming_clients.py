"""A Wyoming server on loopback in the test's own loop, and what its clients say. For tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from wyoming.client import AsyncClient, AsyncTcpClient
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
LONG_TEXT = "Hello there, and hello again. " * 90


class Eventable(Protocol):
    def event(self) -> Event: ...


class Client(AsyncTcpClient):
    """The library's client, which also collects what comes."""

    async def send(self, *events: Eventable | Event) -> None:
        for event in events:
            await self.write_event(event if isinstance(event, Event) else event.event())

    async def read(self) -> Event:
        event = await self.read_event()
        assert event is not None, "the server has ended the connection"
        return event

    async def read_until(self, kind: str = "audio-stop") -> list[Event]:
        events = [await self.read()]
        while events[-1].type != kind:
            events.append(await self.read())
        return events

    async def speak(
        self, *events: Eventable | Event, until: str = "audio-stop"
    ) -> npt.NDArray[np.int16]:
        """Send events; return the sound that comes until an event of a kind."""
        await self.send(*events)
        return collect_samples(await self.read_until(until))


@dataclass
class Running:
    port: int
    service: SpeechService
    server: WyomingServer
    stack: AsyncExitStack

    def connect(self) -> Client:
        return Client("127.0.0.1", self.port, read_timeout=MAX_SECONDS)

    async def open(self) -> Client:
        """Return a client that stays connected until the test's end."""
        client = self.connect()
        await self.stack.enter_async_context(client)
        return client

    async def open_raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.stack.callback(writer.close)
        return reader, writer

    async def wait_until_idle(self) -> None:
        """Wait until no request is accepted and not done."""
        await wait_until(lambda: not len(self.service.queue))

    async def is_well(self) -> bool:
        """Return whether another client is answered."""
        from wyoming.ping import Ping

        async with self.connect() as client:
            await client.send(Ping("well"))
            return bool((await client.read()).data["text"] == "well")


Start = Callable[..., Awaitable[Running]]


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
        async with AsyncExitStack() as stack:
            yield Running(listener.getsockname()[1], service, server, stack)
    finally:
        listening.close()
        await server.close()


async def wait_until(is_so: Callable[[], bool], seconds: float = MAX_SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0.01)


async def ask(uri: str, event: Event, last: str = "audio-stop") -> list[Event]:
    """Send an event; return all events up to the last one."""
    async with AsyncClient.from_uri(uri, read_timeout=120) as client:
        await client.write_event(event)
        events: list[Event] = []
        while not events or events[-1].type != last:
            found = await client.read_event()
            assert found is not None
            events.append(found)
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
