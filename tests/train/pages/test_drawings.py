"""What pages draw and embed: spectrograms, histograms, waveforms, sound."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from piper.train.pages.drawings import draw_histogram, draw_wave, format_number
from piper.train.pages.excerpts import (
    MAX_SECONDS,
    PALETTE,
    find_excerpt,
    levels_to_png,
    samples_to_audio,
    samples_to_levels,
)


def test_of_a_long_recording_the_surroundings_are_shown() -> None:
    path = Path("a.wav")
    assert find_excerpt(path, 12.0, None).seconds == 12.0
    assert find_excerpt(path, 600.0, None).start_seconds == 0.0
    around = find_excerpt(path, 600.0, (300.0, 310.0))
    assert (around.start_seconds, around.seconds) == (290.0, MAX_SECONDS)
    assert find_excerpt(path, 600.0, (599.0, 600.0)).start_seconds == 570.0


@pytest.mark.parametrize("rate", [8000, 11025, 18000, 22050, 44100, 96000])
@pytest.mark.parametrize("encoding", ["MP3", "FLAC"])
def test_every_rate_can_be_heard_at_its_length(rate: int, encoding: str) -> None:
    samples = (1.5 * np.sin(np.arange(rate) * 2 * np.pi * 300 / rate)).astype(np.float32)
    read, read_rate = soundfile.read(io.BytesIO(samples_to_audio(samples, rate, encoding)))
    assert len(read) / read_rate == pytest.approx(1.0, abs=1e-3)
    assert np.abs(read).max() > 0.9


def test_the_spectrogram_shows_pitch_and_time() -> None:
    rate = 16000
    samples = np.zeros(2 * rate, dtype=np.float32)
    samples[rate:] = 0.5 * np.sin(np.arange(rate) * 2 * np.pi * 6000 / rate)
    levels = samples_to_levels(samples, rate)
    assert levels.shape == (80, 320)
    row, column = np.unravel_index(int(levels.argmax()), levels.shape)
    assert row == pytest.approx(80 * (1 - 6000 / 8000), abs=1)
    assert column >= 158
    assert levels[:, :150].max() == 0
    image = Image.open(io.BytesIO(levels_to_png(levels)))
    assert image.size == (320, 80)
    colours = np.asarray(image.convert("RGB"))
    assert colours[row, column].tobytes() == PALETTE[-3:]
    assert colours[0, 0].tobytes() == PALETTE[:3]


@pytest.mark.parametrize("count", [1, 100, 5000])
def test_spectrograms_of_silence_and_of_clicks(count: int) -> None:
    samples = np.zeros(count, dtype=np.float32)
    assert samples_to_levels(samples, 16000).max() == 0
    samples[count // 2] = 1.0
    assert samples_to_levels(samples, 16000).max() == 15
    # Noise that is hardly there must not look louder than speech.
    noise = 0.0001 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    assert np.median(samples_to_levels(noise, 16000)) < 8
    assert np.median(samples_to_levels(100 * noise, 16000)) > 11


def test_a_histogram_counts_all_values() -> None:
    values = [float(value) for value in np.random.default_rng(1).normal(9.0, 2.0, 500)]
    svg = draw_histogram([*values, 3600.0], "s", {}, "a label")
    counts = [int(count) for count in re.findall(r" s: (\d+)</title>", svg)]
    assert sum(counts) == 501
    # One far off does not press all others into one bar.
    assert len(counts) > 10
    assert re.search(r">≥ \d+</text>", svg)
    assert ">≤" not in svg


@pytest.mark.parametrize("values", [[-69.0] * 5, [0.0], [1e-6, 2e-6], [0.0, 1e5]])
def test_histograms_of_odd_values(values: list[float]) -> None:
    svg = draw_histogram(values, "dB", {"limit": values[0]}, "a label")
    assert sum(map(int, re.findall(r" dB: (\d+)</title>", svg))) == len(values)
    assert "nan" not in svg
    assert 'class="limit"' in svg
    widths = [float(width) for width in re.findall(r'class="bar".*? width="([\d.]+)"', svg)]
    assert max(widths) < 100


def test_waves_are_thinned_but_keep_their_peaks() -> None:
    outline = [0.0] * 1000
    outline[501] = 1.0
    path = re.search(r' d="M([^"]+)Z"', draw_wave(outline, (0.5, 0.5), "a label"))
    assert path is not None
    points = [tuple(map(int, point.split())) for point in path[1].split("L")]
    assert len(points) == 500
    assert min(y for _, y in points) == 0
    assert draw_wave([], None, "a label").count("<path") == 0


def test_numbers_are_short() -> None:
    numbers = {0.254: "0.25", 9.61: "9.61", 18.04: "18", -0.001: "0", 1250.0: "1,250"}
    assert {value: format_number(value) for value in numbers} == numbers
