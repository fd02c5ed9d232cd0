"""A Wyoming server and clients that mean it ill, or simply leave: bounds, nothing left behind."""

from __future__ import annotations

import asyncio
import json
import resource

import numpy as np
import pytest
from wyoming.event import async_read_event
from wyoming.info import Describe
from wyoming.ping import Ping
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop
from wyoming_clients import LONG_TEXT, MAX_SECONDS, Running, Start, collect_samples, wait_until

from piper.server.settings import SpeechLimits

pytestmark = pytest.mark.anyio

ONE = SpeechLimits(at_once=1, max_waiting=0, max_audio_seconds=3600)
NONSENSE = {
    "not JSON": b"nonsense\n",
    "HTTP": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
    "bad UTF-8": b'{"type": "\xff\xfe"}\n',
    "half a surrogate pair": b'{"type": "ping", "data": {"text": "\\ud800"}}\n',
    "a list": b"[1, 2]\n",
    "no type": b"{}\n",
    "a type that is no text": b'{"type": 3}\n',
    "data that are no object": b'{"type": "ping", "data": "x"}\n',
    "data that are no JSON": b'{"type": "ping", "data_length": 3}\nabc',
    "data that are a list": b'{"type": "ping", "data_length": 2}\n[]',
    "nested without end": b"[" * 60_000 + b"\n",
    "a line without end": b"x" * 200_000,
    "a large data_length": b'{"type": "ping", "data_length": 2000000000}\n',
    "a large payload_length": b'{"type": "audio-chunk", "payload_length": 2000000000}\n',
    "a length below 0": b'{"type": "ping", "payload_length": -1}\n',
    "a length that is no number": b'{"type": "ping", "data_length": "5"}\n',
    "a length that is a fraction": b'{"type": "ping", "data_length": 1.5}\n',
    "a length of too many digits": b'{"type": "ping", "data_length": ' + b"9" * 5000 + b"}\n",
}


async def read_error(reader: asyncio.StreamReader) -> dict[str, str]:
    async with asyncio.timeout(MAX_SECONDS):
        error = await async_read_event(reader)
    assert error is not None
    assert error.type == "error"
    return error.data


@pytest.mark.parametrize("content", NONSENSE.values(), ids=NONSENSE.keys())
async def test_nonsense_is_answered_and_ends_its_connection_only(
    start: Start, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    before = len(asyncio.all_tasks())
    running = await start()
    reader, writer = await running.open_raw()
    writer.write(content)
    assert (await read_error(reader))["code"] == "bad-request"
    async with asyncio.timeout(MAX_SECONDS):
        assert await reader.read() == b""
    writer.close()
    assert await running.is_well()
    await wait_until(lambda: len(asyncio.all_tasks()) == before)
    assert caplog.text == ""


async def test_what_is_long_does_not_fill_the_memory(start: Start) -> None:
    # Each of these would be 64 MB in the memory of a reader without bounds.
    heads = (
        b"x",
        b'{"type": "ping", "data_length": 67108864}\n',
        b'{"type": "audio-chunk", "payload_length": 67108864}\n',
    )

    async def send(running: Running, head: bytes) -> None:
        _, writer = await running.open_raw()
        writer.write(head)
        try:
            async with asyncio.timeout(MAX_SECONDS):
                for _ in range(64):
                    writer.write(b"x" * (1 << 20))
                    await writer.drain()
        except ConnectionError:
            pass
        writer.transport.abort()

    running = await start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for head in heads:
        await send(running, head)
    assert await running.is_well()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 40 * 1024  # kB


async def test_payloads_are_passed_over(start: Start) -> None:
    reader, writer = await (await start()).open_raw()
    sound = b"\n{}" * 10_000
    head = json.dumps({"type": "audio-chunk", "payload_length": len(sound)})
    writer.write(head.encode() + b"\n" + sound)
    # Kinds of events that are not known, and data in the line itself.
    writer.write(b'{"type": "transcribe", "data": {"language": "en"}}\n')
    writer.write(b'{"type": "ping", "data": {"text": "still here"}}\n')
    async with asyncio.timeout(MAX_SECONDS):
        pong = await async_read_event(reader)
    assert pong is not None
    assert pong.data == {"text": "still here"}


async def test_clients_that_break_off_leave_nothing_behind(start: Start) -> None:
    before = len(asyncio.all_tasks())
    running = await start(limits=SpeechLimits(max_audio_seconds=3600))
    for _ in range(5):
        for content in (b"", b'{"type": "ping"', b'{"type": "ping", "data_length": 9}\n{'):
            _, writer = await running.open_raw()
            writer.write(content)
            writer.close()
        for event in (Synthesize(LONG_TEXT), SynthesizeStart(), Describe()):
            async with running.connect() as client:
                await client.send(event)
    await running.wait_until_idle()
    assert await running.is_well()
    await wait_until(lambda: len(asyncio.all_tasks()) == before)


async def test_a_client_that_goes_away_stops_its_work(start: Start) -> None:
    running = await start(limits=ONE)
    for events in ([Synthesize(LONG_TEXT)], [SynthesizeStart(), SynthesizeChunk(LONG_TEXT)]):
        async with running.connect() as client:
            await client.send(*events)
            await client.read_until("audio-chunk")
            assert len(running.service.queue) == 1
        await running.wait_until_idle()


async def test_beyond_the_bound_it_is_busy_until_a_client_goes(start: Start) -> None:
    running = await start(limits=ONE)
    first, second = await running.open(), await running.open()
    await first.send(Synthesize(LONG_TEXT))
    await first.read_until("audio-chunk")
    await second.send(Synthesize("Hello."))
    error, _ = await second.read_until()
    assert error.data["code"] == "busy"
    await first.disconnect()
    await running.wait_until_idle()
    assert len(await second.speak(Synthesize("Hello.")))


async def test_a_client_that_takes_nothing_is_given_up(start: Start) -> None:
    before = len(asyncio.all_tasks())
    running = await start(limits=SpeechLimits(max_idle_seconds=0.3, max_audio_seconds=3600))
    _, writer = await running.open_raw()
    slow = json.dumps({"type": "synthesize", "data": {"text": LONG_TEXT}})
    # What is sent is more than the buffers of both ends take, some 5 MB.
    writer.write((slow.encode() + b"\n") * 8)
    less_than_default_seconds = 25
    await wait_until(lambda: bool(len(running.service.queue)), less_than_default_seconds)
    await wait_until(lambda: len(asyncio.all_tasks()) == before, less_than_default_seconds)
    await running.wait_until_idle()


@pytest.mark.parametrize("pause_seconds", [0.0, 0.05])
async def test_an_event_that_does_not_come_to_its_end(start: Start, pause_seconds: float) -> None:
    running = await start(limits=SpeechLimits(max_idle_seconds=0.3))
    client = await running.open()
    # One that says nothing at all may stay: satellites keep their connections.
    reader, writer = await running.open_raw()
    for byte in b'{"type": "ping"':
        writer.write(bytes([byte]))
        await asyncio.sleep(pause_seconds)
    assert "did not come within 0.3 seconds" in (await read_error(reader))["text"]
    await client.send(Ping())
    assert (await client.read()).type == "pong"


async def test_too_many_clients(start: Start) -> None:
    before = len(asyncio.all_tasks())
    running = await start(limits=SpeechLimits(max_connections=2))
    async with running.connect() as first, running.connect() as second:
        for client in (first, second):
            await client.send(SynthesizeStart(), Ping())
            await client.read()
        async with running.connect() as third:
            refusal = await third.read()
            assert (refusal.type, refusal.data["code"]) == ("error", "busy")
            assert await third.read_event() is None
    await wait_until(lambda: len(asyncio.all_tasks()) == before)
    assert await running.is_well()


async def test_what_is_being_spoken_is_finished_when_the_server_ends(start: Start) -> None:
    text = "Hello there, and hello again. " * 6
    running = await start()
    client = await running.open()
    whole = await client.speak(Synthesize(text))
    await client.send(Synthesize(text))
    begun = await client.read_until("audio-chunk")
    ending = asyncio.create_task(running.server.close())
    rest = await client.read_until()
    assert np.array_equal(collect_samples(begun + rest), whole)
    assert await client.read_event() is None
    await ending


async def test_idle_clients_make_room_for_others(start: Start) -> None:
    running = await start(limits=SpeechLimits(max_connections=10))
    streaming, pinged = await running.open(), await running.open()
    # One that has something to do stays, however long ago its last event came.
    await streaming.send(SynthesizeStart())
    await pinged.send(Ping("well"))
    await pinged.read()
    idle = [await running.open_raw() for _ in range(30)]
    for _ in range(20):
        assert await running.is_well()
    async with asyncio.timeout(MAX_SECONDS):
        assert await idle[0][0].read() == b""
    rest = (SynthesizeChunk("Hello."), SynthesizeStop())
    assert len(await streaming.speak(*rest, until="synthesize-stopped"))
