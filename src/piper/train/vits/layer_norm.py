"""Layer normalisation over channels, with the names of the checkpoints. Knows no other layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ChannelNorm(nn.Module):
    """Normalise each position over its channels (Ba et al. 2016), as `gamma` and `beta`."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) to (B, C, T)."""
        y = F.layer_norm(x.transpose(1, 2), self.gamma.shape, self.gamma, self.beta, self.eps)
        return y.transpose(1, 2)
