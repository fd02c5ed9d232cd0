"""Another sample rate, in one piece and in many."""

from __future__ import annotations

import numpy as np
import pytest

from piper.audio.output import Resampler


def resample(samples: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    resampler = Resampler(from_rate, to_rate)
    return np.concatenate([resampler.write(samples), resampler.finish()])


@pytest.mark.parametrize(("from_rate", "to_rate"), [(22050, 8000), (22050, 24000), (16000, 48000)])
@pytest.mark.parametrize("piece", [1, 777, 100_000])
def test_pieces_give_what_the_whole_gives(from_rate: int, to_rate: int, piece: int) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 9001).astype(np.float32)
    resampler = Resampler(from_rate, to_rate)
    pieces = [
        resampler.write(samples[start : start + piece]) for start in range(0, len(samples), piece)
    ]
    found = np.concatenate([*pieces, resampler.finish()])
    assert len(found) == round(len(samples) * to_rate / from_rate)
    assert np.array_equal(found, resample(samples, from_rate, to_rate))


def test_after_the_end_the_next_stream_begins_anew() -> None:
    samples = np.random.default_rng(0).integers(-9000, 9000, 5000).astype(np.int16)
    resampler = Resampler(22050, 8000)
    first = np.concatenate([resampler.write(samples), resampler.finish()])
    second = np.concatenate([resampler.write(samples), resampler.finish()])
    assert np.array_equal(first, second)


def test_a_tone_stays_a_tone_and_what_the_rate_cannot_hold_goes() -> None:
    times = np.arange(22050) / 22050
    low, high = np.sin(2 * np.pi * 440 * times), np.sin(2 * np.pi * 6000 * times)
    found = resample((0.4 * low + 0.4 * high).astype(np.float32), 22050, 8000)
    expected = 0.4 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    assert np.abs(found - expected)[200:-200].max() < 0.003


def test_nothing_stays_nothing() -> None:
    assert len(resample(np.zeros(0, np.float32), 22050, 8000)) == 0
