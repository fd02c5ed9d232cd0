"""Whether a text is what its recording says, by how well the aligner could lay it over it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from piper.train.check.entries import Entry, FitMeasures
from piper.train.check.findings import Finding, Group, Severity, create_rule

OTHER_SHARE = 0.45
POOR_SHARE = 0.6
"""Of 620 recordings of festvox-ru the worst has 0.68, of 554 telephone prompts 5 have less than
0.6; with texts swapped between recordings of equal length the best of 399 had 0.30."""
LEAST_UNITS = 8
"""Phonemes from which on a text can be told from another; below, it may sound much like it."""
WORDS_TIMES = 1.5
"""Half a second so much worse than a wrong text is on the whole: words are missing there."""

_rule = partial(create_rule, Group.MATCH)

OTHER_TEXT = _rule(
    "other-text",
    Severity.ERROR,
    "The text is not what is said",
    f"fits by less than {OTHER_SHARE:.0%} (100 %: as usual in this set, 0 %: as the text of "
    f"another recording), {LEAST_UNITS} phonemes and more",
    "Listen, and give the recording its own text, or remove the line.",
)
POOR_FIT = _rule(
    "poor-fit",
    Severity.WARNING,
    "The text may not be what is said",
    f"fits by less than {POOR_SHARE:.0%}",
    "Listen, and compare word by word.",
)
WORDS_OFF = _rule(
    "words-off",
    Severity.WARNING,
    "Words are missing in the text or in the recording",
    f"half a second that fits {WORDS_TIMES:g} times worse than a wrong text does on the whole",
    "Listen to the marked part, and write what is said.",
)
RULES = (OTHER_TEXT, POOR_FIT, WORDS_OFF)


def find_in_fits(entries: Sequence[Entry], measures: FitMeasures | None) -> list[Finding]:
    """Return texts that do not fit; nothing where no aligner was made."""
    return [] if measures is None else list(_find(entries, measures))


def _find(entries: Sequence[Entry], measures: FitMeasures) -> Iterator[Finding]:
    for entry in entries:
        fit = measures.fits.get(entry.line)
        if fit is None:
            continue
        share = measures.find_share(fit.score)
        span = (fit.worst_start, fit.worst_end)
        if share < POOR_SHARE:
            is_other = share < OTHER_SHARE and fit.num_units >= LEAST_UNITS
            message = f"fits by {max(0.0, share):.0%}"
            likely = measures.likely_lines.get(entry.line)
            if likely is not None:
                message += f"; the text of line {likely} fits here"
            rule = OTHER_TEXT if is_other else POOR_FIT
            yield Finding(rule, message, entry.line, entry.name, 1 - share, None, likely)
        elif fit.worst_score < WORDS_TIMES * measures.wrong_score:
            message = f"around {span[0]:.1f} to {span[1]:.1f} s"
            yield Finding(WORDS_OFF, message, entry.line, entry.name, -fit.worst_score, span)


def describe_fits(measures: FitMeasures | None) -> str:
    """Return a line for the facts of the set."""
    if measures is None:
        return "not measured (there is too little speech for an aligner to learn on)"
    count = len(measures.fits)
    return (
        f"{count} aligned; score {measures.usual_score:.2f} in the median, "
        f"{measures.wrong_score:.2f} with texts of other recordings"
    )
