"""A changed copy of a dataset, whole or not at all, with a list of every change.

What cannot be fixed without listening is left out: lines with an error of another kind.
"""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soxr

from piper.audio.output import write_wav
from piper.errors import DatasetError
from piper.files import UniqueNames, place_folder, temporary_folder, write_json
from piper.jobs import run_jobs
from piper.train.check.entries import Entry
from piper.train.check.issues import CheckReport, Issue, Severity
from piper.train.check.rules_text import find_scripts, find_usual_script
from piper.train.data import scripts
from piper.train.data.audio import FloatArray, TrimSettings, decode, trim_silence
from piper.train.data.metadata import write_metadata

LEFT_OUT = "left out"
"""What was done to a line that is not in the copy."""
KEEP_SECONDS = 0.25
"""Of silence around the speech, as preparation keeps it."""
HIGHEST_PEAK = 0.98
LATIN, CYRILLIC = "aceopxyABCEHKMOPTXY", "асеорхуАВСЕНКМОРТХУ"
"""Letters that look alike in both alphabets, in the same order."""
LEVEL_RULES = frozenset(("quiet", "loudness-spread"))
AUDIO_RULES = LEVEL_RULES | {"not-mono", "dc-offset", "start-silence", "end-silence", "mixed-rates"}
LEFT_OUT_RULES = frozenset(("same-audio",))
"""Warnings whose lines are better left out."""


@dataclass(frozen=True)
class Change:
    """One thing that is otherwise in the copy.

    Attributes:
        line: Of the original's CSV; None where it is about no line.
    """

    line: int | None
    name: str
    rule: str
    what: str


def require_new_folder(folder: Path) -> None:
    """Refuse a folder that holds something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"{folder} is there already; name a new folder.")


@dataclass(frozen=True)
class _Recording:
    """A recording of a copy; where it is not made, the source is copied as it is."""

    source: Path
    target: Path
    make: Callable[[], tuple[np.ndarray, int]] | None

    def write(self) -> None:
        if self.make is None:
            shutil.copy(self.source, self.target)
        else:
            write_wav(self.target, *self.make())


class Copy:
    """What a copy of a dataset will hold, and what is otherwise in it.

    Args:
        entries: The original's lines.
        issues: Of its check. Lines that are no entries are left out: headers, other delimiters,
            too many columns.

    Attributes:
        names: Of the recordings.
    """

    def __init__(self, entries: Sequence[Entry], issues: Sequence[Issue]) -> None:
        known = {entry.line for entry in entries}
        self.changes = [
            Change(issue.line, issue.name, issue.rule.name, LEFT_OUT)
            for issue in issues
            if issue.line is not None
            and issue.line not in known
            and issue.rule.severity is Severity.ERROR
            and issue.rule.name != "encoding"
        ]
        self.names = UniqueNames()
        self._rows: list[tuple[str, str | None, str]] = []
        self._recordings: list[_Recording] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self,
        source: Path,
        name: str,
        speaker: str | None,
        text: str,
        make: Callable[[], tuple[np.ndarray, int]] | None = None,
    ) -> None:
        """Add a line.

        Args:
            make: Returns the samples that are written instead, and their rate; can be pickled.
        """
        self._rows.append((name, speaker, text))
        self._recordings.append(_Recording(source, Path(name), make))

    def write(
        self, folder: Path, config_path: Path, lists: Mapping[str, Any] | None = None
    ) -> None:
        """Write the copy, whole or not at all.

        Args:
            folder: Of the copy; must not exist yet, or be empty.
            config_path: The original's config.json; need not exist.
            lists: JSON files that the copy has beside its changes.json.
        """
        require_new_folder(folder)
        with temporary_folder(folder) as part:
            (part / "wavs").mkdir()
            made = [replace(one, target=part / "wavs" / one.target) for one in self._recordings]
            run_jobs(_Recording.write, made, "Copying", "recordings")
            if not self._rows:
                raise DatasetError("No line is left that could be used; see the report.")
            if config_path.is_file():
                shutil.copy(config_path, part / "config.json")
            changes = [asdict(change) for change in self.changes]
            for name, values in {"changes.json": changes, **(lists or {})}.items():
                write_json(part / name, values)
            write_metadata(part, self._rows)
            place_folder(part, folder)


def to_int16(samples: FloatArray) -> np.ndarray:
    """Return samples that were cut from a recording, as libsndfile gave them, as 16-bit numbers.

    libsndfile divides by 32,768: so a sample of 16 bits comes out as it was.
    """
    return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)


def fix_dataset(report: CheckReport, config_path: Path, folder: Path) -> list[Change]:
    """Write a fixed copy of a dataset, whole or not at all; see `Copy.write`."""
    by_line: dict[int | None, dict[str, Issue]] = defaultdict(dict)
    for issue in report.issues:
        by_line[issue.line][issue.rule.name] = issue
    copy = Copy(report.entries, report.issues)
    rates = [measures.sample_rate for measures in report.audio.values()]
    usual_rate = max(set(rates), key=rates.count, default=0)
    levels: dict[str | None, list[float]] = defaultdict(list)
    for entry in report.entries:
        if entry.audio:
            levels[entry.speaker].append(entry.audio.speech_db)
    usual_levels = {speaker: median(found) for speaker, found in levels.items()}
    script = find_usual_script(entry.text for entry in report.entries)
    for entry in report.entries:
        issues, path = by_line[entry.line], entry.audio_path
        text, changes = fix_text(entry.text, script, issues.keys())
        reason = _find_reason(issues, text)
        if path is None or entry.audio is None:
            # Also where `--ignore` left the issue out: there is nothing to copy.
            reason = reason or ("unreadable" if path else "missing-file")
        if reason or path is None or entry.audio is None:
            copy.changes.append(Change(entry.line, entry.name, reason, LEFT_OUT))
            continue
        if "other-name" in issues:
            changes.append(("other-name", "the recording was found by another spelling"))
        rules = AUDIO_RULES & issues.keys()
        changes += [(rule, "corrected in the recording") for rule in sorted(rules)]
        copy.changes += [Change(entry.line, entry.name, rule, what) for rule, what in changes]
        make = None
        if rules:
            gain_db = usual_levels[entry.speaker] - entry.audio.speech_db
            gain_db = gain_db if rules & LEVEL_RULES else 0.0
            rate = usual_rate if "mixed-rates" in rules else entry.audio.sample_rate
            make = partial(_fix_recording, path, rules, rate, gain_db)
        name = copy.names.take(path.stem, ".wav" if make else path.suffix)
        copy.add(path, name, entry.speaker, text, make)
    copy.write(folder, config_path)
    return copy.changes


def _find_reason(issues: Mapping[str, Issue], text: str) -> str:
    """Return the rule for which a line is left out; empty where it stays."""
    fixed = {"encoding"}
    if not any(map(_is_mixed, re.findall(r"\w+", text))):
        fixed.add("mixed-scripts")
    for name, issue in issues.items():
        is_error = issue.rule.severity is Severity.ERROR
        if name in LEFT_OUT_RULES or (is_error and name not in fixed):
            return name
    return ""


def fix_text(text: str, script: str, rules: Collection[str]) -> tuple[str, list[tuple[str, str]]]:
    """Fix what can be fixed in a text.

    Args:
        script: The alphabet of most letters of the set.
        rules: Those that the line breaks.

    Returns:
        The text, and for each rule what was done.
    """
    changes = []
    for rule in ("control-characters", "mixed-scripts", "quotes"):
        before = text
        if rule not in rules:
            continue
        if rule == "quotes":
            text = text[1:-1] if text[0] == text[-1] == '"' else text
            text = text.replace('""', '"').strip()
        elif rule == "control-characters":
            text = " ".join("".join(map(_clean, text)).split())
        else:
            text = _fix_letters(text, script)
        if text != before:
            changes.append((rule, f"the text was {before!r:.200}"))
    return text, changes


def _fix_letters(text: str, script: str) -> str:
    table = {
        scripts.CYRILLIC: str.maketrans(LATIN, CYRILLIC),
        scripts.LATIN: str.maketrans(CYRILLIC, LATIN),
    }.get(script, {})
    return re.sub(
        r"\w+",
        lambda match: match[0].translate(table) if _is_mixed(match[0]) else match[0],
        text,
    )


def _clean(character: str) -> str:
    kind = unicodedata.category(character)
    if character == "\ufffd" or kind in ("Cf", "Co", "Cn"):
        return ""
    return " " if kind == "Cc" else character


def _is_mixed(word: str) -> bool:
    return {scripts.LATIN, scripts.CYRILLIC} <= find_scripts(word)


def _fix_recording(
    path: Path, rules: frozenset[str], wanted_rate: int, gain_db: float
) -> tuple[np.ndarray, int]:
    """Return a recording's fixed samples, float32, and their rate."""
    decoded = decode(path)
    samples: FloatArray = decoded.mix()
    rate = decoded.sample_rate
    if "dc-offset" in rules:
        samples = samples - samples.mean()
    if rules & {"start-silence", "end-silence"}:
        samples = trim_silence(samples, rate, TrimSettings(True, KEEP_SECONDS, KEEP_SECONDS))
    if gain_db:
        peak = float(abs(samples).max()) or 1.0
        samples = samples * min(10 ** (gain_db / 20), HIGHEST_PEAK / peak)
    if rate != wanted_rate:
        samples = soxr.resample(samples, rate, wanted_rate)
    return samples.astype("float32"), wanted_rate
