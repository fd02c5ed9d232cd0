"""Which sentences are the worst of an evaluation, and by what. Measures nothing."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from piper.train.evaluate.results import Evaluation, Group, Kind, Score, Sentence, System

STANDS_OUT = 0.9
"""Share of the sentences that are better in a score, from which a sentence stands out by it."""
MOST_NAMED = 3
NO_CONCERN = 0.5
"""What a sentence gets that nothing is known of: it is neither good nor bad."""
ORDER = (
    "The worst sentences come first: in each score that has a better end (cost left out) the "
    "sentences of a voice are ranked, and a sentence's place is the mean of its ranks. Quality, "
    "intelligibility, likeness and trouble count alike, and so do the voices."
)
"""How sentences are ordered, in words."""


@dataclass(frozen=True)
class RankedSentence:
    """A sentence and how bad it is beside the others.

    Attributes:
        sentence: Which one.
        badness: 0 for the best of all in everything, 1 for the worst.
        stands_out: Label and score of what it is worst in, the worst first.
    """

    sentence: Sentence
    badness: float
    stands_out: tuple[tuple[str, Score], ...]


def rank_sentences(evaluation: Evaluation) -> list[RankedSentence]:
    """Return the sentences that systems spoke, the worst first; no words and letters."""
    sentences: dict[str, Sentence] = {}
    ranks: defaultdict[str, list[float]] = defaultdict(list)
    found: defaultdict[str, list[tuple[float, str, Score]]] = defaultdict(list)
    for system in evaluation.systems:
        sentences |= {
            spoken.sentence.name: spoken.sentence
            for spoken in system.spoken
            if spoken.sentence.kind is Kind.SENTENCE
        }
        groups: defaultdict[str, defaultdict[Group, list[float]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for score in evaluation.scores:
            for name, rank in _rank(system, score).items():
                groups[name][score.group].append(rank)
                if rank >= STANDS_OUT:
                    found[name].append((rank, system.label, score))
        for name, by_group in groups.items():
            ranks[name].append(float(np.mean([np.mean(some) for some in by_group.values()])))
    ranked = [
        RankedSentence(
            sentence,
            float(np.mean(ranks.get(name, [NO_CONCERN]))),
            tuple(
                (label, score)
                for _, label, score in sorted(found[name], key=lambda one: -one[0])[:MOST_NAMED]
            ),
        )
        for name, sentence in sentences.items()
    ]
    return sorted(ranked, key=lambda one: -one.badness)


def _rank(system: System, score: Score) -> Mapping[str, float]:
    """Return sentences' ranks by a score, 0 (best) to 1; equal ones share the mean of theirs.

    Nothing where the score has no better end, or all sentences are alike.
    """
    if score.is_lower_better is None or score.group is Group.COST:
        return {}
    values = {
        spoken.sentence.name: value
        for spoken in system.spoken
        if spoken.sentence.kind is Kind.SENTENCE
        and math.isfinite(value := spoken.values.get(score.name, math.nan))
    }
    array = np.array(list(values.values())) * (1 if score.is_lower_better else -1)
    distinct, places, counts = np.unique(array, return_inverse=True, return_counts=True)
    if len(distinct) < 2:
        return {}
    means = np.cumsum(counts) - (counts + 1) / 2
    ranks = means[places] / (len(array) - 1)
    return dict(zip(values, ranks.tolist(), strict=True))
