"""The discriminators of HiFi-GAN (Kong et al. 2020) and, of spectrograms, of UnivNet.

Source: Jang et al. 2021, "UnivNet: a neural vocoder with multi-resolution spectrogram
discriminators", section 2.2; BigVGAN (Lee et al. 2023) has the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from piper.errors import ConfigError
from piper.train.vits.config import NetworkConfig
from piper.train.vits.layers import (
    WeightNormConv1d,
    WeightNormConv2d,
    convolve_rows,
    full_precision,
)

PERIODS = (2, 3, 5, 7, 11)
WIDEST = 1024
LEAK = 0.1
# (channels in, channels out, kernel, stride, groups) of the discriminator of the raw waveform
_SCALE_LAYERS = (
    (1, 16, 15, 1, 1),
    (16, 64, 41, 4, 4),
    (64, 256, 41, 4, 16),
    (256, 1024, 41, 4, 64),
    (1024, 1024, 41, 4, 256),
    (1024, 1024, 5, 1, 1),
)
# (channels in, channels out, stride) of the discriminators of periods
_PERIOD_LAYERS = ((1, 32, 3), (32, 128, 3), (128, 512, 3), (512, 1024, 3), (1024, 1024, 1))


class ScaleDiscriminator(nn.Module):
    """Looks at the raw waveform; no layer is wider than `widest`."""

    def __init__(self, widest: int = WIDEST) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            WeightNormConv1d(
                min(channels_in, widest),
                min(channels_out, widest),
                kernel,
                stride=stride,
                groups=min(groups, channels_in, widest),
                padding=kernel // 2,
            )
            for channels_in, channels_out, kernel, stride, groups in _SCALE_LAYERS
        )
        self.conv_post = WeightNormConv1d(min(WIDEST, widest), 1, 3, padding=1)

    def forward(self, audio: Tensor) -> list[Tensor]:
        """(B, 1, S) to each layer's features, and last the scores (B, N)."""
        return collect_features(audio, self.convs, self.conv_post)


class PeriodDiscriminator(nn.Module):
    """Looks at the waveform folded into rows of one period; no layer is wider than `widest`."""

    def __init__(self, period: int, widest: int = WIDEST) -> None:
        super().__init__()
        self.period = period
        self.convs = nn.ModuleList(
            WeightNormConv2d(
                min(channels_in, widest),
                min(channels_out, widest),
                (5, 1),
                stride=(stride, 1),
                padding=(2, 0),
            )
            for channels_in, channels_out, stride in _PERIOD_LAYERS
        )
        self.conv_post = WeightNormConv2d(min(WIDEST, widest), 1, (3, 1), padding=(1, 0))

    def forward(self, audio: Tensor) -> list[Tensor]:
        """(B, 1, S) to each layer's features, and last the scores (B, N)."""
        missing = -audio.shape[2] % self.period
        if missing:
            audio = F.pad(audio, (0, missing), mode="reflect")
        folded = audio.unflatten(2, (-1, self.period))
        if audio.device.type == "cpu":
            return self._convolve_columns(folded)
        return collect_features(folded, self.convs, self.conv_post)

    def _convolve_columns(self, folded: Tensor) -> list[Tensor]:
        """The same by matrix products, in 0.6 of the time on a CPU.

        A kernel of (5, 1) sees one of a period's columns at a time: (B, 1, T, period) are B times
        period signals of T rows.
        """
        columns = folded.permute(0, 3, 2, 1)
        rows = columns.flatten(0, 1)
        features = []
        for convolution in (*self.convs, self.conv_post):
            rows = convolve_rows(
                rows,
                convolution.folded_weight().squeeze(3),
                convolution.bias,
                convolution.stride[0],
            )
            if convolution is not self.conv_post:
                rows = F.leaky_relu(rows, LEAK, inplace=True)
            features.append(rows.unflatten(0, columns.shape[:2]).permute(0, 3, 2, 1))
        return [*features[:-1], features[-1].flatten(1)]


class DiscriminatorSet(nn.Module):
    """Several discriminators, each with a view of its own."""

    def __init__(self, discriminators: Iterable[nn.Module]) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(discriminators)

    def forward(self, audio: Tensor) -> list[list[Tensor]]:
        """Audio (B, 1, S) to a list for each: its layers' features, and last its scores (B, N).

        Recordings and made audio can be given in one batch and told apart by rows.
        """
        return [discriminator(audio) for discriminator in self.discriminators]


class Discriminator(DiscriminatorSet):
    """One of the waveform and one for each period.

    Args:
        widest: Channels of the widest layers; narrower ones are for small presets.
    """

    def __init__(self, widest: int = WIDEST) -> None:
        periods = (PeriodDiscriminator(period, widest) for period in PERIODS)
        super().__init__([ScaleDiscriminator(widest), *periods])


def collect_features(x: Tensor, convolutions: Iterable[nn.Module], last: nn.Module) -> list[Tensor]:
    """Return what each layer makes of a view of audio, and last the scores (B, N)."""
    features = []
    for convolution in convolutions:
        x = convolution(x)
        if x.is_cuda and x.dim() == 4:
            # As cuDNN's kernels want it; else each would copy what it reads and what it writes.
            x = x.contiguous(memory_format=torch.channels_last)
        # In place a view would be copied on the way back.
        x = F.leaky_relu(x, LEAK, inplace=not x._is_view())
        features.append(x)
    features.append(last(x).flatten(1))
    return features


CHANNELS = 32
# (kernel, stride) over frequencies and frames
_LAYERS = (
    ((3, 9), (1, 1)),
    ((3, 9), (1, 2)),
    ((3, 9), (1, 2)),
    ((3, 9), (1, 2)),
    ((3, 3), (1, 1)),
)


class Resolution(NamedTuple):
    """A short-time Fourier transform, in samples: its size, its hop, and its Hann window."""

    filter_length: int
    hop_length: int
    win_length: int

    @property
    def padding(self) -> int:
        """Samples that are reflected at each end, so that there is a frame for each hop."""
        return (self.filter_length - self.hop_length) // 2


RESOLUTIONS = (Resolution(1024, 120, 600), Resolution(2048, 240, 1200), Resolution(512, 50, 240))


class ResolutionDiscriminator(nn.Module):
    """Looks at the magnitudes of one resolution; no layer is wider than `widest`."""

    window: Tensor

    def __init__(self, resolution: Resolution, widest: int = CHANNELS) -> None:
        super().__init__()
        self.resolution = resolution
        # Not in the state dict: Piper's checkpoints have none.
        self.register_buffer("window", torch.hann_window(resolution.win_length), persistent=False)
        channels = min(CHANNELS, widest)
        self.convs = nn.ModuleList(
            WeightNormConv2d(
                channels if layer else 1,
                channels,
                kernel,
                stride=stride,
                padding=(kernel[0] // 2, kernel[1] // 2),
            )
            for layer, (kernel, stride) in enumerate(_LAYERS)
        )
        self.conv_post = WeightNormConv2d(channels, 1, (3, 3), padding=(1, 1))

    def forward(self, audio: Tensor) -> list[Tensor]:
        """(B, 1, S) to each layer's features (B, C, F, T'), and last the scores (B, N)."""
        return collect_features(self.spectrogram(audio), self.convs, self.conv_post)

    def spectrogram(self, audio: Tensor) -> Tensor:
        """(B, 1, S) to linear magnitudes (B, 1, F, T), always in float32."""
        size, hop, length = self.resolution
        with full_precision(audio):
            padding = (self.resolution.padding, self.resolution.padding)
            padded = F.pad(audio.float(), padding, mode="reflect").squeeze(1)
            transformed = torch.stft(
                padded, size, hop, length, self.window, center=False, return_complex=True
            )
            return transformed.abs().unsqueeze(1)


class MultiResolutionDiscriminator(DiscriminatorSet):
    """One for each of three resolutions.

    Args:
        widest: Channels of the widest layers; below 32 they are narrower than the paper's.
    """

    def __init__(self, widest: int = 1024) -> None:
        super().__init__(ResolutionDiscriminator(resolution, widest) for resolution in RESOLUTIONS)

    @classmethod
    def for_network(cls, config: NetworkConfig) -> MultiResolutionDiscriminator:
        """Return the discriminators of a network."""
        # Besides, oneDNN's bfloat16 convolution with such a kernel reads beyond an input of two
        # frames (torch 2.13 on a CPU), which the fourth layer would get.
        frames = _LAYERS[0][0][1]
        shortest = frames * max(resolution.hop_length for resolution in RESOLUTIONS)
        if config.segment_size < shortest:
            raise ConfigError(
                f"segment_size {config.segment_size} is too short for use_mrd, whose kernels need "
                f"{shortest} samples: make it longer, or leave use_mrd out."
            )
        return cls(config.discriminator_channels)
