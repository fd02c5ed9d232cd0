"""Compare the Triton kernel with the plain search on many problems; print how many differed.

Run in a process of its own, because Triton decides once whether its interpreter is used.
"""

from __future__ import annotations

import json
import math
import sys

import torch
from torch import Tensor

from piper.train.vits.align import find_kernel, search_frame_by_frame

BATCH = 8
KINDS = ("normal", "ties", "impossible", "huge", "broken")


def draw_values(shape: tuple[int, int, int], kind: str, generator: torch.Generator) -> Tensor:
    values = 10.0 * torch.randn(shape, generator=generator)
    chance = torch.rand(shape, generator=generator)
    if kind == "ties":
        return values.div(10.0).round()
    if kind == "impossible":
        return values.masked_fill(chance < 0.3, -math.inf)
    if kind == "huge":
        return values * 1e37
    if kind == "broken":
        return values.masked_fill(chance < 0.1, math.nan).masked_fill(chance > 0.9, math.inf)
    return values


def draw_lengths(most: int, generator: torch.Generator) -> Tensor:
    return torch.randint(1, most + 1, (BATCH,), generator=generator)


def count_different(sizes: list[tuple[int, int]]) -> int:
    """How many of the utterances, eight of each size in frames and phonemes, came out otherwise."""
    generator = torch.Generator().manual_seed(3)
    different = 0
    for number, (frames, phonemes) in enumerate(sizes):
        values = draw_values((BATCH, frames, phonemes), KINDS[number % len(KINDS)], generator)
        lengths = draw_lengths(frames, generator), draw_lengths(phonemes, generator)
        search = find_kernel(torch.device("cpu"), 1 << (phonemes - 1).bit_length())
        assert search is not None
        found, wanted = search(values, *lengths), search_frame_by_frame(values, *lengths)
        different += int((found != wanted).any(dim=(1, 2)).sum())
    return different


if __name__ == "__main__":
    print(count_different([(int(a), int(b)) for a, b in json.loads(sys.argv[1])]))
