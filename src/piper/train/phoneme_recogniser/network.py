"""The recogniser's network: log mel energies to how likely each unit is. Knows no texts.

It sees 1.2 s around a frame, three times what an aligner's network sees: the neighbours of a sound
tell it apart.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from piper.train.vits.layer_norm import ChannelNorm

KERNEL = 5
DILATIONS = (1, 1, 2, 2, 4, 4)
DROPOUT = 0.1


class RecogniserNetwork(nn.Module):
    """Log probabilities of units, every 20 ms.

    Args:
        mel_channels: M.
        num_units: U; the first is silence.
        channels: Of each layer.
    """

    def __init__(self, mel_channels: int, num_units: int, channels: int) -> None:
        super().__init__()
        self.entry = nn.Conv1d(mel_channels, channels, KERNEL, stride=2, padding=KERNEL // 2)
        self.norms = nn.ModuleList(ChannelNorm(channels) for _ in DILATIONS)
        self.blocks = nn.ModuleList(
            nn.Conv1d(channels, channels, KERNEL, padding=KERNEL // 2 * step, dilation=step)
            for step in DILATIONS
        )
        self.last_norm = ChannelNorm(channels)
        self.exit = nn.Conv1d(channels, num_units, 1)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, features: Tensor) -> Tensor:
        """Return log probabilities.

        Args:
            features: (B, T, M), T even.

        Returns:
            (B, T / 2, U).
        """
        hidden = torch.relu(self.entry(features.transpose(1, 2)))
        for norm, block in zip(self.norms, self.blocks, strict=True):
            hidden = hidden + self.dropout(torch.relu(block(norm(hidden))))
        hidden = self.exit(self.last_norm(hidden))
        return torch.log_softmax(hidden.transpose(1, 2), dim=-1)
