"""The invertible map between posterior latents and the prior's space. Knows no other part.

Residual coupling layers that only shift (Kim et al. 2021, section 2.5.1), so that the volume, and
with it the log-determinant, stays the same. `g` is the speaker embedding.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from piper.train.vits.config import NetworkConfig
from piper.train.vits.layout import mix_channels
from piper.train.vits.wavenet import WaveNet

FLOW_COUNT = 4
FLOW_LAYERS = 4
FLOW_KERNEL_SIZE = 5


class Flip(nn.Module):
    """Reverse the order of channels, so that the next coupling moves the other half."""

    def forward(self, x: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """(B, C, T) to (B, C, T)."""
        return torch.flip(x, [1])

    def inverse(self, x: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """The same again, which undoes it."""
        return torch.flip(x, [1])


class ResidualCoupling(nn.Module):
    """Shift one half of the channels by a function of the other half."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        half = config.inter_channels // 2
        self.pre = nn.Conv1d(half, config.hidden_channels, 1)
        self.enc = WaveNet(
            config.hidden_channels,
            kernel_size=FLOW_KERNEL_SIZE,
            n_layers=FLOW_LAYERS,
            speaker_channels=config.speaker_channels,
        )
        self.post = nn.Conv1d(config.hidden_channels, half, 1)
        # the flow begins as the identity
        for parameter in self.post.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """(B, C, T) to (B, C, T)."""
        kept, moved = x.chunk(2, dim=1)
        return torch.cat([kept, self._shift(kept, mask, g) + moved * mask], dim=1)

    def inverse(self, x: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """Undo `forward`."""
        kept, moved = x.chunk(2, dim=1)
        return torch.cat([kept, (moved - self._shift(kept, mask, g)) * mask], dim=1)

    def _shift(self, kept: Tensor, mask: Tensor, g: Tensor | None) -> Tensor:
        hidden = mix_channels(kept, self.pre.weight, self.pre.bias) * mask
        hidden = self.enc(hidden, mask, g)
        return mix_channels(hidden, self.post.weight, self.post.bias).float() * mask


class CouplingFlow(nn.Module):
    """Four couplings, each followed by a flip."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(FLOW_COUNT):
            layers += [ResidualCoupling(config), Flip()]
        self.flows = nn.ModuleList(layers)

    def forward(self, z: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """Posterior latents to the prior's space.

        Args:
            z: (B, inter, T).
            mask: (B, 1, T).
            g: (B, G, 1) or None.

        Returns:
            z_p (B, inter, T).
        """
        for flow in self.flows:
            z = flow(z, mask, g)
        return z

    def inverse(self, z_p: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """Undo `forward`: the prior's space to latents for the decoder."""
        for flow in reversed(self.flows):
            z_p = cast("ResidualCoupling | Flip", flow).inverse(z_p, mask, g)
        return z_p
