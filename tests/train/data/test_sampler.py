"""Order of batches: bounds, sharing between processes, epochs, going on in the middle of one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from piper.train.data.batches import BatchBounds, LengthBatchSampler, micro_batches, padding_share

LENGTHS = [int(length) for length in np.random.default_rng(7).integers(200, 1200, 500)]
SPEECH = [int(n) for n in np.random.default_rng(3).lognormal(6.0, 0.5, 3000).clip(60, 3000)]
"""Frames as recorded sentences have them: median 4.7 s, a few above 20 s."""


def make(lengths: list[int], size: int, **options: int | bool | None) -> LengthBatchSampler:
    own = ("seed", "rank", "shuffle")
    bounds = {name: value for name, value in options.items() if name not in own}
    rest = {name: value for name, value in options.items() if name in own}
    return LengthBatchSampler(lengths, BatchBounds(size, **bounds), **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_utterance_once_in_even_batches(shuffle: bool) -> None:
    sampler = make(LENGTHS, 16, shuffle=shuffle)
    batches = list(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(500))
    assert len(batches) == len(sampler) == 32
    assert {len(batch) for batch in batches} == {15, 16}


@pytest.mark.parametrize("total", range(1, 40))
def test_small_datasets_have_as_few_batches_as_they_can(total: int) -> None:
    batches = list(make(LENGTHS[:total], 4))
    assert len(batches) == -(-total // 4)
    sizes = {len(batch) for batch in batches}
    assert max(sizes) - min(sizes) <= 1


def test_little_padding() -> None:
    order = np.random.default_rng(0).permutation(500)
    random_share = padding_share(LENGTHS, [list(batch) for batch in np.array_split(order, 32)])
    assert random_share > 0.3
    assert padding_share(LENGTHS, list(make(LENGTHS, 16))) < 0.2 * random_share
    assert padding_share(SPEECH, list(make(SPEECH, 16))) < 0.04
    # A handful of batches is one band or two; the order inside of it still saves padding.
    assert padding_share(LENGTHS[:64], list(make(LENGTHS[:64], 16))) < 0.4 * random_share


def test_epochs_differ_and_can_be_repeated() -> None:
    sampler = make(LENGTHS, 16, seed=3)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert {frozenset(batch) for batch in first}.isdisjoint(frozenset(batch) for batch in second)
    again = make(LENGTHS, 16, seed=3)
    again.set_epoch(1)
    assert list(again) == second
    assert list(make(LENGTHS, 16, seed=4)) != first


def test_order_is_not_that_of_length() -> None:
    longest = [max(LENGTHS[i] for i in batch) for batch in make(LENGTHS, 16)]
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.6


def test_the_first_step_has_the_longest_utterance() -> None:
    """A batch that does not fit in memory shows in the first step, not after an hour."""
    for seed in range(5):
        sampler = make(LENGTHS, 16, seed=seed)
        assert LENGTHS.index(max(LENGTHS)) in next(iter(sampler))
    positions = set()
    for epoch in range(1, 8):
        sampler.set_epoch(epoch)
        where = [LENGTHS.index(max(LENGTHS)) in batch for batch in sampler]
        positions.add(where.index(True))
    assert len(positions) > 3


@pytest.mark.parametrize("total", [1, 2, 5, 33, 500])
@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_ranks_have_equally_many_batches(total: int, world_size: int) -> None:
    samplers = [
        make(LENGTHS[:total], 4, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    shares = [list(sampler) for sampler in samplers]
    assert {len(share) for share in shares} == {len(samplers[0])}
    assert len(samplers[0]) >= 1
    assert all(1 <= len(batch) <= 4 for share in shares for batch in share)
    seen = [index for share in shares for batch in share for index in batch]
    assert set(seen) == set(range(total))
    if total >= world_size * len(samplers[0]):
        assert len(seen) == total


@pytest.mark.parametrize("frames", [None, 6000])
def test_ranks_together_take_the_batch_of_one_process(frames: int | None) -> None:
    """So that two machines train as one with the doubled batch does, and so does accumulation."""
    bounds = {"frames": frames}
    whole = make(SPEECH, 16, **({"frames": 2 * frames} if frames else bounds), seed=5)
    accumulating = make(SPEECH, 8, accumulate=2, **bounds, seed=5)
    ranks = [make(SPEECH, 8, world_size=2, rank=rank, **bounds, seed=5) for rank in range(2)]
    for epoch in (0, 3):
        for sampler in (whole, accumulating, *ranks):
            sampler.set_epoch(epoch)
        shared = [sorted(a + b) for a, b in zip(*ranks, strict=True)]
        assert shared == [sorted(batch) for batch in accumulating]
        if frames is None:  # else rounding down twice gives a few utterances less
            assert shared == [sorted(batch) for batch in whole]


@pytest.mark.parametrize(("accumulate", "world_size"), list(itertools.product((1, 3), (1, 2))))
def test_no_micro_batch_is_above_the_budget_in_any_epoch(accumulate: int, world_size: int) -> None:
    budget = 5000
    options = {"accumulate": accumulate, "world_size": world_size, "frames": budget}
    counts = set()
    for epoch, rank in itertools.product(range(6), range(world_size)):
        sampler = make(SPEECH, 32, rank=rank, **options)
        sampler.set_epoch(epoch)
        counts.add((len(sampler), len(list(sampler))))
        parts = micro_batches(SPEECH, sampler)
        assert max(len(part) for part in parts) <= 32
        assert max(max(SPEECH[i] for i in part) * len(part) for part in parts) <= budget
        # The budget is used: what bounds a batch is the budget or the number of utterances.
        cost = [max(SPEECH[i] for i in part) * len(part) for part in parts]
        assert np.mean(cost) > 0.75 * budget
    assert len(counts) == 1


def test_an_utterance_above_the_budget_is_a_batch_of_its_own() -> None:
    lengths = [9000, 7000, *LENGTHS]
    sampler = make(lengths, 16, frames=4000)
    batches = list(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(502))
    assert [batch for batch in batches if 0 in batch] == [[0]]
    assert [batch for batch in batches if 1 in batch] == [[1]]


def test_budget_shuffles_anew() -> None:
    sampler = make(SPEECH, 32, frames=8000)
    epochs = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert sorted(index for batch in batches for index in batch) == list(range(3000))
        epochs.append({frozenset(batch) for batch in batches})
    assert len(epochs[0] & epochs[1]) < 0.01 * len(epochs[0])


def test_an_interrupted_epoch_goes_on() -> None:
    sampler = make(LENGTHS, 16)
    sampler.set_epoch(2)
    whole = list(sampler)
    sampler.skip(10)
    assert len(sampler) == 32
    assert list(sampler) == whole[10:]
    assert list(sampler) == whole


def test_no_utterances() -> None:
    with pytest.raises(ValueError, match="no utterances"):
        make([], 4)


def test_a_loader_s_iteration_goes_on_with_the_next_epoch() -> None:
    """Processes that load ahead would wait at each epoch's end, which a GPU reaches in a second."""
    lengths = list(range(100, 140))
    sampler = LengthBatchSampler(lengths, BatchBounds(utterances=4), seed=3, goes_on=True)
    epochs = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))  # whoever only looks at an epoch gets that one
    sampler.set_epoch(0)
    sampler.skip(6)
    whole = [batch for epoch in epochs for batch in epoch]
    assert list(itertools.islice(sampler, 20)) == whole[6:26]
