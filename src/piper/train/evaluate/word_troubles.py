"""What is wrong with the words of a text as it was said, in words for people. Hears nothing."""

from __future__ import annotations

from piper.train.aligner.units import Groups
from piper.train.evaluate.results import Trouble
from piper.train.phoneme_recogniser.words import SpokenWords

MOST_SKIPPED = 0.25
"""Of the words; recordings have 0.02 of theirs that the recogniser misses."""


def find_word_troubles(words: SpokenWords, groups: Groups, seconds: float) -> list[Trouble]:
    """Return the words that were skipped or said twice, and the ends that are missing.

    Args:
        words: How the text was said.
        groups: Units of the text.
        seconds: How long the speech is.
    """
    troubles = []
    for number in words.skipped:
        start, end = _find_gap(words, number, seconds)
        name = "".join(groups[number])
        troubles.append(Trouble("skipped_words", f"[{name}] was not said", start, end))
    for said in words.repeated:
        name = " ".join("".join(group) for group in groups[said.first : said.last + 1])
        message = f"[{name}] was said twice"
        troubles.append(Trouble("repeated_words", message, said.start_seconds, said.end_seconds))
    if not words.has_first:
        troubles.append(Trouble("lost_ends", "the first phoneme is missing", 0.0, 0.0))
    if not words.has_last:
        troubles.append(Trouble("lost_ends", "the last phoneme is missing", seconds, seconds))
    return troubles


def has_times(words: SpokenWords | None) -> bool:
    """Tell whether enough was said for times to mean something.

    Where most words are missing, the few others are laid over the sounds of all.
    """
    if words is None or not words.units:
        return False
    return len(words.skipped) <= MOST_SKIPPED * len(words.groups)


def _find_gap(words: SpokenWords, number: int, seconds: float) -> tuple[float, float]:
    """Return where a word that was not said should be: between those around it."""
    before = [span.end_seconds for span in words.groups[:number] if span is not None]
    after = [span.start_seconds for span in words.groups[number + 1 :] if span is not None]
    return (before[-1] if before else 0.0, after[0] if after else seconds)
