"""Figures of many sentences with their intervals, and differences of pairs. Knows no scores.

Intervals come from the bootstrap over sentences, bias-corrected and accelerated (Efron and
Tibshirani 1993, chapter 14), by SciPy.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from piper.train.evaluate.results import Figure

CONFIDENCE = 0.95
RESAMPLES = 9999
SEED = 20210611
LEAST_SENTENCES = 5
"""Of fewer nothing can be said: resamples of four are 35 different ones."""


def summarise(values: Sequence[float], weights: Sequence[float] | None = None) -> Figure:
    """Return the mean of sentences' values and its interval.

    Args:
        values: One a sentence, at least one.
        weights: How much each counts, such as its number of phonemes; None counts all alike.
    """
    value, low, high = _find_mean(values, weights)
    return Figure(value, low, high, len(values))


def find_difference(
    first: Sequence[float], second: Sequence[float], weights: Sequence[float] | None = None
) -> tuple[float, float | None, float | None]:
    """Return the mean of second minus first over the same sentences, and its interval.

    Pairs, since sentences differ more from each other than voices do.

    Args:
        first: One value a sentence.
        second: The other system's, in the same order.
        weights: How much each sentence counts.
    """
    return _find_mean(np.subtract(second, first), weights)


def _find_mean(
    values: npt.ArrayLike, weights: Sequence[float] | None
) -> tuple[float, float | None, float | None]:
    numbers = np.asarray(values, dtype=np.float64)
    shares = np.ones_like(numbers) if weights is None else np.asarray(weights, dtype=np.float64)
    if not shares.any():
        shares = np.ones_like(numbers)
    mean = float(np.average(numbers, weights=shares))
    if len(numbers) < LEAST_SENTENCES:
        return mean, None, None
    if np.ptp(numbers) == 0:
        return mean, mean, mean
    # Imported here: it takes longer than `--help` should.
    from scipy.stats import bootstrap

    def average(
        sample: npt.NDArray[np.float64], share: npt.NDArray[np.float64], axis: int
    ) -> object:
        return (sample * share).sum(axis) / np.maximum(share.sum(axis), 1e-12)

    with warnings.catch_warnings():
        # Where nearly all values are equal it cannot correct for skewness, and gives no number.
        warnings.simplefilter("ignore")
        interval = bootstrap(
            (numbers, shares),
            average,
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            method="BCa",
            rng=np.random.default_rng(SEED),
        ).confidence_interval
    low, high = float(interval.low), float(interval.high)
    if not np.isfinite([low, high]).all():
        return mean, *_find_percentiles(numbers, shares)
    return mean, low, high


def _find_percentiles(
    numbers: npt.NDArray[np.float64], shares: npt.NDArray[np.float64]
) -> tuple[float, float]:
    """Return the plain percentile interval (Efron and Tibshirani 1993, chapter 13)."""
    chance = np.random.default_rng(SEED)
    places = chance.integers(0, len(numbers), (RESAMPLES, len(numbers)))
    sums = np.maximum(shares[places].sum(1), 1e-12)
    means = (numbers[places] * shares[places]).sum(1) / sums
    low, high = np.percentile(means, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
    return float(low), float(high)
