"""What is wrong with a dataset as a whole, and what is good to know of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

from piper.train.check.entries import AudioMeasures, Entry, TextMeasures
from piper.train.check.findings import Finding, Group, Severity, create_rule
from piper.train.data.layout import SPEAKERS_SHARE, are_speakers

FEW_HOURS = 0.2
"""Twelve minutes: with less even a voice that starts from another one lacks many sounds."""
FEWEST_RECORDINGS = 20
RARE_TIMES = 5
SPEAKER_HOURS = 0.1
BALANCE_TIMES = 5.0


_rule = partial(create_rule, Group.SET)


NO_SPEAKERS = _rule(
    "no-speakers",
    Severity.ERROR,
    "The second of three columns is no speaker",
    f"more different values than {SPEAKERS_SHARE:.0%} of the lines, or values that read like text",
    "With one speaker the columns are file|text; `python -m piper.train import` makes them.",
)
FEW_RECORDINGS = _rule(
    "few-recordings",
    Severity.ERROR,
    "Too few recordings for any voice",
    f"fewer than {FEWEST_RECORDINGS}",
    "Record more: a hundred sentences make a voice that starts from another one.",
)
LITTLE_SPEECH = _rule(
    "little-speech",
    Severity.WARNING,
    "Little speech",
    f"less than {FEW_HOURS * 60:.0f} minutes",
    "Record more, and start from another voice: --model.warmstart=FILE.",
)
SPEAKER_SPEECH = _rule(
    "speaker-speech",
    Severity.WARNING,
    "A speaker with little speech",
    f"less than {SPEAKER_HOURS * 60:.0f} minutes",
    "Record more of this speaker, or leave him out.",
)
BALANCE = _rule(
    "balance",
    Severity.NOTE,
    "A speaker with far less speech than another",
    f"{BALANCE_TIMES:g} times less than the one with most",
    "His voice will be learnt last; that can be as wanted.",
)
RARE_PHONEMES = _rule(
    "rare-phonemes",
    Severity.NOTE,
    "Phonemes that are hardly ever heard",
    f"fewer than {RARE_TIMES} times",
    "Record sentences with them, or expect them to sound odd.",
)
RULES = (NO_SPEAKERS, FEW_RECORDINGS, LITTLE_SPEECH, SPEAKER_SPEECH, BALANCE, RARE_PHONEMES)


def find_in_set(
    entries: Sequence[Entry],
    audio: Mapping[Path, AudioMeasures],
    texts: Mapping[int, TextMeasures],
) -> list[Finding]:
    """Return what is wrong with the set as a whole."""
    findings = []
    speakers = {entry.speaker for entry in entries if entry.speaker is not None}
    has_speakers = are_speakers(speakers, len(entries))
    if not has_speakers:
        message = f"{len(speakers)} different values in {len(entries)} lines"
        findings.append(Finding(NO_SPEAKERS, message))
    usable = [entry for entry in entries if entry.audio_path in audio and entry.line in texts]
    if len(usable) < FEWEST_RECORDINGS:
        findings.append(Finding(FEW_RECORDINGS, f"{len(usable)} can be used"))
    hours = measure_hours(entries, audio)
    if (total := sum(hours.values())) < FEW_HOURS:
        findings.append(Finding(LITTLE_SPEECH, f"{60 * total:.1f} minutes"))
    if has_speakers and len(speakers) > 1:
        findings += _check_speakers(hours)
    counts = count_phonemes(texts)
    for phoneme, count in sorted(counts.items(), key=lambda item: item[1]):
        if count < RARE_TIMES and phoneme.isalpha():
            times = "once" if count == 1 else f"{count} times"
            message = f"{phoneme!r} {times}, in {_find_example(phoneme, entries, texts)!r:.60}"
            findings.append(Finding(RARE_PHONEMES, message, score=-count))
    return findings


def _check_speakers(hours: Mapping[str | None, float]) -> Iterator[Finding]:
    most = max(hours.values(), default=0.0)
    for speaker, own in sorted(hours.items(), key=lambda item: item[1]):
        if own < SPEAKER_HOURS:
            yield Finding(SPEAKER_SPEECH, f"{speaker}: {60 * own:.1f} minutes", score=-own)
        elif own * BALANCE_TIMES < most:
            yield Finding(BALANCE, f"{speaker}: {own:.2f} hours, another {most:.2f}", score=-own)


def _find_example(phoneme: str, entries: Sequence[Entry], texts: Mapping[int, TextMeasures]) -> str:
    lines = (e.text for e in entries if e.line in texts and phoneme in texts[e.line].phonemes)
    return next(lines, "")


def measure_hours(
    entries: Sequence[Entry], audio: Mapping[Path, AudioMeasures]
) -> dict[str | None, float]:
    """Return the hours of each speaker's recordings; under None where there is one."""
    seconds: Counter[str | None] = Counter()
    for entry in entries:
        if entry.audio_path and entry.audio_path in audio:
            # Counter's type knows whole numbers only.
            seconds[entry.speaker] += audio[entry.audio_path].seconds  # type: ignore[assignment]
    return {speaker: count / 3600 for speaker, count in seconds.items()}


def count_phonemes(texts: Mapping[int, TextMeasures]) -> Counter[str]:
    """Return how often each phoneme is heard, signs of stress and pauses included."""
    return Counter(phoneme for measured in texts.values() for phoneme in measured.phonemes)


def describe_set(
    entries: Sequence[Entry],
    audio: Mapping[Path, AudioMeasures],
    texts: Mapping[int, TextMeasures],
) -> dict[str, str]:
    """Return what is good to know of a set, by name."""
    hours = measure_hours(entries, audio)
    seconds = [audio[e.audio_path].seconds for e in entries if e.audio_path in audio]  # type: ignore[index]
    total = sum(hours.values())
    counts = count_phonemes(texts)
    pairs = Counter(pair for measured in texts.values() for pair in pairwise(measured.phonemes))
    rates = Counter(measured.sample_rate for measured in audio.values())
    return {
        "recordings": str(len(entries)),
        "hours": f"{total:.2f}",
        "speakers": str(max(1, len(hours))),
        "sample rates": ", ".join(f"{rate} Hz ({n})" for rate, n in rates.most_common(3)),
        "length": f"{min(seconds):.1f} to {max(seconds):.1f} s, median {median(seconds):.1f} s"
        if seconds
        else "none can be read",
        "phonemes": f"{len(counts)} different, {counts.total()} in all",
        "pairs of phonemes": f"{len(pairs)} different, "
        f"{sum(n >= RARE_TIMES for n in pairs.values())} of them {RARE_TIMES} times or more",
    }


def tabulate_phonemes(texts: Mapping[int, TextMeasures]) -> tuple[str, list[str], list[list[str]]]:
    """Return a table of phonemes and how often they are heard, the rare ones first."""
    counts = sorted(count_phonemes(texts).items(), key=lambda item: (item[1], item[0]))
    rows = [[phoneme if phoneme.strip() else "(space)", str(count)] for phoneme, count in counts]
    return "Phonemes", ["phoneme", "times"], rows


def tabulate_speakers(
    entries: Sequence[Entry], audio: Mapping[Path, AudioMeasures]
) -> tuple[str, list[str], list[list[str]]]:
    """Return a table of speakers, their recordings and hours."""
    counts = Counter(entry.speaker for entry in entries)
    hours = measure_hours(entries, audio)
    rows = [
        [str(speaker), str(counts[speaker]), f"{hours.get(speaker, 0.0):.2f}"]
        for speaker in sorted(counts, key=lambda speaker: -hours.get(speaker, 0.0))
    ]
    return "Speakers", ["speaker", "recordings", "hours"], rows
