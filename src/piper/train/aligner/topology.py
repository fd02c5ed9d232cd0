"""A text as a row of states that speech passes through. Knows no audio, no network.

The states are silence, the units of the first group, silence, those of the second, …, silence.
Every unit takes one frame at least; every silence may be passed over. That is a hidden Markov
model from left to right (Rabiner 1989, section IV) whose states are all heard. A silence may also
be open to speech that the text lacks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from piper.train.aligner.units import Groups

IntArray = npt.NDArray[np.int64]

OPEN_SILENCE = -1
"""The unit of a silence in which something may be said that the text lacks."""


@dataclass(frozen=True)
class Topology:
    """The states of a text.

    Attributes:
        units: (S,) numbers of the inventory; 0 and `OPEN_SILENCE` may be passed over.
        groups: (S,) number of the group; silence has that of the group after it.
    """

    units: IntArray
    groups: IntArray

    def __len__(self) -> int:
        return len(self.units)

    @property
    def is_speech(self) -> npt.NDArray[np.bool_]:
        """(S,) which states are units of words."""
        return self.units > 0

    @property
    def least_frames(self) -> int:
        """Frames that the text takes at least."""
        return int(self.is_speech.sum())


def create_topology(
    groups: Groups, numbers: Mapping[str, int], open_gaps: Collection[int] = ()
) -> Topology:
    """Return the states of a text.

    Args:
        groups: Its units.
        numbers: Unit to its number; units that it lacks are left out.
        open_gaps: Groups before which something may be said that the text lacks; the number of
            groups stands for the end.
    """
    units, places = [OPEN_SILENCE if 0 in open_gaps else 0], [0]
    for place, group in enumerate(groups):
        known = [numbers[unit] for unit in group if unit in numbers]
        if known:
            units += [*known, OPEN_SILENCE if place + 1 in open_gaps else 0]
            places += [*([place] * len(known)), place + 1]
    return Topology(np.asarray(units, dtype=np.int64), np.asarray(places, dtype=np.int64))
