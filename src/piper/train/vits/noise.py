"""Random numbers for the network, reproducible on request. Knows nothing of what they are for."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Draws:
    """All random numbers of a training pass but dropout's.

    Drawn for a whole batch at once, so that its parts see the numbers that the whole would see.

    Attributes:
        latents: Standard normal (B, inter, T), for the posterior's sample.
        durations: Standard normal (B, 2, P), for the durations' dequantisation.
        segments: Uniform in 0 to 1 (B,), where each utterance's segment begins.
    """

    latents: Tensor
    durations: Tensor
    segments: Tensor

    def rows(self, start: int, end: int, frames: int, phonemes: int) -> Draws:
        """Return the numbers of some utterances, cut to their own longest."""
        return Draws(
            self.latents[start:end, :, :frames],
            self.durations[start:end, :, :phonemes],
            self.segments[start:end],
        )


def draw_pass(
    batch: int,
    channels: int,
    frames: int,
    phonemes: int,
    like: Tensor,
    generator: torch.Generator | None = None,
) -> Draws:
    """Draw what a training pass of a batch needs.

    Args:
        batch: Utterances, B.
        channels: Channels of the latents.
        frames: T, padding included.
        phonemes: P, padding included.
        like: A tensor on the device that the numbers are wanted on.
        generator: Where they come from; None takes torch's global source.
    """
    return Draws(
        draw_normal((batch, channels, frames), like, generator),
        draw_normal((batch, 2, phonemes), like, generator),
        draw_uniform((batch,), like, generator),
    )
