"""Errors between a text's units and those that were heard: the fewest, by kind."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

import pytest

from piper.train.aligner.recogniser import (
    PhonemeErrors,
    add_phoneme_errors,
    find_phoneme_errors,
)


@pytest.mark.parametrize(
    ("reference", "heard", "expected"),
    [
        ("", "", PhonemeErrors(0, 0, 0, 0)),
        ("kot", "kot", PhonemeErrors(0, 0, 0, 3)),
        ("kot", "kod", PhonemeErrors(1, 0, 0, 3)),
        ("kot", "ko", PhonemeErrors(0, 1, 0, 3)),
        ("kot", "", PhonemeErrors(0, 3, 0, 3)),
        ("kot", "skot", PhonemeErrors(0, 0, 1, 3)),
        ("", "kot", PhonemeErrors(0, 0, 3, 0)),
        ("privet", "rivedl", PhonemeErrors(1, 1, 1, 6)),
    ],
)
def test_kinds(reference: str, heard: str, expected: PhonemeErrors) -> None:
    assert find_phoneme_errors(list(reference), list(heard)) == expected


def test_they_are_the_fewest() -> None:
    chance = random.Random(5)
    for _ in range(300):
        reference, heard = ("".join(chance.choices("abc", k=chance.randrange(8))) for _ in range(2))
        found = find_phoneme_errors(reference, heard)
        total = found.substitutions + found.deletions + found.insertions
        assert total == count_edits(reference, heard), (reference, heard)
        assert len(reference) - found.deletions + found.insertions == len(heard)


@cache
def count_edits(reference: Sequence[str], heard: Sequence[str]) -> int:
    """The definition of Levenshtein's distance, word for word."""
    if not reference or not heard:
        return len(reference) + len(heard)
    return min(
        count_edits(reference[1:], heard[1:]) + (reference[0] != heard[0]),
        count_edits(reference[1:], heard) + 1,
        count_edits(reference, heard[1:]) + 1,
    )


def test_rates_and_sums() -> None:
    errors = add_phoneme_errors(
        [find_phoneme_errors("kot", "kod"), find_phoneme_errors("da", "dada")]
    )
    assert errors == PhonemeErrors(1, 0, 2, 5)
    assert errors.rate == pytest.approx(3 / 5)
    assert find_phoneme_errors("", "a").rate == 1.0
    assert add_phoneme_errors([]).rate == 0.0
