"""Gated residual convolutions, as posterior encoder and flow use them. Knows nothing of either."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
            (B, C, T), the sum of all layers' skips.
        """
        conditions: list[Tensor | None] = [None] * self.n_layers
        if self.cond_layer is not None and g is not None:
            conditions = list(self.cond_layer(g).chunk(self.n_layers, dim=1))
        skips: Tensor | None = None
        for layer, (gated, res_skip) in enumerate(
            zip(self.in_layers, self.res_skip_layers, strict=True)
        ):
            y = res_skip(_activate_gate(gated(x), conditions[layer]))
            if layer < self.n_layers - 1:
                residual, y = y.chunk(2, dim=1)
                x = (x + residual) * mask
            skips = y if skips is None else skips + y
        assert skips is not None  # n_layers is at least 1
        return skips * mask


def _activate_gate(x: Tensor, condition: Tensor | None) -> Tensor:
    """(B, 2 C, T) and the speaker's share (B, 2 C, 1) to (B, C, T)."""
    if condition is not None:
        x = x + condition
    signal, gate = x.chunk(2, dim=1)
    return torch.tanh(signal) * torch.sigmoid(gate)
