"""From log probabilities of frames to units: each frame's likeliest, and the search of all ways."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby, product

import numpy as np
import pytest

from piper.train.aligner.recogniser import Followers, count_followers, decode


def log(rows: list[list[float]]) -> np.ndarray:
    return np.log(np.asarray(rows, dtype=np.float32))


def test_each_frame_s_likeliest_is_written_once_between_blanks() -> None:
    frames = [0, 1, 1, 0, 1, 2, 2, 0]
    rows = np.log(np.full((len(frames), 3), 0.1, dtype=np.float32))
    rows[np.arange(len(frames)), frames] = np.log(0.8)
    assert decode(rows) == [1, 1, 2]


def test_ways_to_the_same_units_count_together() -> None:
    """No unit at all is the likeliest way, 0.36; three other ways lead to one unit, 0.64."""
    rows = log([[0.6, 0.4], [0.6, 0.4]])
    even = np.zeros((2, 2), dtype=np.float32)
    assert decode(rows) == []
    assert decode(rows, Followers(even, 0.0)) == [1]


@pytest.mark.parametrize("seed", range(5))
def test_the_search_finds_what_all_ways_together_find(seed: int) -> None:
    chance = np.random.default_rng(seed)
    rows = np.log(chance.dirichlet([0.4, 0.4, 0.4], size=6)).astype(np.float32)
    sums: defaultdict[tuple[int, ...], float] = defaultdict(float)
    for way in product(range(3), repeat=len(rows)):
        units = tuple(unit for unit, _ in groupby(way) if unit)
        sums[units] += float(np.exp(rows[range(len(rows)), way].sum()))
    best = max(sums, key=lambda units: sums[units])
    assert decode(rows, Followers(np.zeros((3, 3), dtype=np.float32), 0.0)) == list(best)


def test_followers_decide_what_the_ear_leaves_open() -> None:
    followers = count_followers([[1, 2]] * 20 + [[3]], 4)
    assert np.exp(followers[1]).sum() == pytest.approx(1.0)
    rows = log([[0.01, 0.97, 0.01, 0.01], [0.01, 0.01, 0.48, 0.5], [0.97, 0.01, 0.01, 0.01]])
    assert decode(rows, Followers(followers, 0.0)) == [1, 3]
    assert decode(rows, Followers(followers, 0.5)) == [1, 2]
