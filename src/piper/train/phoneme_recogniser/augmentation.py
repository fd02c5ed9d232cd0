"""Makes a recording sound another way each time it is learnt on. Knows no texts, no network.

A recogniser that heard one voice in one room takes every other room for mistakes; what a voice made
of these recordings says differs from them in tempo, noise and timbre, and is to be judged fairly.
All is done to log mel energies: a pass over an hour costs seconds. Random numbers are torch's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from piper.train.aligner.features import normalise

TEMPOS = (0.9, 1.15)
"""How much longer it becomes."""
WARPS = (0.96, 1.04)
"""By which factor the mel channels are moved: a shorter or a longer throat."""
NOISE_SHARE = 0.3
NOISE_BELOW_SPEECH = (3.5, 9.0)
"""Nats from loud speech down to the noise: 15 to 39 dB."""
TIME_MASKS, TIME_MASK_FRAMES = 1, 10
CHANNEL_MASKS, CHANNEL_MASK_WIDTH = 1, 6
"""As SpecAugment has it (Park et al. 2019), but no longer than two sounds."""


def vary(mels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return features and labels of a recording that sounds another way.

    Args:
        mels: (T, M) log mel energies, T even.
        labels: (T / 2,) numbers of units.

    Returns:
        (T', M) features, T' even, and (T' / 2,) labels.
    """
    mels, labels = _stretch(mels, labels)
    mels = _warp(mels)
    if _draw(0.0, 1.0) < NOISE_SHARE:
        mels = _add_noise(mels)
    features = normalise(mels)
    frames, channels = features.shape
    for _ in range(TIME_MASKS):
        width = int(_draw(0, TIME_MASK_FRAMES + 1))
        start = int(_draw(0, max(1, frames - width)))
        features[start : start + width] = 0.0
    for _ in range(CHANNEL_MASKS):
        width = int(_draw(0, CHANNEL_MASK_WIDTH + 1))
        start = int(_draw(0, channels - width))
        features[:, start : start + width] = 0.0
    return features, labels


def _draw(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _stretch(mels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    frames = len(labels)
    longer = max(1, round(frames * _draw(*TEMPOS)))
    stretched = torch.nn.functional.interpolate(
        mels.T.unsqueeze(0), size=2 * longer, mode="linear", align_corners=False
    )[0].T
    places = ((torch.arange(longer) + 0.5) * frames / longer).long().clamp(max=frames - 1)
    return stretched, labels[places]


def _warp(mels: Tensor) -> Tensor:
    channels = mels.shape[1]
    places = (torch.arange(channels) * _draw(*WARPS)).clamp(max=channels - 1)
    below = places.long()
    above = (below + 1).clamp(max=channels - 1)
    share = places - below
    return mels[:, below] * (1 - share) + mels[:, above] * share


def _add_noise(mels: Tensor) -> Tensor:
    """Add steady noise of a random colour, whose power swings as that of noise does."""
    frames, channels = mels.shape
    loud = torch.quantile(mels.mean(dim=1), 0.9) - _draw(*NOISE_BELOW_SPEECH)
    colour = torch.linspace(-1.0, 1.0, channels) * _draw(-2.0, 2.0)
    swing = 0.5 * torch.randn(frames, channels)
    return torch.logaddexp(mels, loud + colour + swing)
