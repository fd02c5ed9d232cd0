"""A review under way: clips, and what is decided of each. Knows nothing of HTTP or pages."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from piper.errors import DatasetError
from piper.train.review.clips import Clip
from piper.train.review.decisions import Choice, Decision, Stamp
from piper.train.review.journal import Journal

LEAST_SECONDS = 0.1
"""Of a clip: a word of one vowel is longer."""
_FORBIDDEN = "|\n\r"
"""In a text: metadata.csv separates columns and lines by them."""
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
"""JSON can hold half of an emoji, UTF-8 cannot: the page and the copy could not be written."""


class State(StrEnum):
    """Of a clip, as the list of the page has it."""

    UNDECIDED = "undecided"
    KEPT = "kept"
    CHANGED = "changed"
    DROPPED = "dropped"


@dataclass(frozen=True)
class Outcome:
    """What is decided of a clip.

    Attributes:
        state: Of the clip.
        text: What is said.
        start_seconds, end_seconds: Its borders in `Clip.path`.
        note: Why an earlier decision does not count any more; empty where none was.
    """

    state: State
    text: str
    start_seconds: float
    end_seconds: float
    note: str = ""


class Review:
    """Decisions on clips, each saved before the method returns. Threads may share it.

    Args:
        clips: All that can be decided on.
        journal: Keeps the decisions.
    """

    def __init__(self, clips: Sequence[Clip], journal: Journal) -> None:
        self._journal = journal
        self._seen = {clip.key: _find_file_state(clip) for clip in clips}
        self._digests: dict[tuple[Path, int, int], str] = {}
        self._lock = threading.RLock()

    @property
    def can_undo(self) -> bool:
        """Whether there is a decision to take back."""
        return self._journal.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether a decision that was taken back can be made again."""
        return self._journal.can_redo

    def find_outcome(self, clip: Clip) -> Outcome:
        """Return what is decided of a clip."""
        with self._lock:
            decision = self._journal.find(clip.key)
            note = self._find_change(clip, decision) if decision else ""
        if decision is None or note:
            return _undecided(clip, note)
        if decision.choice is Choice.UNDECIDED:
            return _undecided(clip)
        state = State.DROPPED
        if decision.choice is Choice.KEEP:
            is_same = decision.has_text_of(clip) and decision.has_borders_of(clip)
            state = State.KEPT if is_same else State.CHANGED
        return Outcome(state, decision.text, decision.start_seconds, decision.end_seconds)

    def decide(
        self,
        clip: Clip,
        choice: Choice,
        text: str,
        start_seconds: float,
        end_seconds: float,
        *,
        is_continued: bool = False,
    ) -> None:
        """Save a decision.

        Args:
            clip: One of those.
            choice: What becomes of it.
            text: What is said; with `Choice.UNDECIDED` the dataset's own counts.
            start_seconds: Where it begins in `Clip.path`; likewise.
            end_seconds: Where it ends; likewise.
            is_continued: See `Journal.decide`.

        Raises:
            DatasetError: That cannot be, or cannot be saved; the sentence says why.
        """
        text = text.strip()
        if _HALF_CHARACTER.search(text):
            raise DatasetError("The text holds half of a character; write it anew.")
        start_seconds, end_seconds = round(start_seconds, 4), round(end_seconds, 4)
        if choice is Choice.UNDECIDED:
            text, start_seconds, end_seconds = clip.text, clip.start_seconds, clip.end_seconds
        # Borders that nobody moved have more places than the page sends.
        if abs(start_seconds - clip.start_seconds) < 1e-3:
            start_seconds = clip.start_seconds
        if abs(end_seconds - clip.end_seconds) < 1e-3:
            end_seconds = clip.end_seconds
        if choice is Choice.KEEP:
            _check(clip, text, start_seconds, end_seconds)
        with self._lock:
            if _find_file_state(clip) != self._seen[clip.key]:
                raise DatasetError(
                    f"{clip.name} has changed since the review was started; start it again."
                )
            stamp = self._create_stamp(clip)
            decision = Decision(clip.key, choice, text, start_seconds, end_seconds, stamp)
            if decision != self._journal.find(clip.key):
                self._journal.decide(decision, is_continued=is_continued)

    def undo(self) -> str | None:
        """Take the last decision back; return the key of its clip, None where there is none.

        Raises:
            DatasetError: It cannot be saved.
        """
        with self._lock:
            return self._journal.undo()

    def redo(self) -> str | None:
        """Make the decision again that was taken back last; return as `undo`.

        Raises:
            DatasetError: It cannot be saved.
        """
        with self._lock:
            return self._journal.redo()

    def _create_stamp(self, clip: Clip) -> Stamp:
        size_bytes, mtime_ns = self._seen[clip.key]
        digest = self._find_digest(clip)
        return Stamp(size_bytes, mtime_ns, digest, clip.text, clip.start_seconds, clip.end_seconds)

    def _find_change(self, clip: Clip, decision: Decision) -> str:
        """Return why a decision is void; empty where it is not."""
        stamp, (size_bytes, mtime_ns) = decision.stamp, _find_file_state(clip)
        what = ""
        if stamp.text != clip.text:
            what = "text"
        elif (stamp.start_seconds, stamp.end_seconds) != (clip.start_seconds, clip.end_seconds):
            what = "length"
        elif stamp.size_bytes != size_bytes or (
            stamp.mtime_ns != mtime_ns and stamp.sha256 != self._find_digest(clip)
        ):
            what = "recording"
        if not what:
            return ""
        return f"Decided before ({decision.choice}), but its {what} has changed since: decide anew."

    def _find_digest(self, clip: Clip) -> str:
        if clip.path is None:
            return ""
        key = (clip.path, *_find_file_state(clip))
        if key not in self._digests:
            with clip.path.open("rb") as file:
                self._digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._digests[key]


def _undecided(clip: Clip, note: str = "") -> Outcome:
    return Outcome(State.UNDECIDED, clip.text, clip.start_seconds, clip.end_seconds, note)


def _find_file_state(clip: Clip) -> tuple[int, int]:
    """Return size in bytes and time of change of what is heard of a clip; zeros for nothing."""
    try:
        stat = clip.path.stat() if clip.path else None
    except OSError:
        return 0, 0
    return (stat.st_size, stat.st_mtime_ns) if stat else (0, 0)


def _check(clip: Clip, text: str, start_seconds: float, end_seconds: float) -> None:
    if clip.obstacle:
        raise DatasetError(f"It cannot be kept. {clip.obstacle}")
    if not text:
        raise DatasetError("The text is empty; write what is said, or drop the clip.")
    if any(sign in text for sign in _FORBIDDEN):
        raise DatasetError("The text must not hold '|' or line ends; take them out.")
    low, high = clip.limits
    if not (low - 1e-3 <= start_seconds and end_seconds <= high + 1e-3):
        raise DatasetError(f"The borders must lie between {low:.2f} and {high:.2f} s.")
    if end_seconds - start_seconds < LEAST_SECONDS:
        raise DatasetError(f"The clip must last {LEAST_SECONDS} s at least; move a border back.")
