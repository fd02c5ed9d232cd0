"""A quick voice's pitch, by every way that a server may be asked, against what the library says."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from servers import copy_voice
from websockets.sync.client import connect
from wyoming.event import Event
from wyoming.tts import Synthesize
from wyoming_clients import run_wyoming

from piper import PiperVoice, SynthesisConfig
from piper.server.settings import ServerSettings, SpeechDefaults
from piper.server.store import VoiceStore
from piper.voices import find_voice

TEXT = "Hello there."


@pytest.fixture(scope="module")
def folder(quick_voice: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a quick voice alone; it bears the name of the default voice of other tests."""
    found = tmp_path_factory.mktemp("quick_served")
    copy_voice(quick_voice, found / "tiny.onnx")
    return found


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Any], folder: Path) -> Any:
    """A server that lowers its voices by three semitones where a request does not say."""
    defaults = SpeechDefaults(config=SynthesisConfig(noise_scale=0, noise_w_scale=0, pitch=-3.0))
    store = VoiceStore(find_voice(folder / "tiny.onnx"), data_dirs=[folder])
    return start_server(ServerSettings(defaults=defaults), store=store)


def speak(folder: Path, pitch: float, *, is_normal: bool) -> np.ndarray:
    config = SynthesisConfig(noise_scale=0, noise_w_scale=0, pitch=pitch, normalize_audio=is_normal)
    [chunk] = PiperVoice.load(folder / "tiny.onnx").synthesize(TEXT, config)
    return chunk.audio_int16_array


def assert_alike(samples: np.ndarray, other: np.ndarray) -> None:
    assert len(samples) == len(other)
    assert np.abs(samples.astype(int) - other).max() <= 8


def read_wav(data: bytes) -> np.ndarray:
    with wave.open(io.BytesIO(data)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


@pytest.mark.parametrize(("asked", "pitch"), [({"pitch": 5}, 5), ({}, -3), ({"pitch": None}, -3)])
def test_http(server: Any, folder: Path, asked: dict[str, Any], pitch: float) -> None:
    wanted = speak(folder, pitch, is_normal=True)
    body = json.dumps({"text": TEXT, **asked})
    for path in ("/synthesize", "/"):
        assert_alike(read_wav(server.ask("POST", path, body).body), wanted)
    query = urlencode({"text": TEXT, **{key: value or "" for key, value in asked.items()}})
    assert_alike(read_wav(server.get(f"/?{query}").body), wanted)
    body = json.dumps({"input": TEXT, "response_format": "wav", **asked})
    answer = server.ask("POST", "/v1/audio/speech", body)
    assert_alike(read_wav(answer.body), speak(folder, pitch, is_normal=False))


@pytest.mark.parametrize("pitch", [12.1, -13, "high"])
def test_a_pitch_out_of_bounds_is_a_mistake(server: Any, pitch: Any) -> None:
    answer = server.synthesize(text=TEXT, pitch=pitch)
    assert (answer.status, "pitch" in answer.sentence) == (422, True)


@pytest.mark.parametrize(
    ("start", "text", "pitch"),
    [
        ({"pitch": 4}, TEXT, 4),
        ({"input_format": "ssml"}, f'<prosody pitch="+1st">{TEXT}</prosody>', -2),
    ],
)
def test_live(server: Any, folder: Path, start: dict[str, Any], text: str, pitch: float) -> None:
    with connect(f"ws://127.0.0.1:{server.port}/live") as socket:
        for message in ({"type": "start", **start}, {"type": "text", "text": text}):
            socket.send(json.dumps(message))
        socket.send('{"type": "end"}')
        sound = b"".join(message for message in socket if isinstance(message, bytes))
    assert_alike(np.frombuffer(sound, "<i2"), speak(folder, pitch, is_normal=False))


@pytest.mark.anyio
async def test_wyoming(folder: Path) -> None:
    """Its events have no place for a pitch but SSML; the server's option counts for all."""
    defaults = SpeechDefaults(config=SynthesisConfig(noise_scale=0, noise_w_scale=0, pitch=2.0))
    async with run_wyoming(folder, defaults=defaults) as running, running.connect() as client:
        found = await client.speak(Synthesize(TEXT))
        assert_alike(found, speak(folder, 2.0, is_normal=False))
        ssml = f'<prosody pitch="low">{TEXT}</prosody>'
        found = await client.speak(Event("synthesize", {"text": ssml, "text_format": "ssml"}))
        assert_alike(found, speak(folder, 0.0, is_normal=False))
