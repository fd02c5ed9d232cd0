"""Batches: padding to the longest, parts of a batch, and what stays when it moves."""

from __future__ import annotations

import pytest
import torch

from piper.train.data.batches import Batch, UtteranceItem, collate, part_bounds


def make_item(num_ids: int, frames: int, speaker_id: int = 0) -> UtteranceItem:
    generator = torch.Generator().manual_seed(frames)
    return UtteranceItem(
        torch.arange(1, num_ids + 1),
        torch.rand(5, frames, generator=generator) + 1,
        torch.rand(frames * 4, generator=generator) + 1,
        speaker_id,
    )


def make_batch(*sizes: tuple[int, int], segment_frames: int = 3, speakers: bool = False) -> Batch:
    items = [make_item(ids, frames, index) for index, (ids, frames) in enumerate(sizes)]
    return collate(items, segment_frames=segment_frames, hop_length=4, has_speakers=speakers)


def test_padding() -> None:
    batch = make_batch((7, 10), (4, 20), (9, 15), speakers=True)
    assert len(batch) == 3
    assert batch.spectrogram_lengths.tolist() == [20, 15, 10]
    assert batch.id_lengths.tolist() == [4, 9, 7]
    assert batch.audio_lengths.tolist() == [80, 60, 40]
    assert batch.ids.shape == (3, 9)
    assert batch.spectrograms.shape == (3, 5, 20)
    assert batch.audio.shape == (3, 1, 80)
    assert batch.speaker_ids is not None
    assert batch.speaker_ids.tolist() == [1, 2, 0]
    for index, frames in enumerate([20, 15, 10]):
        assert (batch.spectrograms[index, :, :frames] >= 1).all()
        assert (batch.spectrograms[index, :, frames:] == 0).all()
        assert (batch.audio[index, 0, : 4 * frames] >= 1).all()
        assert (batch.audio[index, 0, 4 * frames :] == 0).all()


def test_short_clips_are_padded_to_a_segment_alike() -> None:
    """Audio padded and spectrograms not was a crash late in training."""
    batch = make_batch((3, 5), (3, 2), segment_frames=32)
    assert batch.spectrograms.shape[-1] == 32
    assert batch.audio.shape[-1] == 32 * 4
    assert batch.spectrogram_lengths.tolist() == [5, 2]
    assert batch.speaker_ids is None


def test_chunks_are_cut_to_their_own_longest() -> None:
    batch = make_batch((7, 10), (4, 20), (9, 15), (5, 11), (6, 4), segment_frames=8, speakers=True)
    chunks = batch.chunk(2)
    assert [len(chunk) for chunk in chunks] == [2, 3]
    assert [chunk.spectrograms.shape[-1] for chunk in chunks] == [20, 11]
    assert [chunk.audio.shape[-1] for chunk in chunks] == [80, 44]
    assert [chunk.ids.shape[-1] for chunk in chunks] == [9, 7]
    assert torch.equal(torch.cat([chunk.id_lengths for chunk in chunks]), batch.id_lengths)
    assert len(batch.chunk(9)) == 5
    assert batch.chunk(9)[-1].spectrograms.shape[-1] == 8


def test_moved_batch_keeps_everything() -> None:
    batch = make_batch((7, 10), (4, 20), speakers=True)
    moved = batch.to(torch.device("meta"))
    assert moved.audio.device.type == moved.ids.device.type == "meta"
    assert moved.speaker_ids is not None
    assert moved.speaker_ids.device.type == "meta"
    assert moved.segment_frames == batch.segment_frames


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7])
def test_no_part_is_larger_than_its_share(count: int) -> None:
    """A batch of `batch_size * count` utterances has no micro-batch above `batch_size`."""
    for total in range(1, 60):
        bounds = part_bounds(total, count)
        sizes = [end - start for start, end in bounds]
        assert sum(sizes) == total
        assert len(sizes) == min(count, total)
        assert min(sizes) >= 1
        assert max(sizes) <= -(-total // count)
        assert max(sizes) - min(sizes) <= 1
