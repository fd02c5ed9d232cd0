"""Sentences' values to a system's figures, and to differences of systems. Measures no speech."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from piper.train.evaluate.results import (
    SCORES,
    Comparison,
    Figure,
    Group,
    Kind,
    Score,
    SpokenSentence,
    System,
)
from piper.train.evaluate.statistics import find_difference, summarise

WEIGHTS = {"per": "phonemes", "wer": "words", "cer": "letters"}
"""What a sentence's rate is weighted by, so that all errors are divided by the count of all."""


def create_system(
    label: str,
    source: Path | None,
    spoken: Sequence[SpokenSentence],
    cost: Mapping[str, Figure],
    details: Mapping[str, str],
) -> System:
    """Return a system with the figures of its sentences; words and letters stand apart."""
    sentences = [one for one in spoken if one.sentence.kind is Kind.SENTENCE]
    names = {name for one in sentences for name in one.values}
    figures = {}
    for name in sorted(names, key=_rank):
        having = [one for one in sentences if name in one.values]
        values = [one.values[name] for one in having]
        figures[name] = summarise(values, _find_weights(name, having))
    return System(label, source, tuple(spoken), {**figures, **cost}, details)


def compare_systems(systems: Sequence[System], scores: Sequence[Score]) -> list[Comparison]:
    """Return each system after the first beside the first, by every score of sentences."""
    return [
        comparison
        for other in systems[1:]
        for score in scores
        if score.group is not Group.COST
        for comparison in [_compare(systems[0], other, score)]
        if comparison is not None
    ]


def _compare(first: System, second: System, score: Score) -> Comparison | None:
    ours, theirs = ({one.sentence.name: one for one in system.spoken} for system in (first, second))
    names = [
        name
        for name, one in ours.items()
        if one.sentence.kind is Kind.SENTENCE
        and name in theirs
        and score.name in one.values
        and score.name in theirs[name].values
    ]
    if not names:
        return None
    pairs = [(ours[name], theirs[name]) for name in names]
    difference, low, high = find_difference(
        [one.values[score.name] for one, _ in pairs],
        [other.values[score.name] for _, other in pairs],
        _find_weights(score.name, [one for one, _ in pairs]),
    )
    better = None
    if low is not None and high is not None and (low > 0 or high < 0):
        is_first = score.is_lower_better is (low > 0)
        better = None if score.is_lower_better is None else (first if is_first else second).label
    return Comparison(
        first.label, second.label, score.name, difference, low, high, better, len(names)
    )


def find_scores(systems: Sequence[System]) -> list[Score]:
    """Return the scores that any system has, in the order of tables."""
    names = {name for system in systems for name in system.figures}
    return [create_score(name) for name in sorted(names, key=_rank)]


def create_score(name: str) -> Score:
    """Return a score by name; one that a user plugged in is an opinion, higher is better."""
    return SCORES.get(name) or Score(name, name, "", Group.QUALITY, False)


def _rank(name: str) -> tuple[int, str]:
    names = list(SCORES)
    return (names.index(name), "") if name in SCORES else (len(names), name)


def _find_weights(name: str, spoken: Sequence[SpokenSentence]) -> list[float] | None:
    key = WEIGHTS.get(name)
    return None if key is None else [one.sizes.get(key, 1.0) for one in spoken]
