"""A copy of a dataset with all that a review decided. The original stays as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import soxr

from piper.errors import DatasetError
from piper.progress import count_things
from piper.train.check.copying import LEFT_OUT, Change, Copy, to_int16
from piper.train.pages.excerpts import Excerpt, decode_excerpt
from piper.train.review.gathering import Gathered
from piper.train.review.session import Clip, Outcome, Review, State

REVIEW_RULE = "review"
"""Stands in changes.json where a check's rule would."""


def write_reviewed_copy(gathered: Gathered, review: Review, config_path: Path, folder: Path) -> str:
    """Write the copy, whole or not at all; return in words what it came to.

    Lines that are left out are changes, too. Of what nobody has decided on, lines are copied as
    they are, and pieces stay out.

    Args:
        gathered: All clips of the dataset, not only those that were reviewed.
        config_path: The dataset's config.json; need not exist.
    """
    planner = _Planner(gathered)
    undecided = 0
    for clip in gathered.clips:
        outcome = review.find_outcome(clip)
        is_out = clip.is_in_dataset and clip.ready_path is None
        undecided += outcome.state is State.UNDECIDED and clip.is_doubted and not is_out
        planner.plan(clip, outcome)
    copy = planner.copy
    copy.write(folder, config_path)
    left_out = sum(change.what == LEFT_OUT for change in copy.changes)
    as_they_were = f"; {undecided} undecided as they were" if undecided else ""
    return (
        f"{count_things(len(copy), 'recording')}, {count_things(len(copy.changes), 'change')}, "
        f"{count_things(left_out, 'line')} left out{as_they_were}: changes.json lists them"
    )


class _Planner:
    """Decides clip by clip what the copy holds."""

    def __init__(self, gathered: Gathered) -> None:
        self.copy = Copy(gathered.entries, gathered.issues)
        self._missing_lines = {e.line for e in gathered.entries if e.audio_path is None}
        self._usual_rate = _find_usual_rate(gathered.clips)

    def plan(self, clip: Clip, outcome: Outcome) -> None:
        """Add a clip, or that it is left out."""
        is_kept = outcome.state in (State.KEPT, State.CHANGED)
        is_dropped = outcome.state is State.DROPPED
        if not clip.is_in_dataset:
            if is_kept:
                self._add_cut(clip, outcome, "joined")
            return
        if is_dropped or clip.ready_path is None:
            missing = "missing-file" if clip.line in self._missing_lines else "unreadable"
            self._note(clip, LEFT_OUT, REVIEW_RULE if is_dropped else missing)
            return
        if outcome.text != clip.text:
            self._note(clip, f"the text was {clip.text!r:.200}")
        borders = (outcome.start_seconds, outcome.end_seconds)
        if borders != (clip.start_seconds, clip.end_seconds):
            self._add_cut(clip, outcome, "cut anew")
            return
        if clip.name not in (clip.ready_path.name, clip.ready_path.stem):
            self._note(clip, f"the recording is called {clip.ready_path.name}")
        name = self.copy.names.take(clip.ready_path.stem, clip.ready_path.suffix)
        self.copy.add(clip.ready_path, name, clip.speaker, outcome.text)

    def _add_cut(self, clip: Clip, outcome: Outcome, what: str) -> None:
        assert clip.path is not None  # a clip that cannot be heard is not kept
        start, end = outcome.start_seconds, outcome.end_seconds
        self._note(clip, f"{what}: {start:.2f} to {end:.2f} s of {clip.path.name}")
        stem = Path(clip.name).stem if clip.ready_path is None else clip.ready_path.stem
        name = self.copy.names.take(stem, ".wav")
        rate = self._usual_rate if clip.ready_path is None else _find_rate(clip.ready_path)
        make = partial(_cut_recording, clip.path, start, end, rate)
        self.copy.add(clip.path, name, clip.speaker, outcome.text, make)

    def _note(self, clip: Clip, what: str, rule: str = REVIEW_RULE) -> None:
        self.copy.changes.append(Change(clip.line, clip.name, rule, what))


def _find_rate(path: Path) -> int:
    return int(soundfile.info(path).samplerate)


def _find_usual_rate(clips: Sequence[Clip]) -> int | None:
    """Return the rate of most recordings, for pieces that join; None: the source's own."""
    joining = any(not clip.is_in_dataset for clip in clips)
    paths = [clip.ready_path for clip in clips if clip.ready_path] if joining else []
    rates = Counter(map(_find_rate, paths))
    return rates.most_common(1)[0][0] if rates else None


def _cut_recording(
    path: Path, start: float, end: float, wanted_rate: int | None
) -> tuple[np.ndarray, int]:
    decoded = decode_excerpt(Excerpt(path, start, end - start))
    if decoded is None:
        raise DatasetError(f"{path} cannot be decoded any more; replace it, or drop the clip.")
    samples, rate = decoded
    if wanted_rate not in (None, rate):
        samples, rate = soxr.resample(samples, rate, wanted_rate), wanted_rate
    return to_int16(samples), rate
