"""What is reviewed: clips, and what is doubted of them. Reads no files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SPLIT_RULE = "split"
"""The name under which the doubts of a split stand among the rules of a check."""


@dataclass(frozen=True)
class Doubt:
    """Why a clip is to be looked at.

    Attributes:
        rule: Name of the rule of the check, or `split`.
        severity: error, warning or note.
        message: What was found, with figures.
        advice: What to do, a sentence; may be empty.
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
        name: Of the recording.
        speaker: Its name where the set has several, else None.
        text: As it is in the dataset.
        path: The file that is shown and cut: the recording, or the long one that a split cut.
            None where there is none to be heard.
        ready_path: The recording in the dataset; None where there is none to copy.
        start_seconds, end_seconds: The clip in `path`.
        limits: How far its borders may be moved, in seconds of `path`; this is what is shown.
        doubts: What is wrong with it, or may be.
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
    doubts: tuple[Doubt, ...] = ()
    obstacle: str = ""

    @property
    def is_in_dataset(self) -> bool:
        """Whether a line of the CSV has it."""
        return self.line is not None
