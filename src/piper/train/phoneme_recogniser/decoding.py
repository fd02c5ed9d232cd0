"""How likely each unit is at each frame, to the likeliest units. Knows no audio, no network.

Graves et al. 2006, section 3.2, and the prefix search of Hannun et al. 2014. Which unit follows
which may be weighed in, lightly: what knows the language well hears what should have been said, and
a voice's mistakes with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from piper.train.data.audio import FloatArray

BLANK = 0
BEAM = 8
LEAST_SHARE = 0.003
"""A unit that is less likely at a frame is not tried there."""
FOLLOWER_COUNT = 1.0
"""By which a unit's followers are counted before any was seen."""


@dataclass(frozen=True)
class Followers:
    """Which unit follows which in texts, and how much that counts beside what is heard.

    Attributes:
        log_probabilities: (U, U) of the unit after each unit; row 0 is the beginning.
        weight: By which they are multiplied.
        gain: Nats that each unit is given for it, lest there be fewer with every weight.
    """

    log_probabilities: FloatArray
    weight: float
    gain: float = 0.0


def count_followers(texts: Sequence[Sequence[int]], num_units: int) -> FloatArray:
    """Return (U, U) log probabilities of the unit after each unit; row 0 is the beginning."""
    counts = np.full((num_units, num_units), FOLLOWER_COUNT)
    for text in texts:
        np.add.at(counts, ([0, *text[:-1]], list(text)), 1.0)
    counts[:, BLANK] = 0.0
    shares = counts / counts.sum(axis=1, keepdims=True)
    result: FloatArray = np.log(np.maximum(shares, 1e-10)).astype(np.float32)
    return result


def decode(heard: FloatArray, followers: Followers | None = None) -> list[int]:
    """Return the likeliest units.

    Args:
        heard: (T, U) log probabilities, of the blank first.
        followers: None takes the likeliest of each frame alone.
    """
    if followers is None:
        best = heard.argmax(axis=1)
        is_new = np.diff(best, prepend=BLANK) != 0
        return [int(unit) for unit in best[is_new] if unit != BLANK]
    return list(_search(heard, followers))


def _search(heard: FloatArray, followers: Followers) -> tuple[int, ...]:
    # Of each prefix: log probability of its ways that end in a blank, and in its last unit.
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}
    gains = followers.weight * followers.log_probabilities + followers.gain
    least = math.log(LEAST_SHARE)
    for row in heard:
        tried = [int(unit) for unit in np.flatnonzero(row > least) if unit != BLANK]
        blank = float(row[BLANK])
        grown: dict[tuple[int, ...], list[float]] = {}
        for prefix, (silent, sounding) in beam.items():
            both = _add(silent, sounding)
            own = grown.setdefault(prefix, [-math.inf, -math.inf])
            own[0] = _add(own[0], both + blank)
            last = prefix[-1] if prefix else BLANK
            if prefix:
                own[1] = _add(own[1], sounding + float(row[last]))
            for unit in tried:
                source = silent if unit == last else both
                if source == -math.inf:
                    continue
                longer = grown.setdefault((*prefix, unit), [-math.inf, -math.inf])
                gain = float(row[unit]) + float(gains[last, unit])
                longer[1] = _add(longer[1], source + gain)
        ranked = sorted(grown.items(), key=lambda item: -_add(*item[1]))[:BEAM]
        beam = {prefix: (pair[0], pair[1]) for prefix, pair in ranked}
    return max(beam, key=lambda prefix: _add(*beam[prefix]))


def _add(left: float, right: float) -> float:
    """Return the logarithm of the sum of two probabilities."""
    if left < right:
        left, right = right, left
    return left if right == -math.inf else left + math.log1p(math.exp(right - left))
