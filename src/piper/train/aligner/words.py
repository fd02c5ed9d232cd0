"""Which words of a text were said, skipped or repeated, and where.

A word was skipped where the text without it is likelier to have been said than the text with it;
repeated where the text that has it twice is. So is it with the first and the last phoneme. How
likely a text is all ways through it say together (connectionist temporal classification).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import ctc_loss

from piper.errors import DatasetError
from piper.train.aligner.aligner import Groups, GroupSpan, UnitSpan
from piper.train.aligner.recogniser import PhonemeRecogniser
from piper.train.data.audio import FloatArray

SKIPPED_GAIN = 3.0
"""Nats by which the text without a word must be likelier. Of 150 words that were cut out of held-
out recordings of festvox-ru 146 reach it, and 2 of 435 that were left alone: both times espeak-ng
had written the letter's name for the preposition. With 1 they are 148 and 9, with 5 141 and 2."""
REPEATED_GAIN = 1.0
"""The same of the text with words twice: 134 of 150 that were doubled, the others but one of three
units at most, and none of 1,215 places that were left alone. With 3 they are 127."""
END_GAIN = 2.0
"""The same of the text without its first or last unit: 41 of 60 that were cut off, and 1 of 60 that
were left alone. A neighbour often still tells of a vowel that was cut. With 1 they are 45 and 2."""
MAX_REPETITION = 3
"""Groups that are looked for twice in a row."""
TEXTS_AT_ONCE = 64
IMPOSSIBLE = -1e4
"""A unit, of a text for which there are too few frames: the shorter one is better."""


@dataclass(frozen=True)
class Repetition:
    """Words that were said once more.

    Attributes:
        first: Number of the first group.
        last: Number of the last one.
        start_seconds: Where they are said again.
        end_seconds: Where that ends.
    """

    first: int
    last: int
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class SpokenWords:
    """How a text was said.

    Attributes:
        skipped: Numbers of groups that were not said.
        repeated: What was said twice.
        has_first: Whether the text's first unit was said.
        has_last: Whether its last one was.
        groups: Where each group lies; None where it was skipped, or has no unit that is known.
        units: Where each unit lies, in order; those of repetitions are left out.
    """

    skipped: tuple[int, ...]
    repeated: tuple[Repetition, ...]
    has_first: bool
    has_last: bool
    groups: tuple[GroupSpan | None, ...]
    units: tuple[UnitSpan, ...]


def find_spoken_words(
    groups: Groups, samples: FloatArray, recogniser: PhonemeRecogniser
) -> SpokenWords:
    """Return how a text was said, by samples at 16,000 Hz; unknown units are left out."""
    scorer = _TextScorer(
        recogniser.compute_log_probabilities(samples), groups, recogniser.inventory
    )
    whole = [number for number in range(len(groups)) if scorer.units[number]]
    said = _leave_out(scorer, whole)
    skipped = tuple(number for number in whole if number not in said)
    order = _double(scorer, said)
    has_first, has_last = _find_ends(scorer, order)
    has_first = has_first and whole[:1] == said[:1]
    has_last = has_last and whole[-1:] == said[-1:]
    repeated, spans, units = _lay(groups, order, samples, recogniser)
    return SpokenWords(skipped, repeated, has_first, has_last, spans, units)


class _TextScorer:
    """Says how likely texts are, given the sound.

    Attributes:
        units: Numbers of each group's units.
    """

    def __init__(self, log_probs: FloatArray, groups: Groups, inventory: Sequence[str]) -> None:
        self._log_probs = torch.from_numpy(log_probs)
        numbers = {unit: number for number, unit in enumerate(inventory)}
        self.units = [[numbers[unit] for unit in group if unit in numbers] for group in groups]

    def spell(self, order: Sequence[int]) -> list[int]:
        """Return the numbers of the units of groups in this order."""
        return [unit for number in order for unit in self.units[number]]

    def score(self, texts: Sequence[Sequence[int]]) -> FloatArray:
        """Return the log likelihood of each text, (N,)."""
        scores = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            some = texts[start : start + TEXTS_AT_ONCE]
            frames = len(self._log_probs)
            loss = ctc_loss(
                self._log_probs.unsqueeze(1).expand(-1, len(some), -1),
                torch.tensor([unit for text in some for unit in text], dtype=torch.long),
                torch.full((len(some),), frames),
                torch.tensor([len(text) for text in some]),
                reduction="none",
            )
            lengths = torch.tensor([float(len(text)) for text in some])
            scores.append(torch.where(loss.isfinite(), -loss, IMPOSSIBLE * lengths).numpy())
        return np.concatenate(scores)


def _leave_out(scorer: _TextScorer, order: Sequence[int]) -> list[int]:
    """Return the groups without those that were skipped, the surest first."""
    said = list(order)
    while said:
        shorter = [said[:place] + said[place + 1 :] for place in range(len(said))]
        scores = scorer.score([scorer.spell(some) for some in [said, *shorter]])
        best = int(scores[1:].argmax())
        if scores[1 + best] - scores[0] < SKIPPED_GAIN:
            break
        said = shorter[best]
    return said


def _double(scorer: _TextScorer, order: Sequence[int]) -> list[int]:
    """Return the groups with those twice that were said twice."""
    said = list(order)
    for _ in range(len(order)):
        longer = [
            said[: place + length] + said[place:]
            for length in range(1, MAX_REPETITION + 1)
            for place in range(len(said) - length + 1)
        ]
        scores = scorer.score([scorer.spell(some) for some in [said, *longer]])
        best = int(scores[1:].argmax()) if longer else 0
        if not longer or scores[1 + best] - scores[0] < REPEATED_GAIN:
            break
        said = longer[best]
    return said


def _find_ends(scorer: _TextScorer, order: Sequence[int]) -> tuple[bool, bool]:
    """Return whether the first and the last unit were said."""
    units = scorer.spell(order)
    if not units:
        return False, False
    whole, no_first, no_last = scorer.score([units, units[1:], units[:-1]])
    return bool(no_first - whole < END_GAIN), bool(no_last - whole < END_GAIN)


def _lay(
    groups: Groups, order: Sequence[int], samples: FloatArray, recogniser: PhonemeRecogniser
) -> tuple[tuple[Repetition, ...], tuple[GroupSpan | None, ...], tuple[UnitSpan, ...]]:
    """Return where repetitions, groups and units lie, the groups said in this order."""
    spans: list[GroupSpan | None] = [None] * len(groups)
    aligner = recogniser.aligner
    try:
        alignment = aligner.align(
            aligner.score_frames(samples), tuple(groups[number] for number in order)
        )
    except DatasetError:  # too short for its text
        return (), tuple(spans), ()
    found = alignment.find_spans()
    # What is said again stands before what counts: the last time is the one that goes on.
    last = {number: place for place, number in enumerate(order)}
    repeated: list[Repetition] = []
    for place, number in enumerate(order):
        span = found[place]
        if last[number] == place:
            spans[number] = span
        elif span is not None:
            before = repeated[-1] if repeated else None
            if before is not None and before.last == number - 1 and last[before.last] > place:
                start = before.start_seconds
                repeated[-1] = Repetition(before.first, number, start, span.end_seconds)
            else:
                repeated.append(Repetition(number, number, span.start_seconds, span.end_seconds))
    units = tuple(
        UnitSpan(unit.unit, order[unit.group], unit.start_seconds, unit.end_seconds)
        for unit in alignment.find_unit_spans()
        if last[order[unit.group]] == unit.group
    )
    return tuple(repeated), tuple(spans), units
