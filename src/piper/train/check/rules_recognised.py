"""Whether a text is what a speech recogniser heard. Recognises nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median

from piper.train.check.entries import Entry
from piper.train.check.findings import Finding, Group, Severity, create_rule
from piper.train.recognisers import find_character_error, normalise_words

OTHER, OFF = 0.6, 0.25
TIMES = 3.0
"""A recogniser that makes many mistakes everywhere says little: what counts is what stands out."""

_rule = partial(create_rule, Group.MATCH)

HEARD_OTHER = _rule(
    "heard-other",
    Severity.ERROR,
    "A recogniser heard something else",
    f"{OTHER:.0%} of the characters and more, and {TIMES:g} times the median of the set",
    "Listen, and give the recording its own text, or remove the line.",
)
HEARD_OFF = _rule(
    "heard-off",
    Severity.WARNING,
    "A recogniser heard partly something else",
    f"{OFF:.0%} of the characters and more, and {TIMES:g} times the median of the set",
    "Compare what was heard word by word; the recogniser may be wrong.",
)
RULES = (HEARD_OTHER, HEARD_OFF)


def find_in_heard(entries: Sequence[Entry], heard: Mapping[int, str]) -> list[Finding]:
    """Return texts that are not what was heard.

    Args:
        entries: The dataset's lines.
        heard: What the recogniser wrote, by line.
    """
    errors = _find_errors(entries, heard)
    least = TIMES * median(errors.values()) if errors else 0.0
    findings = []
    for entry in entries:
        error = errors.get(entry.line, 0.0)
        if error >= max(OFF, least):
            rule = HEARD_OTHER if error >= OTHER else HEARD_OFF
            message = f"{heard[entry.line]!r:.80}, {error:.0%} off"
            findings.append(Finding(rule, message, entry.line, entry.name, error))
    return findings


def describe_heard(entries: Sequence[Entry], heard: Mapping[int, str]) -> str:
    """Return a line for the facts of the set."""
    errors = _find_errors(entries, heard)
    if not errors:
        return "nothing was heard"
    middle = median(errors.values())
    return f"{len(errors)} heard, {middle:.1%} of the characters off in the median"


def _find_errors(entries: Sequence[Entry], heard: Mapping[int, str]) -> dict[int, float]:
    return {
        entry.line: find_character_error(
            normalise_words(entry.text), normalise_words(heard[entry.line])
        )
        for entry in entries
        if entry.line in heard
    }
