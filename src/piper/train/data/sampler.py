"""Which utterances make a batch: by length, within bounds, shared by ranks, anew each epoch.

Knows lengths only, neither files nor tensors. Order and number of batches follow from the lengths,
the bounds, the seed and the epoch; nothing random is kept between epochs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

BAND_BATCHES = 4
"""Most batches whose utterances are exchanged between epochs. 4 batches of 16 neighbours in length
can be dealt in more ways than there will ever be epochs; wider bands would be more padding."""
LENGTH_JITTER = 0.05
"""Inside a band lengths are sorted with this much error. In a large dataset all lengths of a band
are within it, so its order is random; in a small one, whose bands are wide, it saves padding."""

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class BatchBounds:
    """What limits a batch.

    Attributes:
        utterances: Most utterances of one rank's micro-batch.
        frames: Most padded frames of one rank's micro-batch (utterances times the longest's
            frames); None: any number. An utterance that is longer by itself is a micro-batch.
        accumulate: Micro-batches of one rank that make a batch, which makes an update.
        world_size: Ranks that share a batch.
    """

    utterances: int
    frames: int | None = None
    accumulate: int = 1
    world_size: int = 1

    def most(self, longest: float) -> int:
        """Return how many utterances a batch of all ranks holds if the longest has so many frames.

        Its parts by `Batch.chunk(accumulate)` then keep both bounds.
        """
        each = self.utterances
        if self.frames is not None:
            each = min(each, max(1, int(self.frames // max(1.0, longest))))
        return each * self.accumulate * self.world_size


@dataclass(frozen=True)
class Band:
    """A run of utterances, longest first, that fill the same batches in every epoch.

    Attributes:
        start: Place of the first among all, sorted by falling length.
        end: Place after the last.
        batches: Into how many batches they are dealt, evenly.
    """

    start: int
    end: int
    batches: int


def plan_bands(
    lengths: Sequence[float] | npt.NDArray[np.float64], bounds: BatchBounds
) -> list[Band]:
    """Divide utterances, sorted by falling length, into bands whose every batch keeps the bounds.

    What batch an utterance of a band goes to makes no difference to the bounds, since the band's
    longest was taken for all of it; so every epoch has the same number of batches. Without a bound
    of frames the batches differ in size by one utterance at most.
    """
    bands: list[Band] = []
    start, total = 0, len(lengths)
    while start < total:
        rest = total - start
        batches_left = -(-rest // bounds.most(float(lengths[start])))
        batches = min(BAND_BATCHES, max(2, isqrt(batches_left)))
        if batches_left < 2 * batches:
            # Two bands of about equal size, rather than one and a batch that is always the same.
            batches = batches_left if batches_left <= batches else -(-batches_left // 2)
        end = start + rest * batches // batches_left
        bands.append(Band(start, end, batches))
        start = end
    return bands


class LengthBatchSampler(Sampler[list[int]]):
    """Batches of utterances of similar length, shuffled anew each epoch from (seed, epoch).

    Every rank gets the same number of batches, at least one, the same in each epoch. The ranks'
    parts together make the batch that one process with all their utterances would take; so do the
    micro-batches of an accumulating one. Where a batch has fewer utterances than there are ranks,
    some are used twice. The first epoch begins with the longest utterances, so that a batch too
    large for the memory is met in the first step.

    Args:
        lengths: Frames of each utterance.
        bounds: What limits a batch.
        seed: Of the order.
        rank: This process.
        shuffle: Without, the same batches from long to short, for validation.
        goes_on: Whether a loader's iteration goes on with the next epoch, without end, so that
            processes that load ahead need not wait where an epoch ends.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        bounds: BatchBounds,
        *,
        seed: int = 0,
        rank: int = 0,
        shuffle: bool = True,
        goes_on: bool = False,
    ) -> None:
        if len(lengths) == 0:
            raise ValueError("There are no utterances to make batches of.")
        self.bounds = bounds
        self.epoch = 0
        self._lengths = np.asarray(lengths, dtype=np.float64)
        self._by_length = np.argsort(-self._lengths, kind="stable")
        self._bands = plan_bands(self._lengths[self._by_length], bounds)
        self._seed = seed
        self.rank = rank
        self._shuffle = shuffle
        self.goes_on = goes_on
        self._skipped = 0
        self._has_end = True

    @property
    def sampler(self) -> LengthBatchSampler:
        """Itself: Lightning tells `batch_sampler.sampler` which epoch begins."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Take the order of this epoch from the next iteration on."""
        self.epoch = epoch

    def skip(self, count: int) -> None:
        """Begin the next iteration, a loader's, after `count` batches: it was interrupted.

        It goes on with the epochs after this one, where the sampler does. The length stays that of
        the whole epoch, which is how Lightning counts.
        """
        self._skipped, self._has_end = count, not self.goes_on

    def __len__(self) -> int:
        return sum(band.batches for band in self._bands)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, skipped, has_end = self.epoch, self._skipped, self._has_end
        self._skipped, self._has_end = 0, True
        while True:
            batches = [self._share(batch) for batch in self._create_batches(epoch)]
            yield from batches[skipped:]
            if has_end:
                return
            epoch, skipped = epoch + 1, 0

    def _create_batches(self, epoch: int) -> list[IntArray]:
        generator = np.random.default_rng([self._seed, epoch])
        batches: list[IntArray] = []
        for band in self._bands:
            indices = self._by_length[band.start : band.end]
            if self._shuffle:
                indices = self._deal(indices, generator)
            batches += np.array_split(indices, band.batches)
        if not self._shuffle:
            return batches
        order = [int(index) for index in generator.permutation(len(batches))]
        if epoch == 0:
            longest = max(order, key=lambda index: self._lengths[batches[index]].max())
            order.remove(longest)
            order.insert(0, longest)
        return [batches[index] for index in order]

    def _deal(self, indices: IntArray, generator: np.random.Generator) -> IntArray:
        """Return a band's utterances in the order in which this epoch's batches take them."""
        jitter = generator.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(indices))
        return indices[np.argsort(-self._lengths[indices] * jitter, kind="stable")]

    def _share(self, batch: IntArray) -> list[int]:
        """Return this rank's part: every n-th by length, so that all ranks have about the same."""
        ranks = self.bounds.world_size
        if len(batch) < ranks:
            batch = np.resize(batch, ranks)
        batch = batch[np.argsort(-self._lengths[batch], kind="stable")]
        return [int(index) for index in batch[self.rank :: ranks]]
