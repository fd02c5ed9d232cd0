"""The losses of VITS (Kim et al. 2021, section 2.4), each a scalar. Knows nothing of optimizers.

All of them are computed in float32, whatever the network's precision is: the sums run over
thousands of frames, which bfloat16's eight bits of mantissa do not hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from piper.errors import ConfigError

GENERATOR_LOSSES = ("mel", "kl", "duration", "adversarial", "feature")
DISCRIMINATOR_LOSS = "discriminator"

USUAL_WEIGHTS = {"mel": 45.0, "kl": 1.0, "duration": 1.0, "adversarial": 1.0, "feature": 1.0}
"""The generator's losses weighed as in VITS: 45 as in HiFi-GAN, the others as they are."""


def mel_loss(real: Tensor, generated: Tensor) -> Tensor:
    """Return the mean absolute difference of two log-mel spectrograms, both (B, M, T)."""
    return (real.float() - generated.float()).abs().mean()


def kl_loss(z_p: Tensor, logs_q: Tensor, m_p: Tensor, logs_p: Tensor, frame_mask: Tensor) -> Tensor:
    """Return the divergence between posterior and prior, a frame (equation 4 of the paper).

    Args:
        z_p: Posterior sample through the flow, (B, C, T).
        logs_q: Logarithm of the posterior's deviation, (B, C, T).
        m_p: Prior's mean, stretched to frames, (B, C, T).
        logs_p: Logarithm of the prior's deviation, stretched to frames, (B, C, T).
        frame_mask: 1 where a frame belongs to the utterance, (B, 1, T).
    """
    z_p, logs_q, m_p, logs_p = (x.float() for x in (z_p, logs_q, m_p, logs_p))
    frame_mask = frame_mask.float()
    divergence = logs_p - logs_q - 0.5 + 0.5 * (z_p - m_p) ** 2 * torch.exp(-2.0 * logs_p)
    return (divergence * frame_mask).sum() / frame_mask.sum()


def duration_loss(per_utterance: Tensor, id_lengths: Tensor) -> Tensor:
    """Return the duration predictor's loss, a phoneme.

    Args:
        per_utterance: Summed over an utterance's phonemes, (B,).
        id_lengths: Phonemes of each utterance, (B,).
    """
    return per_utterance.float().sum() / id_lengths.sum()


def feature_loss(real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """Return the feature matching loss (Larsen et al. 2016), twice the mean difference a layer.

    The scores count as the last layer, as in HiFi-GAN (Kong et al. 2020).

    Args:
        real: One list of feature maps a discriminator, the score last, of recordings.
        fake: The same of generated audio.
    """
    total = torch.zeros((), device=fake[0][0].device)
    for real_maps, fake_maps in zip(real, fake, strict=True):
        for real_map, fake_map in zip(real_maps, fake_maps, strict=True):
            total = total + (real_map.detach().float() - fake_map.float()).abs().mean()
    return 2.0 * total


def generator_loss(fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """Return the least-squares adversarial loss of the generator (Mao et al. 2017)."""
    scores = [maps[-1].float() for maps in fake]
    return torch.stack([((1.0 - score) ** 2).mean() for score in scores]).sum()


def discriminator_loss(
    real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]
) -> Tensor:
    """Return the least-squares adversarial loss of the discriminators (Mao et al. 2017)."""
    losses = [
        ((1.0 - real_maps[-1].float()) ** 2).mean() + (fake_maps[-1].float() ** 2).mean()
        for real_maps, fake_maps in zip(real, fake, strict=True)
    ]
    return torch.stack(losses).sum()


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Return the sum of named losses, each times the weight of the same name.

    Raises:
        ConfigError: A loss has no weight, or a weight no loss.
    """
    if set(losses) != set(weights):
        unknown = sorted(set(losses) ^ set(weights))
        raise ConfigError(
            f"Losses and weights differ in {', '.join(unknown)}; the losses are "
            f"{', '.join(sorted(losses))}."
        )
    return torch.stack([losses[name] * weight for name, weight in weights.items()]).sum()
