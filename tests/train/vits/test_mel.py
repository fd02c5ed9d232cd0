from __future__ import annotations

import math

import pytest
import torch

from piper.train.vits.config import NetworkConfig
from piper.train.vits.mel import audio_to_mel, mel_filterbank, spectrogram, spectrogram_to_mel

CONFIG = NetworkConfig()


def make_tone(hertz: float, samples: int) -> torch.Tensor:
    times = torch.arange(samples) / CONFIG.sample_rate
    return torch.sin(2 * math.pi * hertz * times).unsqueeze(0)


@pytest.mark.parametrize("samples", [385, 1024, 8191, 8192])
def test_one_frame_per_whole_hop(samples: int) -> None:
    spec = spectrogram(torch.zeros(2, samples), 1024, 256, 1024)
    assert spec.shape == (2, 513, samples // 256)


@pytest.mark.parametrize("samples", [1, 300, 384])
def test_audio_too_short_to_reflect_has_a_frame(samples: int) -> None:
    assert spectrogram(torch.ones(1, samples), 1024, 256, 1024).shape == (1, 513, 1)


def test_tone_stands_in_its_bin() -> None:
    spec = spectrogram(make_tone(100 * CONFIG.sample_rate / 1024, 8192), 1024, 256, 1024)
    assert (spec[0, :, 5:-5].argmax(0) == 100).all()
    assert spec[0, 100, 10] == pytest.approx(256.0, rel=1e-3)  # half of the window's sum


def test_silence_has_a_gradient() -> None:
    audio = torch.zeros(1, 1024, requires_grad=True)
    audio_to_mel(audio, CONFIG).sum().backward()
    assert audio.grad is not None
    assert audio.grad.isfinite().all()


def test_filters_are_slaneys() -> None:
    filters = mel_filterbank(22050, 1024, 80, 0.0, 11025.0)
    assert filters.shape == (80, 513)
    # 11,025 Hz are 49.91 mels, so the first filter reaches from 0 over 41.08 to 82.16 Hz
    assert filters[0, 1] == pytest.approx(2 / 82.16 * 21.5332 / 41.08, rel=1e-3)
    areas = filters.sum(1) * 22050 / 1024
    assert areas[40:].sub(1.0).abs().max() < 0.05


def test_full_precision_under_autocast() -> None:
    audio = make_tone(440.0, 4096)
    wanted = audio_to_mel(audio, CONFIG)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = audio_to_mel(audio, CONFIG)
    assert actual.dtype == torch.float32
    assert torch.equal(actual, wanted)


def test_training_after_a_first_use_in_inference_mode() -> None:
    """Lightning's first validation comes before training; what it caches must serve both."""
    config = NetworkConfig(mel_channels=33)
    with torch.inference_mode():
        audio_to_mel(torch.zeros(1, 2048), config)
    spec = torch.ones(1, 513, 4, requires_grad=True)
    spectrogram_to_mel(spec, config).sum().backward()
    assert spec.grad is not None
