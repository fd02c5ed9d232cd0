"""A report on a real dataset with measures and issues made by hand, for the tests of how it is
shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from piper.train.check.entries import AudioMeasures, Entry, TextMeasures, add_measures
from piper.train.check.issues import CheckReport, Group, Issue, Rule, Severity

SILENCE = Rule(
    Group.AUDIO,
    "start-silence",
    Severity.WARNING,
    "Silence before the speech",
    "more than 0.3 s",
    "Trim the recordings, or leave --data.trim_silence on.",
)
MISSING = Rule(
    Group.STRUCTURE,
    "missing-file",
    Severity.ERROR,
    "A recording is not there",
    "no file of that name",
    "Put the file into wavs/, or remove the line.",
)
LEVELS = Rule(
    Group.AUDIO,
    "loudness",
    Severity.WARNING,
    "Far louder or quieter than the others",
    "6 dB off the median",
    "Level the recordings.",
)
RARE = Rule(
    Group.SET,
    "rare-phonemes",
    Severity.NOTE,
    "Phonemes that are hardly heard",
    "fewer than 5 times",
    "Record sentences that have them.",
)


def read_dataset(folder: Path) -> list[Entry]:
    """Return the entries of a dataset of one speaker."""
    lines = (folder / "metadata.csv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|") for line in lines]
    return [
        Entry(number, name, folder / "wavs" / name, None, text)
        for number, (name, text) in enumerate(rows, start=1)
    ]


def measure_recording(path: Path) -> AudioMeasures:
    """Measure what can be measured in a few lines; the rest is as in a good recording."""
    samples, rate = soundfile.read(path, dtype="float32")
    seconds = len(samples) / rate
    pieces = np.array_split(np.abs(samples), 400)
    level = 20 * float(np.log10(np.sqrt(np.mean(samples**2)) + 1e-9))
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    return AudioMeasures(
        seconds=seconds,
        sample_rate=rate,
        channels=1,
        subtype="PCM_16",
        has_all_data=True,
        digest=path.name,
        peak=float(np.abs(samples).max()),
        clipped_share=0.0,
        crowding=1.0,
        crowded_level=0.0,
        dc_offset=float(samples.mean()),
        loud_db=level + 8,
        floor_db=-70.0 + len(path.name) % 5,
        speech_db=level,
        start_silence_seconds=float(loud[0]) / rate,
        end_silence_seconds=seconds - float(loud[-1]) / rate,
        inner_silence_seconds=0.2,
        inner_silence_start=0.5,
        start_edge_db=-60.0,
        end_edge_db=-60.0,
        bandwidth_hertz=rate / 2,
        outline=tuple(float(piece.max()) for piece in pieces),
    )


def make_report(
    folder: Path, issues: Sequence[Issue] = (), entries: Sequence[Entry] | None = None
) -> CheckReport:
    """Return a report on a folder, all of whose recordings are there."""
    entries = list(entries or read_dataset(folder))
    paths = dict.fromkeys(entry.audio_path for entry in entries if entry.audio_path)
    texts = {
        entry.line: TextMeasures(tuple(entry.text), (), tuple(entry.text.split()), 2)
        for entry in entries
    }
    return CheckReport(
        folder,
        add_measures(entries, {path: measure_recording(path) for path in paths}, texts),
        list(issues),
        facts={"The set": {"hours": "0.01", "speakers": "1"}, "Split": {"held out": "2"}},
        tables=[("Phonemes", ["phoneme", "times"], [["a", "1,204"], ["ʑ", "3"]])],
    )


def find_all(entries: Sequence[Entry]) -> list[Issue]:
    """Return issues of four rules: with and without a line, a recording, a span."""
    found = [
        Issue(
            SILENCE,
            f"{0.4 + 0.01 * index:.2f} s of silence at the start",
            entry.line,
            entry.name,
            score=float(index),
            span=(0.0, 0.4),
        )
        for index, entry in enumerate(entries[:8])
    ]
    first = entries[7]
    return [
        Issue(RARE, "ʑ is heard 3 times"),
        *found,
        Issue(LEVELS, "7.0 dB quieter", first.line, first.name, 7.0),
        Issue(MISSING, "lost.wav is not in wavs/", len(entries) + 1, "lost.wav"),
    ]
