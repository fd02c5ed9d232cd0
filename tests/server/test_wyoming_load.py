"""A Wyoming server and clients that mean it ill, or simply leave: bounds, nothing left behind."""

from __future__ import annotations

import asyncio
import json
import resource
from pathlib import Path

import numpy as np
import pytest
from wyoming.event import async_read_event
from wyoming.info import Describe
from wyoming.ping import Ping
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop
from wyoming_clients import MAX_SECONDS, Running, collect_samples, read, read_until, run_wyoming

from piper.server.settings import SpeechLimits

LONG_TEXT = "Hello there, and hello again. " * 90
MUCH = SpeechLimits(max_audio_seconds=3600)

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


async def open_raw(running: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", running.port)


async def is_well(running: Running) -> bool:
    """Whether another client is answered."""
    async with running.connect() as client:
        await client.write_event(Ping("well").event())
        return (await read(client)).data["text"] == "well"


@pytest.mark.parametrize("content", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_answered_and_ends_its_connection_only(
    voices_folder: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def check() -> None:
        async with run_wyoming(voices_folder) as running:
            reader, writer = await open_raw(running)
            writer.write(content)
            async with asyncio.timeout(MAX_SECONDS):
                error = await async_read_event(reader)
                assert error is not None
                assert (error.type, error.data["code"]) == ("error", "bad-request")
                assert await reader.read() == b""
            writer.close()
            assert await is_well(running)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(check())
    assert caplog.text == ""


def test_what_is_long_does_not_fill_the_memory(voices_folder: Path) -> None:
    # Each of these would be 64 MB in the memory of a reader without bounds.
    heads = (
        b"x",
        b'{"type": "ping", "data_length": 67108864}\n',
        b'{"type": "audio-chunk", "payload_length": 67108864}\n',
    )

    async def send(running: Running, head: bytes) -> None:
        _, writer = await open_raw(running)
        writer.write(head)
        try:
            async with asyncio.timeout(MAX_SECONDS):
                for _ in range(64):
                    writer.write(b"x" * (1 << 20))
                    await writer.drain()
        except ConnectionError:
            pass
        writer.transport.abort()

    async def check() -> None:
        async with run_wyoming(voices_folder) as running:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for head in heads:
                await send(running, head)
            assert await is_well(running)
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            assert after - before < 40 * 1024  # kB

    asyncio.run(check())


def test_payloads_are_passed_over(voices_folder: Path) -> None:
    async def check() -> None:
        async with run_wyoming(voices_folder) as running:
            reader, writer = await open_raw(running)
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
            writer.close()

    asyncio.run(check())


def test_clients_that_break_off_leave_nothing_behind(voices_folder: Path) -> None:
    async def check() -> None:
        async with run_wyoming(voices_folder, MUCH) as running:
            for _ in range(5):
                for content in (b"", b'{"type": "ping"', b'{"type": "ping", "data_length": 9}\n{'):
                    _, writer = await open_raw(running)
                    writer.write(content)
                    writer.close()
                for event in (Synthesize(LONG_TEXT), SynthesizeStart(), Describe()):
                    async with running.connect() as client:
                        await client.write_event(event.event())
            await running.wait_until_idle()
            assert await is_well(running)
            async with asyncio.timeout(MAX_SECONDS):
                while len(asyncio.all_tasks()) > 1:
                    await asyncio.sleep(0.01)

    asyncio.run(check())


def test_a_client_that_goes_away_stops_its_work(voices_folder: Path) -> None:
    async def check() -> None:
        limits = SpeechLimits(at_once=1, max_waiting=0, max_audio_seconds=3600)
        async with run_wyoming(voices_folder, limits) as running:
            async with running.connect() as client:
                await client.write_event(Synthesize(LONG_TEXT).event())
                await read_until(client, "audio-chunk")
                assert len(running.service.queue) == 1
            await running.wait_until_idle()
            async with running.connect() as client:
                await client.write_event(SynthesizeStart().event())
                await client.write_event(SynthesizeChunk(LONG_TEXT).event())
                await read_until(client, "audio-chunk")
                assert len(running.service.queue) == 1
            await running.wait_until_idle()

    asyncio.run(check())


def test_beyond_the_bound_it_is_busy_until_a_client_goes(voices_folder: Path) -> None:
    async def check() -> None:
        limits = SpeechLimits(at_once=1, max_waiting=0, max_audio_seconds=3600)
        async with (
            run_wyoming(voices_folder, limits) as running,
            running.connect() as first,
            running.connect() as second,
        ):
            await first.write_event(Synthesize(LONG_TEXT).event())
            await read_until(first, "audio-chunk")
            await second.write_event(Synthesize("Hello.").event())
            error, _ = await read_until(second, "audio-stop")
            assert error.data["code"] == "busy"
            await first.disconnect()
            await running.wait_until_idle()
            await second.write_event(Synthesize("Hello.").event())
            assert len(collect_samples(await read_until(second, "audio-stop")))

    asyncio.run(check())


def test_a_client_that_takes_nothing_is_given_up(voices_folder: Path) -> None:
    async def check() -> None:
        limits = SpeechLimits(max_idle_seconds=0.3, max_audio_seconds=3600)
        async with run_wyoming(voices_folder, limits) as running:
            _, writer = await open_raw(running)
            slow = json.dumps({"type": "synthesize", "data": {"text": LONG_TEXT}})
            # What is sent is more than the buffers of both ends take, some 5 MB.
            writer.write((slow.encode() + b"\n") * 8)
            async with asyncio.timeout(25):  # less than the default limit
                while not len(running.service.queue):
                    await asyncio.sleep(0.01)
                while len(asyncio.all_tasks()) > 1:
                    await asyncio.sleep(0.01)
            await running.wait_until_idle()
            writer.close()

    asyncio.run(check())


def test_an_event_that_does_not_come_to_its_end(voices_folder: Path) -> None:
    async def check() -> None:
        limits = SpeechLimits(max_idle_seconds=0.2)
        async with run_wyoming(voices_folder, limits) as running, running.connect() as client:
            # One that says nothing at all may stay: satellites keep their connections.
            reader, writer = await open_raw(running)
            writer.write(b'{"type": "ping", "data_length": 9}\n{')
            async with asyncio.timeout(MAX_SECONDS):
                error = await async_read_event(reader)
            assert error is not None
            assert "0.2 seconds" in error.data["text"]
            writer.close()
            await client.write_event(Ping().event())
            assert (await read(client)).type == "pong"

    asyncio.run(check())


def test_too_many_clients(voices_folder: Path) -> None:
    async def check() -> None:
        limits = SpeechLimits(max_connections=2)
        async with run_wyoming(voices_folder, limits) as running:
            async with running.connect() as first, running.connect() as second:
                for client in (first, second):
                    await client.write_event(SynthesizeStart().event())
                    await client.write_event(Ping().event())
                    await read(client)
                async with running.connect() as third:
                    refusal = await read(third)
                    assert (refusal.type, refusal.data["code"]) == ("error", "busy")
                    assert await third.read_event() is None
            async with asyncio.timeout(MAX_SECONDS):
                while len(asyncio.all_tasks()) > 1:
                    await asyncio.sleep(0.01)
            assert await is_well(running)

    asyncio.run(check())


def test_what_is_being_spoken_is_finished_when_the_server_ends(voices_folder: Path) -> None:
    async def check() -> None:
        text = "Hello there, and hello again. " * 6
        async with run_wyoming(voices_folder) as running, running.connect() as client:
            await client.write_event(Synthesize(text).event())
            whole = collect_samples(await read_until(client, "audio-stop"))
            await client.write_event(Synthesize(text).event())
            begun = await read_until(client, "audio-chunk")
            ending = asyncio.create_task(running.server.close())
            rest = await read_until(client, "audio-stop")
            assert np.array_equal(collect_samples(begun + rest), whole)
            assert await client.read_event() is None
            await ending

    asyncio.run(check())


def test_idle_clients_make_room_for_others(voices_folder: Path) -> None:
    async def check() -> None:
        async with run_wyoming(voices_folder, SpeechLimits(max_connections=10)) as running:
            async with running.connect() as streaming:
                # One that has something to do stays, however long ago its last event came.
                await streaming.write_event(SynthesizeStart().event())
                async with running.connect() as pinged:
                    await pinged.write_event(Ping("well").event())
                    await read(pinged)
                    idle = [await open_raw(running) for _ in range(30)]
                    for _ in range(20):
                        assert await is_well(running)
                    async with asyncio.timeout(MAX_SECONDS):
                        assert await idle[0][0].read() == b""
                await streaming.write_event(SynthesizeChunk("Hello.").event())
                await streaming.write_event(SynthesizeStop().event())
                assert len(collect_samples(await read_until(streaming, "synthesize-stopped")))
            for _, writer in idle:
                writer.close()

    asyncio.run(check())


def test_an_event_one_byte_at_a_time_is_not_waited_for(voices_folder: Path) -> None:
    async def check() -> None:
        async with run_wyoming(voices_folder, SpeechLimits(max_idle_seconds=0.5)) as running:
            reader, writer = await open_raw(running)
            for byte in b'{"type": "ping"':
                writer.write(bytes([byte]))
                await asyncio.sleep(0.05)
            async with asyncio.timeout(MAX_SECONDS):
                error = await async_read_event(reader)
                assert error is not None
                assert "did not come within 0.5 seconds" in error.data["text"]
            writer.close()

    asyncio.run(check())
