"""What a reviewer decides of a clip, and of which state of the clip. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from piper.train.review.clips import Clip


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
        mtime_ns: When that was changed.
        sha256: Of its bytes: a copied file is as good as the same.
        text: In the dataset.
        start_seconds, end_seconds: The clip in the file.
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
        clip: Its key.
        choice: What becomes of it.
        text: What is said.
        start_seconds, end_seconds: Its borders in `Clip.path`.
        stamp: What it was decided on.
    """

    clip: str
    choice: Choice
    text: str
    start_seconds: float
    end_seconds: float
    stamp: Stamp

    def has_text_of(self, clip: Clip) -> bool:
        """Whether the clip's text is as it was."""
        return self.text == clip.text

    def has_borders_of(self, clip: Clip) -> bool:
        """Whether the clip's borders are as they were."""
        borders = (self.start_seconds, self.end_seconds)
        return borders == (clip.start_seconds, clip.end_seconds)

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
        """Return the decision of a line of the journal.

        Raises:
            KeyError, TypeError, ValueError: It is no such line.
        """
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
