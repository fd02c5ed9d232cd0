"""Lengths to masks, and pieces cut out of batches. Knows nothing of the network."""

from __future__ import annotations

import torch
from torch import Tensor


def lengths_to_mask(lengths: Tensor, size: int) -> Tensor:
    """Mask (B, 1, size) in float32 that is 1 before each of the lengths (B,)."""
    positions = torch.arange(size, device=lengths.device)
    return (positions < lengths.unsqueeze(1)).unsqueeze(1).float()


def cut_segments(x: Tensor, starts: Tensor, length: int) -> Tensor:
    """Cut a piece out of each row of a batch; what lies beyond the batch's end is zero.

    Args:
        x: (B, C, T), any unit of time.
        starts: (B,) whole numbers, where each piece begins, in the unit of T.
        length: Length of the pieces.

    Returns:
        (B, C, length).
    """
    batch, channels, size = x.shape
    index = starts.unsqueeze(1) + torch.arange(length, device=x.device)
    is_outside = (index >= size).unsqueeze(1)
    index = index.clamp(max=size - 1).unsqueeze(1).expand(batch, channels, length)
    return x.gather(2, index).masked_fill(is_outside, 0.0)


def place_segments(frame_lengths: Tensor, segment_frames: int, drawn: Tensor) -> Tensor:
    """Starts (B,) in frames, uniform over every place where a segment fits.

    Utterances no longer than a segment start at 0; the rest of their segment is padding.

    Args:
        frame_lengths: (B,) frames of each utterance.
        segment_frames: Frames of a segment.
        drawn: (B,) numbers from 0 up to 1.
    """
    choices = (frame_lengths - segment_frames + 1).clamp(min=1)
    # float32 rounding can lift drawn * choices to choices itself
    return torch.minimum((drawn * choices).long(), choices - 1)
