"""How likely each state of a text is at each frame: forward and backward probabilities.

Rabiner 1989, section III. Knows topologies and log likelihoods, no audio and no network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from piper.train.aligner.topology import Topology

IMPOSSIBLE = -1e30
"""Not minus infinity: differences of two of them would be no numbers."""


def find_occupancies(
    likelihoods: Tensor, lengths: Sequence[int], topologies: Sequence[Topology]
) -> Tensor:
    """Return the probability of each unit at each frame, given the texts.

    Args:
        likelihoods: (B, T, U) log likelihoods of units.
        lengths: (B,) frames of each; none has fewer than its text takes.
        topologies: (B,) of the texts.

    Returns:
        (B, T, U); zeros beyond a recording's frames.
    """
    batch, frames, num_units = likelihoods.shape
    states = max(len(topology) for topology in topologies)
    units = torch.zeros(batch, states, dtype=torch.long)
    is_state = torch.zeros(batch, states, dtype=torch.bool)
    for row, topology in enumerate(topologies):
        units[row, : len(topology)] = torch.from_numpy(topology.units)
        is_state[row, : len(topology)] = True
    heard = likelihoods.gather(2, units.unsqueeze(1).expand(-1, frames, -1))
    heard = heard.masked_fill(~is_state.unsqueeze(1), IMPOSSIBLE)
    last = torch.tensor([length - 1 for length in lengths])
    forward = _accumulate(heard, units, _first_states(batch, states))
    backward = _accumulate_backward(heard, units, topologies, last)
    joint = forward + backward
    joint = joint - joint.amax(dim=2, keepdim=True)
    shares = joint.exp()
    shares = shares / shares.sum(dim=2, keepdim=True)
    is_frame = torch.arange(frames).unsqueeze(0) <= last.unsqueeze(1)
    shares = shares * (is_frame.unsqueeze(2) & is_state.unsqueeze(1))
    index = units.unsqueeze(1).expand(-1, frames, -1)
    return torch.zeros(batch, frames, num_units).scatter_add_(2, index, shares)


def _first_states(batch: int, states: int) -> Tensor:
    """Speech begins in the first silence or in the first unit."""
    start = torch.full((batch, states), IMPOSSIBLE)
    start[:, :2] = 0.0
    return start


def _accumulate(heard: Tensor, units: Tensor, start: Tensor) -> Tensor:
    """Return (B, T, S) log probabilities of all that was heard up to a frame, and of its state."""
    barrier = torch.where(_may_skip(units), 0.0, IMPOSSIBLE)
    sums = torch.empty_like(heard)
    state = start + heard[:, 0]
    sums[:, 0] = state
    for frame in range(1, heard.shape[1]):
        before = torch.nn.functional.pad(state[:, :-1], (1, 0), value=IMPOSSIBLE)
        skipped = torch.nn.functional.pad(state[:, :-2], (2, 0), value=IMPOSSIBLE) + barrier
        state = torch.logaddexp(torch.logaddexp(state, before), skipped) + heard[:, frame]
        state = state.clamp_min(IMPOSSIBLE)
        sums[:, frame] = state
    return sums


def _accumulate_backward(
    heard: Tensor, units: Tensor, topologies: Sequence[Topology], last: Tensor
) -> Tensor:
    """Return (B, T, S) log probabilities of all that is heard after a frame, given its state."""
    end = torch.full(units.shape, IMPOSSIBLE)
    for row, topology in enumerate(topologies):
        end[row, max(0, len(topology) - 2) : len(topology)] = 0.0
    # A state may be left for the second next where it is itself what a skip leads from.
    allowed = torch.nn.functional.pad(_may_skip(units)[:, 2:], (0, 2), value=False)
    barrier = torch.where(allowed, 0.0, IMPOSSIBLE)
    sums = torch.empty_like(heard)
    state = end
    sums[:, -1] = state
    for frame in range(heard.shape[1] - 2, -1, -1):
        coming = state + heard[:, frame + 1]
        after = torch.nn.functional.pad(coming[:, 1:], (0, 1), value=IMPOSSIBLE)
        skipped = torch.nn.functional.pad(coming[:, 2:], (0, 2), value=IMPOSSIBLE) + barrier
        moved = torch.logaddexp(torch.logaddexp(coming, after), skipped).clamp_min(IMPOSSIBLE)
        # Shorter recordings of the batch begin to count backward at their own last frame.
        state = torch.where((last <= frame).unsqueeze(1), end, moved)
        sums[:, frame] = state
    return sums


def _may_skip(units: Tensor) -> Tensor:
    """(B, S) whether a state can be reached from the second last: the one between is silence."""
    before = torch.nn.functional.pad(units[:, :-1], (1, 0), value=1)
    return (before == 0) & (units != 0)
