"""Ways through a text's states: all of them summed up, and the best one, against trying each."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import numpy.typing as npt
import pytest
import torch

from piper.errors import DatasetError
from piper.train.aligner import aligner
from piper.train.aligner.aligner import OPEN_SILENCE, Topology, create_topology
from piper.train.aligner.fitting import compute_occupancies

NUMBERS = {"a": 1, "b": 2, "c": 3}
NUMBER_LETTERS = "abc"
TEXT = (("a", "b"), ("c",), ("a",))


def list_ways(topology: Topology, frames: int) -> list[tuple[int, ...]]:
    """Every way: from state to state, or over a silence."""
    states = range(len(topology))
    units = topology.units

    def is_step(left: int, right: int) -> bool:
        is_over_silence = right - left == 2 and units[left + 1] <= 0 and units[right] > 0
        return right - left in (0, 1) or is_over_silence

    return [
        way
        for way in product(states, repeat=frames)
        if way[0] < 2
        and way[-1] >= len(topology) - 2
        and all(is_step(left, right) for left, right in pairwise(way))
    ]


def make_likelihoods(frames: int, units: int, seed: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 2, (frames, units)).astype(np.float32)


def test_a_text_has_silence_around_each_group() -> None:
    topology = create_topology(TEXT, NUMBERS, open_gaps={0, 2})
    assert topology.units.tolist() == [OPEN_SILENCE, 1, 2, 0, 3, OPEN_SILENCE, 1, 0]
    assert topology.groups.tolist() == [0, 0, 0, 1, 1, 2, 2, 3]
    assert topology.min_frames == 4


def test_units_that_are_not_known_are_left_out() -> None:
    topology = create_topology((("a", "x"), ("x",), ("b",)), NUMBERS)
    assert topology.units.tolist() == [0, 1, 0, 2, 0]
    assert topology.groups.tolist() == [0, 0, 1, 2, 3]


@pytest.mark.parametrize("seed", range(3))
def test_occupancies_are_those_of_all_ways(seed: int) -> None:
    topology = create_topology((("a", "b"), ("c",)), NUMBERS)
    other = create_topology((("c",),), NUMBERS)
    lengths = [6, 4]
    likelihoods = np.stack([make_likelihoods(6, 4, seed), make_likelihoods(6, 4, seed + 100)])
    found = compute_occupancies(torch.from_numpy(likelihoods), lengths, [topology, other])
    for row, (text, frames) in enumerate(zip((topology, other), lengths, strict=True)):
        wanted = np.zeros((6, 4))
        for way in list_ways(text, frames):
            units = text.units[list(way)]
            weight = np.exp(likelihoods[row][np.arange(frames), units].sum(dtype=np.float64))
            wanted[np.arange(frames), units] += weight
        wanted /= wanted.sum(axis=1).max()
        np.testing.assert_allclose(found[row].numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_best_way_is_the_best_of_all(seed: int) -> None:
    topology = create_topology(TEXT, NUMBERS, open_gaps={1})
    # One more column: of the open silence.
    likelihoods = make_likelihoods(7, 5, seed)
    path = aligner.find_best_path(likelihoods, topology)

    def score(way: tuple[int, ...]) -> float:
        return float(likelihoods[np.arange(7), topology.units[list(way)]].sum())

    best = max(list_ways(topology, 7), key=score)
    assert tuple(path.tolist()) == best


def test_a_planted_way_is_found_in_a_narrow_window_and_short_stretches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hours are gone through in a window; what is found must not depend on it."""
    chance = np.random.default_rng(7)
    # No letter twice in a row: where one ends and the other begins could not be told.
    letters = [NUMBER_LETTERS[n % 3] for n in np.cumsum(chance.integers(1, 3, 600))]
    topology = create_topology(tuple((letter,) for letter in letters), NUMBERS)
    way: list[int] = []
    for state in range(len(topology)):
        if topology.units[state] != 0 or chance.random() < 0.3:
            way += [state] * int(chance.integers(1, 5))
    likelihoods = chance.normal(0, 1, (len(way), 4)).astype(np.float32)
    likelihoods[np.arange(len(way)), topology.units[way]] += 6
    whole = aligner.find_best_path(likelihoods, topology)
    monkeypatch.setattr(aligner, "WINDOW_STATES", 150)
    monkeypatch.setattr(aligner, "STRETCH_FRAMES", 64)
    windowed = aligner.find_best_path(likelihoods, topology)
    assert windowed.tolist() == whole.tolist()
    assert np.mean(whole == np.asarray(way)) > 0.97


def test_a_text_longer_than_its_recording_is_refused() -> None:
    topology = create_topology(TEXT, NUMBERS)
    with pytest.raises(DatasetError, match="4 phonemes do not fit into 3 frames"):
        aligner.find_best_path(make_likelihoods(3, 4, 0), topology)
