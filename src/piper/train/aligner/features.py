"""A recording to what the aligner hears: normalised log mel energies.

Plain convolutions, which see 0.37 s around a frame: on two cores a pass forward and back takes a
third of what depthwise ones of as many weights take, and a tenth of two recurrent layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import soxr
import torch
from torch import Tensor, nn

from piper.train.data.audio import FloatArray, decode
from piper.train.vits.mel import mel_filterbank

SAMPLE_RATE = 16000
"""All recordings are brought to it: what lies above 8 kHz tells no two phonemes apart."""
HOP_SAMPLES = 160
WINDOW_SAMPLES = 400
FFT_SAMPLES = 512
MEL_CHANNELS = 40
FLOOR = 1e-7
"""Of the mel energies: 16 bits' own noise lies there, digital silence below it."""
FRAME_SECONDS = 2 * HOP_SAMPLES / SAMPLE_RATE
"""The network halves the rate of its input: a phoneme of 20 ms is the shortest it can place."""


def load_samples(path: Path) -> FloatArray:
    """Return a recording's samples at `SAMPLE_RATE`, one channel, (S,).

    Raises:
        DatasetError: It cannot be decoded.
    """
    decoded = decode(path)
    return resample(decoded.mix(), decoded.sample_rate)


def resample(samples: FloatArray, sample_rate: int) -> FloatArray:
    """Return samples at `SAMPLE_RATE`, (S,)."""
    if sample_rate == SAMPLE_RATE:
        return samples
    resampled: FloatArray = soxr.resample(samples, sample_rate, SAMPLE_RATE, quality="MQ")
    return resampled


def cut_stretches(
    samples: FloatArray, stretch_seconds: float, margin_seconds: float
) -> Iterator[tuple[FloatArray, int, int]]:
    """Cut samples into stretches that are heard one by one, each with a margin on both sides.

    Args:
        samples: (S,) at `SAMPLE_RATE`.
        stretch_seconds: Length of a stretch.
        margin_seconds: What is heard before and after it, and left out of the result.

    Yields:
        A stretch with its margins, the first of its frames that counts, and how many do.
    """
    stretch, margin = (round(s * SAMPLE_RATE) for s in (stretch_seconds, margin_seconds))
    hop = round(FRAME_SECONDS * SAMPLE_RATE)
    for start in range(0, max(1, len(samples)), stretch):
        begin = max(0, start - margin)
        frames = -(-len(samples[start : start + stretch]) // hop) or 1
        yield samples[begin : start + stretch + margin], (start - begin) // hop, frames


def extract_features(samples: FloatArray) -> Tensor:
    """Return normalised log mel energies, (T, M) with T even.

    Args:
        samples: (S,) at `SAMPLE_RATE`.
    """
    return normalise(extract_mels(samples))


def normalise(mels: Tensor) -> Tensor:
    """Return (T, M) log mel energies with mean 0 and spread 1 in each channel.

    A microphone's colour and a recording's loudness are the same over all of it, so they go with
    the mean.
    """
    return (mels - mels.mean(dim=0)) / (mels.std(dim=0) + 0.1)


def extract_mels(samples: FloatArray) -> Tensor:
    """Return log mel energies, (T, M) with T even.

    Args:
        samples: (S,) at `SAMPLE_RATE`.
    """
    audio = torch.from_numpy(samples)
    # Whole frames of the network's, and one at least.
    missing = -len(audio) % (2 * HOP_SAMPLES) or (2 * HOP_SAMPLES if len(audio) == 0 else 0)
    margin = (FFT_SAMPLES - HOP_SAMPLES) // 2
    audio = torch.nn.functional.pad(audio, (margin, missing + margin))
    bins = torch.stft(
        audio,
        FFT_SAMPLES,
        hop_length=HOP_SAMPLES,
        win_length=WINDOW_SAMPLES,
        window=torch.hann_window(WINDOW_SAMPLES),
        center=False,
        return_complex=True,
    )
    power = bins.real.square() + bins.imag.square()
    return (_filterbank() @ power + FLOOR).log().T


@lru_cache(maxsize=1)
def _filterbank() -> Tensor:
    return mel_filterbank(SAMPLE_RATE, FFT_SAMPLES, MEL_CHANNELS, 60.0, 7600.0)


CHANNELS = 128
KERNEL = 5
BLOCKS = 4
DROPOUT = 0.1


class AcousticNetwork(nn.Module):
    """Log probabilities of units, every 20 ms.

    Args:
        mel_channels: M.
        num_units: U, silence included.
    """

    def __init__(self, mel_channels: int, num_units: int) -> None:
        super().__init__()
        self.entry = nn.Conv1d(mel_channels, CHANNELS, KERNEL, stride=2, padding=KERNEL // 2)
        self.blocks = nn.ModuleList(
            nn.Conv1d(CHANNELS, CHANNELS, KERNEL, padding=KERNEL // 2) for _ in range(BLOCKS)
        )
        self.exit = nn.Conv1d(CHANNELS, num_units, 1)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, features: Tensor) -> Tensor:
        """Return log probabilities.

        Args:
            features: (B, T, M), T even.

        Returns:
            (B, T / 2, U).
        """
        hidden = torch.relu(self.entry(features.transpose(1, 2)))
        for block in self.blocks:
            hidden = hidden + self.dropout(torch.relu(block(hidden)))
        return torch.log_softmax(self.exit(hidden).transpose(1, 2), dim=-1)
