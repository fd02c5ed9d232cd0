"""Identical speech has no distance; another pitch, pace or sound is found, and by how much."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from piper.train.evaluate.measuring import (
    MIN_PAUSE_SECONDS,
    SAMPLE_RATE,
    compare_pitch,
    compare_timing,
    extract_cepstra,
    find_pitch,
    measure_distance,
    measure_likeness,
    measure_speaking_rate,
    pair_frames,
)


@dataclass(frozen=True)
class Span:
    unit: str
    start_seconds: float
    end_seconds: float


@pytest.fixture(scope="module")
def speech(speech_dataset: Path) -> np.ndarray:
    samples, rate = soundfile.read(speech_dataset / "wavs/utterance002.wav", dtype="float32")
    return soxr.resample(samples, rate, SAMPLE_RATE)


def make_tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    """A buzz with ten harmonics, as a throat makes it."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    partials = [np.sin(2 * np.pi * hertz * k * times) / k for k in range(1, 11)]
    return (0.2 * np.sum(partials, axis=0)).astype(np.float32)


def test_identical_speech_has_no_distance(speech: np.ndarray) -> None:
    likeness = measure_likeness(speech, SAMPLE_RATE, speech, SAMPLE_RATE)
    assert set(likeness.values()) == {0.0}


def test_level_silence_around_and_rate_are_no_difference(speech: np.ndarray) -> None:
    silence = np.zeros(SAMPLE_RATE, np.float32)
    other = 0.3 * np.concatenate([silence, speech, silence])
    likeness = measure_likeness(speech, SAMPLE_RATE, other, SAMPLE_RATE)
    assert likeness["mel_cepstral_distance"] < 0.3
    assert likeness["pitch_error"] < 0.1
    assert likeness["voicing_error"] < 0.05
    likeness = measure_likeness(
        speech, SAMPLE_RATE, soxr.resample(speech, SAMPLE_RATE, 22050), 22050
    )
    assert likeness["mel_cepstral_distance"] < 0.7
    assert likeness["pitch_error"] < 0.1


def test_another_pitch_is_a_shift_and_another_sentence_far_away(
    speech: np.ndarray, speech_dataset: Path
) -> None:
    # Played faster by two semitones: higher by two, at another pace, which warping takes out.
    factor = 2 ** (2 / 12)
    faster = soxr.resample(speech, SAMPLE_RATE, SAMPLE_RATE / factor)
    likeness = measure_likeness(faster, SAMPLE_RATE, speech, SAMPLE_RATE)
    assert likeness["pitch_shift"] == pytest.approx(2.0, abs=0.1)
    assert likeness["pitch_error"] == pytest.approx(2.0, abs=0.3)
    assert likeness["pitch_contour_error"] < 0.5
    samples, rate = soundfile.read(speech_dataset / "wavs/utterance003.wav", dtype="float32")
    other = measure_likeness(samples, rate, speech, SAMPLE_RATE)
    noise = 0.02 * np.random.default_rng(1).standard_normal(len(speech), dtype=np.float32)
    noisy = measure_likeness(speech + noise, SAMPLE_RATE, speech, SAMPLE_RATE)
    assert 0.5 < likeness["mel_cepstral_distance"] < other["mel_cepstral_distance"]
    assert noisy["mel_cepstral_distance"] > 0.5
    assert other["mel_cepstral_distance"] > 3.0
    assert other["pitch_contour_error"] > likeness["pitch_contour_error"]


def test_the_distance_is_the_spectra_s_difference_in_db() -> None:
    """By Kubichek's constant a ripple of 1 dB over the mel axis is 1 dB, rms 0.707 of its peak."""
    channels = np.arange(40) + 0.5
    flat = extract_cepstra(np.random.default_rng(1).standard_normal(SAMPLE_RATE).astype(np.float32))
    cosines = 2.0 / 40 * np.cos(np.pi * 5 * channels / 40)
    ripple_db = np.cos(np.pi * 5 * channels / 40)
    change = float(ripple_db @ cosines) * math.log(10) / 20
    moved = flat.coefficients.copy()
    moved[:, 4] += change
    rippled = type(flat)(moved, flat.is_speech)
    same = np.arange(len(moved))
    distance = measure_distance(flat, rippled, np.stack([same, same], axis=1))
    assert distance == pytest.approx(math.sqrt(np.mean(ripple_db**2)), rel=1e-6)


def test_frames_are_paired_in_order_and_silence_is_left_out(speech: np.ndarray) -> None:
    pause = np.zeros(SAMPLE_RATE // 2, np.float32)
    first = extract_cepstra(speech)
    second = extract_cepstra(np.concatenate([speech[:16000], pause, speech[16000:]]))
    pairs = pair_frames(first, second)
    assert (np.diff(pairs[:, 0]) >= 0).all()
    assert (np.diff(pairs[:, 1]) >= 0).all()
    is_paused = (pairs[:, 1] > 106) & (pairs[:, 1] < 144)
    assert not first.is_speech[pairs[:, 0][is_paused]].any() or is_paused.sum() < 40
    assert measure_distance(first, second, pairs) < 1.0


@pytest.mark.parametrize("hertz", [75.0, 110.0, 220.0, 480.0])
def test_pitch_is_found_from_low_voices_to_high_ones(hertz: float) -> None:
    samples = np.concatenate([make_tone(hertz), np.zeros(SAMPLE_RATE // 2, np.float32)])
    pitch = find_pitch(samples + np.float32(0.05), SAMPLE_RATE, 150)
    assert pitch[10:90] == pytest.approx(hertz, rel=0.005)
    assert (pitch[110:] == 0).all()


def test_too_little_speech_has_no_pitch() -> None:
    short = make_tone(100.0, 0.03)
    assert (find_pitch(short, SAMPLE_RATE, 3) == 0).all()
    silence = np.zeros(SAMPLE_RATE, np.float32)
    same = np.arange(100)
    difference = compare_pitch(np.zeros(100), np.full(100, 120.0), np.stack([same, same], axis=1))
    assert math.isnan(difference["pitch_error"])
    assert difference["voicing_error"] == 1.0
    for samples in (short, silence, silence[:0]):
        assert measure_likeness(samples, SAMPLE_RATE, short, SAMPLE_RATE) is not None


def test_lengths_and_pauses_are_compared_unit_by_unit() -> None:
    recorded = [
        Span("d", 0.00, 0.10), Span("a", 0.10, 0.20), Span("n", 0.50, 0.60), Span("e", 0.60, 0.80),
    ]  # fmt: skip
    slower = [
        Span("d", 0.00, 0.14), Span("a", 0.14, 0.24), Span("n", 0.34, 0.44), Span("e", 0.44, 0.64),
    ]  # fmt: skip
    same = compare_timing(recorded, recorded)
    assert same == {"duration_error": 0.0, "pause_error": 0.0}
    timing = compare_timing(slower, recorded)
    assert timing["duration_error"] == pytest.approx(10.0)
    assert timing["pause_error"] == pytest.approx(200.0)
    # What one of both lacks is left out, and a pause beside it, too.
    timing = compare_timing([slower[0], *slower[2:]], recorded)
    assert timing == {"duration_error": pytest.approx(40.0 / 3)}
    assert compare_timing([], recorded) == {}
    assert compare_timing([Span("x", 0.0, 0.1)], recorded) == {}


def test_the_speaking_rate_leaves_pauses_out() -> None:
    spans = [Span("a", 0.0, 0.1), Span("b", 0.1, 0.2), Span("c", 1.2, 1.3)]
    assert measure_speaking_rate(spans) == pytest.approx(10.0)
    closed = [Span("a", 0.0, 0.1), Span("b", 0.1 + MIN_PAUSE_SECONDS - 0.02, 0.24)]
    assert measure_speaking_rate(closed) == pytest.approx(2 / 0.24)
    assert measure_speaking_rate([]) is None
