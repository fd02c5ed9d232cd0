"""A first guess of which text is said where, by lengths alone: for an aligner to learn on.

Stretches between pauses are matched with stretches between punctuation marks, several with several
where a reader paused otherwise than the marks have it, so that lengths agree: as Gale and Church
(1993, "A program for aligning sentences in bilingual corpora") match sentences of two languages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from piper.train.splitting.long_text import LongText, Pause

FloatArray = npt.NDArray[np.float64]

MOST_TOGETHER = 6
"""Stretches of either side in a match: `он, кажется, всё-таки, уже, ушёл` read in one breath."""
SPREAD = 0.25
"""Of the logarithm of seconds a phoneme, from stretch to stretch; readers have 0.1 to 0.2."""
SMALL_SECONDS = 0.15
"""Added to both lengths: a word of 0.2 s may well take 0.4 s."""
BEAD_COST = 0.8
"""Of each stretch beyond the first on either side: matches one to one are likelier."""
SKIP_COST = 5.0
"""For speech without words, or words without speech, where text and recording differ."""
LONGEST_SECONDS = 20.0
PAUSE_REWARD = 1.5
"""For a long pause where a sentence ends, or a short one where a clause does."""
LONG_PAUSE_SECONDS = 0.45


@dataclass(frozen=True)
class Bead:
    """Speech and words that were matched.

    Attributes:
        start_seconds: Where the speech begins.
        end_seconds: Where it ends.
        first_word: Of the text.
        last_word: After the last one.
    """

    start_seconds: float
    end_seconds: float
    first_word: int
    last_word: int


def match_roughly(
    text: LongText, pauses: Sequence[tuple[float, float]], seconds: float
) -> list[Bead]:
    """Match the speech between pauses with the words between marks.

    Args:
        text: All that is said.
        pauses: Their starts and ends in seconds.
        seconds: Length of the recording.
    """
    stretches, silences = _find_stretches(pauses, seconds)
    clauses, marks = _find_clauses(text)
    lengths = np.asarray([end - start for start, end in stretches])
    counts = np.asarray([_count_units(text, first, last) for first, last in clauses], dtype=float)
    expected = counts * lengths.sum() / max(1.0, counts.sum())
    spoken = np.concatenate([[0.0], np.cumsum(lengths)])
    written = np.concatenate([[0.0], np.cumsum(expected)])
    band = _find_band(len(stretches), len(clauses))
    best: dict[tuple[int, int], tuple[float, tuple[int, int]]] = {(0, 0): (0.0, (0, 0))}
    for i in range(len(stretches) + 1):
        for j in band(i):
            options = [
                (best[place][0] + cost, place)
                for place, cost in _find_steps(i, j, spoken, written, silences, marks)
                if place in best
            ]
            if options:
                best[i, j] = min(options)
    return _trace(best, stretches, clauses)


def _find_stretches(
    pauses: Sequence[tuple[float, float]], seconds: float
) -> tuple[list[tuple[float, float]], list[float]]:
    """Return the speech between pauses, and how long it is quiet after each."""
    borders = [(0.0, 0.0), *pauses, (seconds, seconds)]
    stretches, silences = [], []
    for (_, start), (end, after) in pairwise(borders):
        if end - start > 0.04:
            stretches.append((start, end))
            silences.append(after - end if after < seconds else LONG_PAUSE_SECONDS)
    return stretches, silences


def _find_clauses(text: LongText) -> tuple[list[tuple[int, int]], list[Pause]]:
    """Return first and last word of what stands between marks, and what pause follows."""
    clauses, marks, first = [], [], 0
    for index, word in enumerate(text.words):
        is_last = index + 1 == len(text.words)
        has_units = any(other.units for other in text.words[first : index + 1])
        if (word.pause is not Pause.NONE and has_units) or is_last:
            clauses.append((first, index + 1))
            marks.append(Pause.PARAGRAPH if is_last else word.pause)
            first = index + 1
    return clauses, marks


def _count_units(text: LongText, first: int, last: int) -> int:
    return sum(len(word.units) for word in text.words[first:last])


def _find_band(rows: int, columns: int) -> Callable[[int], range]:
    """Return which clauses may end with a stretch: those around the same share of the whole."""
    half = max(40, 4 * MOST_TOGETHER, columns // 8)

    def band(row: int) -> range:
        middle = round(row * columns / max(1, rows))
        return range(max(0, middle - half), min(columns, middle + half) + 1)

    return band


def _find_steps(
    i: int,
    j: int,
    spoken: FloatArray,
    written: FloatArray,
    silences: Sequence[float],
    marks: Sequence[Pause],
) -> Iterator[tuple[tuple[int, int], float]]:
    """Give where a match that ends before stretch i and clause j may begin, and its cost."""
    if i:
        yield (i - 1, j), SKIP_COST
    if j:
        yield (i, j - 1), SKIP_COST
    if i and j:
        reward = _find_reward(silences[i - 1], marks[j - 1])
        for a in range(max(0, i - MOST_TOGETHER), i):
            for b in range(max(0, j - MOST_TOGETHER), j):
                seconds = spoken[i] - spoken[a]
                if seconds <= LONGEST_SECONDS or i - a == 1:
                    cost = _find_cost(seconds, written[j] - written[b], i - a, j - b)
                    yield (a, b), cost - reward


def _find_cost(spoken: float, written: float, stretches: int, clauses: int) -> float:
    ratio = np.log((spoken + SMALL_SECONDS) / (written + SMALL_SECONDS))
    # The longer, the surer: the spread of a mean falls with the root of what it is taken over.
    spread = SPREAD / np.sqrt(max(0.5, written / 2))
    return float((ratio / spread) ** 2 / 2 + BEAD_COST * (stretches + clauses - 2))


def _find_reward(silence: float, mark: Pause) -> float:
    is_long = silence >= LONG_PAUSE_SECONDS
    return PAUSE_REWARD if is_long == (mark >= Pause.SENTENCE) else 0.0


def _trace(
    best: dict[tuple[int, int], tuple[float, tuple[int, int]]],
    stretches: Sequence[tuple[float, float]],
    clauses: Sequence[tuple[int, int]],
) -> list[Bead]:
    place = (len(stretches), len(clauses))
    beads: list[Bead] = []
    while place in best and place != (0, 0):
        before = best[place][1]
        if place[0] == before[0] or place[1] == before[1]:
            place = before  # speech without words, or words that nobody says
            continue
        beads.append(
            Bead(
                stretches[before[0]][0],
                stretches[place[0] - 1][1],
                clauses[before[1]][0],
                clauses[place[1] - 1][1],
            )
        )
        place = before
    return beads[::-1]
