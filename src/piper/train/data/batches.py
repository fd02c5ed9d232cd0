"""Utterances to batches, by length, resumable. Knows nothing of files, texts or Lightning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Sampler

POOL_BATCHES = 16
"""Batches whose utterances are sorted together. On festvox-ru, 4, 7, 9 % of the frames in batches
of 4, 16, 32 are padding; 25, 37, 40 % in random batches (untrimmed, jitter included)."""
LENGTH_JITTER = 0.05
"""Lengths are sorted with this much error, so that a small dataset's batches change too."""


@dataclass(frozen=True)
class UtteranceItem:
    """One utterance, ready to be batched.

    Attributes:
        ids: (P,) int64.
        spectrogram: (F, T) float32, linear magnitudes.
        audio: (S,) float32, S = T * hop length.
        speaker_id: 0 where there is one speaker.
    """

    ids: Tensor
    spectrogram: Tensor
    audio: Tensor
    speaker_id: int


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
    """

    ids: Tensor
    id_lengths: Tensor
    spectrograms: Tensor
    spectrogram_lengths: Tensor
    audio: Tensor
    audio_lengths: Tensor
    speaker_ids: Tensor | None
    segment_frames: int

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Batch:
        """Return the batch on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Return the batch in memory that a GPU can copy from while the CPU goes on."""
        return self._map(lambda tensor: tensor.pin_memory())

    def chunk(self, count: int) -> list[Batch]:
        """Split into at most `count` parts of nearly equal size, each cut to its own longest."""
        bounds = np.linspace(0, len(self), min(count, len(self)) + 1).round().astype(int)
        return [self._take(int(start), int(end)) for start, end in pairwise(bounds)]

    def _take(self, start: int, end: int) -> Batch:
        hop_length = self.audio.shape[-1] // self.spectrograms.shape[-1]
        id_count = int(self.id_lengths[start:end].max())
        frames = max(int(self.spectrogram_lengths[start:end].max()), self.segment_frames)
        return Batch(
            self.ids[start:end, :id_count],
            self.id_lengths[start:end],
            self.spectrograms[start:end, :, :frames],
            self.spectrogram_lengths[start:end],
            self.audio[start:end, :, : frames * hop_length],
            self.audio_lengths[start:end],
            None if self.speaker_ids is None else self.speaker_ids[start:end],
            self.segment_frames,
        )

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(
            function(self.ids),
            function(self.id_lengths),
            function(self.spectrograms),
            function(self.spectrogram_lengths),
            function(self.audio),
            function(self.audio_lengths),
            None if self.speaker_ids is None else function(self.speaker_ids),
            self.segment_frames,
        )


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
    )


class LengthBatchSampler(Sampler[list[int]]):
    """Batches of utterances of similar length, shuffled anew each epoch from (seed, epoch).

    Every rank gets the same number of batches, at least one; batches of an epoch differ in size by
    one utterance at most, so that no small remainder takes a step of its own. Where there are
    fewer utterances than ranks, some are used twice.

    Args:
        lengths: Frames (or anything that grows with cost) of each utterance.
        batch_size: Most utterances of one rank's batch.
        seed: Of the order.
        rank: This process.
        world_size: How many processes share the epoch.
        shuffle: Without, the same batches from short to long, for validation.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
    ) -> None:
        if len(lengths) == 0:
            raise ValueError("There are no utterances to make batches of.")
        self._lengths = np.asarray(lengths, dtype=np.float64)
        self._batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._shuffle = shuffle
        self._epoch = 0
        self._skipped = 0

    @property
    def sampler(self) -> LengthBatchSampler:
        """Itself: Lightning tells `batch_sampler.sampler` which epoch begins."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Take the order of this epoch from the next iteration on."""
        self._epoch = epoch

    def skip(self, count: int) -> None:
        """Leave out the first `count` batches of the next iteration, once: it was interrupted.

        The length stays that of the whole epoch, which is how Lightning counts.
        """
        self._skipped = count

    def __len__(self) -> int:
        return -(-len(self._lengths) // (self._batch_size * self._world_size))

    def __iter__(self) -> Iterator[list[int]]:
        batches = self._create_batches()
        skipped, self._skipped = self._skipped, 0
        yield from batches[skipped:]

    def _create_batches(self) -> list[list[int]]:
        count = len(self)
        generator = np.random.default_rng([self._seed, self._epoch])
        order = self._order(generator, count)
        batches = np.array_split(order, count)
        if self._shuffle:
            batches = [batches[index] for index in generator.permutation(count)]
        return [self._share(batch) for batch in batches]

    def _order(self, generator: np.random.Generator, count: int) -> np.ndarray:
        total = len(self._lengths)
        if not self._shuffle:
            return np.argsort(self._lengths, kind="stable")
        lengths = self._lengths * generator.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, total)
        order = generator.permutation(total)
        # Pools end where batches end, so that no batch mixes two pools.
        batches = np.array_split(order, count)
        pools = [
            np.concatenate(batches[start : start + POOL_BATCHES])
            for start in range(0, count, POOL_BATCHES)
        ]
        return np.concatenate([pool[np.argsort(lengths[pool])] for pool in pools])

    def _share(self, batch: np.ndarray) -> list[int]:
        """Return this rank's part: every n-th, so that all ranks have about the same lengths."""
        if len(batch) < self._world_size:
            batch = np.resize(batch, self._world_size)
        return [int(index) for index in batch[self._rank :: self._world_size]]
