"""Who is heard beside whom, in which order and on which side. Knows no sound."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations


@dataclass(frozen=True)
class Pair:
    """Two systems that say a sentence.

    Attributes:
        sentence: Index of the sentence.
        left: Label of what is heard first.
        right: Label of the other one.
    """

    sentence: int
    left: str
    right: str


def plan_pairs(labels: Sequence[str], count: int, seed: int, most: int | None = None) -> list[Pair]:
    """Return pairs in the order in which they are heard.

    Each round has every sentence once, with another pair of systems in the next round, so that a
    sentence comes back late. Pairs of systems take turns: wherever the list is cut, they are as
    often in it, but for one. Of each pair of systems, each is as often at the left, but for one.

    Args:
        labels: Of the systems, two or more.
        count: Sentences.
        seed: Of the order.
        most: Pairs at most; all where it is None.
    """
    dice = random.Random(seed)
    systems = list(combinations(labels, 2))
    places = list(range(count))
    dice.shuffle(places)
    heard: list[tuple[int, tuple[str, str]]] = []
    for number in range(len(systems)):
        last = heard[-1][0] if heard else None
        heard += _plan_round(dice, systems, places, number, last)
    return _choose_sides(dice, systems, heard[:most])


def _plan_round(
    dice: random.Random,
    systems: Sequence[tuple[str, str]],
    places: Sequence[int],
    number: int,
    last: int | None,
) -> list[tuple[int, tuple[str, str]]]:
    """Return every sentence once, its pair of systems moved on by the round's number."""
    waiting: list[list[int]] = [[] for _ in systems]
    for place, sentence in enumerate(places):
        waiting[(place + number) % len(systems)].append(sentence)
    for sentences in waiting:
        dice.shuffle(sentences)
    planned: list[tuple[int, tuple[str, str]]] = []
    while any(waiting):
        turn = [index for index, sentences in enumerate(waiting) if sentences]
        dice.shuffle(turn)
        planned += [(waiting[index].pop(), systems[index]) for index in turn]
    # Nobody is to hear a sentence again at once.
    if len(planned) > 1 and planned[0][0] == last:
        planned[0], planned[1] = planned[1], planned[0]
    return planned


def _choose_sides(
    dice: random.Random,
    systems: Sequence[tuple[str, str]],
    heard: Sequence[tuple[int, tuple[str, str]]],
) -> list[Pair]:
    sides: dict[tuple[str, str], list[bool]] = {}
    for pair in systems:
        count = sum(other == pair for _, other in heard)
        half = (count + dice.randrange(2)) // 2
        sides[pair] = [True] * half + [False] * (count - half)
        dice.shuffle(sides[pair])
    return [
        Pair(sentence, *(pair if sides[pair].pop() else pair[::-1])) for sentence, pair in heard
    ]
