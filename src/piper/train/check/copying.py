"""A changed copy of a dataset, whole or not at all, with a list of every change.

Does not know what is changed, or why; the original stays as it is.

What cannot be mended without listening is left out: lines with an error of another kind.
"""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import soxr

from piper.audio.encode import write_wav
from piper.errors import DatasetError
from piper.files import place_folder, remove_folder
from piper.jobs import run_jobs
from piper.train.check.entries import AudioMeasures, Entry
from piper.train.check.findings import CheckReport, Finding, Severity
from piper.train.check.rules_text import find_scripts, find_usual_script
from piper.train.data import scripts
from piper.train.data.audio import FloatArray, TrimSettings, decode, trim_silence

LEFT_OUT = "left out"
"""What was done to a line that is not in the copy."""


@dataclass(frozen=True)
class Change:
    """One thing that is otherwise in the copy.

    Attributes:
        line: Of the original's CSV; None where it is about no line.
        name: Of the recording.
        rule: Why.
        what: What was done.
    """

    line: int | None
    name: str
    rule: str
    what: str


@dataclass(frozen=True)
class CopiedLine:
    """A line of the copy's CSV.

    Attributes:
        name: Of the recording in `wavs/`.
        speaker: Its name where the set has several, else None.
        text: What is said.
    """

    name: str
    speaker: str | None
    text: str


class RecordingNames:
    """Gives each recording of a copy a name of its own: names of several folders may be alike."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, name: str) -> str:
        """Return the name, or the next free one with a number: `a-2.wav`."""
        wanted, number = name, 2
        while wanted in self._taken:
            wanted, number = f"{Path(name).stem}-{number}{Path(name).suffix}", number + 1
        self._taken.add(wanted)
        return wanted


def require_new_folder(folder: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        DatasetError: It does, or is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"{folder} is there already; name a new folder.")


@contextmanager
def create_copy(folder: Path) -> Iterator[Path]:
    """Give a folder with `wavs/` to write to; it becomes `folder` if the block ends without error.

    Args:
        folder: Of the copy; must not exist yet, or be empty.

    Raises:
        DatasetError: There is something in the folder.
    """
    require_new_folder(folder)
    part = folder.absolute().with_name(f".{folder.absolute().name}.part")
    remove_folder(part)  # of a killed run
    (part / "wavs").mkdir(parents=True)
    try:
        yield part
        place_folder(part, folder)
    finally:
        remove_folder(part)


def write_lines(
    folder: Path, lines: Sequence[CopiedLine], changes: Sequence[Change], config_path: Path
) -> None:
    """Write metadata.csv, changes.json and config.json of a copy.

    Args:
        folder: As `create_copy` gave it.
        lines: Of metadata.csv, in order.
        changes: All that is otherwise.
        config_path: The original's config.json; need not exist.

    Raises:
        DatasetError: There is no line.
    """
    if not lines:
        raise DatasetError("No line is left that could be used; see the report.")
    if config_path.is_file():
        shutil.copy(config_path, folder / "config.json")
    listed = json.dumps([asdict(change) for change in changes], ensure_ascii=False, indent=1)
    (folder / "changes.json").write_text(listed + "\n", encoding="utf-8")
    rows = [
        "|".join([line.name, *([] if line.speaker is None else [line.speaker]), line.text]) + "\n"
        for line in lines
    ]
    (folder / "metadata.csv").write_text("".join(rows), encoding="utf-8")


def write_cut(path: Path, samples: FloatArray, sample_rate: int) -> None:
    """Write samples that were cut from a recording as a WAV of 16 bits.

    Args:
        path: Where.
        samples: (S,) float32, as libsndfile gave them.
        sample_rate: Hertz.
    """
    # libsndfile divides by 32,768: so a sample of 16 bits comes out as it was.
    whole = np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)
    write_wav(path, whole, sample_rate)


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


@dataclass(frozen=True)
class _AudioJob:
    source: Path
    target: Path
    rules: frozenset[str]
    sample_rate: int
    gain_db: float


def mend_dataset(report: CheckReport, config_path: Path, folder: Path) -> list[Change]:
    """Write a mended copy of a dataset, whole or not at all.

    Args:
        report: Of its check.
        config_path: The dataset's config.json; need not exist.
        folder: Of the copy; must not exist yet, or be empty.

    Raises:
        DatasetError: There is something in the folder, or nothing is left to copy.
    """
    with create_copy(folder) as part:
        changes, lines, jobs = _plan_copy(report, part / "wavs")
        run_jobs(_write_recording, jobs, "Copying", "recordings")
        write_lines(part, lines, changes, config_path)
    return changes


def _plan_copy(
    report: CheckReport, wavs: Path
) -> tuple[list[Change], list[CopiedLine], list[_AudioJob]]:
    """Return all changes, the copy's lines, and how its recordings are made."""
    by_line: dict[int | None, list[Finding]] = defaultdict(list)
    for finding in report.findings:
        by_line[finding.line].append(finding)
    changes, lines, jobs = list_dropped_lines(report.entries, report.findings), [], []
    planner = _AudioPlanner(report, wavs)
    script = find_usual_script(entry.text for entry in report.entries)
    for entry in report.entries:
        findings = {finding.rule.name: finding for finding in by_line[entry.line]}
        text, mended = mend_text(entry.text, script, findings.keys() & TEXT_RULES)
        reason = _find_reason(findings, text)
        if entry.audio_path not in report.audio:
            # Also where `--ignore` left the finding out: there is nothing to copy.
            reason = reason or ("unreadable" if entry.audio_path else "missing-file")
        if reason:
            changes.append(Change(entry.line, entry.name, reason, LEFT_OUT))
            continue
        if "other-name" in findings:
            mended.append(("other-name", "the recording was found by another spelling"))
        changes += [Change(entry.line, entry.name, rule, what) for rule, what in mended]
        job, name = planner.plan(entry, frozenset(findings) & AUDIO_RULES)
        jobs.append(job)
        changes += [
            Change(entry.line, entry.name, rule, "mended in the recording")
            for rule in sorted(job.rules)
        ]
        lines.append(CopiedLine(name, entry.speaker, text))
    return changes, lines, jobs


def list_dropped_lines(entries: Sequence[Entry], findings: Sequence[Finding]) -> list[Change]:
    """Return the lines that are no entries: headers, other delimiters, too many columns."""
    known = {entry.line for entry in entries}
    return [
        Change(finding.line, finding.name, finding.rule.name, LEFT_OUT)
        for finding in findings
        if finding.line is not None
        and finding.line not in known
        and finding.rule.severity is Severity.ERROR
        and finding.rule.name != "encoding"
    ]


def _find_reason(findings: Mapping[str, Finding], text: str) -> str:
    """Return the rule for which a line is left out; empty where it stays."""
    for name, finding in findings.items():
        is_mended = name == "mixed-scripts" and not _has_mixed_word(text)
        is_mended = is_mended or name == "encoding"
        if name in LEFT_OUT_RULES or (finding.rule.severity is Severity.ERROR and not is_mended):
            return name
    return ""


def mend_text(text: str, script: str, rules: set[str]) -> tuple[str, list[tuple[str, str]]]:
    """Mend what can be mended in a text.

    Args:
        text: As it is in the file.
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


class _AudioPlanner:
    """Decides what is done to each recording, and what it is called in the copy."""

    def __init__(self, report: CheckReport, folder: Path) -> None:
        self._audio = report.audio
        self._folder = folder
        self._names = RecordingNames()
        rates = [measures.sample_rate for measures in report.audio.values()]
        self._rate = max(set(rates), key=rates.count, default=0)
        self._levels = _median_levels(report.entries, report.audio)

    def plan(self, entry: Entry, rules: frozenset[str]) -> tuple[_AudioJob, str]:
        """Return the job of a recording, and its name."""
        path = entry.audio_path
        assert path is not None
        name = self._names.take(path.name if not rules else f"{path.stem}.wav")
        measures = self._audio[path]
        gain_db = 0.0
        if rules & {"quiet", "loudness-spread"}:
            gain_db = self._levels[entry.speaker] - measures.speech_db
        rate = self._rate if "mixed-rates" in rules else measures.sample_rate
        return _AudioJob(path, self._folder / name, rules, rate, gain_db), name


def _median_levels(
    entries: Sequence[Entry], audio: Mapping[Path, AudioMeasures]
) -> dict[str | None, float]:
    levels: dict[str | None, list[float]] = defaultdict(list)
    for entry in entries:
        if entry.audio_path and entry.audio_path in audio:
            levels[entry.speaker].append(audio[entry.audio_path].speech_db)
    return {speaker: median(found) for speaker, found in levels.items()}


def _write_recording(job: _AudioJob) -> None:
    if not job.rules:
        shutil.copy(job.source, job.target)
        return
    decoded = decode(job.source)
    samples: FloatArray = decoded.mix()
    rate = decoded.sample_rate
    if "dc-offset" in job.rules:
        samples = samples - samples.mean()
    if job.rules & {"start-silence", "end-silence"}:
        samples = trim_silence(samples, rate, TrimSettings(True, KEEP_SECONDS, KEEP_SECONDS))
    if job.gain_db:
        peak = float(abs(samples).max()) or 1.0
        samples = samples * min(10 ** (job.gain_db / 20), HIGHEST_PEAK / peak)
    if rate != job.sample_rate:
        samples = soxr.resample(samples, rate, job.sample_rate)
    write_wav(job.target, samples.astype("float32"), job.sample_rate)
