"""What can be wrong with a dataset's recordings: each by itself, and one beside the others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from piper.train.check import rules_recording
from piper.train.check.entries import AudioMeasures, Entry
from piper.train.check.findings import Finding, Severity
from piper.train.check.rules_recording import (
    LOWER_RATE,
    NOT_MONO,
    QUIET_DB,
    UPSAMPLED,
    create_audio_rule,
    find_defects,
)
from piper.train.data.audio import SILENCE_DB

SPREAD_DB = 8.0
"""Off the speaker's median festvox-ru is 1.7 dB at most, the telephone prompts 4.9 dB."""
SPREAD_RECORDINGS = 5
"""With fewer, a speaker's median says little."""
LONG_SECONDS = 20.0
"""The longest of festvox-ru has 18.0 s; all utterances of a batch are padded to its longest."""
LONG_TIMES = 4.0
LONG_LEAST_SECONDS = 10.0
"""A set of single words may have a sentence of 10 s; four times festvox-ru's median is 36 s."""
WHOLE_SET = 5
"""So many recordings at least, and all with the same: then it is the set's, and said once."""

UNREADABLE = create_audio_rule(
    "unreadable",
    Severity.ERROR,
    "A recording that cannot be read",
    "not decodable, empty, or with NaN",
    "Replace or convert the recording, or remove the line.",
)
MIXED_RATES = create_audio_rule(
    "mixed-rates",
    Severity.WARNING,
    "Another sample rate than most recordings have",
    "unlike the most frequent one",
    "Make sure that it is of the same session; training brings all to one rate.",
)
LOUDNESS_SPREAD = create_audio_rule(
    "loudness-spread",
    Severity.WARNING,
    "Far louder or quieter than the speaker's other recordings",
    f"more than {SPREAD_DB:.0f} dB off their median",
    "Bring the recordings to one loudness; a voice's own wavers otherwise.",
)
TOO_LONG = create_audio_rule(
    "too-long",
    Severity.WARNING,
    "Very long",
    f"more than {LONG_SECONDS:.0f} s, or than {LONG_TIMES:.0f} times the median and "
    f"{LONG_LEAST_SECONDS:.0f} s",
    "Split it in its pauses with its text, or leave it out by --data.max_seconds: it takes most "
    "memory.",
)
SAME_AUDIO = create_audio_rule(
    "same-audio",
    Severity.WARNING,
    "The same audio under two names",
    "equal sample by sample, with the same text",
    "Remove one of the two lines.",
)
SAME_AUDIO_OTHER_TEXT = create_audio_rule(
    "same-audio-other-text",
    Severity.ERROR,
    "The same audio with two texts",
    "equal sample by sample, with another text or speaker",
    "Listen, and keep the line that is right.",
)
RULES = (
    UNREADABLE,
    *rules_recording.RULES,
    *(MIXED_RATES, LOUDNESS_SPREAD, TOO_LONG, SAME_AUDIO, SAME_AUDIO_OTHER_TEXT),
)
_RULES_OF_SETS = (NOT_MONO, LOWER_RATE, UPSAMPLED)


@dataclass(frozen=True)
class _Heard:
    """A line whose recording was measured."""

    entry: Entry
    path: Path
    measures: AudioMeasures

    @property
    def has_sound(self) -> bool:
        return self.measures.loud_db >= SILENCE_DB


def find_in_audio(
    entries: Sequence[Entry],
    measures: Mapping[Path, AudioMeasures],
    errors: Mapping[Path, str],
    *,
    sample_rate: int,
    segment_seconds: float,
) -> list[Finding]:
    """Find what is wrong with the recordings.

    What is so for every recording of the set (not mono, a low rate) is one finding without a line.

    Args:
        entries: The dataset's lines; those without a recording are left out.
        measures: Of each recording that could be measured.
        errors: Sentences that say why the others could not.
        sample_rate: The training's, in hertz.
        segment_seconds: Of a training segment.
    """
    findings = [
        Finding(UNREADABLE, errors[entry.audio_path], entry.line, entry.name, 1.0)
        for entry in entries
        if entry.audio_path is not None and entry.audio_path in errors
    ]
    heard = [
        _Heard(entry, entry.audio_path, measures[entry.audio_path])
        for entry in entries
        if entry.audio_path is not None and entry.audio_path in measures
    ]
    for one in heard:
        for defect in find_defects(
            one.measures, sample_rate=sample_rate, segment_seconds=segment_seconds
        ):
            line, name = one.entry.line, one.entry.name
            findings.append(
                Finding(defect.rule, defect.message, line, name, defect.score, defect.span)
            )
    findings = _say_once(findings, len(heard))
    findings += _find_mixed_rates(heard, sample_rate)
    findings += _find_spread(heard)
    findings += _find_long(heard)
    findings += _find_same_audio(heard)
    return findings


def _say_once(findings: list[Finding], num_heard: int) -> list[Finding]:
    """Replace what all recordings have by one finding about the set."""
    counts = Counter(finding.rule for finding in findings)
    common = [rule for rule in _RULES_OF_SETS if counts[rule] == num_heard >= WHOLE_SET]
    kept = [finding for finding in findings if finding.rule not in common]
    for rule in common:
        first = next(finding for finding in findings if finding.rule is rule)
        kept.append(
            Finding(rule, f"all {num_heard} recordings, such as {first.name}: {first.message}")
        )
    return kept


def _find_mixed_rates(heard: Sequence[_Heard], sample_rate: int) -> Iterator[Finding]:
    counts = Counter(one.measures.sample_rate for one in heard)
    if len(counts) < 2:
        return
    usual = max(counts, key=lambda rate: (counts[rate], rate == sample_rate, rate))
    for one in heard:
        rate = one.measures.sample_rate
        if rate != usual:
            message = f"{rate:,} Hz, most have {usual:,} Hz"
            yield Finding(MIXED_RATES, message, one.entry.line, one.entry.name, abs(rate - usual))


def _find_spread(heard: Sequence[_Heard]) -> Iterator[Finding]:
    levels: dict[str | None, list[float]] = defaultdict(list)
    for one in heard:
        if one.has_sound:
            levels[one.entry.speaker].append(one.measures.speech_db)
    medians = {
        speaker: median(found)
        for speaker, found in levels.items()
        if len(found) >= SPREAD_RECORDINGS
    }
    for one in heard:
        # A very quiet one has been found already.
        if one.measures.loud_db < QUIET_DB or one.entry.speaker not in medians:
            continue
        off = one.measures.speech_db - medians[one.entry.speaker]
        if abs(off) > SPREAD_DB:
            message = f"{abs(off):.0f} dB {'louder' if off > 0 else 'quieter'} than the median"
            yield Finding(LOUDNESS_SPREAD, message, one.entry.line, one.entry.name, abs(off))


def _find_long(heard: Sequence[_Heard]) -> Iterator[Finding]:
    if not heard:
        return
    usual = median(one.measures.seconds for one in heard)
    most = min(LONG_SECONDS, max(LONG_LEAST_SECONDS, LONG_TIMES * usual))
    for one in heard:
        seconds = one.measures.seconds
        if seconds > most:
            message = f"{seconds:.1f} s, the median is {usual:.1f} s"
            yield Finding(TOO_LONG, message, one.entry.line, one.entry.name, seconds)


def _find_same_audio(heard: Sequence[_Heard]) -> Iterator[Finding]:
    groups: dict[str, dict[Path, Entry]] = defaultdict(dict)
    for one in heard:
        if one.has_sound:  # silence equals silence
            # One file in two lines is a matter of the CSV.
            groups[one.measures.digest].setdefault(one.path, one.entry)
    for group in groups.values():
        first, *others = group.values()
        if any(other.spoken != first.spoken for other in others):
            # Which text is right cannot be known, so all of them are named.
            for entry in (first, *others):
                other = next(one for one in group.values() if one.spoken != entry.spoken)
                message = f"as line {other.line} ({other.name}), which says {other.text!r:.60}"
                yield Finding(SAME_AUDIO_OTHER_TEXT, message, entry.line, entry.name, 1.0)
        else:
            for entry in others:
                message = f"as line {first.line} ({first.name})"
                yield Finding(SAME_AUDIO, message, entry.line, entry.name, 1.0)
