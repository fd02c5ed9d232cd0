"""review.jsonl: every decision, undo and redo, in a line that is on the disk before it is answered.

Lines are only added; what counts follows from reading all of them. Knows no recordings.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from piper.atomic import open_to_append
from piper.errors import DatasetError, describe_os_error
from piper.json_reader import parse_json_object
from piper.train.review.decisions import Decision

JOURNAL_NAME = "review.jsonl"
_DECIDE, _AMEND, _UNDO, _REDO = "decide", "amend", "undo", "redo"


class Journal:
    """The decisions of all reviews of a dataset.

    Args:
        path: review.jsonl; made with the first decision.

    Raises:
        DatasetError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._done: list[Decision] = []
        self._undone: list[Decision] = []
        self._by_clip: dict[str, list[Decision]] = {}
        self._has_cut_line = False
        for entry in self._read():
            self._apply(entry)

    @property
    def can_undo(self) -> bool:
        """Whether there is a decision to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether one was taken back, and none made since."""
        return bool(self._undone)

    def find(self, clip: str) -> Decision | None:
        """Return the decision on a clip that counts."""
        decisions = self._by_clip.get(clip)
        return decisions[-1] if decisions else None

    def decide(self, decision: Decision, *, is_continued: bool = False) -> None:
        """Write a decision down.

        Args:
            decision: What was decided.
            is_continued: It goes on with the last one, of the same clip (letters of one text):
                one undo takes both back.

        Raises:
            DatasetError: The disk is full, or may not be written to.
        """
        last = self._done[-1] if self._done else None
        is_amended = is_continued and last is not None and last.clip == decision.clip
        self._write({"do": _AMEND if is_amended else _DECIDE, **decision.to_dict()})

    def undo(self) -> str | None:
        """Take the last decision back; return the key of its clip, None where there is none.

        Raises:
            DatasetError: As `decide`.
        """
        if not self._done:
            return None
        clip = self._done[-1].clip
        self._write({"do": _UNDO})
        return clip

    def redo(self) -> str | None:
        """Make the decision again that was taken back last; return the key of its clip.

        Raises:
            DatasetError: As `decide`.
        """
        if not self._undone:
            return None
        clip = self._undone[-1].clip
        self._write({"do": _REDO})
        return clip

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

    def _read(self) -> Iterator[dict[str, Any]]:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise DatasetError(describe_os_error(error)) from None
        self._has_cut_line = bool(data) and not data.endswith(b"\n")
        for line in data.split(b"\n"):
            try:
                entry = parse_json_object(line, str(self.path))
                if entry["do"] in (_DECIDE, _AMEND):
                    Decision.from_dict(entry)
            except (ValueError, KeyError, TypeError):
                continue  # empty, or cut off by a kill: it was never answered
            yield entry

    def _write(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n"
        # What a kill or a full disk has cut off gets a line of its own.
        data = (("\n" if self._has_cut_line else "") + line).encode("utf-8", "backslashreplace")
        try:
            _append(self.path, data)
        except OSError as error:
            self._has_cut_line = True
            raise DatasetError(f"The decision is not saved: {describe_os_error(error)}") from None
        self._has_cut_line = False
        self._apply(entry)


def _append(path: Path, data: bytes) -> None:
    """Add bytes to a file; return when they are on the disk."""
    is_new = not path.exists() or path.stat().st_size == 0
    descriptor = open_to_append(path)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new and os.name == "posix":
        # The name, too, must outlast a loss of power.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def hold_journal(path: Path) -> Iterator[None]:
    """Let one process at a time review a dataset; the lock goes with the process.

    Raises:
        DatasetError: Another process reviews it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: whoever starts two has to know
        yield
        return
    try:
        file = os.fdopen(open_to_append(path), "ab")
    except OSError as error:
        raise DatasetError(describe_os_error(error)) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatasetError(
                f"{path.parent} is being reviewed by another process; go on there, or end it."
            ) from None
        yield
