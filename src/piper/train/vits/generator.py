"""Latents to waveform: the generator of HiFi-GAN (Kong et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from piper.train.vits.config import NetworkConfig
from piper.train.vits.layers import (
    WeightNormConv1d,
    WeightNormConvTranspose1d,
    channels_last,
    convolve,
)

LEAK = 0.1
LAST_LEAK = 0.01  # the published networks have torch's default here
EDGE_KERNEL_SIZE = 7
INIT_DEVIATION = 0.01


class PairedResidualBlock(nn.Module):
    """HiFi-GAN's block 1: pairs of a dilated and a plain convolution."""

    def __init__(self, channels: int, kernel_size: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = _stack_convolutions(channels, kernel_size, dilations)
        self.convs2 = _stack_convolutions(channels, kernel_size, [1] * len(dilations))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, S) to (B, C, S)."""
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            x = x + plain(F.leaky_relu(dilated(F.leaky_relu(x, LEAK)), LEAK))
        return x


class SingleResidualBlock(nn.Module):
    """HiFi-GAN's block 2: dilated convolutions, one for each residual sum."""

    def __init__(self, channels: int, kernel_size: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs = _stack_convolutions(channels, kernel_size, dilations)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, S) to (B, C, S)."""
        for dilated in self.convs:
            x = x + dilated(F.leaky_relu(x, LEAK))
        return x


class Generator(nn.Module):
    """Upsampling steps, each followed by the mean of parallel residual blocks."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels = config.upsample_initial_channel
        self.conv_pre = nn.Conv1d(
            config.inter_channels, channels, EDGE_KERNEL_SIZE, padding=EDGE_KERNEL_SIZE // 2
        )
        block = PairedResidualBlock if config.resblock == "1" else SingleResidualBlock
        self.block_count = len(config.resblock_kernel_sizes)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for rate, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
            upsampling = WeightNormConvTranspose1d(
                channels, channels // 2, kernel, stride=rate, padding=(kernel - rate) // 2
            )
            upsampling.init_normal(INIT_DEVIATION)
            self.ups.append(upsampling)
            channels //= 2
            for kernel_size, dilations in zip(
                config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True
            ):
                self.resblocks.append(block(channels, kernel_size, dilations))
        self.conv_post = nn.Conv1d(
            channels, 1, EDGE_KERNEL_SIZE, padding=EDGE_KERNEL_SIZE // 2, bias=False
        )
        self.cond: nn.Conv1d | None = None
        if config.speaker_channels:
            self.cond = nn.Conv1d(config.speaker_channels, config.upsample_initial_channel, 1)

    def forward(self, z: Tensor, g: Tensor | None = None) -> Tensor:
        """Latents (B, inter, T), g (B, G, 1) to audio (B, 1, T * hop_length), float32, within 1."""
        x = channels_last(z)
        x = convolve(x, self.conv_pre.weight, self.conv_pre.bias, padding=EDGE_KERNEL_SIZE // 2)
        if self.cond is not None and g is not None:
            x = x + self.cond(g)
        for step, upsampling in enumerate(self.ups):
            x = upsampling(F.leaky_relu(x, LEAK))
            first = step * self.block_count
            total = self.resblocks[first](x)
            for block in range(first + 1, first + self.block_count):
                total = total + self.resblocks[block](x)
            x = total / self.block_count
        x = F.leaky_relu(x, LAST_LEAK)
        x = convolve(x, self.conv_post.weight, None, padding=EDGE_KERNEL_SIZE // 2)
        return torch.tanh(x.float())


def _stack_convolutions(channels: int, kernel_size: int, dilations: Sequence[int]) -> nn.ModuleList:
    convolutions = nn.ModuleList()
    for dilation in dilations:
        convolution = WeightNormConv1d(
            channels,
            channels,
            kernel_size,
            dilation=dilation,
            padding=dilation * (kernel_size // 2),
        )
        convolution.init_normal(INIT_DEVIATION)
        convolutions.append(convolution)
    return convolutions
