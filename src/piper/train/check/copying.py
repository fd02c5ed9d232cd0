"""A changed copy of a dataset, whole or not at all, with a list of every change.

The original stays as it is. What cannot be mended without listening is left out: lines with an
error of another kind.
"""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soxr

from piper.audio.encode import write_wav
from piper.errors import DatasetError
from piper.files import UniqueNames, place_folder, remove_folder, write_json
from piper.jobs import run_jobs
from piper.train.check.entries import Entry
from piper.train.check.issues import CheckReport, Issue, Severity
from piper.train.check.rules_text import find_scripts, find_usual_script
from piper.train.data import scripts
from piper.train.data.audio import FloatArray, TrimSettings, decode, trim_silence
from piper.train.data.metadata import write_metadata

LEFT_OUT = "left out"
"""What was done to a line that is not in the copy."""


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
        changes: All that is otherwise.
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
        part = folder.absolute().with_name(f".{folder.absolute().name}.part")
        remove_folder(part)  # of a killed run
        try:
            (part / "wavs").mkdir(parents=True)
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
        finally:
            remove_folder(part)


def to_int16(samples: FloatArray) -> np.ndarray:
    """Return samples that were cut from a recording, as libsndfile gave them, as 16-bit numbers.

    libsndfile divides by 32,768: so a sample of 16 bits comes out as it was.
    """
    return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)


KEEP_SECONDS = 0.25
"""Of silence around the speech, as preparation keeps it."""
HIGHEST_PEAK = 0.98
LATIN, CYRILLIC = "aceopxyABCEHKMOPTXY", "асеорхуАВСЕНКМОРТХУ"
"""Letters that look alike in both alphabets, in the same order."""

TEXT_RULES = frozenset(("quotes", "control-characters", "mixed-scripts"))
AUDIO_RULES = frozenset(
    ("not-mono", "dc-offset", "start-silence", "end-silence", "mixed-rates", "quiet")
) | {"loudness-spread"}
LEFT_OUT_RULES = frozenset(("same-audio",))
"""Warnings whose lines are better left out."""


def mend_dataset(report: CheckReport, config_path: Path, folder: Path) -> list[Change]:
    """Write a mended copy of a dataset, whole or not at all; see `Copy.write`."""
    by_line: dict[int | None, list[Issue]] = defaultdict(list)
    for issue in report.issues:
        by_line[issue.line].append(issue)
    copy = Copy(report.entries, report.issues)
    changes = copy.changes
    rates = [measures.sample_rate for measures in report.audio.values()]
    usual_rate = max(set(rates), key=rates.count, default=0)
    levels = _median_levels(report.entries)
    script = find_usual_script(entry.text for entry in report.entries)
    for entry in report.entries:
        issues = {issue.rule.name: issue for issue in by_line[entry.line]}
        text, mended = mend_text(entry.text, script, issues.keys() & TEXT_RULES)
        reason = _find_reason(issues, text)
        path = entry.audio_path
        if entry.audio is None:
            # Also where `--ignore` left the issue out: there is nothing to copy.
            reason = reason or ("unreadable" if path else "missing-file")
        if reason or path is None or entry.audio is None:
            changes.append(Change(entry.line, entry.name, reason, LEFT_OUT))
            continue
        if "other-name" in issues:
            mended.append(("other-name", "the recording was found by another spelling"))
        rules = frozenset(issues) & AUDIO_RULES
        mended += [(rule, "mended in the recording") for rule in sorted(rules)]
        changes += [Change(entry.line, entry.name, rule, what) for rule, what in mended]
        measures = entry.audio
        is_level_wrong = rules & {"quiet", "loudness-spread"}
        gain_db = levels[entry.speaker] - measures.speech_db if is_level_wrong else 0.0
        rate = usual_rate if "mixed-rates" in rules else measures.sample_rate
        make = partial(_mend_recording, path, rules, rate, gain_db) if rules else None
        name = copy.names.take(path.stem, ".wav" if rules else path.suffix)
        copy.add(path, name, entry.speaker, text, make)
    copy.write(folder, config_path)
    return changes


def _find_reason(issues: Mapping[str, Issue], text: str) -> str:
    """Return the rule for which a line is left out; empty where it stays."""
    for name, issue in issues.items():
        is_mended = name == "mixed-scripts" and not _has_mixed_word(text)
        is_mended = is_mended or name == "encoding"
        if name in LEFT_OUT_RULES or (issue.rule.severity is Severity.ERROR and not is_mended):
            return name
    return ""


def mend_text(text: str, script: str, rules: set[str]) -> tuple[str, list[tuple[str, str]]]:
    """Mend what can be mended in a text.

    Args:
        script: The alphabet of most letters of the set.
        rules: Those that it breaks.

    Returns:
        The text, and for each rule what was done.
    """
    changes = []
    for rule in sorted(rules):
        before = text
        if rule == "quotes":
            text = text[1:-1] if text[0] == text[-1] == '"' else text
            text = text.replace('""', '"').strip()
        elif rule == "control-characters":
            text = " ".join("".join(map(_clean, text)).split())
        else:
            text = _mend_letters(text, script)
        if text != before:
            changes.append((rule, f"the text was {before!r:.200}"))
    return text, changes


def _mend_letters(text: str, script: str) -> str:
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


def _has_mixed_word(text: str) -> bool:
    return any(_is_mixed(word) for word in re.findall(r"\w+", text))


def _median_levels(entries: Sequence[Entry]) -> dict[str | None, float]:
    levels: dict[str | None, list[float]] = defaultdict(list)
    for entry in entries:
        if entry.audio:
            levels[entry.speaker].append(entry.audio.speech_db)
    return {speaker: median(found) for speaker, found in levels.items()}


def _mend_recording(
    path: Path, rules: frozenset[str], wanted_rate: int, gain_db: float
) -> tuple[np.ndarray, int]:
    """Return a recording's mended samples, float32, and their rate."""
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
