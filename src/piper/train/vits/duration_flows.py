"""The layers of the stochastic duration predictor. Knows nothing of how they are put together.

Flows take and give (B, 2, P): a duration (or noise) and its companion. Each returns the log of
the absolute determinant too, one number an utterance (B,). Kim et al. 2021, appendix A.1.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from piper.train.vits.dropout import Dropout
from piper.train.vits.layer_norm import ChannelNorm
from piper.train.vits.layout import channels_last, convolve, mix_channels
from piper.train.vits.splines import transform_by_spline

DDS_LAYERS = 3
DDS_KERNEL_SIZE = 3
SPLINE_BINS = 10
SPLINE_BOUND = 5.0


class SeparableConvolutions(nn.Module):
    """Dilated and depth-separable convolutions with residual sums."""

    def __init__(self, channels: int, p_dropout: float = 0.0) -> None:
        super().__init__()
        self.drop = Dropout(p_dropout)
        dilations = [DDS_KERNEL_SIZE**layer for layer in range(DDS_LAYERS)]
        self.convs_sep = nn.ModuleList(
            nn.Conv1d(
                channels,
                channels,
                DDS_KERNEL_SIZE,
                groups=channels,
                dilation=dilation,
                padding=dilation * (DDS_KERNEL_SIZE // 2),
            )
            for dilation in dilations
        )
        self.convs_1x1 = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in dilations)
        self.norms_1 = nn.ModuleList(ChannelNorm(channels) for _ in dilations)
        self.norms_2 = nn.ModuleList(ChannelNorm(channels) for _ in dilations)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, C, P) and mask (B, 1, P) to (B, C, P), channels last."""
        x = channels_last(x)
        layers = zip(self.convs_sep, self.norms_1, self.convs_1x1, self.norms_2, strict=True)
        for layer, (depthwise, norm_1, pointwise, norm_2) in enumerate(layers):
            separate, mix = cast(nn.Conv1d, depthwise), cast(nn.Conv1d, pointwise)
            dilation = DDS_KERNEL_SIZE**layer
            y = convolve(
                x * mask,
                separate.weight,
                separate.bias,
                padding=dilation * (DDS_KERNEL_SIZE // 2),
                dilation=dilation,
                groups=separate.groups,
            )
            y = mix_channels(F.gelu(norm_1(y)), mix.weight, mix.bias)
            x = x + self.drop(F.gelu(norm_2(y)))
        return x * mask


class Affine(nn.Module):
    """Shift and scale each of the two channels by learned constants."""

    def __init__(self) -> None:
        super().__init__()
        self.m = nn.Parameter(torch.zeros(2, 1))
        self.logs = nn.Parameter(torch.zeros(2, 1))

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 2, P) to (B, 2, P) and (B,)."""
        y = (self.m + torch.exp(self.logs) * x) * mask
        return y, (self.logs * mask).sum((1, 2))

    def inverse(self, x: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
        """Undo `forward`, without the determinant."""
        return (x - self.m) * torch.exp(-self.logs) * mask


class DurationFlip(nn.Module):
    """Exchange the two channels."""

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 2, P) to (B, 2, P) and zeros (B,)."""
        return torch.flip(x, [1]), x.new_zeros(x.shape[0])

    def inverse(self, x: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
        """The same again, which undoes it."""
        return torch.flip(x, [1])


class SplineCoupling(nn.Module):
    """Map the second channel by splines that depend on the first channel and the condition."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = 1.0 / math.sqrt(channels)
        self.pre = nn.Conv1d(1, channels, 1)
        self.convs = SeparableConvolutions(channels)
        self.proj = nn.Conv1d(channels, 3 * SPLINE_BINS - 1, 1)
        # all bins alike at the start
        for parameter in self.proj.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 2, P) and condition (B, C, P) to (B, 2, P) and (B,)."""
        y, log_slope = self._transform(x, mask, condition, is_inverse=False)
        return y, (log_slope * mask).sum((1, 2))

    def inverse(self, x: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
        """Undo `forward`, without the determinant."""
        return self._transform(x, mask, condition, is_inverse=True)[0]

    def _transform(
        self, x: Tensor, mask: Tensor, condition: Tensor, *, is_inverse: bool
    ) -> tuple[Tensor, Tensor]:
        kept, moved = x.chunk(2, dim=1)
        hidden = mix_channels(kept, self.pre.weight, self.pre.bias) + condition
        hidden = self.convs(hidden, mask)
        parameters = mix_channels(hidden, self.proj.weight, self.proj.bias) * mask
        parameters = parameters.transpose(1, 2).unsqueeze(1)  # (B, 1, P, 29)
        widths, heights, slopes = parameters.split([SPLINE_BINS, SPLINE_BINS, SPLINE_BINS - 1], 3)
        moved, log_slope = transform_by_spline(
            moved,
            widths * self.scale,
            heights * self.scale,
            slopes,
            bound=SPLINE_BOUND,
            is_inverse=is_inverse,
        )
        return torch.cat([kept, moved], dim=1) * mask, log_slope
