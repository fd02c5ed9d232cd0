"""The losses: their masks, their weights, and what they are when nothing differs."""

from __future__ import annotations

import pytest
import torch

from piper.errors import ConfigError
from piper.train.steps import gan


def test_kl_is_that_of_two_normal_distributions() -> None:
    torch.manual_seed(0)
    shape = (1, 3, 20000)
    m_q, logs_q, m_p, logs_p = (torch.full(shape, value) for value in (0.3, -0.4, -0.2, 0.1))
    z = m_q + torch.randn(shape) * logs_q.exp()
    estimate = gan.kl_loss(z, logs_q, m_p, logs_p, torch.ones(1, 1, shape[2]))
    posterior = torch.distributions.Normal(m_q[0, :, 0], logs_q[0, :, 0].exp())
    prior = torch.distributions.Normal(m_p[0, :, 0], logs_p[0, :, 0].exp())
    # The estimate takes E[(z - m_q)² / 2σ_q²] as its expectation, one half a channel.
    exact = torch.distributions.kl_divergence(posterior, prior).sum()
    assert float(estimate) == pytest.approx(float(exact), abs=0.05)


def test_frames_outside_the_utterance_do_not_count_in_kl() -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(2, 4, 10) for _ in range(4)]
    mask = torch.zeros(2, 1, 10)
    mask[:, :, :6] = 1
    before = gan.kl_loss(*tensors, mask)
    for tensor in tensors:
        tensor[:, :, 6:] = 7.0
    assert torch.equal(before, gan.kl_loss(*tensors, mask))


def test_feature_loss_is_zero_for_equal_audio_and_counts_the_scores() -> None:
    maps = [[torch.randn(2, 3, 5), torch.randn(2, 3, 4), torch.randn(2, 7)]]
    other_scores = [[*maps[0][:-1], torch.randn(2, 7)]]
    assert float(gan.feature_loss(maps, maps)) == 0.0
    # Twice the mean difference of the last layer, as Piper's trainer has it.
    expected = 2.0 * (maps[0][-1] - other_scores[0][-1]).abs().mean()
    torch.testing.assert_close(gan.feature_loss(maps, other_scores), expected)


def test_discriminator_is_content_when_it_tells_both_apart() -> None:
    real, fake = [[torch.ones(2, 5)]], [[torch.zeros(2, 5)]]
    assert float(gan.discriminator_loss(real, fake)) == 0.0
    assert float(gan.generator_loss(fake)) == 1.0


def test_a_misspelt_weight_is_an_error() -> None:
    named = {"mel": torch.tensor(1.0), "kl": torch.tensor(2.0)}
    assert float(gan.weighted_sum(named, {"mel": 45.0, "kl": 1.0})) == 47.0
    with pytest.raises(ConfigError, match="kI, kl"):
        gan.weighted_sum(named, {"mel": 45.0, "kI": 1.0})
