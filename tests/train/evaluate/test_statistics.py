"""Intervals hold what they say, and pairs find what single figures cannot."""

from __future__ import annotations

import numpy as np
import pytest

from piper.train.evaluate.results import Figure
from piper.train.evaluate.run import summarise


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    """95 % of the intervals of skewed values hold the true mean, as near as 200 draws can tell."""
    chance = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        figure = summarise(list(chance.gamma(2.0, 1.0, 30)))
        assert figure.low is not None and figure.high is not None
        hits += figure.low <= 2.0 <= figure.high
    assert 0.88 <= hits / 200 <= 0.99


def test_pairs_find_a_difference_that_single_intervals_hide() -> None:
    chance = np.random.default_rng(2)
    hard = chance.normal(3.5, 0.5, 30)
    first = list(hard)
    second = list(hard + 0.1 + chance.normal(0, 0.05, 30))
    one, two = summarise(first), summarise(second)
    assert one.high is not None and two.low is not None and one.high > two.low
    difference = summarise(np.subtract(second, first))
    assert difference.low is not None and difference.high is not None
    assert 0 < difference.low < difference.value < difference.high


def test_equal_values_have_an_interval_of_nothing() -> None:
    assert summarise([0.0] * 6) == Figure(0.0, 0.0, 0.0, 6)


def test_weights_make_a_rate_that_of_all_together() -> None:
    # One error of two phonemes, none of 98: one of a hundred.
    assert summarise([0.5, 0.0], [2, 98]).value == pytest.approx(0.01)


def test_of_a_few_sentences_there_is_no_interval() -> None:
    figure = summarise([1.0, 2.0, 3.0])
    assert (figure.value, figure.low, figure.high, figure.count) == (2.0, None, None, 3)


def test_one_value_beside_many_equal_ones_has_an_interval_of_numbers() -> None:
    """The acceleration of nearly constant values cannot be calculated."""
    figure = summarise([0.0] * 29 + [1.0])
    assert figure.low is not None and figure.high is not None
    assert 0.0 <= figure.low <= figure.value <= figure.high <= 0.3


def test_intervals_are_the_same_each_time() -> None:
    values = list(np.random.default_rng(3).normal(size=20))
    assert summarise(values) == summarise(values)
