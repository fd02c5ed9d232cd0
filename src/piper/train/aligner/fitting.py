"""An aligner is fitted to recordings and their texts, with no borders known beforehand.

Rabiner 1989, section III.

At first every path through a text is as good as another, so that each unit is expected around its
share of the recording; what the network learns of that is given a larger scale from pass to pass
(`MAX_ACOUSTIC_SCALE`). At full scale from the first on, it would find few units likely everywhere,
and squeeze the others into a frame each: so went all trials with a scale of 1, and those that began
with units of equal length.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from piper.errors import DatasetError
from piper.train.aligner.aligner import (
    LOUD_IS_SPEECH,
    NETWORK,
    Aligner,
    Groups,
    Topology,
    create_inventory,
    create_topology,
    find_loud,
)
from piper.train.aligner.features import extract_features, load_samples
from piper.train.aligner.trainer import Schedule, Trainer, load_state
from piper.train.data.audio import FloatArray

_LOGGER = logging.getLogger(__name__)

IMPOSSIBLE = -1e30
"""Not minus infinity: differences of two of them would be no numbers."""


def compute_occupancies(
    likelihoods: Tensor, lengths: Sequence[int], topologies: Sequence[Topology]
) -> Tensor:
    """Return the probability of each unit at each frame, given the texts.

    Args:
        likelihoods: (B, T, U) log likelihoods of units.
        lengths: (B,) frames of each; none has fewer than its text takes.

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
    emissions = likelihoods.gather(2, units.unsqueeze(1).expand(-1, frames, -1))
    emissions = emissions.masked_fill(~is_state.unsqueeze(1), IMPOSSIBLE)
    last = torch.tensor([length - 1 for length in lengths])
    forward = _accumulate(emissions, units)
    backward = _accumulate_backward(emissions, units, topologies, last)
    joint = forward + backward
    joint = joint - joint.amax(dim=2, keepdim=True)
    shares = joint.exp()
    shares = shares / shares.sum(dim=2, keepdim=True)
    is_frame = torch.arange(frames).unsqueeze(0) <= last.unsqueeze(1)
    shares = shares * (is_frame.unsqueeze(2) & is_state.unsqueeze(1))
    index = units.unsqueeze(1).expand(-1, frames, -1)
    return torch.zeros(batch, frames, num_units).scatter_add_(2, index, shares)


def _accumulate(emissions: Tensor, units: Tensor) -> Tensor:
    """Return (B, T, S) log probabilities of all frames up to a frame, and of its state."""
    barrier = torch.where(_may_skip(units), 0.0, IMPOSSIBLE)
    sums = torch.empty_like(emissions)
    # Speech begins in the first silence or in the first unit.
    start = torch.full(units.shape, IMPOSSIBLE)
    start[:, :2] = 0.0
    state = start + emissions[:, 0]
    sums[:, 0] = state
    for frame in range(1, emissions.shape[1]):
        before = torch.nn.functional.pad(state[:, :-1], (1, 0), value=IMPOSSIBLE)
        skipped = torch.nn.functional.pad(state[:, :-2], (2, 0), value=IMPOSSIBLE) + barrier
        state = torch.logaddexp(torch.logaddexp(state, before), skipped) + emissions[:, frame]
        state = state.clamp_min(IMPOSSIBLE)
        sums[:, frame] = state
    return sums


def _accumulate_backward(
    emissions: Tensor, units: Tensor, topologies: Sequence[Topology], last: Tensor
) -> Tensor:
    """Return (B, T, S) log probabilities of all frames after a frame, given its state."""
    end = torch.full(units.shape, IMPOSSIBLE)
    for row, topology in enumerate(topologies):
        end[row, max(0, len(topology) - 2) : len(topology)] = 0.0
    # A state may be left for the second next where it is itself what a skip leads from.
    allowed = torch.nn.functional.pad(_may_skip(units)[:, 2:], (0, 2), value=False)
    barrier = torch.where(allowed, 0.0, IMPOSSIBLE)
    sums = torch.empty_like(emissions)
    state = end
    sums[:, -1] = state
    for frame in range(emissions.shape[1] - 2, -1, -1):
        coming = state + emissions[:, frame + 1]
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


MAX_ACOUSTIC_SCALE = 0.5
"""By which log likelihoods are multiplied from the middle of the passes on; before, by the share of
them that is done. Never 1: what is heard in neighbouring frames is nearly the same, and counts for
less than twice."""
MIN_PASSES = 10
MIN_BATCHES = 100
"""A small set is gone through more often: after 30 batches (42 recordings of synthetic speech)
nothing was learnt, after 60 right texts stood out."""
ENOUGH_BATCHES = 200
MAX_PASSES = 40
"""More passes than the least end with so many batches. Of ten minutes of speech (66 recordings),
borders lay 1.3 frames of 16 ms off those of an aligner of 1.2 hours after 100 batches (20 passes),
0.8 after 200 and after 300, and 1.4 after 600, when it knew the recordings by heart."""
BATCH_SIZE = 16
PRIOR_COUNT = 10.0
"""Frames that each unit is taken to have been heard beside those counted."""


@dataclass(frozen=True)
class TrainingExample:
    """A recording to learn from.

    Attributes:
        key: Names it and its text.
        path: The file.
        groups: Of its text.
        load: Gives its samples (S,) at `features.SAMPLE_RATE`; None decodes the file.
    """

    key: str
    path: Path
    groups: Groups
    load: Callable[[], FloatArray] | None = None


@dataclass(frozen=True)
class _Item:
    features: Tensor
    is_loud: Tensor
    topology: Topology

    @property
    def frames(self) -> int:
        return len(self.features) // 2


def create_example_key(path: Path, groups: Groups) -> str:
    """Return a key that changes with a recording (by name, size and time) or its text.

    Not with its folder: a dataset that was moved, or copied with its cache, needs no new aligner.
    """
    stat = path.stat()
    value = f"{path.name}|{stat.st_size}|{stat.st_mtime_ns}|{groups}"
    return hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def fit_aligner(examples: Sequence[TrainingExample], state_path: Path | None = None) -> Aligner:
    """Fit an aligner; how long it will take is said first.

    Args:
        examples: Recordings and texts; those that cannot be read, or are too short, are left out.
        state_path: Gets the state after each pass: stopped, it goes on there. None keeps none.
    """
    inventory = create_inventory([example.groups for example in examples])
    items = _load_items(examples, inventory)
    if not items:
        raise DatasetError("There is no recording with a text that an aligner could learn from.")
    trainer = _AlignerTrainer(inventory, items, [example.key for example in examples])
    state = load_state(state_path, trainer.keys)
    if state is not None:
        trainer.restore(state)
    _LOGGER.info(
        "An aligner learns on %d recordings (%.0f minutes): about %.1f minutes.",
        *trainer.estimate(),
    )
    trainer.run("Learning where words lie", state_path)
    return Aligner(inventory, trainer.network, trainer.log_prior, frozenset(trainer.keys))


def _load_items(examples: Sequence[TrainingExample], inventory: Sequence[str]) -> list[_Item]:
    numbers = {unit: number for number, unit in enumerate(inventory)}
    items = []
    for example in examples:
        try:
            samples = example.load() if example.load else load_samples(example.path)
        except DatasetError:
            continue
        features = extract_features(samples)
        topology = create_topology(example.groups, numbers)
        frames = len(features) // 2
        if 0 < topology.min_frames <= frames:
            is_loud = torch.from_numpy(find_loud(samples, frames))
            items.append(_Item(features, is_loud, topology))
    return items


class _AlignerTrainer(Trainer[_Item]):
    """Learns the units' shares of frames that all paths through the texts give them together."""

    def __init__(
        self, inventory: Sequence[str], items: Sequence[_Item], keys: Sequence[str]
    ) -> None:
        enough = -(-ENOUGH_BATCHES // -(-len(items) // BATCH_SIZE))
        schedule = Schedule(
            min_passes=max(MIN_PASSES, min(MAX_PASSES, enough)),
            min_batches=MIN_BATCHES,
            learning_rate=3e-3,
            warm_up_share=0.15,
            last_share=0.01,
            weight_decay=0.01,
            max_gradient=5.0,
        )
        super().__init__(NETWORK, len(inventory), items, BATCH_SIZE, keys, schedule)
        self.log_prior = torch.full((len(inventory),), -math.log(len(inventory)))
        self._counts = torch.zeros_like(self.log_prior)

    def begin_pass(self) -> None:
        """Count the units' frames anew."""
        self._counts = torch.zeros_like(self.log_prior)

    def finish_pass(self) -> None:
        """Take over half of what was counted, lest the units swing."""
        shares = (self._counts + PRIOR_COUNT) / (self._counts + PRIOR_COUNT).sum()
        self.log_prior = (0.5 * self.log_prior.exp() + 0.5 * shares).log()

    def compute_loss(self, batch: Sequence[_Item], done: float) -> Tensor:
        """Return the cross entropy to the shares of units; they are counted."""
        scale = min(MAX_ACOUSTIC_SCALE, self.passes_done / self.passes)
        lengths = [item.frames for item in batch]
        log_probs = self.network(pad_sequence([item.features for item in batch], batch_first=True))
        is_loud = pad_sequence([item.is_loud for item in batch], batch_first=True)
        with torch.no_grad():
            likelihoods = scale * (log_probs - self.log_prior)
            likelihoods[:, :, 0] -= LOUD_IS_SPEECH * is_loud
            shares = compute_occupancies(likelihoods, lengths, [item.topology for item in batch])
            self._counts += shares.sum(dim=(0, 1))
        loss: Tensor = -(shares * log_probs).sum() / sum(lengths)
        return loss

    def state(self) -> dict[str, Any]:
        """Return what a stopped fitting goes on from."""
        return super().state() | {"log_prior": self.log_prior}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        super().restore(state)
        self.log_prior = state["log_prior"]
