"""Utterances one after the other: progress, which is quiet where a run is short."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest

from piper import cli
from piper.audio.output import RawSink
from piper.cli import SpeechProgress, speak_utterances
from piper.config import SynthesisConfig
from piper.text.markup import Piece, Utterance
from piper.voice.voice import PiperVoice

QUIET = SynthesisConfig(noise_scale=0, noise_w_scale=0)
LINES = [Utterance(word, word) for word in ("One.", "Two.", "Three.")]
DOCUMENT = Utterance("d", (Piece("One."), Piece("Two.", ends_paragraph=True), Piece("Three.")))


class Terminal(io.StringIO):
    """What a terminal is to a program: a stream that says so."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def voice(tiny_voice: Path) -> PiperVoice:
    return PiperVoice.load(tiny_voice)


def run(voice: PiperVoice, utterances: list[Utterance], stream: io.StringIO) -> str:
    progress = SpeechProgress(utterances, stream)
    assert speak_utterances(voice, utterances, QUIET, RawSink(io.BytesIO()), progress=progress) > 0
    progress.finish()
    return stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_a_short_run_says_nothing(voice: PiperVoice, stream: io.StringIO) -> None:
    assert run(voice, LINES, stream) == ""


@pytest.mark.parametrize(("utterances", "unit"), [(LINES, "lines"), ([DOCUMENT], "parts")])
def test_on_a_terminal_it_says_how_far_it_is(
    voice: PiperVoice, utterances: list[Utterance], unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "QUIET_SECONDS", 0.0)
    said = run(voice, utterances, Terminal())
    assert re.match(rf"\rSpeaking: 0:00 left · 1/3 {unit} \(33 %\) · [\d.]+ a second", said)
    assert re.search(rf"\rSpeaking: 3 {unit} in \d+\.\d s \([\d.]+ a second\) *\n$", said)


def test_one_line_is_no_run(voice: PiperVoice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "QUIET_SECONDS", 0.0)
    assert run(voice, LINES[:1], Terminal()) == ""


def test_elsewhere_lines_are_rare(voice: PiperVoice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "FILE_INTERVAL_SECONDS", 0.0)
    said = run(voice, LINES, io.StringIO())
    assert re.fullmatch(r"Speaking: 3 lines in \d+\.\d s \([\d.]+ a second\)\n", said)


def test_as_one_utterance_they_have_one_loudness(voice: PiperVoice) -> None:
    config = SynthesisConfig(noise_scale=0, noise_w_scale=0, normalize="utterance")

    def speak(*, is_one: bool) -> np.ndarray:
        buffer = io.BytesIO()
        speak_utterances(voice, LINES, config, RawSink(buffer), is_one=is_one)
        return np.frombuffer(buffer.getvalue(), "<i2").astype(np.float32)

    raw = SynthesisConfig(noise_scale=0, noise_w_scale=0, normalize="off")
    texts = [str(line.text) for line in LINES]
    audio = [next(iter(voice.synthesize(text, raw))).audio_float_array for text in texts]
    one = np.concatenate(audio) / max(np.abs(sound).max() for sound in audio)
    each = np.concatenate([sound / np.abs(sound).max() for sound in audio])
    assert speak(is_one=True) / 32767 == pytest.approx(one, abs=1e-4)
    assert speak(is_one=False) / 32767 == pytest.approx(each, abs=1e-4)
