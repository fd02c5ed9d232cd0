"""OpenAI's endpoints, by the real `openai` client on loopback."""

from __future__ import annotations

import base64
import http.client
import io
import json
import wave
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
import openai
import pytest

from piper import SynthesisConfig
from piper.audio.output import Resampler
from piper.server.settings import ServerSettings, SpeechDefaults, SpeechLimits

TEXT = "Hello there. How are you today?"
FORMATS = {
    "mp3": (16000, 0.12, 0.9),
    "opus": (48000, 0.05, 0.8),
    "aac": (16000, 0.15, 0.8),
    "flac": (16000, 0.0, 0.9999),
    "wav": (16000, 0.0, 0.9999),
    "pcm": (24000, 0.001, 0.999),
}
"""Rate; seconds that it may be longer or shorter, as MP3 has whole frames and a delay; likeness to
the samples, which for an untrained voice's babble is hard on Opus."""

Start = Callable[..., Any]
Speak = Callable[..., Any]


@pytest.fixture(scope="module")
def quiet_server(start_server: Start) -> Any:
    """A server whose voices say the same each time."""
    defaults = SpeechDefaults(config=SynthesisConfig(noise_scale=0, noise_w_scale=0))
    return start_server(ServerSettings(defaults=defaults))


@pytest.fixture
def client(quiet_server: Any) -> Iterator[openai.OpenAI]:
    address = f"http://127.0.0.1:{quiet_server.port}/v1"
    with openai.OpenAI(base_url=address, api_key="none", max_retries=0) as client:
        yield client


def decode(data: bytes) -> tuple[Any, int]:
    """Return the samples (S,) between -1 and 1 of a whole audio file, and its rate."""
    with av.open(io.BytesIO(data)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    samples = np.concatenate(frames, axis=1)[0]
    scale = np.iinfo(samples.dtype).max if samples.dtype.kind == "i" else 1.0
    return samples.astype(np.float64) / scale, rate


def find_likeness(one: Any, other: Any) -> float:
    """Return the greatest correlation of two signals over small shifts."""
    size = min(len(one), len(other))
    spectrum = np.fft.rfft(one[:size], 2 * size) * np.conj(np.fft.rfft(other[:size], 2 * size))
    return float(
        np.fft.irfft(spectrum).max() / np.sqrt(np.square(one).sum() * np.square(other).sum())
    )


@pytest.mark.parametrize("kind", list(FORMATS))
def test_each_format_is_the_speech(client: openai.OpenAI, speak: Speak, kind: Any) -> None:
    answer = client.audio.speech.create(
        model="tts-1", voice="alloy", input=TEXT, response_format=kind
    )
    wanted = speak(TEXT)
    if kind == "pcm":
        samples, rate = np.frombuffer(answer.content, dtype="<i2") / 32767, 24000
    else:
        samples, rate = decode(answer.content)
    wanted_rate, seconds, likeness = FORMATS[kind]
    assert rate == wanted_rate
    assert abs(len(samples) / rate - len(wanted) / 16000) <= seconds
    assert (
        find_likeness(samples, Resampler(16000, rate).write(wanted / 32767, is_last=True))
        > likeness
    )


def test_headers_say_the_length_of_a_short_text(client: openai.OpenAI, speak: Speak) -> None:
    wanted = len(speak(TEXT))

    def ask(kind: Any, text: str = TEXT) -> bytes:
        return client.audio.speech.create(
            model="tts-1", voice="alloy", input=text, response_format=kind
        ).content

    with wave.open(io.BytesIO(ask("wav"))) as wav:
        assert wav.getnframes() == wanted
    with av.open(io.BytesIO(ask("flac"))) as flac:
        assert flac.streams.audio[0].duration == wanted
    # Of a long text it would keep the first sound waiting; players read to the end.
    long_wav = ask("wav", TEXT * 60)
    with wave.open(io.BytesIO(long_wav)) as wav:
        assert wav.getnframes() == (2**32 - 1) // 2
    assert len(decode(long_wav)[0]) == (len(long_wav) - 44) // 2 > 20 * wanted


def test_sound_comes_before_the_text_is_spoken(
    client: openai.OpenAI, quiet_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first sentence is out while many others are not made yet.
    text = "Hello there, how are you today? " * 100
    made: list[float] = []
    monkeypatch.setattr(quiet_server.app.state.service, "_count_sound", made.append)
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=text, response_format="pcm"
    ) as answer:
        blocks = answer.iter_bytes()
        size = len(next(blocks))
        first = len(made)
        for block in blocks:
            size += len(block)
    assert answer.headers["Content-Type"] == "audio/pcm"
    assert size > 24000 * 2 * 60
    assert 0 < first < 0.9 * len(made)


def test_events(quiet_server: Any) -> None:
    body = {"input": TEXT, "response_format": "wav"}
    plain = quiet_server.speech(**body).body
    answer = quiet_server.speech(**body, stream_format="sse")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    lines = [line for line in answer.body.decode().split("\n\n") if line]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    assert events[-1]["type"] == "speech.audio.done"
    assert b"".join(base64.b64decode(event["audio"]) for event in events[:-1]) == plain


def test_null_is_as_good_as_nothing(quiet_server: Any) -> None:
    keys = ("voice", "model", "speed", "response_format", "stream_format", "instructions")
    for body in ({}, dict.fromkeys(keys)):
        answer = quiet_server.speech(input="Hello.", **body)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "audio/mpeg")
    answer = quiet_server.speech(input=None)
    assert (answer.status, b"field required" in answer.body) == (422, True)


def test_speed(client: openai.OpenAI, speak: Speak) -> None:
    answer = client.audio.speech.create(
        model="tts-1", voice="alloy", input="Hello.", response_format="wav", speed=0.5
    )
    slow = speak("Hello.", length_scale=2.0)
    np.testing.assert_allclose(decode(answer.content)[0], slow / 32767, atol=2e-4)


@pytest.mark.parametrize(
    ("model", "voice", "speaker_id"),
    [
        ("tts-1", "speakers", 0),
        ("speakers", "alloy", 0),
        ("speakers", "boris", 1),
        ("tts-1", "speakers:vera", 2),
        ("tts-1", "speakers:1", 1),
        ("tts-1", {"id": "speakers"}, 0),
    ],
)
def test_voice_and_model_name_a_voice_and_a_speaker(
    client: openai.OpenAI, speak: Speak, model: str, voice: Any, speaker_id: int
) -> None:
    answer = client.audio.speech.create(
        model=model, voice=voice, input="Hello.", response_format="wav"
    )
    wanted = speak("Hello.", "speakers", speaker_id=speaker_id)
    np.testing.assert_allclose(decode(answer.content)[0], wanted / 32767, atol=2e-4)


def test_models_are_the_voices(client: openai.OpenAI, quiet_server: Any) -> None:
    models = {model.id: model for model in client.models.list()}
    assert list(models) == ["speakers", "tiny", "tts-1"]
    assert client.models.retrieve("tiny") == models["tiny"]
    with pytest.raises(openai.NotFoundError, match="There is no model 'nobody' here"):
        client.models.retrieve("nobody")
    listed = quiet_server.get_json("/v1/audio/voices")["voices"]
    assert [(voice["id"], voice["speakers"]) for voice in listed] == [
        ("speakers", ["anna", "boris", "vera"]),
        ("tiny", []),
    ]


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"voice": "nobody"}, openai.NotFoundError, "There is no voice 'nobody' here"),
        ({"voice": "../other/secret"}, openai.NotFoundError, "There is no voice"),
        ({"model": "speakers", "voice": "nobody"}, openai.UnprocessableEntityError, "nobody"),
        (
            {"input": "  "},
            openai.UnprocessableEntityError,
            "There is nothing to speak",
        ),
        ({"input": "a" * 5001}, openai.APIStatusError, "at most 5000 can be spoken at once"),
        (
            {"voice": 5},
            openai.UnprocessableEntityError,
            '"voice" cannot be used: input should be a valid',
        ),
        ({"speed": 9}, openai.UnprocessableEntityError, '"speed" cannot be used'),
        ({"response_format": "wma"}, openai.UnprocessableEntityError, '"response_format" cannot'),
    ],
)
def test_mistakes_are_the_client_s_exceptions(
    client: openai.OpenAI, changes: Any, error: type[openai.APIStatusError], sentence: str
) -> None:
    request: Any = {"model": "tts-1", "voice": "alloy", "input": "Hello."} | changes
    with pytest.raises(error) as caught:
        client.audio.speech.create(**request)
    assert isinstance(caught.value.body, dict)
    assert sentence in caught.value.body["message"]
    assert caught.value.body["type"] == "invalid_request_error"


def test_too_much_sound_ends_a_stream_without_a_traceback(
    start_server: Start, caplog: pytest.LogCaptureFixture
) -> None:
    # Of a long text it shows after the head has left; a client's mistake is no failure of ours.
    caplog.set_level("INFO")
    server = start_server(ServerSettings(limits=SpeechLimits(max_audio_seconds=2)))
    known = server.speech(input=f"{TEXT} " * 20)
    assert known.status == 413
    with pytest.raises(http.client.IncompleteRead):
        server.speech(input=f"{TEXT} " * 100)
    server.wait_until_idle()
    assert "An answer ended early: The speech would last more than 2 seconds" in caplog.text
    assert "Traceback" not in caplog.text
