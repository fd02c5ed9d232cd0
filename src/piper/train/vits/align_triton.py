"""Monotonic alignment search as one Triton kernel.

Importing this module needs Triton, and running it a C compiler, so `align` imports it where both
may be had. The algorithm and its ties are those of `align.find_alignment`, number for number: a
maximum and a sum of float32 an entry, in the same order, with nothing to be contracted.
"""

# Annotations are left as they are written: Triton reads `tl.constexpr` from them.
import torch
import triton
import triton.language as tl
from torch import Tensor

LARGEST_BLOCK = 8192
"""Phonemes that one program holds, all in registers: some five minutes of speech."""
SMALLEST_BLOCK = 128
"""One number for each thread of the smallest program."""


def search_paths(log_likelihood: Tensor, frame_lengths: Tensor, id_lengths: Tensor) -> Tensor:
    """Run the kernel; see `align.find_alignment`.

    Args:
        log_likelihood: (B, T, P) float32, P at most `LARGEST_BLOCK`.
    """
    batch, frames, phonemes = log_likelihood.shape
    # powers of two, so that the kernel is compiled for few sizes
    block = max(SMALLEST_BLOCK, 1 << (phonemes - 1).bit_length())
    values = log_likelihood.contiguous()
    path = torch.zeros_like(values)
    moved = torch.empty((batch, frames, phonemes), dtype=torch.int8, device=values.device)
    # Triton launches on the current device, which need not be the tensors'.
    with torch.cuda.device_of(values):
        search_one_utterance[(batch,)](
            values,
            frame_lengths.to(torch.int32),
            id_lengths.to(torch.int32),
            moved,
            path,
            frames,
            phonemes,
            block=block,
            num_warps=count_warps(block),
        )
    return path


def count_warps(block: int) -> int:
    """Warps of a program: more of them wait longer for each other, fewer hold too many numbers.

    Four warps and 8,192 phonemes would need more than the 255 registers of a thread.
    """
    return 4 if block <= 1024 else 16


# Batches differ in both sizes; a kernel of its own for those divisible by 16 would gain nothing.
@triton.jit(do_not_specialize=["frames", "phonemes"])
def search_one_utterance(
    values: tl.tensor,
    frame_lengths: tl.tensor,
    id_lengths: tl.tensor,
    moved: tl.tensor,
    path: tl.tensor,
    frames: tl.tensor,
    phonemes: tl.tensor,
    block: tl.constexpr,
) -> None:
    """One program an utterance: scores of all phonemes in registers, frame after frame.

    Args:
        values: (B, T, P) float32, T frames and P phonemes.
        moved: (B, T, P) int8, written and read again: 1 where the best path came from the
            phoneme before.
        path: (B, T, P) float32 of zeros.
        block: A power of two, at least P.
    """
    row = tl.program_id(0)
    frame_count = tl.load(frame_lengths + row)
    id_count = tl.load(id_lengths + row)
    # 64 bits: B T P passes 2^31 with some hundred long utterances
    start = row.to(tl.int64) * frames * phonemes
    lane = tl.arange(0, block)
    is_id = lane < id_count
    before = tl.maximum(lane - 1, 0)

    scores = tl.load(values + start + lane, mask=lane == 0, other=float("-inf"))
    last = frame_count - 1
    # loaded one frame ahead, so that memory works while the scores before are compared
    offset = start + tl.minimum(1, last) * phonemes
    value = tl.load(values + offset + lane, mask=is_id, other=0.0)
    for frame in range(1, frame_count):
        coming = start + tl.minimum(frame + 1, last).to(tl.int64) * phonemes
        next_value = tl.load(values + coming + lane, mask=is_id, other=0.0)
        come = tl.where(lane == 0, float("-inf"), tl.gather(scores, before, 0))
        tl.store(moved + offset + lane, (come > scores).to(tl.int8), mask=is_id)
        # as torch.maximum, which hands a NaN on
        scores = tl.maximum(come, scores, propagate_nan=tl.PropagateNan.ALL) + value
        value = next_value
        offset = coming

    # The decisions were written by all threads, and each thread now reads them.
    tl.debug_barrier()
    phoneme = tl.minimum(frame_count, id_count) - 1
    offset = start + last.to(tl.int64) * phonemes
    for _ in range(1, frame_count):
        tl.store(path + offset + phoneme, 1.0)
        phoneme -= tl.load(moved + offset + phoneme).to(tl.int32)
        offset -= phonemes
    tl.store(path + offset + phoneme, 1.0)
