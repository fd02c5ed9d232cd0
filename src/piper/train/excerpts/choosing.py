"""Which of the phrases become utterances. Opens no recording.

The check's rules are asked of them beside the dataset's own lines, so that a check of the copy has
nothing to find in them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from piper.train.check.entries import Entry
from piper.train.check.measuring import measure_texts
from piper.train.check.report import CheckReport
from piper.train.check.run import ask_rules, create_voice
from piper.train.data.settings import DataSettings
from piper.train.excerpts.finding import Candidate
from piper.train.splitting.pieces import find_wrong_score

MOST_SHARE = 0.1
"""Of the recordings' time: single words are the smaller part of what a voice will say."""
MOST_FROM_ONE = 3
"""Excerpts of one recording, so that they are of many."""


def choose_excerpts(
    candidates: Sequence[Candidate],
    report: CheckReport,
    settings: DataSettings,
    most: int | None = None,
) -> list[Candidate]:
    """Return the phrases to cut, in the order of the dataset's lines.

    Those that end a sentence come first, since the voice falls there as it does after a single
    word; among them those of fewer words, then those that fit best. No text stands twice, nor where
    a recording has it already.

    Args:
        candidates: All that were found.
        report: Of the dataset's check.
        settings: Of the dataset.
        most: So many; None takes at most `MOST_SHARE` of the recordings' time.
    """
    good = _leave_out_faulty(_leave_out_poor(candidates), report, settings)
    order = sorted(good, key=_rank)
    known = {entry.spoken for entry in report.entries}
    room_seconds = MOST_SHARE * sum(measures.seconds for measures in report.audio.values())
    from_one: Counter[int] = Counter()
    chosen: list[Candidate] = []
    for one in order:
        spoken = create_entry(one).spoken
        seconds = one.measures.seconds
        is_full = len(chosen) == most if most is not None else seconds > room_seconds
        if spoken in known or is_full or from_one[one.source.line] == MOST_FROM_ONE:
            continue
        known.add(spoken)
        from_one[one.source.line] += 1
        room_seconds -= seconds
        chosen.append(one)
    return sorted(chosen, key=lambda one: (one.source.line, one.phrase.start_seconds))


def _rank(candidate: Candidate) -> tuple[bool, int, float]:
    """Return what phrases are sorted by; the one to take first is the least."""
    phrase = candidate.phrase
    return not phrase.ends_sentence, phrase.num_words, -phrase.score


def create_entry(candidate: Candidate, line: int = 0) -> Entry:
    """Return a phrase as a line of the dataset; no file has its path."""
    source, phrase = candidate.source, candidate.phrase
    path = Path(f"{source.audio_path} {phrase.start_seconds:.3f}")
    return Entry(line, path.name, path, source.speaker, phrase.text)


def _leave_out_poor(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return those that fit about as well as most."""
    if not candidates:
        return []
    limit = find_wrong_score(np.asarray([one.phrase.score for one in candidates]))
    return [one for one in candidates if one.phrase.score >= limit]


def _leave_out_faulty(
    candidates: Sequence[Candidate], report: CheckReport, settings: DataSettings
) -> list[Candidate]:
    """Return those in which a check would find nothing."""
    first = max((entry.line for entry in report.entries), default=0) + 1
    own = [create_entry(one, line) for line, one in enumerate(candidates, start=first)]
    paths = [entry.audio_path for entry in own if entry.audio_path is not None]
    audio = {
        **report.audio,
        **dict(zip(paths, (one.measures for one in candidates), strict=True)),
    }
    texts = measure_texts(own, settings, create_voice(settings, report.entries), None)
    entries = [*report.entries, *own]
    findings = ask_rules(settings, entries, audio, {}, {**report.texts, **texts})
    faulty = {finding.line for finding in findings}
    return [one for entry, one in zip(own, candidates, strict=True) if entry.line not in faulty]
