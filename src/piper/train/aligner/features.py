"""A recording to log probabilities of phonemes: features, the acoustic network, and its files.

Plain convolutions: on two cores a pass forward and back takes a third of what depthwise ones of as
many weights take, and a tenth of two recurrent layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import soxr
import torch
from torch import Tensor, nn

from piper.errors import DatasetError
from piper.files import replace_on_success
from piper.train.data.audio import FloatArray, decode
from piper.train.vits.layers import ChannelNorm
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
STRETCH_SECONDS = 60.0
"""Long recordings are gone through piece by piece: up to 60 MB of the network's layers a minute."""
MARGIN_SECONDS = 1.0
"""What a piece has on both sides beside what counts."""


def load_samples(path: Path) -> FloatArray:
    """Return a recording's samples at `SAMPLE_RATE`, one channel, (S,)."""
    decoded = decode(path)
    return resample(decoded.mix(), decoded.sample_rate)


def resample(samples: FloatArray, sample_rate: int) -> FloatArray:
    """Return samples at `SAMPLE_RATE`, (S,)."""
    if sample_rate == SAMPLE_RATE:
        return samples
    resampled: FloatArray = soxr.resample(samples, sample_rate, SAMPLE_RATE, quality="MQ")
    return resampled


def extract_features(samples: FloatArray) -> Tensor:
    """Return normalised log mel energies, (T, M) with T even, of samples at `SAMPLE_RATE`."""
    return normalise(extract_mels(samples))


def normalise(mels: Tensor) -> Tensor:
    """Return (T, M) log mel energies with mean 0 and spread 1 in each channel.

    A microphone's colour and a recording's loudness are the same over all of it, so they go with
    the mean.
    """
    return (mels - mels.mean(dim=0)) / (mels.std(dim=0) + 0.1)


def extract_mels(samples: FloatArray) -> Tensor:
    """Return log mel energies, (T, M) with T even, of samples at `SAMPLE_RATE`."""
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


KERNEL = 5
DROPOUT = 0.1


@dataclass(frozen=True)
class NetworkOptions:
    """What differs between acoustic networks.

    Attributes:
        channels: Of each layer.
        dilations: Of the layers between the first and the last, one each.
        is_normalised: Whether their inputs are brought to one scale.
    """

    channels: int
    dilations: tuple[int, ...]
    is_normalised: bool


class AcousticNetwork(nn.Module):
    """Log probabilities of units, of which the first is silence, every 20 ms."""

    def __init__(self, options: NetworkOptions, num_units: int) -> None:
        super().__init__()
        channels = options.channels

        def normaliser() -> nn.Module:
            return ChannelNorm(channels) if options.is_normalised else nn.Identity()

        self.entry = nn.Conv1d(MEL_CHANNELS, channels, KERNEL, stride=2, padding=KERNEL // 2)
        self.norms = nn.ModuleList(normaliser() for _ in options.dilations)
        self.blocks = nn.ModuleList(
            nn.Conv1d(channels, channels, KERNEL, padding=KERNEL // 2 * step, dilation=step)
            for step in options.dilations
        )
        self.last_norm = normaliser()
        self.exit = nn.Conv1d(channels, num_units, 1)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, T, M), T even, to log probabilities (B, T / 2, U)."""
        hidden = torch.relu(self.entry(features.transpose(1, 2)))
        for norm, block in zip(self.norms, self.blocks, strict=True):
            hidden = hidden + self.dropout(torch.relu(block(norm(hidden))))
        hidden = self.exit(self.last_norm(hidden))
        return torch.log_softmax(hidden.transpose(1, 2), dim=-1)

    def run(self, samples: FloatArray) -> Iterator[tuple[FloatArray, FloatArray, slice]]:
        """Go through a recording at `SAMPLE_RATE` stretch by stretch, with a margin on both sides.

        Yields:
            A stretch's samples, its log probabilities (T, U), and which of its frames count.
        """
        self.eval()
        stretch, margin = (round(s * SAMPLE_RATE) for s in (STRETCH_SECONDS, MARGIN_SECONDS))
        hop = round(FRAME_SECONDS * SAMPLE_RATE)
        for start in range(0, max(1, len(samples)), stretch):
            begin = max(0, start - margin)
            part = samples[begin : start + stretch + margin]
            with torch.inference_mode():
                rows: FloatArray = self(extract_features(part).unsqueeze(0))[0].numpy()
            first = (start - begin) // hop
            count = -(-len(samples[start : start + stretch]) // hop) or 1
            yield part, rows, slice(first, first + count)


FORMAT = 1
Fitted = TypeVar("Fitted")


def save_fitted(path: Path, kind: str, data: Mapping[str, Any]) -> None:
    """Write what was fitted (tensors and plain values) to a file, whole or not at all."""
    with replace_on_success(path) as temporary:
        torch.save({"format": FORMAT, "kind": kind, **data}, temporary)


def load_fitted(
    path: Path, kind: str, remedy: str, create: Callable[[Mapping[str, Any]], Fitted]
) -> Fitted:
    """Read what `save_fitted` wrote; files of before there were kinds are read, too.

    Args:
        remedy: What to do where it is missing or something else.
        create: The file's values to what was fitted.
    """
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
        if (data["format"], data.get("kind", kind)) != (FORMAT, kind):
            raise ValueError(data["format"])
        return create(data)
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist; {remedy}.") from None
    except Exception as error:  # what torch raises for a damaged file has no common class
        raise DatasetError(
            f"{path} is no {kind} of this version ({type(error).__name__}); {remedy}."
        ) from None
