"""A copy of a dataset with all that a review decided. The original stays as it is."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile
import soxr

from piper.errors import DatasetError
from piper.jobs import run_jobs
from piper.progress import count_things
from piper.train.check.copying import (
    LEFT_OUT,
    Change,
    CopiedLine,
    RecordingNames,
    create_copy,
    list_dropped_lines,
    write_cut,
    write_lines,
)
from piper.train.pages.excerpts import Excerpt, decode_excerpt
from piper.train.review.gathering import Gathered, is_doubted
from piper.train.review.session import Clip, Outcome, Review, State

REVIEW_RULE = "review"
"""Stands in changes.json where a check's rule would."""


@dataclass(frozen=True)
class CopySummary:
    """What a copy came to.

    Attributes:
        num_lines: In its metadata.csv.
        num_changes: In its changes.json.
        num_left_out: Of those, lines that are not in the copy.
        num_undecided: Doubted clips that nobody has decided on: lines are copied as they are,
            pieces stay out.
    """

    num_lines: int
    num_changes: int
    num_left_out: int
    num_undecided: int

    def describe(self) -> str:
        """Return it in words."""
        undecided = f"; {self.num_undecided} undecided as they were" if self.num_undecided else ""
        return (
            f"{count_things(self.num_lines, 'recording')}, "
            f"{count_things(self.num_changes, 'change')}, "
            f"{count_things(self.num_left_out, 'line')} left out{undecided}: "
            "changes.json lists them"
        )


@dataclass(frozen=True)
class _CopyJob:
    """A recording of the copy; None for the seconds copies the file as it is."""

    source: Path
    target: Path
    seconds: tuple[float, float] | None
    sample_rate: int | None


def write_reviewed_copy(
    gathered: Gathered, review: Review, config_path: Path, folder: Path
) -> CopySummary:
    """Write the copy, whole or not at all.

    Args:
        gathered: All clips of the dataset, not only those that were reviewed.
        review: Of them.
        config_path: The dataset's config.json; need not exist.
        folder: Of the copy; must not exist yet, or be empty.

    Raises:
        DatasetError: There is something in the folder, nothing is left to copy, or a recording
            cannot be decoded.
    """
    planner = _Planner(gathered)
    undecided = 0
    with create_copy(folder) as part:
        for clip in gathered.clips:
            outcome = review.find_outcome(clip)
            is_out = clip.is_in_dataset and clip.ready_path is None
            undecided += outcome.state is State.UNDECIDED and is_doubted(clip) and not is_out
            planner.plan(clip, outcome, part / "wavs")
        run_jobs(_write_recording, planner.jobs, "Copying", "recordings")
        write_lines(part, planner.lines, planner.changes, config_path)
    changes = planner.changes
    left_out = sum(change.what == LEFT_OUT for change in changes)
    return CopySummary(len(planner.lines), len(changes), left_out, undecided)


class _Planner:
    """Collects lines, changes and recordings of the copy, clip by clip."""

    def __init__(self, gathered: Gathered) -> None:
        self.lines: list[CopiedLine] = []
        self.changes = list_dropped_lines(gathered.entries, gathered.findings)
        self.jobs: list[_CopyJob] = []
        self._names = RecordingNames()
        self._missing_lines = {e.line for e in gathered.entries if e.audio_path is None}
        self._usual_rate = _find_usual_rate(gathered.clips)

    def plan(self, clip: Clip, outcome: Outcome, wavs: Path) -> None:
        """Add a clip, or that it is left out."""
        is_kept = outcome.state in (State.KEPT, State.CHANGED)
        is_dropped = outcome.state is State.DROPPED
        if not clip.is_in_dataset:
            if is_kept:
                self._add_cut(clip, outcome, wavs, "joined")
            return
        if is_dropped or clip.ready_path is None:
            missing = "missing-file" if clip.line in self._missing_lines else "unreadable"
            self._note(clip, LEFT_OUT, REVIEW_RULE if is_dropped else missing)
            return
        if outcome.text != clip.text:
            self._note(clip, f"the text was {clip.text!r:.200}")
        borders = (outcome.start_seconds, outcome.end_seconds)
        if borders != (clip.start_seconds, clip.end_seconds):
            self._add_cut(clip, outcome, wavs, "cut anew")
            return
        if clip.name not in (clip.ready_path.name, clip.ready_path.stem):
            self._note(clip, f"the recording is called {clip.ready_path.name}")
        name = self._names.take(clip.ready_path.name)
        self.jobs.append(_CopyJob(clip.ready_path, wavs / name, None, None))
        self.lines.append(CopiedLine(name, clip.speaker, outcome.text))

    def _add_cut(self, clip: Clip, outcome: Outcome, wavs: Path, what: str) -> None:
        assert clip.path is not None  # a clip that cannot be heard is not kept
        start, end = outcome.start_seconds, outcome.end_seconds
        self._note(clip, f"{what}: {start:.2f} to {end:.2f} s of {clip.path.name}")
        stem = Path(clip.name).stem if clip.ready_path is None else clip.ready_path.stem
        name = self._names.take(f"{stem}.wav")
        rate = self._usual_rate if clip.ready_path is None else _find_rate(clip.ready_path)
        self.jobs.append(_CopyJob(clip.path, wavs / name, (start, end), rate))
        self.lines.append(CopiedLine(name, clip.speaker, outcome.text))

    def _note(self, clip: Clip, what: str, rule: str = REVIEW_RULE) -> None:
        self.changes.append(Change(clip.line, clip.name, rule, what))


def _find_rate(path: Path) -> int:
    return int(soundfile.info(path).samplerate)


def _find_usual_rate(clips: Sequence[Clip]) -> int | None:
    """Return the rate of most recordings, for pieces that join; None: the source's own."""
    joining = any(not clip.is_in_dataset for clip in clips)
    paths = [clip.ready_path for clip in clips if clip.ready_path] if joining else []
    rates = Counter(map(_find_rate, paths))
    return rates.most_common(1)[0][0] if rates else None


def _write_recording(job: _CopyJob) -> None:
    if job.seconds is None:
        shutil.copy(job.source, job.target)
        return
    start, end = job.seconds
    decoded = decode_excerpt(Excerpt(job.source, start, end - start))
    if decoded is None:
        raise DatasetError(
            f"{job.source} cannot be decoded any more; replace it, or drop the clip."
        )
    samples, rate = decoded
    if job.sample_rate not in (None, rate):
        samples, rate = soxr.resample(samples, rate, job.sample_rate), job.sample_rate
    write_cut(job.target, samples, rate)
