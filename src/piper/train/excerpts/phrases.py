"""Where a recording's short phrases lie, and what is written for them. Opens no file."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from piper.train.aligner.aligner import GroupSpan
from piper.train.aligner.features import FRAME_SECONDS
from piper.train.splitting.long_text import LongText, Pause
from piper.train.splitting.pieces import Gap, find_gaps
from piper.train.splitting.split import BORDER_SCORE, is_squeezed

LEAST_SECONDS, MOST_SECONDS = 0.25, 3.0
"""Of speech: less is a word that was swallowed, more is no short utterance any more."""
LEAST_KEPT_SECONDS, MOST_KEPT_SECONDS = 0.15, 0.3
"""Of silence on either side; training keeps a quarter of a second."""
NEIGHBOUR_SECONDS = 0.05
"""Of silence that is left to the word beyond: the aligner hears every 20 ms, and a word's last
sound fades away below the threshold of speech."""
LEAST_EDGE_UNITS = 2
"""Of the words on either side of both pauses. A single sound, such as "и", may have been said on
the other side of its pause: that was so in all 4 of 290 excerpts of festvox-ru that had a syllable
too many or too few."""
FULL_STOP = "."
OTHER_STOPS = frozenset("?!？！؟")
"""Marks of a sentence's end that say how it is spoken; they stay."""
ENCLOSING = frozenset('«»„“”"()[]{}<>「」『』|')
"""Inside a phrase, what they enclose reaches beyond it."""


@dataclass(frozen=True)
class Phrase:
    """A few words between two pauses.

    Attributes:
        start_seconds: Where it begins in its recording, silence included.
        end_seconds: Where it ends.
        num_words: That are spoken.
        text: Exactly these words.
        score: Mean of the aligner's scores over their frames; 0 at best.
        ends_sentence: Whether the text has the end of a sentence after them.
    """

    start_seconds: float
    end_seconds: float
    num_words: int
    text: str
    score: float
    ends_sentence: bool


def find_phrases(
    text: LongText,
    spans: Sequence[GroupSpan | None],
    is_loud: npt.NDArray[np.bool_],
    *,
    most_words: int,
    has_own_marks: bool = False,
) -> Iterator[Phrase]:
    """Give the phrases of a recording, in order; a recording that is one phrase has none.

    Args:
        text: What is said in the recording.
        spans: Where each word lies; None for those that take no time.
        is_loud: (T,) whether a frame of the recording is loud.
        most_words: Of a phrase.
        has_own_marks: Whether texts end as they stand, instead of in a full stop.
    """
    if not any(spans):
        return
    gaps = (_hear(gap, len(text.words), is_loud) for gap in find_gaps(text, spans, is_loud))
    pauses = [gap for gap in gaps if gap is not None]
    spoken = [number for number, span in enumerate(spans) if span is not None]
    for left, right in pairwise(pauses):
        numbers = [number for number in spoken if left.word <= number < right.word]
        speech_seconds = right.start_seconds - left.end_seconds
        if not 0 < len(numbers) <= most_words or numbers == spoken:
            continue
        if not LEAST_SECONDS <= speech_seconds <= MOST_SECONDS:
            continue
        written = _write(text, left.word, right.word, has_own_marks)
        if written and not _are_doubtful(text, spans, numbers):
            yield Phrase(
                round(left.end_seconds - left.kept_before_seconds, 3),
                round(right.start_seconds + right.kept_after_seconds, 3),
                len(numbers),
                written,
                _score(spans, numbers),
                text.words[right.word - 1].pause >= Pause.SENTENCE,
            )


@dataclass(frozen=True)
class _QuietGap:
    """A pause in which a phrase may begin or end.

    Attributes:
        word: The first one after it.
        start_seconds: Where the word before ends.
        end_seconds: Where that word begins.
        kept_before_seconds: Of silence that a phrase which begins here keeps.
        kept_after_seconds: Of silence that one which ends here keeps.
    """

    word: int
    start_seconds: float
    end_seconds: float
    kept_before_seconds: float
    kept_after_seconds: float


def _hear(gap: Gap, num_words: int, is_loud: npt.NDArray[np.bool_]) -> _QuietGap | None:
    """Return a gap that is quiet for long enough next to both of its words, else None.

    A recording's own beginning and end are as good, however little silence is left there.
    """
    first, last = (round(s / FRAME_SECONDS) for s in (gap.start_seconds, gap.end_seconds))
    loud = np.flatnonzero(is_loud[first:last])
    # Where nothing is loud the silence reaches from word to word.
    after, before = (loud[0], last - first - 1 - loud[-1]) if len(loud) else (last - first,) * 2
    is_end = gap.word in (0, num_words)
    left_seconds = 0.0 if is_end else NEIGHBOUR_SECONDS
    kept = [
        min(MOST_KEPT_SECONDS, float(frames) * FRAME_SECONDS - left_seconds)
        for frames in (before, after)
    ]
    if min(kept) < LEAST_KEPT_SECONDS and not is_end:
        return None
    return _QuietGap(gap.word, gap.start_seconds, gap.end_seconds, *kept)


def _are_doubtful(
    text: LongText, spans: Sequence[GroupSpan | None], numbers: Sequence[int]
) -> bool:
    """Tell whether a word is heard badly or hardly at all, or may be said beyond a pause."""
    before = next((word for word in text.words[: numbers[0]][::-1] if word.units), None)
    after = next((word for word in text.words[numbers[-1] + 1 :] if word.units), None)
    edges = (before, text.words[numbers[0]], text.words[numbers[-1]], after)
    if any(word is not None and len(word.units) < LEAST_EDGE_UNITS for word in edges):
        return True
    return any(
        span.score < BORDER_SCORE or is_squeezed(text.words[number], span)
        for number in numbers
        if (span := spans[number]) is not None
    )


def _score(spans: Sequence[GroupSpan | None], numbers: Sequence[int]) -> float:
    own = [span for number in numbers if (span := spans[number]) is not None]
    seconds = [span.end_seconds - span.start_seconds for span in own]
    return round(float(np.average([span.score for span in own], weights=seconds)), 3)


def _write(text: LongText, first: int, last: int, has_own_marks: bool) -> str:
    """Return the text of the words `first` to `last - 1`; empty where it cannot be told."""
    written = text.excerpt(first, last)
    bare = _strip_marks(written)
    if not bare or ENCLOSING & set(bare):
        return ""
    ending = written[written.rindex(bare) + len(bare) :]
    if has_own_marks:
        # A bracket or quote that closes was opened before the phrase.
        return bare + "".join(sign for sign in ending if sign not in ENCLOSING).rstrip(" -–—")
    return bare + next((sign for sign in ending if sign in OTHER_STOPS), FULL_STOP)


def _strip_marks(text: str) -> str:
    """Return a text from its first letter or digit to its last one, signs of stress included."""
    places = [
        place
        for place, sign in enumerate(text)
        if sign.isalnum() or unicodedata.category(sign)[0] == "M"
    ]
    if not places:
        return ""
    start = places[0] - (places[0] > 0 and text[places[0] - 1] == "+")
    return text[start : places[-1] + 1]
