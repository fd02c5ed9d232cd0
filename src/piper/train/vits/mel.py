"""Waveforms to linear and mel spectrograms, in torch."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from piper.train.vits.layers import full_precision

POWER_FLOOR = 1e-6  # added before the square root, whose slope at 0 is infinite
MEL_FLOOR = 1e-5
# Slaney's mel scale (Auditory Toolbox, 1998): linear to 1 kHz, 27 mels per factor of 6.4 above
_HERTZ_PER_MEL = 200.0 / 3.0
_LOG_START_HERTZ = 1000.0
_LOG_START_MEL = _LOG_START_HERTZ / _HERTZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27.0


def spectrogram(audio: Tensor, n_fft: int, hop: int, win: int) -> Tensor:
    """Audio (B, S) to linear magnitudes (B, F, T), in float32 also under autocast.

    Half of `n_fft - hop` is reflected on each side and frames are not centred, so that there are
    S // hop frames. Audio too short to be reflected is padded with zeros first, and so has at
    least one frame.
    """
    padding = (n_fft - hop) // 2
    with full_precision(audio):
        audio = audio.float()
        missing = max(padding + 1, hop) - audio.shape[-1]
        if missing > 0:
            audio = F.pad(audio, (0, missing))
        audio = F.pad(audio.unsqueeze(1), (padding, padding), mode="reflect").squeeze(1)
        bins = torch.stft(
            audio,
            n_fft,
            hop_length=hop,
            win_length=win,
            window=_hann_window(win, audio.device),
            center=False,
            return_complex=True,
        )
        return (bins.real.square() + bins.imag.square() + POWER_FLOOR).sqrt()


class _MelShape(Protocol):
    """What a mel spectrogram depends on: the hyper-parameters of a network of any family."""

    @property
    def sample_rate(self) -> int: ...
    @property
    def filter_length(self) -> int: ...
    @property
    def hop_length(self) -> int: ...
    @property
    def win_length(self) -> int: ...
    @property
    def mel_channels(self) -> int: ...
    @property
    def mel_fmin(self) -> float: ...
    @property
    def mel_top_hertz(self) -> float: ...
    def __hash__(self) -> int: ...


def mel_filterbank(
    sample_rate: int, n_fft: int, mel_channels: int, fmin: float, fmax: float
) -> Tensor:
    """Triangular mel filters on Slaney's scale, each of unit area: (M, F) float32 on the CPU."""
    with torch.device("cpu"):
        bins = torch.linspace(0.0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
        mels = torch.linspace(
            _hertz_to_mel(fmin), _hertz_to_mel(fmax), mel_channels + 2, dtype=torch.float64
        )
    edges = _mels_to_hertz(mels)
    widths = edges.diff()
    distances = edges.unsqueeze(1) - bins
    rising = -distances[:-2] / widths[:-1, None]
    falling = distances[2:] / widths[1:, None]
    triangles = torch.minimum(rising, falling).clamp(min=0.0)
    return (triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]).float()


def spectrogram_to_mel(spec: Tensor, config: _MelShape) -> Tensor:
    """Linear magnitudes (B, F, T) to natural-log mel magnitudes (B, M, T), float32."""
    with full_precision(spec):
        filters = _filterbank(config, spec.device)
        return torch.matmul(filters, spec.float()).clamp(min=MEL_FLOOR).log()


def audio_to_mel(audio: Tensor, config: _MelShape) -> Tensor:
    """Audio (B, S) to natural-log mel magnitudes (B, M, T), float32."""
    spec = spectrogram(audio, config.filter_length, config.hop_length, config.win_length)
    return spectrogram_to_mel(spec, config)


@lru_cache(maxsize=16)
def _hann_window(size: int, device: torch.device) -> Tensor:
    # A tensor made under inference mode (as validation has it) could not be used in training.
    with torch.inference_mode(False):
        return torch.hann_window(size, device=device)


@lru_cache(maxsize=16)
def _filterbank(config: _MelShape, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return mel_filterbank(
            config.sample_rate,
            config.filter_length,
            config.mel_channels,
            config.mel_fmin,
            config.mel_top_hertz,
        ).to(device)


def _hertz_to_mel(hertz: float) -> float:
    if hertz < _LOG_START_HERTZ:
        return hertz / _HERTZ_PER_MEL
    return _LOG_START_MEL + math.log(hertz / _LOG_START_HERTZ) / _LOG_STEP


def _mels_to_hertz(mels: Tensor) -> Tensor:
    logarithmic = _LOG_START_HERTZ * torch.exp(_LOG_STEP * (mels - _LOG_START_MEL))
    return torch.where(mels < _LOG_START_MEL, mels * _HERTZ_PER_MEL, logarithmic)
