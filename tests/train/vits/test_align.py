from __future__ import annotations

import math

import pytest
import torch

from piper.train.vits.align import (
    compute_log_likelihood,
    durations_to_path,
    expand_by_path,
    find_alignment,
)


def search_with_loops(value: torch.Tensor) -> torch.Tensor:
    """The search as the paper states it, for one utterance (T, P) with T >= P."""
    frames, phonemes = value.shape
    best = [[-math.inf] * phonemes for _ in range(frames)]
    best[0][0] = float(value[0, 0])
    for t in range(1, frames):
        for p in range(phonemes):
            come = best[t - 1][p - 1] if p else -math.inf
            best[t][p] = max(best[t - 1][p], come) + float(value[t, p])
    path = torch.zeros(frames, phonemes)
    p = phonemes - 1
    for t in reversed(range(frames)):
        path[t, p] = 1.0
        if t and p and best[t - 1][p - 1] > best[t - 1][p]:
            p -= 1
    return path


def plant_path(durations: list[int]) -> torch.Tensor:
    path = torch.zeros(sum(durations), len(durations))
    frame = 0
    for phoneme, duration in enumerate(durations):
        path[frame : frame + duration, phoneme] = 1.0
        frame += duration
    return path


def test_planted_path_is_returned() -> None:
    planted = plant_path([3, 1, 1, 7, 2])
    value = -5.0 + 4.0 * planted
    path = find_alignment(value.unsqueeze(0), torch.tensor([14]), torch.tensor([5]))
    assert torch.equal(path[0], planted)


@pytest.mark.parametrize("seed", range(3))
def test_batch_equals_plain_loops(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    frame_lengths = torch.tensor([1, 2, 9, 9, 17, 24, 24, 24])
    id_lengths = torch.tensor([1, 1, 9, 4, 1, 2, 11, 12])
    value = 30.0 * torch.randn(8, 24, 12, generator=generator)
    path = find_alignment(value, frame_lengths, id_lengths)
    for row, (frames, phonemes) in enumerate(zip(frame_lengths, id_lengths, strict=True)):
        inner = path[row, :frames, :phonemes]
        assert torch.equal(inner, search_with_loops(value[row, :frames, :phonemes]))
        assert path[row].sum() == frames


def test_single_frame_in_the_batch() -> None:
    path = find_alignment(torch.zeros(2, 1, 1), torch.tensor([1, 1]), torch.tensor([1, 1]))
    assert torch.equal(path, torch.ones(2, 1, 1))


def test_fewer_frames_than_phonemes() -> None:
    value = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(1))
    path = find_alignment(value, torch.tensor([3]), torch.tensor([5]))
    assert torch.equal(path[0], torch.eye(3, 5))


def test_likelihood_is_the_normal_density() -> None:
    generator = torch.Generator().manual_seed(3)
    z_p = torch.randn(2, 6, 7, generator=generator)
    m_p, logs_p = torch.randn(2, 2, 6, 4, generator=generator).mul(0.5).unbind(0)
    density = torch.distributions.Normal(m_p.unsqueeze(2), logs_p.exp().unsqueeze(2))
    wanted = density.log_prob(z_p.unsqueeze(3)).sum(1)
    torch.testing.assert_close(compute_log_likelihood(z_p, m_p, logs_p), wanted)


def test_durations_make_a_path_that_expands() -> None:
    durations = torch.tensor([[2.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    path = durations_to_path(durations, 4)
    assert torch.equal(path.sum(1), durations)
    expanded = expand_by_path(torch.tensor([[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]]]), path)
    assert expanded.tolist() == [[[1.0, 1.0, 3.0, 0.0]], [[4.0, 5.0, 0.0, 0.0]]]
