"""Monotonic alignment search: which phoneme each frame says."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from piper.train.vits.layers import full_precision

_LOGGER = logging.getLogger(__name__)
_Search = Callable[[Tensor, Tensor, Tensor], Tensor]


@torch.no_grad()
def compute_log_likelihood(z_p: Tensor, m_p: Tensor, logs_p: Tensor) -> Tensor:
    """Log density of latents (B, C, T) under each phoneme's prior, both (B, C, P): (B, T, P).

    Of a normal distribution, summed over channels (Kim et al. 2021, section 2.2.1); float32.
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

    Monotonic alignment search (Kim et al. 2020, Glow-TTS, algorithm 1). Where two paths are
    equally likely, the one that stays longer on the later phoneme is taken. An utterance with
    fewer frames than phonemes has no such path: it gets one frame for each of its first phonemes,
    and none for the rest. Nothing is copied to the host. On a GPU one Triton kernel does it all,
    where Triton works, with the same result.

    Args:
        log_likelihood: (B, T, P).
        frame_lengths: (B,) frames of each utterance, at least 1.
        id_lengths: (B,) phonemes of each utterance, at least 1.

    Returns:
        (B, T, P) float32 of zeros and ones: one 1 in each frame of an utterance, none after it.
    """
    values = log_likelihood.float()
    search: _Search | None = None
    if values.is_cuda:
        search = find_kernel(values.device, _next_power_of_two(values.shape[2]))
    return (search or search_frame_by_frame)(values, frame_lengths, id_lengths)


def search_frame_by_frame(values: Tensor, frame_lengths: Tensor, id_lengths: Tensor) -> Tensor:
    """The search with torch's own operations; see `find_alignment`.

    Batch and phonemes are done at once and only frames one after the other: two kernels a frame
    forward and one backward.
    """
    frames = values.shape[1]
    with full_precision(values):
        has_moved = _score_paths(values)
    positions = torch.arange(frames, device=values.device)
    is_frame = positions.unsqueeze(1) < frame_lengths  # (T, B)
    steps = has_moved & is_frame[1:].unsqueeze(2)
    # the phoneme of the frame before, for each phoneme that a frame may belong to
    origins = torch.arange(values.shape[2], device=values.device) - steps.long()
    index = (torch.minimum(frame_lengths, id_lengths).long() - 1).unsqueeze(1)
    indices = [index]
    for origin in reversed(origins.unbind(0)):
        index = origin.gather(1, index)
        indices.append(index)
    phoneme_of_frame = torch.stack(indices[::-1], dim=1)  # (B, T, 1)
    return torch.zeros_like(values).scatter_(2, phoneme_of_frame, is_frame.t().unsqueeze(2).float())


@lru_cache(maxsize=64)
def find_kernel(device: torch.device, phonemes: int) -> _Search | None:
    """The kernel for up to so many phonemes, where it gives the plain search's result; else None.

    It is run once beforehand on a small problem full of ties, and compared. Why it is not used is
    said in one line of the log.

    Args:
        phonemes: A power of two; the kernel is compiled for each.
    """
    generator = torch.Generator().manual_seed(phonemes)
    frames = min(phonemes, 512) + 9  # the plain search needs 16 bytes for each of their phonemes
    frame_lengths = torch.tensor([1, frames // 2 + 1, frames - 9, frames])
    id_lengths = torch.tensor([1, phonemes, min(phonemes, frames - 9), phonemes // 2 + 1])
    values = torch.randint(-9, 1, (4, frames, phonemes), generator=generator).float()
    problem = tuple(tensor.to(device) for tensor in (values, frame_lengths, id_lengths))
    try:
        from piper.train.vits.align_triton import LARGEST_BLOCK, search_paths

        if phonemes > LARGEST_BLOCK:
            return None
        if torch.equal(search_paths(*problem), search_frame_by_frame(*problem)):
            return search_paths
        reason = "its result differs from the plain search's"
    except torch.OutOfMemoryError:
        raise  # says nothing of the kernel
    except Exception as error:  # of Triton, a compiler, a driver; training goes on without them
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    _say_why_plain(reason)
    return None


@lru_cache(maxsize=1)
def _say_why_plain(reason: str) -> None:
    _LOGGER.warning(
        "The alignment search goes on without its Triton kernel, in thousands of small ones (%s); "
        "the kernel needs Triton and a C compiler: pip install triton, apt-get install gcc.",
        reason,
    )


def _next_power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


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
