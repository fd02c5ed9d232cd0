"""Batches: padding, order, sharing between processes, going on in the middle of an epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from piper.train.data.batches import Batch, LengthBatchSampler, UtteranceItem, collate

LENGTHS = [int(length) for length in np.random.default_rng(7).integers(200, 1200, 500)]


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


def padding_share(batches: list[list[int]]) -> float:
    used = sum(LENGTHS[index] for batch in batches for index in batch)
    computed = sum(max(LENGTHS[index] for index in batch) * len(batch) for batch in batches)
    return 1 - used / computed


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_utterance_once_in_even_batches(shuffle: bool) -> None:
    sampler = LengthBatchSampler(LENGTHS, 16, shuffle=shuffle)
    batches = list(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(500))
    assert len(batches) == len(sampler) == 32
    assert {len(batch) for batch in batches} == {15, 16}


def test_little_padding() -> None:
    order = np.random.default_rng(0).permutation(500)
    random_share = padding_share([list(batch) for batch in np.array_split(order, 32)])
    assert padding_share(list(LengthBatchSampler(LENGTHS, 16))) < 0.3 * random_share


def test_epochs_differ_and_can_be_repeated() -> None:
    sampler = LengthBatchSampler(LENGTHS, 16, seed=3)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert {frozenset(batch) for batch in first}.isdisjoint(frozenset(batch) for batch in second)
    again = LengthBatchSampler(LENGTHS, 16, seed=3)
    again.set_epoch(1)
    assert list(again) == second
    assert list(LengthBatchSampler(LENGTHS, 16, seed=4)) != first


def test_order_is_not_that_of_length() -> None:
    longest = [max(LENGTHS[i] for i in batch) for batch in LengthBatchSampler(LENGTHS, 16)]
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.6


@pytest.mark.parametrize("total", [1, 2, 5, 33, 500])
@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_ranks_have_equally_many_batches(total: int, world_size: int) -> None:
    samplers = [
        LengthBatchSampler(LENGTHS[:total], 4, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    shares = [list(sampler) for sampler in samplers]
    assert {len(share) for share in shares} == {len(samplers[0])}
    assert len(samplers[0]) >= 1
    assert all(1 <= len(batch) <= 4 for share in shares for batch in share)
    seen = [index for share in shares for batch in share for index in batch]
    assert set(seen) == set(range(total))
    if total >= world_size * len(samplers[0]):
        assert len(seen) == total


def test_an_interrupted_epoch_goes_on() -> None:
    sampler = LengthBatchSampler(LENGTHS, 16)
    sampler.set_epoch(2)
    whole = list(sampler)
    sampler.skip(10)
    assert len(sampler) == 32
    assert list(sampler) == whole[10:]
    assert list(sampler) == whole


def test_no_utterances() -> None:
    with pytest.raises(ValueError, match="no utterances"):
        LengthBatchSampler([], 4)
