"""From log probabilities of frames to units: the search of all ways."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby, product

import numpy as np
import pytest

from piper.train.aligner.recogniser import count_bigrams, decode


def log(rows: list[list[float]]) -> np.ndarray:
    return np.log(np.asarray(rows, dtype=np.float32))


def test_ways_to_the_same_units_count_together() -> None:
    """No unit at all is the likeliest way, 0.36; three other ways lead to one unit, 0.64."""
    rows = log([[0.6, 0.4], [0.6, 0.4]])
    even = np.zeros((2, 2), dtype=np.float32)
    assert decode(rows, even, 0.0, 0.0) == [1]


@pytest.mark.parametrize("seed", range(5))
def test_the_search_finds_what_all_ways_together_find(seed: int) -> None:
    chance = np.random.default_rng(seed)
    rows = np.log(chance.dirichlet([0.4, 0.4, 0.4], size=6)).astype(np.float32)
    sums: defaultdict[tuple[int, ...], float] = defaultdict(float)
    for way in product(range(3), repeat=len(rows)):
        units = tuple(unit for unit, _ in groupby(way) if unit)
        sums[units] += float(np.exp(rows[range(len(rows)), way].sum()))
    best = max(sums, key=lambda units: sums[units])
    assert decode(rows, np.zeros((3, 3), dtype=np.float32), 0.0, 0.0) == list(best)


def test_bigrams_decide_what_the_sound_leaves_open() -> None:
    bigrams = count_bigrams([[1, 2]] * 20 + [[3]], 4)
    assert np.exp(bigrams[1]).sum() == pytest.approx(1.0)
    rows = log([[0.01, 0.97, 0.01, 0.01], [0.01, 0.01, 0.48, 0.5], [0.97, 0.01, 0.01, 0.01]])
    assert decode(rows, bigrams, 0.0, 0.0) == [1, 3]
    assert decode(rows, bigrams, 0.5, 0.0) == [1, 2]
