"""A review under way: clips, and what is decided of each.

Lines are only added; what counts follows from reading all of them.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from piper.errors import DatasetError, describe_os_error
from piper.files import append_record, digest_file, hold_lock, load_records

SPLIT_RULE = "split"
"""The name under which the issues of a split stand among the rules of a check."""


@dataclass(frozen=True)
class ClipIssue:
    """Why a clip is to be looked at.

    Attributes:
        span: Seconds of the file that is shown (`Clip.path`); None where it is about all of it.
        fitting_text: The text of another line that fits here; empty where none was found.
    """

    rule: str
    severity: str
    message: str
    advice: str = ""
    span: tuple[float, float] | None = None
    fitting_text: str = ""


@dataclass(frozen=True)
class Clip:
    """One utterance to look at: a line of the CSV, or a piece that a split left out.

    Attributes:
        key: What decisions name it by; the same when lines above it come or go.
        line: Of the CSV, counted from 1; None for a piece that is in no line.
        speaker: Its name where the set has several, else None.
        path: The file that is shown and cut: the recording, or the long one that a split cut.
            None where there is none to be heard.
        ready_path: The recording in the dataset; None where there is none to copy.
        start_seconds, end_seconds: The clip in `path`.
        limits: How far its borders may be moved, in seconds of `path`; this is what is shown.
        obstacle: Why it cannot be heard, a sentence; empty where it can.
    """

    key: str
    line: int | None
    name: str
    speaker: str | None
    text: str
    path: Path | None
    ready_path: Path | None
    start_seconds: float = 0.0
    end_seconds: float = 0.0
    limits: tuple[float, float] = (0.0, 0.0)
    issues: tuple[ClipIssue, ...] = ()
    obstacle: str = ""

    @property
    def is_in_dataset(self) -> bool:
        """Whether a line of the CSV has it."""
        return self.line is not None

    @property
    def has_error(self) -> bool:
        """Whether training would refuse it, or learn something wrong from it."""
        return any(issue.severity == "error" for issue in self.issues)

    @property
    def is_doubted(self) -> bool:
        """Whether anything is wrong with it; notes are none."""
        return any(issue.severity in ("error", "warning") for issue in self.issues)


class Choice(StrEnum):
    """What becomes of a clip."""

    KEEP = "keep"
    """It stays, or joins the dataset, with the decision's text and borders."""
    DROP = "drop"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Stamp:
    """The state of a clip that was decided on; another one makes the decision void.

    Attributes:
        size_bytes: Of the file that was heard; 0 where there was none.
        sha256: Of its bytes: a copied file is as good as the same.
    """

    size_bytes: int
    mtime_ns: int
    sha256: str
    text: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Decision:
    """One decision.

    Attributes:
        start_seconds, end_seconds: Its borders in `Clip.path`.
    """

    clip: str
    choice: Choice
    text: str
    start_seconds: float
    end_seconds: float
    stamp: Stamp

    def to_dict(self) -> dict[str, Any]:
        """Return what a line of the journal holds."""
        stamp = self.stamp
        return {
            "clip": self.clip,
            "choice": self.choice.value,
            "text": self.text,
            "start": self.start_seconds,
            "end": self.end_seconds,
            "of": {
                "bytes": stamp.size_bytes,
                "mtime_ns": stamp.mtime_ns,
                "sha256": stamp.sha256,
                "text": stamp.text,
                "start": stamp.start_seconds,
                "end": stamp.end_seconds,
            },
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Decision:
        """Return the decision of a line of the journal."""
        of = data["of"]
        stamp = Stamp(
            int(of["bytes"]),
            int(of["mtime_ns"]),
            str(of["sha256"]),
            str(of["text"]),
            float(of["start"]),
            float(of["end"]),
        )
        return cls(
            str(data["clip"]),
            Choice(data["choice"]),
            str(data["text"]),
            float(data["start"]),
            float(data["end"]),
            stamp,
        )


JOURNAL_NAME = "review.jsonl"
_DECIDE, _AMEND, _UNDO, _REDO = "decide", "amend", "undo", "redo"


@contextmanager
def hold_journal(path: Path) -> Iterator[None]:
    """Let one process at a time review a dataset; the lock goes with the process."""

    def refuse() -> None:
        raise DatasetError(
            f"{path.parent} is being reviewed by another process; go on there, or end it."
        )

    with ExitStack() as stack:
        try:
            if path.is_symlink():  # which somebody else may have made, to any file
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            lock = path.with_name(f".{path.name}.lock")
            stack.enter_context(hold_lock(lock, refuse, is_removed=True))
        except OSError as error:
            raise DatasetError(describe_os_error(error)) from None
        yield


MIN_SECONDS = 0.1
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
        clips: All of the dataset.
        path: review.jsonl; made with the first decision.
    """

    def __init__(self, clips: Sequence[Clip], path: Path) -> None:
        self.path = path
        self._done: list[Decision] = []
        self._undone: list[Decision] = []
        self._by_clip: dict[str, list[Decision]] = {}
        self._lock = threading.RLock()
        self._seen = {clip.key: _find_file_state(clip) for clip in clips}
        self._digests: dict[tuple[Path, int, int], str] = {}
        try:
            entries = load_records(path)
        except OSError as error:
            raise DatasetError(describe_os_error(error)) from None
        for entry in entries:
            with suppress(
                ValueError, KeyError, TypeError, OverflowError
            ):  # nothing that was ever answered
                self._apply(entry)

    @property
    def can_undo(self) -> bool:
        """Whether there is a decision to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether one was taken back, and none made since."""
        return bool(self._undone)

    def find_outcome(self, clip: Clip) -> Outcome:
        """Return what is decided of a clip."""
        with self._lock:
            decision = self._find_decision(clip.key)
            note = self._find_change(clip, decision) if decision else ""
        if decision is None or note:
            return _undecided(clip, note)
        if decision.choice is Choice.UNDECIDED:
            return _undecided(clip)
        state = State.DROPPED
        if decision.choice is Choice.KEEP:
            decided = (decision.text, decision.start_seconds, decision.end_seconds)
            is_same = decided == (clip.text, clip.start_seconds, clip.end_seconds)
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
            text: What is said; with `Choice.UNDECIDED` the dataset's own counts.
            is_continued: It goes on with the last one, of the same clip (letters of one text):
                one undo takes both back.
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
            size_bytes, mtime_ns = self._seen[clip.key]
            stamp = Stamp(
                size_bytes,
                mtime_ns,
                self._find_digest(clip),
                clip.text,
                clip.start_seconds,
                clip.end_seconds,
            )
            decision = Decision(clip.key, choice, text, start_seconds, end_seconds, stamp)
            if decision == self._find_decision(clip.key):
                return
            is_amended = is_continued and self.can_undo and self._done[-1].clip == clip.key
            self._write({"do": _AMEND if is_amended else _DECIDE, **decision.to_dict()})

    def undo(self) -> str | None:
        """Take the last decision back; return the key of its clip, None where there is none."""
        return self._step(_UNDO, self._done)

    def redo(self) -> str | None:
        """Make the decision again that was taken back last; return the key of its clip."""
        return self._step(_REDO, self._undone)

    def _step(self, kind: str, decisions: Sequence[Decision]) -> str | None:
        with self._lock:
            if not decisions:
                return None
            clip = decisions[-1].clip
            self._write({"do": kind})
            return clip

    def _write(self, entry: dict[str, Any]) -> None:
        try:
            append_record(self.path, entry, is_synced=True)
        except OSError as error:
            raise DatasetError(f"The decision is not saved: {describe_os_error(error)}") from None
        self._apply(entry)

    def _apply(self, entry: dict[str, Any]) -> None:
        kind = entry["do"]
        if kind == _UNDO and self._done:
            self._undone.append(self._pop())
        elif kind == _REDO and self._undone:
            self._push(self._undone.pop())
        elif kind in (_DECIDE, _AMEND):
            decision = Decision.from_dict(entry)
            if kind == _AMEND and self._done:
                self._pop()
            self._undone.clear()
            self._push(decision)

    def _push(self, decision: Decision) -> None:
        self._done.append(decision)
        self._by_clip.setdefault(decision.clip, []).append(decision)

    def _pop(self) -> Decision:
        decision = self._done.pop()
        self._by_clip[decision.clip].pop()
        return decision

    def _find_decision(self, clip: str) -> Decision | None:
        """Return the decision on a clip that counts."""
        decisions = self._by_clip.get(clip)
        return decisions[-1] if decisions else None

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
            self._digests[key] = digest_file(clip.path)
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
    if end_seconds - start_seconds < MIN_SECONDS:
        raise DatasetError(f"The clip must last {MIN_SECONDS} s at least; move a border back.")
