"""Whether text and recording can belong together, by how fast is spoken. Listens to nothing."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from piper.train.check.entries import AudioMeasures, Entry, TextMeasures
from piper.train.check.findings import Finding, Group, Rule, Severity

FEWEST = 10
"""Recordings of a speaker from which on his pace is known."""
LEAST_PHONEMES = 8
"""Of single words the pace says nothing: `да` can take half a second or two."""
LEAST_SPREAD = 0.08
"""The spread of the logarithm that readers have at least; festvox-ru has 0.10."""
OFF, FAR_OFF = 4.0, 8.0
"""Spreads away from the speaker's median. Festvox-ru: 0 of 620 beyond the first."""
DEVIATION = 1.4826
"""Standard deviation of a normal distribution, in median absolute deviations."""

RATE = Rule(
    "rate",
    Group.MATCH,
    Severity.WARNING,
    "Spoken much faster or slower than the speaker's other recordings",
    f"phonemes a second {OFF:g} spreads off the speaker's median",
    "Listen: words may be missing in the text or in the recording.",
)
WRONG_RATE = Rule(
    "wrong-rate",
    Group.MATCH,
    Severity.ERROR,
    "Text and recording cannot belong together",
    f"phonemes a second {FAR_OFF:g} spreads off the speaker's median",
    "Listen, and give the recording its own text, or remove the line.",
)
TOO_SHORT = Rule(
    "too-short-for-text",
    Group.MATCH,
    Severity.ERROR,
    "Fewer frames than phoneme ids",
    "each id needs a frame of its own",
    "Text and recording do not belong together; mend or remove the line.",
)
RULES = (RATE, WRONG_RATE, TOO_SHORT)


@dataclass(frozen=True)
class Pace:
    """How fast a recording is spoken.

    Attributes:
        entry: Its line.
        phonemes_per_second: Of speech, without the long silences.
        spreads: How far off the speaker's median, with a sign: above 0 is faster.
    """

    entry: Entry
    phonemes_per_second: float
    spreads: float


def find_in_matches(
    entries: Sequence[Entry],
    audio: Mapping[Path, AudioMeasures],
    texts: Mapping[int, TextMeasures],
    *,
    frame_seconds: float,
) -> list[Finding]:
    """Return recordings that their texts do not fit.

    Args:
        entries: The dataset's lines.
        audio: Measures by path.
        texts: Measures by line.
        frame_seconds: Of the training's spectrogram.
    """
    findings = list(_find_short(entries, audio, texts, frame_seconds))
    short = {finding.line for finding in findings}
    for pace in measure_paces(entries, audio, texts):
        off = abs(pace.spreads)
        if off < OFF or pace.entry.line in short:
            continue
        how = "faster" if pace.spreads > 0 else "slower"
        usual = pace.phonemes_per_second
        findings.append(
            Finding(
                WRONG_RATE if off >= FAR_OFF else RATE,
                f"{usual:.1f} phonemes a second, {off:.1f} spreads {how} than usual",
                pace.entry.line,
                pace.entry.name,
                off,
            )
        )
    return findings


def measure_paces(
    entries: Sequence[Entry],
    audio: Mapping[Path, AudioMeasures],
    texts: Mapping[int, TextMeasures],
) -> list[Pace]:
    """Return how fast each recording is spoken, those of too few or too short ones left out."""
    rates: dict[str | None, list[tuple[Entry, float]]] = defaultdict(list)
    for entry in entries:
        if not entry.audio_path or entry.audio_path not in audio or entry.line not in texts:
            continue
        seconds = speech_seconds(audio[entry.audio_path])
        count = sum(phoneme.isalpha() for phoneme in texts[entry.line].phonemes)
        if count >= LEAST_PHONEMES and seconds > 0:
            rates[entry.speaker].append((entry, count / seconds))
    paces = []
    for of_speaker in rates.values():
        if len(of_speaker) < FEWEST:
            continue
        logs = [math.log(rate) for _, rate in of_speaker]
        middle = median(logs)
        spread = max(LEAST_SPREAD, DEVIATION * median(abs(log - middle) for log in logs))
        paces += [
            Pace(entry, rate, (math.log(rate) - middle) / spread) for entry, rate in of_speaker
        ]
    return paces


def speech_seconds(measures: AudioMeasures) -> float:
    """Return how long is spoken: without silence at both ends, and without the longest inside."""
    silence = measures.start_silence_seconds + measures.end_silence_seconds
    return max(0.0, measures.seconds - silence - measures.inner_silence_seconds)


def _find_short(
    entries: Sequence[Entry],
    audio: Mapping[Path, AudioMeasures],
    texts: Mapping[int, TextMeasures],
    frame_seconds: float,
) -> Iterator[Finding]:
    for entry in entries:
        if entry.audio_path and entry.audio_path in audio and entry.line in texts:
            frames = audio[entry.audio_path].seconds / frame_seconds
            num_ids = texts[entry.line].num_ids
            if num_ids > frames:
                message = f"{frames:.0f} frames for {num_ids} phoneme ids"
                yield Finding(TOO_SHORT, message, entry.line, entry.name, num_ids / max(frames, 1))
