"""Gated residual convolutions, as posterior encoder and flow use them. Knows nothing of either."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from piper.train.vits.weight_norm import WeightNormConv1d


class WaveNet(nn.Module):
    """Non-causal WaveNet (van den Oord et al. 2016; WaveGlow, Prenger et al. 2018).

    Args:
        channels: C, of the input, the residual path and the output.
        kernel_size: Odd kernel of the gated convolutions.
        n_layers: Gated layers; none is dilated, as in Piper's networks.
        speaker_channels: Channels of the speaker embedding, 0 for none.
    """

    def __init__(
        self, channels: int, *, kernel_size: int, n_layers: int, speaker_channels: int
    ) -> None:
        super().__init__()
        self.channels = channels
        self.n_layers = n_layers
        self.in_layers = nn.ModuleList(
            WeightNormConv1d(channels, 2 * channels, kernel_size, padding=kernel_size // 2)
            for _ in range(n_layers)
        )
        # the last layer has no residual half
        self.res_skip_layers = nn.ModuleList(
            WeightNormConv1d(channels, channels if layer == n_layers - 1 else 2 * channels, 1)
            for layer in range(n_layers)
        )
        self.cond_layer: WeightNormConv1d | None = None
        if speaker_channels:
            self.cond_layer = WeightNormConv1d(speaker_channels, 2 * channels * n_layers, 1)

    def forward(self, x: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """Run the layers.

        Args:
            x: (B, C, T).
            mask: (B, 1, T).
            g: Speaker embedding (B, G, 1), where there are several speakers.

        Returns:
            (B, C, T), the sum of all layers' skips; channels last.
        """
        conditions: list[Tensor | None] = [None] * self.n_layers
        if self.cond_layer is not None and g is not None:
            conditions = list(self.cond_layer(g).transpose(1, 2).chunk(self.n_layers, dim=2))
        # from here to the end signals are (B, T, C), so that gates and products read in order
        x, mask = x.transpose(1, 2).contiguous(), mask.transpose(1, 2)
        skips: Tensor | None = None
        for gated, mixed, condition in zip(
            self.in_layers, self.res_skip_layers, conditions, strict=True
        ):
            res_skip = cast(WeightNormConv1d, mixed)
            y = gated(x.transpose(1, 2)).transpose(1, 2)
            if condition is not None:
                y = y + condition
            assert res_skip.bias is not None
            *residual, skip = gate_and_mix(y, res_skip.folded_weight(), res_skip.bias)
            if residual:
                x = (x + residual[0]) * mask
            skips = skip if skips is None else skips + skip
        assert skips is not None  # n_layers is at least 1
        return (skips * mask).transpose(1, 2)


def gate_and_mix(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    """Gate a signal by its own second half of channels, then convolve with a kernel of 1.

    Args:
        x: (B, T, 2 C).
        weight: (n C, C, 1).
        bias: (n C).

    Returns:
        n signals (B, T, C): the parts of what a kernel of 1 makes of
        `tanh(x[..., :C]) * sigmoid(x[..., C:])`.
    """
    dtype = x.dtype  # under autocast the weights are float32 and the signal is not
    return _GateAndMix.apply(x, weight.squeeze(2).to(dtype), bias.to(dtype))


class _GateAndMix(torch.autograd.Function):
    """Keeps tanh and sigmoid for the backward pass, but not their product: 2 C instead of 3 C."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        """(B, T, 2 C), (n C, C) and (n C) to n times (B, T, C)."""
        signal, gate = x.chunk(2, dim=2)
        signal, gate = torch.tanh(signal), torch.sigmoid(gate)
        ctx.save_for_backward(signal, gate, weight)
        product = signal * gate
        parts = zip(weight.split(weight.shape[1]), bias.split(weight.shape[1]), strict=True)
        return tuple(F.linear(product, *part) for part in parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of the signal, the weight and the bias."""
        signal, gate, weight = ctx.saved_tensors
        channels = weight.shape[1]
        rows = [gradient.flatten(0, 1) for gradient in gradients]
        of_product = rows[0] @ weight[:channels]
        for part in range(1, len(rows)):
            of_product.addmm_(rows[part], weight[part * channels : (part + 1) * channels])
        of_x = signal.new_empty((*signal.shape[:2], 2 * channels))
        # the slopes are sigmoid * (1 - tanh^2) and tanh * sigmoid * (1 - sigmoid)
        share = of_product.view_as(gate) * gate
        both = share * signal
        torch.addcmul(share, both, signal, value=-1, out=of_x[..., :channels])
        torch.addcmul(both, both, gate, value=-1, out=of_x[..., channels:])
        product = (signal * gate).flatten(0, 1)
        of_weight = torch.cat([gradient.t() @ product for gradient in rows])
        return of_x, of_weight, torch.cat([gradient.sum(0) for gradient in rows])
