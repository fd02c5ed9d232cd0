"""Utterances padded to a batch, and a batch in parts. Knows nothing of files or Lightning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


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
        return Batch(
            function(self.ids),
            function(self.id_lengths),
            function(self.spectrograms),
            function(self.spectrogram_lengths),
            function(self.audio),
            function(self.audio_lengths),
            None if self.speaker_ids is None else function(self.speaker_ids),
            self.segment_frames,
            self.sizes,
            self.names,
            None if self.durations is None else function(self.durations),
            None if self.f0 is None else function(self.f0),
        )


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
