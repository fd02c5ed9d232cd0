"""Where a long recording is cut: pieces of 2 to 12 s, in pauses, each with its words and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from piper.train.aligner.aligner import Alignment, GroupSpan
from piper.train.aligner.features import FRAME_SECONDS
from piper.train.splitting.long_text import LongText, Pause

LEAST_SECONDS = 2.0
MOST_SECONDS = 12.0
LEAST_GAP_SECONDS = 0.12
"""Of silence between two words that are cut apart: in less a sound would be cut."""
KEEP_SECONDS = 0.3
"""Of silence on either side of a piece; training trims it to what it wants."""
TOO_LONG_COST, TOO_SHORT_COST = 4.0, 6.0
"""For each second too much or too little: more than any cut is worth."""
GAP_WORTH = {Pause.NONE: -1.0, Pause.CLAUSE: -0.4, Pause.SENTENCE: 2.0, Pause.PARAGRAPH: 2.5}
EDGE_FRAMES = 4
LEAST_UNWRITTEN_SECONDS = 0.3
"""Loud that long inside a pause is speech without a text; less is a breath or a click."""
UNWRITTEN_WORTH = 6.0
"""Of a cut where something is said that the text lacks: no piece should hold it."""
SECONDS_WORTH = 1.0
"""For each second of a pause, up to one."""


@dataclass(frozen=True)
class Piece:
    """An utterance to be.

    Attributes:
        start_seconds: Where it begins in the long recording, silence included.
        end_seconds: Where it ends.
        first_word: Of the text.
        last_word: After its last one.
        text: What is said.
        score: How well the text fits; 0 at best.
        doubt: Why it should be listened to; None where nothing speaks against it.
    """

    start_seconds: float
    end_seconds: float
    first_word: int
    last_word: int
    text: str
    score: float = 0.0
    doubt: str | None = None

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end_seconds - self.start_seconds


@dataclass(frozen=True)
class Gap:
    """A pause between two words, where a cut may be.

    Attributes:
        word: The first one after it; 0 before the first of all.
        start_seconds: Where the word before ends.
        end_seconds: Where that word begins.
        pause: What the text has there.
        quiet_until_seconds: From `start_seconds` on it is quiet up to here; then, where that is not
            `end_seconds`, something is said that the text lacks.
        quiet_from_seconds: From here on it is quiet up to `end_seconds`.
    """

    word: int
    start_seconds: float
    end_seconds: float
    pause: Pause
    quiet_until_seconds: float
    quiet_from_seconds: float

    @property
    def worth(self) -> float:
        """How good a place to cut it is; below 0 it is only cut where a piece would be too long."""
        length = min(1.0, self.end_seconds - self.start_seconds)
        worth = GAP_WORTH[self.pause] + SECONDS_WORTH * length
        return worth + UNWRITTEN_WORTH * (self.quiet_until_seconds < self.end_seconds)


def find_gaps(
    text: LongText,
    spans: Sequence[GroupSpan | None],
    is_loud: npt.NDArray[np.bool_],
) -> list[Gap]:
    """Return where cuts may be, both ends of the recording included.

    Args:
        text: Its words.
        spans: Where each word lies; None for those that take no time.
        is_loud: (T,) whether a frame of the recording is loud.
    """
    seconds = len(is_loud) * FRAME_SECONDS
    spoken = [(index, span) for index, span in enumerate(spans) if span is not None]
    gaps = [_create_gap(0, 0.0, spoken[0][1].start_seconds, Pause.PARAGRAPH, is_loud)]
    for (before, left), (after, right) in pairwise(spoken):
        if right.start_seconds - left.end_seconds >= LEAST_GAP_SECONDS:
            pause = max(word.pause for word in text.words[before:after])
            # Words that take no time go with what was said before them.
            gaps.append(_create_gap(after, left.end_seconds, right.start_seconds, pause, is_loud))
    last = spoken[-1][1].end_seconds
    gaps.append(_create_gap(len(text.words), last, seconds, Pause.PARAGRAPH, is_loud))
    return gaps


def _create_gap(
    word: int, start: float, end: float, pause: Pause, is_loud: npt.NDArray[np.bool_]
) -> Gap:
    first, last = round(start / FRAME_SECONDS), round(end / FRAME_SECONDS)
    loud = np.flatnonzero(is_loud[first:last])
    # A word's last sounds, and the next one's first, may be louder than the threshold.
    inner = loud[(loud >= EDGE_FRAMES) & (loud < last - first - EDGE_FRAMES)]
    if len(inner) * FRAME_SECONDS < LEAST_UNWRITTEN_SECONDS:
        return Gap(word, start, end, pause, end, start)
    until, begin = (first + int(frame) for frame in (inner[0], inner[-1] + 1))
    return Gap(word, start, end, pause, until * FRAME_SECONDS, begin * FRAME_SECONDS)


def choose_cuts(gaps: Sequence[Gap]) -> list[Gap]:
    """Return the gaps to cut in: most worth, with pieces of `LEAST_SECONDS` to `MOST_SECONDS`.

    The first and the last are always among them.
    """
    best: list[tuple[float, int]] = [(0.0, -1)]
    for place in range(1, len(gaps)):
        options = []
        for before in range(place - 1, -1, -1):
            start, end = find_edges(gaps[before], gaps[place])
            cost = _find_cost(end - start)
            options.append((best[before][0] + gaps[place].worth - cost, before))
            if end - start > 2 * MOST_SECONDS:
                break
        best.append(max(options))
    chosen, place = [], len(gaps) - 1
    while place >= 0:
        chosen.append(gaps[place])
        place = best[place][1]
    return chosen[::-1]


def _find_cost(seconds: float) -> float:
    too_long, too_short = max(0.0, seconds - MOST_SECONDS), max(0.0, LEAST_SECONDS - seconds)
    is_off = 3.0 * (too_long > 0 or too_short > 0)
    return TOO_LONG_COST * too_long + TOO_SHORT_COST * too_short + is_off


def find_edges(left: Gap, right: Gap) -> tuple[float, float]:
    """Return where a piece between two gaps begins and ends, in seconds.

    It keeps `KEEP_SECONDS` of silence on either side, or half of a shorter one; nothing of what is
    said there that the text lacks.
    """
    start = max(left.end_seconds - KEEP_SECONDS, left.quiet_from_seconds, _middle(left))
    end = min(right.start_seconds + KEEP_SECONDS, right.quiet_until_seconds, _middle(right))
    return start, end


def create_pieces(text: LongText, cuts: Sequence[Gap]) -> list[Piece]:
    """Return the pieces between cuts."""
    pieces = []
    for left, right in pairwise(cuts):
        start, end = find_edges(left, right)
        excerpt = text.excerpt(left.word, right.word)
        pieces.append(Piece(round(start, 3), round(end, 3), left.word, right.word, excerpt))
    return pieces


def _middle(gap: Gap) -> float:
    """Return where two pieces meet that are cut in a gap."""
    return (gap.start_seconds + gap.end_seconds) / 2


def score_piece(piece: Piece, alignment: Alignment) -> Piece:
    """Return a piece with its score."""
    first, last = (round(s / FRAME_SECONDS) for s in (piece.start_seconds, piece.end_seconds))
    part = slice(first, last)
    own = Alignment(
        alignment.units[part],
        alignment.groups[part],
        alignment.scores[part],
        alignment.num_groups,
        alignment.states[part],
    )
    return replace(piece, score=round(own.score, 3))


def find_wrong_score(scores: np.ndarray) -> float:
    """Return the score below which a piece is doubted, from those of all.

    Six spreads below the median, the spread taken from the better half, since wrong texts lie in
    the other: 0.5 below it at least, 1.2 at most.
    """
    middle = float(np.median(scores))
    spread = 1.4826 * float(np.median(scores[scores >= middle] - middle))
    return middle - float(np.clip(6 * spread, 0.5, 1.2))
