"""A Wyoming server and the library's own client: what is asked for is what is spoken."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeVoice,
)
from wyoming_clients import (
    NO_NOISE,
    collect_samples,
    list_kinds,
    read,
    read_until,
    run_wyoming,
)

from piper import PiperVoice, SynthesisConfig
from piper.server.settings import SpeechDefaults, SpeechLimits
from piper.server.wyoming import WyomingSettings

LONG_TEXT = "Hello there, and hello again. " * 90


def speak(model: Path, text: str, speaker: int | None = None) -> npt.NDArray[np.int16]:
    """Return what the library says, as loud as the voice makes it."""
    config = SynthesisConfig(speaker_id=speaker, noise_scale=0, noise_w_scale=0)
    chunks = PiperVoice.load(model).synthesize_stream(text, config)
    return np.concatenate([chunk.audio_int16_array for chunk in chunks])


def test_describe_names_the_voices_on_disk(voices_folder: Path) -> None:
    async def check() -> None:
        async with run_wyoming(voices_folder) as running, running.connect() as client:
            await client.write_event(Describe().event())
            [program] = Info.from_event(await read(client)).tts
            assert (program.installed, program.supports_synthesize_streaming) == (True, True)
            tiny, speakers = program.voices
            # The default voice first, though its name comes later.
            assert (tiny.name, tiny.languages, tiny.speakers) == ("tiny", ["en_US"], None)
            names = [speaker.name for speaker in speakers.speakers or ()]
            assert names == ["anna", "boris", "vera"]
            assert tiny.installed
            assert tiny.attribution.name

    asyncio.run(check())


def test_it_says_what_the_library_says_while_that_is_made(voices_folder: Path) -> None:
    text = "The old lighthouse keeper walked slowly along the windy shore every single morning."
    settings = WyomingSettings(samples_per_chunk=1 << 20)

    async def check() -> None:
        async with (
            run_wyoming(voices_folder, settings=settings) as running,
            running.connect() as client,
        ):
            await client.write_event(Synthesize(text).event())
            events = await read_until(client, "audio-stop")
        assert list_kinds(events) == ["audio-start", "audio-chunk", "audio-stop"]
        assert events[0].data["rate"] == 16000
        # One sentence, and yet several pieces: each is sent when it is made.
        assert len(events) > 3
        assert np.array_equal(collect_samples(events), speak(voices_folder / "tiny.onnx", text))

    asyncio.run(check())


def test_chunks_have_the_length_that_is_set(voices_folder: Path) -> None:
    async def check() -> None:
        settings = WyomingSettings(samples_per_chunk=500)
        async with (
            run_wyoming(voices_folder, settings=settings) as running,
            running.connect() as client,
        ):
            await client.write_event(Synthesize("Hello there.").event())
            chunks = (await read_until(client, "audio-stop"))[1:-1]
            lengths = [len(chunk.payload or b"") for chunk in chunks]
            assert max(lengths) == 1000
            starts = np.cumsum([0, *lengths[:-1]]) // 2
            assert [chunk.data["timestamp"] for chunk in chunks] == list(starts * 1000 // 16000)

    asyncio.run(check())


@pytest.mark.parametrize("speaker", ["vera", "2"])
def test_a_voice_s_speakers(voices_folder: Path, speaker: str) -> None:
    async def check() -> None:
        async with run_wyoming(voices_folder) as running, running.connect() as client:
            voice = SynthesizeVoice("speakers", speaker=speaker)
            await client.write_event(Synthesize("Hello.", voice).event())
            events = await read_until(client, "audio-stop")
        expected = speak(voices_folder / "speakers.onnx", "Hello.", 2)
        assert np.array_equal(collect_samples(events), expected)

    asyncio.run(check())


@pytest.mark.parametrize("language", ["en", "en_US", "en-us", "en-GB"])
def test_a_voice_by_its_language(voices_folder: Path, language: str) -> None:
    async def check() -> None:
        async with run_wyoming(voices_folder) as running, running.connect() as client:
            voice = SynthesizeVoice(language=language)
            await client.write_event(Synthesize("Hello.", voice).event())
            events = await read_until(client, "audio-stop")
        assert np.array_equal(collect_samples(events), speak(voices_folder / "tiny.onnx", "Hello."))

    asyncio.run(check())


def test_speech_begins_before_the_text_is_complete(voices_folder: Path) -> None:
    async def check() -> None:
        async with run_wyoming(voices_folder) as running, running.connect() as client:
            await client.write_event(SynthesizeStart().event())
            for part in ("Hello th", "ere. And", " again"):
                await client.write_event(SynthesizeChunk(part).event())
            first = [await read(client), await read(client)]
            assert list_kinds(first) == ["audio-start", "audio-chunk"]
            await client.write_event(SynthesizeChunk(", hello.").event())
            # For servers that know no pieces; it is not to be spoken a second time.
            await client.write_event(Synthesize("Hello there. And again, hello.").event())
            await client.write_event(SynthesizeStop().event())
            events = first + await read_until(client, "synthesize-stopped")
            # One that came twice would be answered now.
            await client.write_event(Ping("next").event())
            assert Pong.from_event(await read(client)).text == "next"
        assert list_kinds(events)[1:] == ["audio-chunk", "audio-stop", "synthesize-stopped"]
        expected = speak(voices_folder / "tiny.onnx", "Hello there. And again, hello.")
        assert np.array_equal(collect_samples(events), expected)

    asyncio.run(check())


def test_streams_one_after_the_other_and_whole_texts_between(voices_folder: Path) -> None:
    async def check() -> None:
        async with run_wyoming(voices_folder) as running, running.connect() as client:
            for events in (
                [SynthesizeStart(SynthesizeVoice("speakers")), SynthesizeChunk("Hello.")],
                # The whole text only, as from a client that has no pieces.
                [SynthesizeStart(SynthesizeVoice("speakers")), Synthesize("Hello.")],
            ):
                for event in (*events, SynthesizeStop()):
                    await client.write_event(event.event())
                found = await read_until(client, "synthesize-stopped")
                expected = speak(voices_folder / "speakers.onnx", "Hello.")
                assert np.array_equal(collect_samples(found), expected)
            await client.write_event(Synthesize("Hello.").event())
            found = await read_until(client, "audio-stop")
            assert np.array_equal(
                collect_samples(found), speak(voices_folder / "tiny.onnx", "Hello.")
            )
            # A stream without a word.
            for event in (SynthesizeStart(), SynthesizeStop()):
                await client.write_event(event.event())
            assert (await read(client)).type == "synthesize-stopped"

    asyncio.run(check())


def test_without_streaming_the_whole_text_is_spoken(voices_folder: Path) -> None:
    async def check() -> None:
        settings = WyomingSettings(is_streaming=False)
        async with (
            run_wyoming(voices_folder, settings=settings) as running,
            running.connect() as client,
        ):
            await client.write_event(Describe().event())
            info = Info.from_event(await read(client))
            assert not info.tts[0].supports_synthesize_streaming
            for event in (
                SynthesizeStart(),
                SynthesizeChunk("Hello."),
                Synthesize("Hello."),
                SynthesizeStop(),
                Ping(),
            ):
                await client.write_event(event.event())
            # An answer to a ping may come while it is spoken.
            kinds = list_kinds([*await read_until(client, "audio-stop")])
            assert kinds.count("audio-start") == 1
            assert set(kinds) <= {"audio-start", "audio-chunk", "audio-stop", "pong"}

    asyncio.run(check())


@pytest.mark.parametrize(
    ("data", "code", "part"),
    [
        ({"text": "Hello.", "voice": {"name": "nobody"}}, "voice-not-found", "describe lists"),
        ({"text": "Hello.", "voice": {"name": "../other/secret"}}, "voice-not-found", "no voice"),
        ({"text": "Hello.", "voice": {"language": "xx"}}, "voice-not-found", "language 'xx'"),
        ({"text": "Hello.", "voice": {"name": "tiny", "speaker": "zoe"}}, "bad-request", "zoe"),
        ({"text": "Hello.", "voice": {"name": ["tiny"]}}, "bad-request", '"name" of the voice'),
        ({"text": "Hello.", "voice": {"name": "x" * 300}}, "bad-request", "200 characters"),
        ({"text": "Hello.", "voice": "tiny"}, "bad-request", "no JSON object"),
        ({"text": "<speak>Hi", "text_format": "ssml"}, "bad-request", "not well-formed"),
        ({"text": "Hi", "text_format": "html"}, "bad-request", '"text_format" must be one of'),
        ({"text": " "}, "bad-request", "nothing to speak"),
        ({"text": 3}, "bad-request", 'no "text"'),
        ({}, "bad-request", 'no "text"'),
        ({"text": "a" * 5001}, "too-long", "5000"),
    ],
)
def test_a_mistake_is_told_and_the_connection_goes_on(
    voices_folder: Path,
    data: dict[str, object],
    code: str,
    part: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")

    async def check() -> None:
        async with run_wyoming(voices_folder) as running, running.connect() as client:
            await client.write_event(Event("synthesize", data))
            # The end of the answer follows, for clients that wait for nothing else.
            error, _ = await read_until(client, "audio-stop")
            assert (error.type, error.data["code"]) == ("error", code)
            assert part in error.data["text"]
            # Home Assistant shows no errors; the log is where they are found.
            assert part in caplog.text
            await client.write_event(Synthesize("Hello.").event())
            events = await read_until(client, "audio-stop")
            assert list_kinds(events) == ["audio-start", "audio-chunk", "audio-stop"]

    asyncio.run(check())


def test_markdown_of_a_language_model_is_read_and_not_spelt(voices_folder: Path) -> None:
    parts = ("Hello ", "**there", "**. And", " you?\n\n", "* Yes", ".")

    async def speak(input_format: str, *said: str) -> Any:
        defaults = replace(NO_NOISE, input_format=input_format)
        async with (
            run_wyoming(voices_folder, defaults=defaults) as running,
            running.connect() as client,
        ):
            await client.write_event(Event("synthesize-start", {}))
            for part in said:
                await client.write_event(Event("synthesize-chunk", {"text": part}))
            await client.write_event(Event("synthesize-stop", {}))
            return collect_samples(await read_until(client, "synthesize-stopped"))

    found = asyncio.run(speak("markdown", *parts))
    wanted = asyncio.run(speak("plain", "Hello there. And you? Yes."))
    np.testing.assert_array_equal(found, wanted)


def test_a_mistake_in_a_stream_ends_it(voices_folder: Path) -> None:
    async def check() -> None:
        async with run_wyoming(voices_folder) as running, running.connect() as client:
            for start, parts, code in (
                (SynthesizeStart(SynthesizeVoice("nobody")), ["Hello."], "voice-not-found"),
                (SynthesizeStart(), ["Hello there. ", "a" * 6000], "too-long"),
            ):
                await client.write_event(start.event())
                for part in parts:
                    await client.write_event(SynthesizeChunk(part).event())
                events = await read_until(client, "synthesize-stopped")
                [error] = [event for event in events if event.type == "error"]
                assert error.data["code"] == code
                # What belongs to it still comes, and is passed over.
                await client.write_event(SynthesizeChunk("More.").event())
                await client.write_event(Synthesize("All of it.").event())
                await client.write_event(SynthesizeStop().event())
                await client.write_event(Ping().event())
                assert (await read(client)).type == "pong"
            # The whole text only, and too long.
            for event in (SynthesizeStart(), Synthesize("a" * 6000), SynthesizeStop()):
                await client.write_event(event.event())
            error, _ = await read_until(client, "synthesize-stopped")
            assert error.data["code"] == "too-long"
            await client.write_event(SynthesizeChunk("Hello.").event())
            assert "synthesize-start first" in (await read(client)).data["text"]
            await client.write_event(SynthesizeStart().event())
            await client.write_event(SynthesizeStart().event())
            assert "synthesize-stop before" in (await read(client)).data["text"]

    asyncio.run(check())


def test_a_ping_is_answered_while_it_speaks(voices_folder: Path) -> None:
    async def check() -> None:
        limits = SpeechLimits(max_audio_seconds=3600)
        async with run_wyoming(voices_folder, limits) as running, running.connect() as client:
            await client.write_event(Synthesize(LONG_TEXT).event())
            await client.write_event(Ping("hello").event())
            events = await read_until(client, "pong")
            assert "audio-stop" not in list_kinds(events)

    asyncio.run(check())


def test_clients_at_once_are_answered_like_single_ones(voices_folder: Path) -> None:
    texts = [f"Number {number} speaks. " * (1 + number % 3) for number in range(8)]

    async def ask(running: object, text: str) -> npt.NDArray[np.int16]:
        async with running.connect() as client:  # type: ignore[attr-defined]
            await client.write_event(Synthesize(text).event())
            return collect_samples(await read_until(client, "audio-stop"))

    async def check() -> None:
        async with run_wyoming(voices_folder) as running:
            alone = [await ask(running, text) for text in texts]
            together = await asyncio.gather(*(ask(running, text) for text in texts))
            assert all(map(np.array_equal, alone, together))

    asyncio.run(check())


def test_the_volume_of_the_server(voices_folder: Path) -> None:
    async def check() -> None:
        defaults = SpeechDefaults(
            config=SynthesisConfig(noise_scale=0, noise_w_scale=0, volume=0.5)
        )
        async with (
            run_wyoming(voices_folder, defaults=defaults) as running,
            running.connect() as client,
        ):
            await client.write_event(Synthesize("Hello.").event())
            found = collect_samples(await read_until(client, "audio-stop"))
        expected = speak(voices_folder / "tiny.onnx", "Hello.") / 2
        assert np.abs(found - expected).max() <= 1

    asyncio.run(check())
