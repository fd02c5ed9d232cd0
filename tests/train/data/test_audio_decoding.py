"""Recordings are decoded, resampled and trimmed; broken ones are refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from piper.errors import DatasetError
from piper.train.data.audio import TrimSettings, find_speech, load_recording

UNTRIMMED = TrimSettings(is_on=False)


@pytest.fixture(scope="module")
def speech(speech_dataset: Path) -> tuple[np.ndarray, int]:
    """A sentence that begins 0.4 s after the start and ends 0.6 s before the end."""
    samples, sample_rate = soundfile.read(speech_dataset / "wavs/utterance003.wav", dtype="float32")
    return samples, sample_rate


def test_channels_are_mixed(tmp_path: Path, speech: tuple[np.ndarray, int]) -> None:
    samples, sample_rate = speech
    stereo = np.stack([samples, np.zeros_like(samples)], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, sample_rate, subtype="FLOAT")
    mixed, _ = load_recording(tmp_path / "stereo.wav", sample_rate, UNTRIMMED)
    np.testing.assert_allclose(mixed, samples / 2, atol=1e-6)


@pytest.mark.parametrize("suffix", [".flac", ".ogg"])
def test_other_formats(tmp_path: Path, speech: tuple[np.ndarray, int], suffix: str) -> None:
    samples, sample_rate = speech
    soundfile.write(tmp_path / f"clip{suffix}", samples, sample_rate)
    decoded, _ = load_recording(tmp_path / f"clip{suffix}", sample_rate, UNTRIMMED)
    assert decoded.dtype == np.float32
    assert np.corrcoef(decoded[: len(samples)], samples)[0, 1] > 0.99


@pytest.mark.parametrize("target", [16000, 44100])
def test_resampling_keeps_the_duration(
    tmp_path: Path, speech: tuple[np.ndarray, int], target: int
) -> None:
    samples, sample_rate = speech
    soundfile.write(tmp_path / "clip.wav", samples, sample_rate)
    resampled, source_rate = load_recording(tmp_path / "clip.wav", target, UNTRIMMED)
    assert source_rate == sample_rate
    assert len(resampled) / target == pytest.approx(len(samples) / sample_rate, abs=1e-3)


def test_speech_is_found(speech: tuple[np.ndarray, int]) -> None:
    samples, sample_rate = speech
    start, end = find_speech(samples, sample_rate)
    # espeak-ng itself begins within 50 ms and leaves up to 0.3 s after the last word.
    assert 0.38 < start / sample_rate < 0.5
    assert 0.55 < (len(samples) - end) / sample_rate < 0.95


@pytest.mark.parametrize("noise_db", [-90, -60, -45])
@pytest.mark.parametrize("leading_seconds", [0.0, 1.0, 4.0])
def test_leading_silence_is_cut(
    speech: tuple[np.ndarray, int], noise_db: float, leading_seconds: float
) -> None:
    """A voice learns the silence that trimming leaves; a noisy room must not hide it."""
    samples, sample_rate = speech
    reference = find_speech(samples, sample_rate)
    lead = round(leading_seconds * sample_rate)
    longer = np.concatenate([np.zeros(lead, np.float32), samples, np.zeros(lead, np.float32)])
    noise = np.random.default_rng(1).standard_normal(len(longer)) * 10 ** (noise_db / 20)
    start, end = find_speech((longer + noise).astype(np.float32), sample_rate)
    assert abs(start - lead - reference[0]) < 0.06 * sample_rate
    assert abs(end - lead - reference[1]) < 0.15 * sample_rate


def test_a_click_is_no_speech(speech: tuple[np.ndarray, int]) -> None:
    samples, sample_rate = speech
    clicked = samples.copy()
    clicked[1000:1020] = 0.9
    assert find_speech(clicked, sample_rate) == find_speech(samples, sample_rate)


def test_a_constant_offset_is_no_speech(speech: tuple[np.ndarray, int]) -> None:
    samples, sample_rate = speech
    start, end = find_speech(samples + np.float32(0.1), sample_rate)
    assert (start, end) == find_speech(samples, sample_rate)


@pytest.mark.parametrize(("before", "after"), [(0.25, 0.25), (0.0, 0.1), (0.1, 0.0), (9.0, 9.0)])
def test_what_is_kept(
    tmp_path: Path, speech: tuple[np.ndarray, int], before: float, after: float
) -> None:
    samples, sample_rate = speech
    soundfile.write(tmp_path / "clip.wav", samples, sample_rate, subtype="FLOAT")
    start, end = find_speech(samples, sample_rate)
    trim = TrimSettings(True, before, after)
    trimmed, _ = load_recording(tmp_path / "clip.wav", sample_rate, trim)
    first = max(0, start - round(before * sample_rate))
    last = min(len(samples), end + round(after * sample_rate))
    np.testing.assert_array_equal(trimmed, samples[first:last])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"this is no audio at all" * 20, "FILE cannot be decoded (Format not recog"),
        (b"", "FILE is empty (0 bytes)"),
        (np.zeros(0, np.float32), "FILE is empty (no samples)"),
        (np.zeros(22050), "FILE holds only silence"),
        (
            np.random.default_rng(0).choice([-1.0, 1.0], 22050) / 32768,
            "FILE holds only silence",
        ),
        (np.full(22050, np.nan), "FILE holds samples that are no numbers (NaN)"),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, content: bytes | np.ndarray, said: str) -> None:
    path = tmp_path / "bad.wav"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        is_int = np.isfinite(content).all()
        soundfile.write(path, content, 22050, subtype="PCM_16" if is_int else "FLOAT")
    with pytest.raises(DatasetError) as caught:
        load_recording(path, 22050, TrimSettings())
    assert str(caught.value).replace(str(path), "FILE").startswith(said)
