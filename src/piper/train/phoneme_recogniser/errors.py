"""Phonemes that were heard beside those of the text: how many are wrong. Knows no audio."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PhonemeErrors:
    """How what was heard differs from a text.

    Attributes:
        substitutions: Units of the text for which others were heard.
        deletions: Units of the text that were not heard.
        insertions: Units that were heard and are not in the text.
        count: Units of the text.
    """

    substitutions: int
    deletions: int
    insertions: int
    count: int

    @property
    def rate(self) -> float:
        """Errors a unit of the text; above 1 where more is wrong than was written."""
        return (self.substitutions + self.deletions + self.insertions) / max(1, self.count)


def find_phoneme_errors(reference: Sequence[str], heard: Sequence[str]) -> PhonemeErrors:
    """Return the fewest errors that lead from a text's units to those that were heard.

    Levenshtein's distance; of several shortest ways the one that rapidfuzz takes.
    """
    from rapidfuzz.distance import Levenshtein

    kinds = Counter(step.tag for step in Levenshtein.editops(reference, heard))
    return PhonemeErrors(kinds["replace"], kinds["delete"], kinds["insert"], len(reference))


def add_phoneme_errors(errors: Iterable[PhonemeErrors]) -> PhonemeErrors:
    """Return the errors of several texts together."""
    some = list(errors)
    return PhonemeErrors(
        sum(one.substitutions for one in some),
        sum(one.deletions for one in some),
        sum(one.insertions for one in some),
        sum(one.count for one in some),
    )
