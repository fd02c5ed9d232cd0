"""Samples of one sentence."""

from __future__ import annotations

import numpy as np
import pytest

from piper.audio.chunk import AudioChunk
from piper.audio.output import float_to_int16, int16_to_float
from piper.voice.synthesizer import scale_audio


def create_chunk(samples: list[float]) -> AudioChunk:
    audio = np.array(samples, dtype=np.float32)
    return AudioChunk(16000, 2, 1, audio, ["a"], [1, 0, 5, 0, 2])


def test_float_to_int16_clips_and_rounds() -> None:
    samples = float_to_int16([0.0, 1.0, -1.0, 2.0, -7.0, 0.5, 1.6 / 32767])
    assert samples.dtype == np.int16
    assert samples.tolist() == [0, 32767, -32767, 32767, -32767, 16384, 2]


def test_int16_to_float_and_back_is_exact() -> None:
    samples = np.arange(-32767, 32768, 7, dtype=np.int16)
    assert np.array_equal(float_to_int16(int16_to_float(samples)), samples)


def test_chunk_gives_samples_as_floats_integers_and_bytes() -> None:
    chunk = create_chunk([0.0, 0.5, -1.0, 3.0])
    assert chunk.audio_int16_array.tolist() == [0, 16384, -32767, 32767]
    assert chunk.audio_int16_bytes == b"\x00\x00\x00\x40\x01\x80\xff\x7f"
    assert chunk.phoneme_id_samples is None
    assert chunk.phoneme_alignments is None
    assert chunk.duration_seconds == pytest.approx(4 / 16000)


def test_scale_audio_normalizes_then_applies_the_volume() -> None:
    samples = np.array([0.1, -0.2], dtype=np.float32)
    assert scale_audio(samples, normalize=True, volume=1.0) == pytest.approx([0.5, -1.0])
    assert scale_audio(samples, normalize=True, volume=0.5) == pytest.approx([0.25, -0.5])
    assert scale_audio(samples, normalize=False, volume=2.0) == pytest.approx([0.2, -0.4])
    assert scale_audio(samples, normalize=False, volume=9.0) == pytest.approx([0.9, -1.0])


@pytest.mark.parametrize("peak", [0.0, 1e-10])
def test_silence_is_not_scaled_up_to_noise(peak: float) -> None:
    samples = np.array([0.0, peak], dtype=np.float32)
    assert scale_audio(samples, normalize=True, volume=1.0).tolist() == [0.0, 0.0]


def test_scale_audio_takes_no_samples_at_all() -> None:
    empty = np.zeros(0, dtype=np.float32)
    assert len(scale_audio(empty, normalize=True, volume=1.0)) == 0
