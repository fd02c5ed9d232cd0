"""Which phonemes each written word became; knows neither espeak-ng nor ids.

espeak-ng does not say which word it is speaking when it only gives phonemes, joins some words
(`of the` is one) and makes several of others (numbers). So each word is also spoken alone, and what
the words give one after the other is aligned with what the clause gave: the words' borders follow.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

_SPOKEN_SIGNS = frozenset("%&#@*+=$€£¥₽§°<>")
_STRESS_SIGNS = frozenset("ˈˌ")
_MARKS = frozenset(" .,!?:;。？！—…、，：；")
# The alignment takes 0.4 µs a cell; longer clauses are shared out by length.
_MAX_CELLS = 250_000


@dataclass(frozen=True)
class Word:
    """A word of a sentence and what became of it.

    Attributes:
        text: The word as written, without the punctuation around it.
        start: Place of its first character in the sentence's text.
        end: Place after its last character.
        first_phoneme: Index of its first phoneme.
        last_phoneme: Index after its last phoneme.
    """

    text: str
    start: int
    end: int
    first_phoneme: int
    last_phoneme: int


def find_words(text: str) -> list[tuple[int, int]]:
    """Return start and end of each word: what stands between spaces, without its punctuation."""
    words: list[tuple[int, int]] = []
    start = 0
    for end in [*(i for i, character in enumerate(text) if character.isspace()), len(text)]:
        first, last = start, end
        while first < last and not _is_spoken(text[first]):
            first += 1
        while last > first and not _is_spoken(text[last - 1]):
            last -= 1
        if first < last:
            words.append((first, last))
        start = end + 1
    return words


def share_phonemes(
    phonemes: Sequence[str], spoken_alone: Sequence[Sequence[str]]
) -> list[tuple[int, int]]:
    """Share the phonemes of a clause out among its words.

    Args:
        phonemes: P single code points of the clause, with spaces and marks.
        spoken_alone: For each word its phonemes when spoken alone.

    Returns:
        For each word the half-open range of its phonemes. The ranges follow each other; together
        they hold all phonemes but spaces and marks, where there is a word.
    """
    letters = [index for index, phoneme in enumerate(phonemes) if _is_letter(phoneme)]
    if not spoken_alone:
        return []
    alone = [[phoneme for phoneme in word if _is_letter(phoneme)] for word in spoken_alone]
    said = _split_at_spaces(phonemes)
    counts = [len([index for index in word if _is_letter(phonemes[index])]) for word in said]
    if len(counts) == len(alone) and all(map(_is_similar, counts, map(len, alone))):
        borders = [0, *accumulate(counts)]
    else:
        borders = _align_borders([phonemes[index] for index in letters], alone)
        borders = _snap(borders, set(accumulate(counts)))
    shares: list[tuple[int, int]] = []
    for first, last in pairwise(borders):
        place = shares[-1][1] if shares else 0
        shares.append(_widen(phonemes, letters[first:last]) if first < last else (place, place))
    return shares


def _is_spoken(character: str) -> bool:
    if character.isalnum() or character in _SPOKEN_SIGNS:
        return True
    return unicodedata.category(character)[0] in "LNMS"


def _is_letter(phoneme: str) -> bool:
    return phoneme not in _MARKS and phoneme not in _STRESS_SIGNS


def _is_similar(count: int, other: int) -> bool:
    return abs(count - other) <= 1 + max(count, other) // 4


def _split_at_spaces(phonemes: Sequence[str]) -> list[list[int]]:
    words: list[list[int]] = [[]]
    for index, phoneme in enumerate(phonemes):
        if phoneme == " ":
            words.append([])
        elif phoneme not in _MARKS:
            words[-1].append(index)
    return [word for word in words if word]


def _align_borders(letters: Sequence[str], alone: Sequence[Sequence[str]]) -> list[int]:
    """Return the place in the letters where each word begins, and their number at the end."""
    flat = [letter for word in alone for letter in word]
    ends = [0, *accumulate(len(word) for word in alone)]
    if not flat or len(flat) * len(letters) > _MAX_CELLS:
        scale = len(letters) / len(flat) if flat else len(letters) / len(alone)
        places = ends if flat else list(range(len(alone) + 1))
        return [round(place * scale) for place in places]
    to_letters = _align(flat, letters)
    borders = [to_letters[end] for end in ends]
    borders[0], borders[-1] = 0, len(letters)
    return borders


def _align(left: Sequence[str], right: Sequence[str]) -> list[int]:
    """Return for each place in `left` the place in `right` on the cheapest path of edits."""
    rows = [list(range(len(right) + 1))]
    for letter in left:
        above = rows[-1]
        row = [above[0] + 1]
        for index, other in enumerate(right):
            # A swap costs more than half an insertion and a removal, so equal letters pair up.
            swap = above[index] + (0 if letter == other else 1.5)
            row.append(min(swap, above[index + 1] + 1, row[-1] + 1))  # type: ignore[arg-type]
        rows.append(row)
    places = [0] * (len(left) + 1)
    column = len(right)
    for index in range(len(left), 0, -1):
        places[index] = column
        while column and rows[index][column] == rows[index][column - 1] + 1:
            column -= 1
        if column and rows[index][column] != rows[index - 1][column] + 1:
            column -= 1
    return places


def _snap(borders: list[int], gaps: set[int]) -> list[int]:
    """Move borders to a space between phonemes that is at most two letters away.

    Not where a word would lose its last letter: `of the` has no space inside.
    """
    for index in range(1, len(borders) - 1):
        border, lowest, highest = borders[index], borders[index - 1], borders[index + 1]
        near = [gap for gap in gaps if abs(gap - border) <= 2 and lowest < gap < highest]
        distances = {abs(gap - border): gap for gap in near}
        borders[index] = distances[min(distances)] if distances else max(border, lowest)
    return borders


def _widen(phonemes: Sequence[str], letters: Sequence[int]) -> tuple[int, int]:
    """Return the range of these letters with the stress sign before the first."""
    first = letters[0]
    while first and phonemes[first - 1] in _STRESS_SIGNS:
        first -= 1
    return first, letters[-1] + 1
