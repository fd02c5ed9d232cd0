"""Pieces of a text with markup: their rate, their pauses, and one loudness for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from piper.config import SynthesisConfig
from piper.errors import PiperError
from piper.text.markup import parse_markup
from piper.text.pieces import Piece
from piper.voice import synthesizer
from piper.voice.voice import PiperVoice

QUIET = SynthesisConfig(noise_scale=0, noise_w_scale=0, normalize="off")
RATE = 16000


def speak(
    voice: PiperVoice, text: str | Iterable[Piece], config: SynthesisConfig = QUIET
) -> np.ndarray:
    return np.concatenate([chunk.audio_float_array for chunk in voice.synthesize(text, config)])


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), dtype=np.float32)


def test_a_piece_is_spoken_as_its_text(voice: PiperVoice) -> None:
    pieces = [Piece("One. Two."), Piece(""), Piece("...")]
    assert np.array_equal(speak(voice, pieces), speak(voice, "One. Two."))
    assert list(voice.synthesize([], QUIET)) == []
    assert list(voice.synthesize([Piece("", silence_seconds=1.0)], QUIET)) == []


def test_the_rate_divides_the_durations(voice: PiperVoice) -> None:
    config = replace(QUIET, length_scale=2.0)
    slow = speak(voice, "Two of them.", replace(QUIET, length_scale=4.0))
    pieces = [Piece("One."), Piece("Two of them.", rate=0.5), Piece("Three.")]
    expected = [speak(voice, "One.", config), slow, speak(voice, "Three.", config)]
    assert np.array_equal(speak(voice, pieces, config), np.concatenate(expected))


def test_pauses_stand_where_the_pieces_say(voice: PiperVoice) -> None:
    config = replace(QUIET, sentence_silence_seconds=0.1, paragraph_silence_seconds=0.3)
    pieces = [
        Piece("", silence_seconds=0.5),
        Piece("One.", silence_seconds=0.2),
        Piece("Two.", ends_paragraph=True),
        Piece("Three. Four."),
        Piece("", silence_seconds=0.4, ends_paragraph=True),
        Piece("Five.", silence_seconds=1.0),
    ]
    one, two, three, four, five = (
        speak(voice, word) for word in ("One.", "Two.", "Three.", "Four.", "Five.")
    )
    before = [(0.5, one), (0.2 + 0.1, two), (0.3, three), (0.1, four), (0.4 + 0.3, five)]
    expected = [part for seconds, sound in before for part in (silence(seconds), sound)]
    assert np.array_equal(speak(voice, pieces, config), np.concatenate([*expected, silence(1.0)]))


def test_streamed_they_are_the_same(voice: PiperVoice) -> None:
    pieces = parse_markup(
        '<speak>Hello there.<break time="80ms"/><prosody rate="slow">Slowly.</prosody>'
        '<p>New.</p><break time="70ms"/></speak>',
        "ssml",
    )
    config = replace(QUIET, paragraph_silence_seconds=0.2)
    streamed = list(voice.synthesize_stream(pieces, config))
    audio = np.concatenate([piece.audio_float_array for piece in streamed])
    assert audio == pytest.approx(speak(voice, pieces, config), abs=1e-4)
    assert [piece.text for piece in streamed if piece.is_first] == [
        "Hello there.",
        "Slowly.",
        "New.",
    ]


def test_pieces_are_read_when_they_are_spoken(voice: PiperVoice) -> None:
    read = []

    def write() -> Iterator[Piece]:
        for word in ("One.", "Two."):
            read.append(word)
            yield Piece(word)

    chunks = voice.synthesize(write(), QUIET)
    assert read == []
    next(chunks)
    assert read == ["One."]


def test_times_count_the_pauses(voice: PiperVoice) -> None:
    pieces = [Piece("One.", silence_seconds=0.25), Piece("Two.", silence_seconds=0.5)]
    for chunk in voice.synthesize(pieces, QUIET, include_alignments=True):
        assert chunk.phoneme_id_samples is not None
        assert chunk.phoneme_id_samples.sum() == len(chunk.audio_float_array)
        assert chunk.phoneme_id_samples[-1] >= 0.25 * RATE


def test_a_voice_without_durations_pauses_too(tiny_voice_without_durations: Path) -> None:
    voice = PiperVoice.load(tiny_voice_without_durations, cache_dir=False)
    pieces = [Piece("One.", silence_seconds=0.25), Piece("Two.", silence_seconds=0.5)]
    expected = [speak(voice, "One."), silence(0.25), speak(voice, "Two."), silence(0.5)]
    assert np.array_equal(speak(voice, pieces), np.concatenate(expected))


@pytest.mark.parametrize(
    ("piece", "message"),
    [
        (Piece("a", rate=0.0), "The rate of a piece is 0.0, but it must be more than 0"),
        (Piece("a", rate=float("nan")), "The rate of a piece is nan"),
        (Piece("a", silence_seconds=-1.0), "The silence of a piece is -1.0, but it must be from 0"),
    ],
)
def test_a_piece_that_makes_no_sense(voice: PiperVoice, piece: Piece, message: str) -> None:
    with pytest.raises(PiperError, match=message):
        list(voice.synthesize([piece], QUIET))


@pytest.mark.parametrize("memory_bytes", [1, 2**30])
def test_one_factor_for_all_sentences(
    voice: PiperVoice, memory_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthesizer, "MEMORY_BYTES", memory_bytes)  # a file on disk, or none
    pieces = [Piece("One."), Piece("Two, three and four!"), Piece("[[a]]")]
    raw = [chunk.audio_float_array for chunk in voice.synthesize(pieces, QUIET)]
    config = replace(QUIET, normalize="utterance")
    chunks = list(voice.synthesize(pieces, config, include_alignments=True))
    peak = max(np.abs(audio).max() for audio in raw)
    for audio, chunk in zip(raw, chunks, strict=True):
        assert chunk.audio_float_array == pytest.approx(audio / peak, abs=1e-6)
        assert len(chunk.audio_int16_bytes) == 2 * len(audio)
        assert chunk.phoneme_alignments is not None
    assert max(np.abs(chunk.audio_float_array).max() for chunk in chunks) == pytest.approx(1.0)
