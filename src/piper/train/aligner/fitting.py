"""An aligner is made of recordings and their texts, with no borders known beforehand.

Rabiner 1989, section III. Knows topologies and log likelihoods, no audio and no network.

At first every way through a text is as good as another, so that each unit is expected around its
share of the recording; what the network learns of that is trusted a little more from pass to pass
(`MOST_TRUST`). Trusted at once, it would find few units likely everywhere, and squeeze the others
into a frame each: so went all trials with a trust of 1, and those that began with units of equal
length.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from piper.errors import DatasetError
from piper.files import replace_on_success
from piper.progress import ProgressLine
from piper.train.aligner.aligner import (
    LOUD_IS_SPEECH,
    Aligner,
    Groups,
    Topology,
    create_inventory,
    create_topology,
    find_loud,
)
from piper.train.aligner.features import (
    MEL_CHANNELS,
    AcousticNetwork,
    extract_features,
    load_samples,
)
from piper.train.data.audio import FloatArray

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


SPREAD = 0.15
"""Of the mean length, by which lengths are shaken before they are sorted: each pass has batches of
its own."""
FIRST_RATE = 0.05
"""Share of the learning rate in the first batch."""


def plan_batches(frames: Sequence[int], size: int, chance: np.random.Generator) -> list[list[int]]:
    """Return a pass's batches: of about equal lengths, in an order of the pass's own.

    Args:
        frames: Length of each recording.
        size: Recordings of a batch.
        chance: The pass's own.

    Returns:
        Numbers of recordings, each in one batch.
    """
    lengths = np.asarray(frames)
    order = np.argsort(lengths + chance.uniform(0, SPREAD * lengths.mean(), len(lengths)))
    batches = [order[start : start + size].tolist() for start in range(0, len(order), size)]
    return [batches[index] for index in chance.permutation(len(batches))]


def find_rate(share: float, peak: float, warm_up_share: float, last_share: float) -> float:
    """Return the learning rate at a share of all batches: up quickly, down as a cosine.

    Args:
        share: Of all batches, that are done.
        peak: The highest rate.
        warm_up_share: Of all batches, until the rate is there.
        last_share: Of the highest rate, what is left at the end.
    """
    if share < warm_up_share:
        return peak * (FIRST_RATE + (1 - FIRST_RATE) * share / warm_up_share)
    rest = (share - warm_up_share) / (1 - warm_up_share)
    return peak * (last_share + (1 - last_share) * (1 + math.cos(math.pi * rest)) / 2)


def measure_seconds(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes; it is done twice."""
    seconds = 0.0
    for _ in range(2):  # the first time libraries are still being set up
        started = time.monotonic()
        work()
        seconds = time.monotonic() - started
    return seconds


_LOGGER = logging.getLogger(__name__)
MOST_TRUST = 0.5
"""By which log likelihoods are multiplied from the middle of the passes on; before, by the share of
them that is done. Never 1: what is heard in neighbouring frames is nearly the same, and counts for
less than twice."""
LEAST_PASSES = 10
LEAST_BATCHES = 100
"""A small set is gone through more often: after 30 batches (42 recordings of synthetic speech)
nothing was learnt, after 60 right texts stood out."""
BATCH_SIZE = 16
LEARNING_RATE = 3e-3
WARM_UP_SHARE = 0.15
LAST_SHARE = 0.01
WEIGHT_DECAY = 0.01
LARGEST_GRADIENT = 5.0
PRIOR_COUNT = 10.0
"""Frames that each unit is taken to have been heard beside those counted."""
SEED = 1234


@dataclass(frozen=True)
class Lesson:
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


def create_lesson_key(path: Path, groups: Groups) -> str:
    """Return a key that changes with a recording (by name, size and time) or its text.

    Not with its folder: a dataset that was moved, or copied with its cache, needs no new aligner.
    """
    stat = path.stat()
    value = f"{path.name}|{stat.st_size}|{stat.st_mtime_ns}|{groups}"
    return hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def fit_aligner(lessons: Sequence[Lesson], state_path: Path | None = None) -> Aligner:
    """Fit an aligner; how long it will take is said first.

    Args:
        lessons: Recordings and texts; those that cannot be read, or are too short, are left out.
        state_path: Gets the state after each pass: stopped, it goes on there. None keeps none.

    Raises:
        DatasetError: No lesson can be used.
    """
    inventory = create_inventory([lesson.groups for lesson in lessons])
    items = _load_items(lessons, inventory)
    if not items:
        raise DatasetError("There is no recording with a text that an aligner could learn from.")
    fitting = _Fitting(inventory, items, [lesson.key for lesson in lessons])
    if state_path is not None:
        fitting.restore(state_path)
    # Whoever calls may have turned gradients off.
    with torch.enable_grad():
        _run_passes(fitting, state_path)
    return Aligner(inventory, fitting.network, fitting.log_prior, frozenset(fitting.keys))


def _run_passes(fitting: _Fitting, state_path: Path | None) -> None:
    fitting.announce()
    progress = ProgressLine("Learning where words lie", fitting.total, "batches")
    for _ in range(fitting.passes_done, fitting.passes):
        for done in fitting.run_pass():
            progress.show(done)
        if state_path is not None:
            fitting.keep(state_path)
    progress.finish(fitting.total)


def _load_items(lessons: Sequence[Lesson], inventory: Sequence[str]) -> list[_Item]:
    numbers = {unit: number for number, unit in enumerate(inventory)}
    items = []
    for lesson in lessons:
        try:
            samples = lesson.load() if lesson.load else load_samples(lesson.path)
        except DatasetError:
            continue
        features = extract_features(samples)
        topology = create_topology(lesson.groups, numbers)
        frames = len(features) // 2
        if 0 < topology.least_frames <= frames:
            is_loud = torch.from_numpy(find_loud(samples, frames))
            items.append(_Item(features, is_loud, topology))
    return items


class _Fitting:
    """A network on its way, and what its next pass needs."""

    def __init__(
        self, inventory: Sequence[str], items: Sequence[_Item], keys: Sequence[str]
    ) -> None:
        self._items = items
        self.keys = keys
        torch.manual_seed(SEED)
        self.network = AcousticNetwork(MEL_CHANNELS, len(inventory))
        self.log_prior = torch.full((len(inventory),), -math.log(len(inventory)))
        self.passes_done = 0
        self._batches_a_pass = -(-len(items) // BATCH_SIZE)
        self.passes = max(LEAST_PASSES, -(-LEAST_BATCHES // self._batches_a_pass))
        self.total = self.passes * self._batches_a_pass
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
        )

    def announce(self) -> None:
        """Say how long it will take, by a batch of middling length that is thrown away."""
        batches = sorted(self._create_batches(0), key=_count_padded)
        batch = batches[len(batches) // 2]
        seconds = measure_seconds(lambda: self._find_loss(batch, 0.0)[0].backward())
        self.network.zero_grad()
        share = sum(map(_count_padded, batches)) / _count_padded(batch)
        minutes = seconds * share * (self.passes - self.passes_done) / 60
        hours = sum(item.frames for item in self._items) / 50 / 3600
        _LOGGER.info(
            "An aligner learns on %d recordings (%.0f minutes): about %.1f minutes.",
            len(self._items),
            60 * hours,
            minutes,
        )

    def run_pass(self) -> Iterator[int]:
        """Go through the recordings once; give the number of batches done after each."""
        trust = min(MOST_TRUST, self.passes_done / self.passes)
        torch.manual_seed(SEED + self.passes_done)  # dropout, also of a fitting that goes on
        counts = torch.zeros_like(self.log_prior)
        done = self.passes_done * self._batches_a_pass
        self.network.train()
        for batch in self._create_batches(self.passes_done):
            loss, heard = self._find_loss(batch, trust)
            counts += heard
            self._optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
            for group in self._optimizer.param_groups:
                group["lr"] = find_rate(done / self.total, LEARNING_RATE, WARM_UP_SHARE, LAST_SHARE)
            self._optimizer.step()
            done += 1
            yield done
        # Half of what was believed before, lest the units swing.
        shares = (counts + PRIOR_COUNT) / (counts + PRIOR_COUNT).sum()
        self.log_prior = (0.5 * self.log_prior.exp() + 0.5 * shares).log()
        self.passes_done += 1

    def _find_loss(self, batch: Sequence[_Item], trust: float) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch, and for how many frames each unit was heard, (U,)."""
        lengths = [item.frames for item in batch]
        heard = self.network(pad_sequence([item.features for item in batch], batch_first=True))
        is_loud = pad_sequence([item.is_loud for item in batch], batch_first=True)
        with torch.no_grad():
            likelihoods = trust * (heard - self.log_prior)
            likelihoods[:, :, 0] -= LOUD_IS_SPEECH * is_loud
            shares = find_occupancies(likelihoods, lengths, [item.topology for item in batch])
        return -(shares * heard).sum() / sum(lengths), shares.sum(dim=(0, 1))

    def _create_batches(self, number: int) -> list[list[_Item]]:
        """Return a pass's batches: of about equal lengths, in an order of the pass's own."""
        frames = [item.frames for item in self._items]
        plan = plan_batches(frames, BATCH_SIZE, np.random.default_rng([SEED, number]))
        return [[self._items[index] for index in batch] for batch in plan]

    def keep(self, path: Path) -> None:
        """Write the state to a file, whole or not at all."""
        state = {
            "keys": list(self.keys),
            "passes_done": self.passes_done,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "log_prior": self.log_prior,
        }
        with replace_on_success(path) as temporary:
            torch.save(state, temporary)

    def restore(self, path: Path) -> None:
        """Go on where a fitting on the same recordings was stopped; else begin anew."""
        if not path.is_file():
            return
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            if state["keys"] != list(self.keys):
                return
            self.network.load_state_dict(state["network"])
            self._optimizer.load_state_dict(state["optimizer"])
            self.log_prior, self.passes_done = state["log_prior"], state["passes_done"]
        except Exception:  # what torch raises for a damaged file has no common class
            _LOGGER.warning("%s cannot be used; the aligner is made anew.", os.fspath(path))


def _count_padded(batch: Sequence[_Item]) -> int:
    return len(batch) * max(item.frames for item in batch)
