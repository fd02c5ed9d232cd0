"""Utterances padded to a batch, a batch in parts, and which utterances make one.

Order and number of batches follow from the lengths, the bounds, the seed and the epoch; nothing
random is kept between epochs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Sampler

from piper.progress import count_things

_LOGGER = logging.getLogger(__name__)
BAND_BATCHES = 4
"""Most batches whose utterances are exchanged between epochs. 4 batches of 16 neighbours in length
can be dealt in more ways than there will ever be epochs; wider bands would be more padding."""
LENGTH_JITTER = 0.05
"""Inside a band lengths are sorted with this much error. In a large dataset all lengths of a band
are within it, so its order is random; in a small one, whose bands are wide, it saves padding."""
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class UtteranceItem:
    """One utterance, ready to be batched.

    Attributes:
        ids: (P,) int64.
        spectrogram: (F, T) float32, linear magnitudes.
        audio: (S,) float32, S = T * hop length.
        speaker_id: 0 where there is one speaker.
        name: Of the recording's file.
        durations: (P,) int64, frames of each id, where the network is taught them.
        f0: (T,) float32 hertz, 0 where there is no voice, likewise.
    """

    ids: Tensor
    spectrogram: Tensor
    audio: Tensor
    speaker_id: int
    name: str = ""
    durations: Tensor | None = None
    f0: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """Utterances padded with zeros to the longest, and to a whole segment at least.

    Attributes:
        ids: (B, P) int64.
        id_lengths: (B,) int64.
        spectrograms: (B, F, T) float32.
        spectrogram_lengths: (B,) int64, frames without padding.
        audio: (B, 1, S) float32, S = T * hop length.
        audio_lengths: (B,) int64, samples without padding.
        speaker_ids: (B,) int64; None where there is one speaker.
        segment_frames: Frames of a training segment, the least T.
        sizes: Phonemes and frames of each utterance once more, as numbers of the host: so a batch
            on a GPU is cut into parts without waiting for it. None: they are read from there.
        names: Of the recordings' files; empty where they are not known.
        durations: (B, P) int64, frames of each id, where the network is taught them.
        f0: (B, T) float32 hertz, 0 where there is no voice, likewise.
    """

    ids: Tensor
    id_lengths: Tensor
    spectrograms: Tensor
    spectrogram_lengths: Tensor
    audio: Tensor
    audio_lengths: Tensor
    speaker_ids: Tensor | None
    segment_frames: int
    sizes: tuple[tuple[int, int], ...] | None = None
    names: tuple[str, ...] = ()
    durations: Tensor | None = None
    f0: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Batch:
        """Return the batch on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Return the batch in memory that a GPU can copy from while the CPU goes on."""
        return self._map(lambda tensor: tensor.pin_memory())

    def share_memory(self) -> Batch:
        """Return the batch in memory that other processes can read."""
        return self._map(lambda tensor: tensor.share_memory_())

    def chunk(self, count: int) -> list[Batch]:
        """Split into at most `count` parts of nearly equal size, each cut to its own longest."""
        return [self._take(start, end) for start, end in part_bounds(len(self), count)]

    def _take(self, start: int, end: int) -> Batch:
        hop_length = self.audio.shape[-1] // self.spectrograms.shape[-1]
        sizes = self.sizes
        if sizes is None:
            lengths = zip(self.id_lengths.tolist(), self.spectrogram_lengths.tolist(), strict=True)
            sizes = tuple(lengths)
        id_count = max(ids for ids, _ in sizes[start:end])
        frames = max(self.segment_frames, *(frames for _, frames in sizes[start:end]))
        return Batch(
            self.ids[start:end, :id_count],
            self.id_lengths[start:end],
            self.spectrograms[start:end, :, :frames],
            self.spectrogram_lengths[start:end],
            self.audio[start:end, :, : frames * hop_length],
            self.audio_lengths[start:end],
            None if self.speaker_ids is None else self.speaker_ids[start:end],
            self.segment_frames,
            sizes[start:end],
            self.names[start:end],
            None if self.durations is None else self.durations[start:end, :id_count],
            None if self.f0 is None else self.f0[start:end, :frames],
        )

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        values: dict[str, Any] = vars(self)
        tensors = {key: value for key, value in values.items() if isinstance(value, Tensor)}
        moved: dict[str, Any] = {key: function(tensor) for key, tensor in tensors.items()}
        return replace(self, **moved)


def part_bounds(total: int, count: int) -> list[tuple[int, int]]:
    """Return begin and end of at most `count` parts that differ in size by one at most."""
    bounds = np.linspace(0, total, min(count, total) + 1).round().astype(int)
    return [(int(start), int(end)) for start, end in pairwise(bounds)]


def collate(
    items: Sequence[UtteranceItem], *, segment_frames: int, hop_length: int, has_speakers: bool
) -> Batch:
    """Pad utterances to a batch, the longest spectrogram first.

    Audio and spectrograms are padded alike, so that a clip shorter than a segment has zeros in
    both.
    """
    items = sorted(items, key=lambda item: -item.spectrogram.shape[-1])
    frame_counts = [item.spectrogram.shape[-1] for item in items]
    frames = max(*frame_counts, segment_frames)
    spectrograms = torch.zeros(len(items), items[0].spectrogram.shape[0], frames)
    audio = torch.zeros(len(items), 1, frames * hop_length)
    for index, item in enumerate(items):
        spectrograms[index, :, : item.spectrogram.shape[-1]] = item.spectrogram
        audio[index, 0, : len(item.audio)] = item.audio
    return Batch(
        ids=pad_sequence([item.ids for item in items], batch_first=True),
        id_lengths=torch.tensor([len(item.ids) for item in items]),
        spectrograms=spectrograms,
        spectrogram_lengths=torch.tensor(frame_counts),
        audio=audio,
        audio_lengths=torch.tensor([len(item.audio) for item in items]),
        speaker_ids=torch.tensor([item.speaker_id for item in items]) if has_speakers else None,
        segment_frames=segment_frames,
        sizes=tuple((len(item.ids), item.spectrogram.shape[-1]) for item in items),
        names=tuple(item.name for item in items),
        durations=_pad([item.durations for item in items], 0),
        f0=_pad([item.f0 for item in items], frames),
    )


def _pad(rows: Sequence[Tensor | None], least: int) -> Tensor | None:
    """Pad rows (N,) with zeros to the longest, (B, N), or to more; None where there are none."""
    known = [row for row in rows if row is not None]
    if len(known) < len(rows):
        return None
    padded = pad_sequence(known, batch_first=True)
    return torch.nn.functional.pad(padded, (0, max(0, least - padded.shape[1])))


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


def _plan_bands(lengths: npt.NDArray[np.float64], bounds: BatchBounds) -> list[tuple[slice, int]]:
    """Divide utterances, sorted by falling length, into bands whose every batch keeps the bounds.

    What batch an utterance of a band goes to makes no difference to the bounds, since the band's
    longest was taken for all of it; so every epoch has the same number of batches. Without a bound
    of frames the batches differ in size by one utterance at most.

    Returns:
        Each band's places, and into how many batches it is dealt, evenly.
    """
    bands: list[tuple[slice, int]] = []
    start, total = 0, len(lengths)
    while start < total:
        rest = total - start
        batches_left = -(-rest // bounds.most(float(lengths[start])))
        batches = min(BAND_BATCHES, max(2, isqrt(batches_left)))
        if batches_left < 2 * batches:
            # Two bands of about equal size, rather than one and a batch that is always the same.
            batches = batches_left if batches_left <= batches else -(-batches_left // 2)
        end = start + rest * batches // batches_left
        bands.append((slice(start, end), batches))
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
        self._bands = _plan_bands(self._lengths[self._by_length], bounds)
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
        return sum(count for _, count in self._bands)

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
        rng = np.random.default_rng([self._seed, epoch])
        batches: list[IntArray] = []
        for places, count in self._bands:
            indices = self._by_length[places]
            if self._shuffle:  # a band's utterances in the order in which its batches take them
                jitter = rng.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(indices))
                indices = indices[np.argsort(-self._lengths[indices] * jitter, kind="stable")]
            batches += np.array_split(indices, count)
        if not self._shuffle:
            return batches
        order = [int(index) for index in rng.permutation(len(batches))]
        if epoch == 0:
            longest = max(order, key=lambda index: self._lengths[batches[index]].max())
            order.remove(longest)
            order.insert(0, longest)
        return [batches[index] for index in order]

    def _share(self, batch: IntArray) -> list[int]:
        """Return this rank's part: every n-th by length, so that all ranks have about the same."""
        ranks = self.bounds.world_size
        if len(batch) < ranks:
            batch = np.resize(batch, ranks)
        batch = batch[np.argsort(-self._lengths[batch], kind="stable")]
        return [int(index) for index in batch[self.rank :: ranks]]


def padding_share(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """Return the share of the frames of these batches that is padding, 0 to 1."""
    frames = np.asarray(lengths)
    used = sum(float(frames[list(batch)].sum()) for batch in batches)
    computed = sum(float(frames[list(batch)].max()) * len(batch) for batch in batches)
    return 1 - used / computed


def micro_batches(lengths: Sequence[int], sampler: LengthBatchSampler) -> list[list[int]]:
    """Return the micro-batches of the sampler's present epoch, as `Batch.chunk` cuts them."""
    parts: list[list[int]] = []
    for batch in sampler:
        batch.sort(key=lambda index: -lengths[index])
        bounds = part_bounds(len(batch), sampler.bounds.accumulate)
        parts += [batch[start:end] for start, end in bounds]
    return parts


def log_training_set(lengths: Sequence[int], sampler: LengthBatchSampler, hours: float) -> None:
    """Log one line: utterances, hours, batches, and padding with and without order by length."""
    parts = micro_batches(lengths, sampler)
    order = np.random.default_rng(0).permutation([index for part in parts for index in part])
    ends = np.cumsum([len(part) for part in parts])[:-1]
    random = [[int(index) for index in part] for part in np.split(order, ends)]
    bounds = sampler.bounds
    accumulated = f" in {bounds.accumulate} parts" if bounds.accumulate > 1 else ""
    shared = f" on each of {bounds.world_size} processes" if bounds.world_size > 1 else ""
    _LOGGER.info(
        "Training on %s (%.2f hours) in %s an epoch%s%s; padding is %.0f %% of "
        "the frames (%.0f %% in random batches).",
        count_things(len(lengths), "utterance"),
        hours,
        count_things(len(sampler), "batch"),
        shared,
        accumulated,
        100 * padding_share(lengths, parts),
        100 * padding_share(lengths, random),
    )
