"""Monotonic alignment search: which phoneme each frame says. Knows nothing of the network."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from piper.train.vits.precision import full_precision


@torch.no_grad()
def compute_log_likelihood(z_p: Tensor, m_p: Tensor, logs_p: Tensor) -> Tensor:
    """Log-likelihood of each frame under each phoneme's prior (Kim et al. 2021, section 2.2.1).

    Args:
        z_p: Latents (B, C, T).
        m_p: Prior's means (B, C, P).
        logs_p: Prior's log deviations (B, C, P).

    Returns:
        (B, T, P) float32: the log density of a normal distribution, summed over channels.
    """
    with full_precision(z_p):
        z_p, m_p, logs_p = z_p.float(), m_p.float(), logs_p.float()
        precision = torch.exp(-2.0 * logs_p)
        frames = z_p.transpose(1, 2)
        squares = torch.matmul(frames.square(), -0.5 * precision)
        products = torch.matmul(frames, m_p * precision)
        constant = -0.5 * math.log(2.0 * math.pi) - logs_p - 0.5 * m_p.square() * precision
        return squares + products + constant.sum(1, keepdim=True)


@torch.no_grad()
def find_alignment(log_likelihood: Tensor, frame_lengths: Tensor, id_lengths: Tensor) -> Tensor:
    """The likeliest path that starts at the first phoneme, ends at the last and skips none.

    Monotonic alignment search (Kim et al. 2020, Glow-TTS, algorithm 1). Batch and phonemes are
    done at once and only frames one after the other, with two kernels a frame in each direction
    and no copy to the host. Where two paths are equally likely, the one that stays longer on the
    later phoneme is taken. An utterance with fewer frames than phonemes has no such path: it gets
    one frame for each of its first phonemes, and none for the rest.

    Args:
        log_likelihood: (B, T, P).
        frame_lengths: (B,) frames of each utterance, at least 1.
        id_lengths: (B,) phonemes of each utterance, at least 1.

    Returns:
        (B, T, P) float32 of zeros and ones: one 1 in each frame of an utterance, none after it.
    """
    batch, frames, phonemes = log_likelihood.shape
    with full_precision(log_likelihood):
        has_moved = _score_paths(log_likelihood.float())
    positions = torch.arange(frames, device=log_likelihood.device)
    is_frame = positions.unsqueeze(1) < frame_lengths  # (T, B)
    steps = (has_moved & is_frame[1:].unsqueeze(2)).long()
    index = (torch.minimum(frame_lengths, id_lengths).long() - 1).unsqueeze(1)
    indices = [index]
    for step in reversed(steps.unbind(0)):
        index = index - step.gather(1, index)
        indices.append(index)
    phoneme_of_frame = torch.stack(indices[::-1], dim=1)  # (B, T, 1)
    path = log_likelihood.new_zeros((batch, frames, phonemes), dtype=torch.float32)
    return path.scatter_(2, phoneme_of_frame, is_frame.t().unsqueeze(2).float())


def durations_to_path(durations: Tensor, frames: int) -> Tensor:
    """Whole durations (B, P) in frames to a path (B, T, P) of zeros and ones, cut at `frames`."""
    ends = durations.cumsum(1).unsqueeze(1)
    starts = ends - durations.unsqueeze(1)
    positions = torch.arange(frames, device=durations.device).view(1, frames, 1)
    return ((positions >= starts) & (positions < ends)).float()


def expand_by_path(x: Tensor, path: Tensor) -> Tensor:
    """Repeat phonemes' values (B, C, P) over the frames of a path (B, T, P): (B, C, T).

    Frames that belong to no phoneme are zero. Values are picked rather than multiplied, because a
    matrix product would round them under autocast and TF32.
    """
    index = path.argmax(2).unsqueeze(1).expand(-1, x.shape[1], -1)
    return x.gather(2, index) * path.sum(2).unsqueeze(1)


def _score_paths(log_likelihood: Tensor) -> Tensor:
    """Whether the best path to (frame, phoneme) came from the phoneme before: (T - 1, B, P)."""
    batch, frames, phonemes = log_likelihood.shape
    values = log_likelihood.transpose(0, 1).contiguous()
    # one column more than phonemes on the left, where no path can come from
    scores = values.new_full((frames, batch, phonemes + 1), -math.inf)
    scores[0, :, 1] = values[0, :, 0]
    stay, come = scores[:, :, 1:], scores[:, :, :-1]
    best = torch.empty_like(values[0])
    for frame in range(1, frames):
        torch.maximum(stay[frame - 1], come[frame - 1], out=best)
        torch.add(best, values[frame], out=stay[frame])
    return come[:-1] > stay[:-1]
