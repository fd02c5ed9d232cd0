"""Lines, measures and reports that are made by hand, for the tests of rules and of how they are
shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from piper.train.check.entries import AudioMeasures, Entry, TextMeasures
from piper.train.check.issues import CheckReport, Group, Issue, Rule, Severity
from piper.train.data.settings import DataSettings

HERE = Path("recordings")
SETTINGS = DataSettings(
    **dict.fromkeys(("csv_path", "audio_dir", "cache_dir"), HERE),
    config_path=HERE / "config.json",
    voice_name="voice",
    espeak_voice="ru",
)
MEASURES = AudioMeasures(
    seconds=3.0,
    sample_rate=22050,
    channels=1,
    subtype="PCM_16",
    has_all_data=True,
    digest="",
    peak=0.5,
    clipped_share=0.0,
    crowding=1.0,
    crowded_level=0.0,
    dc_offset=0.0,
    loud_db=-15.0,
    floor_db=-60.0,
    speech_db=-20.0,
    start_silence_seconds=0.0,
    end_silence_seconds=0.0,
    inner_silence_seconds=0.0,
    inner_silence_start=0.0,
    start_edge_db=-60.0,
    end_edge_db=-60.0,
    bandwidth_hertz=11025.0,
    outline=(),
)
"""Of a good recording."""

SILENCE = Rule(
    Group.AUDIO,
    Severity.WARNING,
    "start-silence",
    "Silence before the speech",
    "more than 0.3 s",
    "Trim the recordings, or leave --data.trim_silence on.",
)
MISSING = Rule(
    Group.STRUCTURE,
    Severity.ERROR,
    "missing-file",
    "A recording is not there",
    "no file of that name",
    "Put the file into wavs/, or remove the line.",
)
LEVELS = Rule(
    Group.AUDIO,
    Severity.WARNING,
    "loudness",
    "Far louder or quieter than the others",
    "6 dB off the median",
    "Level the recordings.",
)
RARE = Rule(
    Group.SET,
    Severity.NOTE,
    "rare-phonemes",
    "Phonemes that are hardly heard",
    "fewer than 5 times",
    "Record sentences that have them.",
)


def create_set(seconds: list[float], speakers: list[str | None] | None = None) -> list[Entry]:
    """Return lines with recordings of so many seconds, all with the same text."""
    read = TextMeasures(("d", "ˈ", "ɑ"), (), 9)
    audio = [replace(MEASURES, seconds=length) for length in seconds]
    return [
        Entry(line, f"{line}.wav", Path(f"{line}.wav"), speaker, "да", measured, read)
        for line, (measured, speaker) in enumerate(
            zip(audio, speakers or [None] * len(audio), strict=True), 1
        )
    ]


def found(issues: Sequence[Issue]) -> list[tuple[str, int | None]]:
    """Return rules and lines."""
    return [(issue.rule.name, issue.line) for issue in issues]


def read_dataset(folder: Path) -> list[Entry]:
    """Return the entries of a dataset of one speaker."""
    lines = (folder / "metadata.csv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|") for line in lines]
    return [
        Entry(number, name, folder / "wavs" / name, None, text)
        for number, (name, text) in enumerate(rows, start=1)
    ]


def measure(path: Path) -> AudioMeasures:
    """Measure what can be measured in a few lines; the rest is as in a good recording."""
    samples, rate = soundfile.read(path, dtype="float32")
    level = 20 * float(np.log10(np.sqrt(np.mean(samples**2)) + 1e-9))
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    return replace(
        MEASURES,
        seconds=len(samples) / rate,
        sample_rate=rate,
        peak=float(np.abs(samples).max()),
        loud_db=level + 8,
        floor_db=-70.0 + len(path.name) % 5,
        speech_db=level,
        start_silence_seconds=float(loud[0]) / rate,
        end_silence_seconds=(len(samples) - float(loud[-1])) / rate,
        bandwidth_hertz=rate / 2,
        outline=tuple(float(piece.max()) for piece in np.array_split(np.abs(samples), 400)),
    )


def make_report(
    folder: Path, issues: Sequence[Issue] = (), entries: Sequence[Entry] | None = None
) -> CheckReport:
    """Return a report on a folder, all of whose recordings are there."""
    measured = [
        replace(
            entry,
            audio=measure(entry.audio_path) if entry.audio_path else None,
            read=TextMeasures(tuple(entry.text), (), 2),
        )
        for entry in entries or read_dataset(folder)
    ]
    return CheckReport(
        folder,
        measured,
        list(issues),
        facts={"The set": {"hours": "0.01", "speakers": "1"}, "Split": {"held out": "2"}},
        tables=[("Phonemes", ["phoneme", "times"], [["a", "1,204"], ["ʑ", "3"]])],
    )


def make_issues(entries: Sequence[Entry]) -> list[Issue]:
    """Return issues of four rules: with and without a line, a recording, a span."""
    silent = [
        SILENCE.at(
            entry, f"{0.4 + 0.01 * index:.2f} s of silence at the start", float(index), (0.0, 0.4)
        )
        for index, entry in enumerate(entries[:8])
    ]
    return [
        Issue(RARE, "ʑ is heard 3 times"),
        *silent,
        LEVELS.at(entries[7], "7.0 dB quieter", 7.0),
        Issue(MISSING, "lost.wav is not in wavs/", len(entries) + 1, "lost.wav"),
    ]
