"""Judges of spectrograms in several resolutions (UnivNet). Know nothing of the generator.

Source: Jang et al. 2021, "UnivNet: a neural vocoder with multi-resolution spectrogram
discriminators", section 2.2; BigVGAN (Lee et al. 2023) has the same ones.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from piper.errors import ConfigError
from piper.train.vits.config import NetworkConfig
from piper.train.vits.discriminators import DiscriminatorSet, collect_features
from piper.train.vits.precision import full_precision
from piper.train.vits.weight_norm import WeightNormConv2d

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
    """Judges the magnitudes of one resolution; no layer is wider than `widest`."""

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
    """One judge for each of three resolutions.

    Args:
        widest: Channels of the widest layers; below 32 they are narrower than the paper's.
    """

    def __init__(self, widest: int = 1024) -> None:
        super().__init__(ResolutionDiscriminator(resolution, widest) for resolution in RESOLUTIONS)

    @classmethod
    def for_network(cls, config: NetworkConfig) -> MultiResolutionDiscriminator:
        """Return the judges of a network.

        Raises:
            ConfigError: Its segments have fewer frames than the first layer's kernel.
        """
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
