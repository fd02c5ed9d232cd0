"""Random numbers for the network, reproducible on request. Knows nothing of what they are for."""

from __future__ import annotations

import torch
from torch import Tensor


def draw_normal(
    shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Standard normal float32 numbers on the device of `like`.

    They are drawn on the generator's own device, so that a CPU generator gives the same numbers
    whatever the network runs on.
    """
    device = like.device if generator is None else generator.device
    return torch.randn(shape, generator=generator, device=device).to(like.device)


def draw_uniform(
    shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Float32 numbers from 0 up to 1 on the device of `like`; see `draw_normal`."""
    device = like.device if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=device).to(like.device)
