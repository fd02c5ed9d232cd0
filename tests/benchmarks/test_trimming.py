"""Trimming keeps weak edges of speech and cuts what is none; the benchmark would tell."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from piper.train.data.audio import TrimSettings, find_speech, trim_silence

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import trimming

RATE = 22050
KEEP = 0.25
FLOOR_DB = -72.0
FloatArray = npt.NDArray[np.float32]


def create_noise(seconds: float, level_db: float, seed: int = 0) -> FloatArray:
    samples = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return (samples * 10 ** (level_db / 20)).astype(np.float32)


def create_vowel(seconds: float, level_db: float = -14.0) -> FloatArray:
    times = np.arange(round(seconds * RATE)) / RATE
    harmonics = sum(np.sin(2 * np.pi * 120 * n * times) / n for n in range(1, 12))
    samples = harmonics * np.minimum(1, 50 * np.minimum(times, times[::-1]))
    return (samples / np.sqrt(np.mean(samples**2)) * 10 ** (level_db / 20)).astype(np.float32)


def record(*sounds: tuple[float, FloatArray], seconds: float = 3.0) -> FloatArray:
    """Return a room's noise with sounds in it, each at its second."""
    samples = create_noise(seconds, FLOOR_DB, seed=9)
    for start, sound in sounds:
        place = round(start * RATE)
        samples[place : place + len(sound)] += sound
    return samples


SPEECH = (1.2, create_vowel(0.6))
FRICATIVES = {
    "before": ((1.0, create_noise(0.2, -42.0)), SPEECH),
    "after": (SPEECH, (1.8, create_noise(0.2, -42.0))),
}
"""An /f/ 28 dB below its vowel."""
RELEASE = (1.9, create_noise(0.03, -38.0))
"""Of a /t/, after a closure of 0.1 s."""
CLICK = (0.3, create_noise(0.005, -6.0))
BREATH = (0.3, create_noise(0.4, -56.0))


@pytest.mark.parametrize("side", sorted(FRICATIVES))
def test_a_weak_fricative_is_speech(side: str) -> None:
    start, end = find_speech(record(*FRICATIVES[side]), RATE)
    expected = (1.0, 1.8) if side == "before" else (1.2, 2.0)
    assert (start / RATE, end / RATE) == pytest.approx(expected, abs=0.03)


def test_the_release_of_a_stop_is_kept() -> None:
    """It is too short to be speech by itself; the silence that is kept has room for it."""
    kept = trim_silence(record(SPEECH, RELEASE), RATE, TrimSettings(True, KEEP, KEEP))
    begin = round((1.9 - 1.2 + KEEP) * RATE)
    assert len(kept) >= begin + len(RELEASE[1]) + round(0.05 * RATE)


@pytest.mark.parametrize("sound", [CLICK, BREATH], ids=["click", "breath"])
def test_a_click_or_a_breath_is_no_speech(sound: tuple[float, FloatArray]) -> None:
    start, _ = find_speech(record(sound, SPEECH), RATE)
    assert start / RATE == pytest.approx(1.2, abs=0.03)


def test_the_benchmark_names_what_was_lost(tmp_path: Path) -> None:
    path = tmp_path / "word.wav"
    soundfile.write(path, record(*FRICATIVES["before"], RELEASE), RATE)
    whole = trimming.measure(path, KEEP, None)
    assert (whole.lost_start_db, whole.lost_end_db, whole.has_breath) == (0.0, 0.0, False)
    assert whole.is_cut_at_start
    assert whole.start_edge_db < trimming.ABOVE_FLOOR_DB
    assert whole.silence_before_seconds == pytest.approx(KEEP, abs=1 / RATE)
    # As a detector would have it that hears the vowel only.
    vowel = (round(1.2 * RATE), round(1.8 * RATE))
    samples = record(*FRICATIVES["before"], RELEASE)
    lost = trimming.compare("word.wav", samples, RATE, vowel, 0.0)
    assert lost.lost_start_db > 20
    assert lost.lost_end_db > 20
    breath = tmp_path / "breath.wav"
    soundfile.write(breath, record(BREATH, SPEECH), RATE)
    cut = trimming.measure(breath, KEEP, None)
    assert (cut.lost_start_db, cut.has_breath) == (0.0, True)


def test_labels_say_where_phonemes_are(tmp_path: Path) -> None:
    path = tmp_path / "word.wav"
    soundfile.write(path, record(SPEECH), RATE)
    (tmp_path / "word.lab").write_text("#\n1.20 125 pau\n1.50 125 a\n1.80 125 o\n3.0 125 pau\n")
    one = trimming.measure(path, KEEP, tmp_path)
    assert one.kept_before_seconds == pytest.approx(KEEP, abs=0.03)
    assert one.kept_after_seconds == pytest.approx(KEEP, abs=0.03)
