"""A Wyoming server and the library's own client: what is asked for is what is spoken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeVoice,
)
from wyoming_clients import LONG_TEXT, NO_NOISE, Running, Start, collect_samples, list_kinds

from piper.server.settings import SpeechLimits
from piper.server.wyoming import WyomingSettings

pytestmark = pytest.mark.anyio
Speak = Callable[..., Any]


async def test_describe_names_the_voices_on_disk(start: Start) -> None:
    client = await (await start()).open()
    await client.send(Describe())
    [program] = Info.from_event(await client.read()).tts
    assert (program.installed, program.supports_synthesize_streaming) == (True, True)
    tiny, speakers = program.voices
    # The default voice first, though its name comes later.
    assert (tiny.name, tiny.languages, tiny.speakers) == ("tiny", ["en_US"], None)
    assert [speaker.name for speaker in speakers.speakers or ()] == ["anna", "boris", "vera"]
    assert tiny.installed
    assert tiny.attribution.name


async def test_it_says_what_the_library_says_while_that_is_made(start: Start, speak: Speak) -> None:
    text = "The old lighthouse keeper walked slowly along the windy shore every single morning."
    running = await start(settings=WyomingSettings(samples_per_chunk=1 << 20))
    client = await running.open()
    await client.send(Synthesize(text))
    events = await client.read_until()
    assert list_kinds(events) == ["audio-start", "audio-chunk", "audio-stop"]
    assert events[0].data["rate"] == 16000
    # One sentence, and yet several chunks: each is sent when it is made.
    assert len(events) > 3
    assert np.array_equal(collect_samples(events), speak(text))


async def test_chunks_have_the_length_that_is_set(start: Start) -> None:
    client = await (await start(settings=WyomingSettings(samples_per_chunk=500))).open()
    await client.send(Synthesize("Hello there."))
    chunks = (await client.read_until())[1:-1]
    lengths = [len(chunk.payload or b"") for chunk in chunks]
    assert max(lengths) == 1000
    starts = np.cumsum([0, *lengths[:-1]]) // 2
    assert [chunk.data["timestamp"] for chunk in chunks] == list(starts * 1000 // 16000)


@pytest.mark.parametrize(
    ("voice", "name", "speaker"),
    [
        ({"name": "speakers", "speaker": "vera"}, "speakers", 2),
        ({"name": "speakers", "speaker": "2"}, "speakers", 2),
        *(({"language": code}, "tiny", None) for code in ("en", "en_US", "en-us", "en-GB")),
    ],
)
async def test_a_voice_by_its_name_or_language(
    start: Start, speak: Speak, voice: dict[str, str], name: str, speaker: int | None
) -> None:
    client = await (await start()).open()
    found = await client.speak(Synthesize("Hello.", SynthesizeVoice(**voice)))
    assert np.array_equal(found, speak("Hello.", name, speaker_id=speaker))


async def test_speech_begins_before_the_text_is_complete(start: Start, speak: Speak) -> None:
    client = await (await start()).open()
    await client.send(SynthesizeStart(), *map(SynthesizeChunk, ("Hello th", "ere. And", " again")))
    first = [await client.read(), await client.read()]
    assert list_kinds(first) == ["audio-start", "audio-chunk"]
    # The whole is for servers that know no pieces; it is not to be spoken a second time.
    whole = "Hello there. And again, hello."
    await client.send(SynthesizeChunk(", hello."), Synthesize(whole), SynthesizeStop())
    events = first + await client.read_until("synthesize-stopped")
    # One that came twice would be answered now.
    await client.send(Ping("next"))
    assert (await client.read()).data["text"] == "next"
    assert list_kinds(events)[1:] == ["audio-chunk", "audio-stop", "synthesize-stopped"]
    assert np.array_equal(collect_samples(events), speak(whole))


async def test_streams_one_after_the_other_and_whole_texts_between(
    start: Start, speak: Speak
) -> None:
    client = await (await start()).open()
    expected = speak("Hello.", "speakers")
    # Of the second the whole text only, as from a client that has no pieces.
    for text in (SynthesizeChunk("Hello."), Synthesize("Hello.")):
        beginning = SynthesizeStart(SynthesizeVoice("speakers"))
        found = await client.speak(beginning, text, SynthesizeStop(), until="synthesize-stopped")
        assert np.array_equal(found, expected)
    found = await client.speak(Synthesize("Hello."))
    assert np.array_equal(found, speak("Hello."))
    # A stream without a word.
    await client.send(SynthesizeStart(), SynthesizeStop())
    assert (await client.read()).type == "synthesize-stopped"


async def test_without_streaming_the_whole_text_is_spoken(start: Start) -> None:
    client = await (await start(settings=WyomingSettings(is_streaming=False))).open()
    await client.send(Describe())
    info = Info.from_event(await client.read())
    assert not info.tts[0].supports_synthesize_streaming
    await client.send(
        SynthesizeStart(), SynthesizeChunk("Hello."), Synthesize("Hello."), SynthesizeStop(), Ping()
    )
    # An answer to a ping may come while it is spoken.
    kinds = list_kinds(await client.read_until())
    assert kinds.count("audio-start") == 1
    assert set(kinds) <= {"audio-start", "audio-chunk", "audio-stop", "pong"}


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
async def test_a_mistake_is_told_and_the_connection_goes_on(
    start: Start, data: dict[str, object], code: str, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    client = await (await start()).open()
    await client.send(Event("synthesize", data))
    # The end of the answer follows, for clients that wait for nothing else.
    error, _ = await client.read_until()
    assert (error.type, error.data["code"]) == ("error", code)
    assert part in error.data["text"]
    # Home Assistant shows no errors; the log is where they are found.
    assert part in caplog.text
    assert len(await client.speak(Synthesize("Hello.")))


async def test_markdown_of_a_language_model_is_read_and_not_spelt(start: Start) -> None:
    async def ask(input_format: str, *said: str) -> Any:
        running = await start(defaults=replace(NO_NOISE, input_format=input_format))
        client = await running.open()
        parts = (SynthesizeStart(), *map(SynthesizeChunk, said), SynthesizeStop())
        return await client.speak(*parts, until="synthesize-stopped")

    parts = ("Hello ", "**there", "**. And", " you?\n\n", "* Yes", ".")
    found = await ask("markdown", *parts)
    np.testing.assert_array_equal(found, await ask("plain", "Hello there. And you? Yes."))


async def test_a_mistake_in_a_stream_ends_it(start: Start) -> None:
    client = await (await start()).open()
    for beginning, parts, code in (
        (SynthesizeStart(SynthesizeVoice("nobody")), ["Hello."], "voice-not-found"),
        (SynthesizeStart(), ["Hello there. ", "a" * 6000], "too-long"),
    ):
        await client.send(beginning, *map(SynthesizeChunk, parts))
        events = await client.read_until("synthesize-stopped")
        [error] = [event for event in events if event.type == "error"]
        assert error.data["code"] == code
        # What belongs to it still comes, and is passed over.
        rest = (SynthesizeChunk("More."), Synthesize("All of it."), SynthesizeStop())
        await client.send(*rest, Ping())
        assert (await client.read()).type == "pong"
    # The whole text only, and too long.
    await client.send(SynthesizeStart(), Synthesize("a" * 6000), SynthesizeStop())
    error, _ = await client.read_until("synthesize-stopped")
    assert error.data["code"] == "too-long"
    await client.send(SynthesizeChunk("Hello."))
    assert "synthesize-start first" in (await client.read()).data["text"]
    await client.send(SynthesizeStart(), SynthesizeStart())
    assert "synthesize-stop before" in (await client.read()).data["text"]


async def test_a_ping_is_answered_while_it_speaks(start: Start) -> None:
    client = await (await start(limits=SpeechLimits(max_audio_seconds=3600))).open()
    await client.send(Synthesize(LONG_TEXT), Ping("hello"))
    assert "audio-stop" not in list_kinds(await client.read_until("pong"))


async def test_clients_at_once_are_answered_like_single_ones(start: Start) -> None:
    async def ask(running: Running, text: str) -> npt.NDArray[np.int16]:
        async with running.connect() as client:
            return await client.speak(Synthesize(text))

    running = await start()
    texts = [f"Number {number} speaks. " * (1 + number % 3) for number in range(8)]
    alone = [await ask(running, text) for text in texts]
    together = await asyncio.gather(*(ask(running, text) for text in texts))
    assert all(map(np.array_equal, alone, together))


async def test_the_volume_of_the_server(start: Start, speak: Speak) -> None:
    defaults = replace(NO_NOISE, config=replace(NO_NOISE.config, volume=0.5))
    client = await (await start(defaults=defaults)).open()
    found = await client.speak(Synthesize("Hello."))
    assert np.abs(found - speak("Hello.") / 2).max() <= 1
