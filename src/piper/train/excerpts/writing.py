"""A copy of a dataset with its excerpts, and excerpts.json, which lists them. Finds none."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from piper.train.check.copying import (
    LEFT_OUT,
    Change,
    CopiedLine,
    RecordingNames,
    create_copy,
    write_cut,
    write_lines,
)
from piper.train.check.mending import list_dropped_lines
from piper.train.check.report import CheckReport
from piper.train.data.workers import run_jobs
from piper.train.excerpts.finding import Candidate, cut_phrase

EXCERPTS_NAME = "excerpts.json"


@dataclass(frozen=True)
class NamedExcerpt:
    """A phrase and the name of its recording."""

    name: str
    candidate: Candidate

    def to_dict(self) -> dict[str, Any]:
        """Return what excerpts.json says of it; times are those of the source, in seconds."""
        phrase = self.candidate.phrase
        return {
            "name": self.name,
            "source": self.candidate.source.name,
            "start": phrase.start_seconds,
            "end": phrase.end_seconds,
            "words": phrase.num_words,
            "text": phrase.text,
            "score": phrase.score,
            "ends_sentence": phrase.ends_sentence,
        }


@dataclass(frozen=True)
class _CopyJob:
    """A recording of the copy; without a candidate the file is copied as it is."""

    source: Path
    target: Path
    candidate: Candidate | None = None


def write_copy(
    report: CheckReport, excerpts: Sequence[Candidate], config_path: Path, folder: Path
) -> None:
    """Write the dataset's lines, then the excerpts, whole or not at all.

    Args:
        report: Of the dataset's check; lines without a readable recording are left out.
        excerpts: In the order of the lines.
        config_path: The dataset's config.json; need not exist.
        folder: Of the copy; must not exist yet, or be empty.

    Raises:
        DatasetError: There is something in the folder, or a recording cannot be decoded any more.
    """
    names = RecordingNames()
    changes = list_dropped_lines(report.entries, report.findings)
    lines, jobs = [], []
    with create_copy(folder) as part:
        for entry in report.entries:
            path = entry.audio_path
            if path is None or path not in report.audio:
                rule = "missing-file" if path is None else "unreadable"
                changes.append(Change(entry.line, entry.name, rule, LEFT_OUT))
                continue
            name = names.take(path.name)
            jobs.append(_CopyJob(path, part / "wavs" / name))
            lines.append(CopiedLine(name, entry.speaker, entry.text))
        named = name_excerpts(excerpts, names)
        for one in named:
            source = one.candidate.source
            assert source.audio_path is not None  # it was cut from there
            jobs.append(_CopyJob(source.audio_path, part / "wavs" / one.name, one.candidate))
            lines.append(CopiedLine(one.name, source.speaker, one.candidate.phrase.text))
        run_jobs(_write_recording, jobs, "Copying", "recordings")
        write_lines(part, lines, changes, config_path)
        listed = json.dumps([one.to_dict() for one in named], ensure_ascii=False, indent=1)
        (part / EXCERPTS_NAME).write_text(listed + "\n", encoding="utf-8")


def name_excerpts(
    excerpts: Sequence[Candidate], names: RecordingNames | None = None
) -> list[NamedExcerpt]:
    """Return the excerpts with names: `a-w01.wav` is the first of `a.wav`.

    Args:
        excerpts: In the order of the lines.
        names: Those that are taken already.
    """
    names = names or RecordingNames()
    counts: Counter[int] = Counter()
    named = []
    for one in excerpts:
        counts[one.source.line] += 1
        assert one.source.audio_path is not None
        name = f"{one.source.audio_path.stem}-w{counts[one.source.line]:02}.wav"
        named.append(NamedExcerpt(names.take(name), one))
    return named


def _write_recording(job: _CopyJob) -> None:
    if job.candidate is None:
        shutil.copy(job.source, job.target)
        return
    samples, rate = cut_phrase(job.source, job.candidate.phrase)
    write_cut(job.target, samples, rate)
