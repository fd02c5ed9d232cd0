"""A text that is changed step by step and still knows where each character came from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """Characters from `start` to `end` become `text`."""

    start: int
    end: int
    text: str


class RewrittenText:
    """A text made from a source by edits.

    Args:
        text: The source.

    Attributes:
        text: The text as it is now.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._spans: list[tuple[int, int]] | None = None  # None: it is the source

    def replace(self, edits: Iterable[Edit]) -> RewrittenText:
        """Return the text after edits, which are in order and do not overlap."""
        edits = list(edits)
        if not edits:
            return self
        spans = self._spans or [(index, index + 1) for index in range(len(self.text))]
        new_text: list[str] = []
        new_spans: list[tuple[int, int]] = []
        end = 0
        for edit in edits:
            new_text += [self.text[end : edit.start], edit.text]
            new_spans += spans[end : edit.start]
            new_spans += [self.find_source(edit.start, edit.end)] * len(edit.text)
            end = edit.end
        result = RewrittenText("".join(new_text) + self.text[end:])
        result._spans = new_spans + spans[end:]
        return result

    def find_source(self, start: int, end: int) -> tuple[int, int]:
        """Return the characters of the source that those from `start` to `end` came from."""
        if self._spans is None:
            return start, end
        spans = self._spans[start:end]
        if not spans:  # between two characters, or at the end
            place = self._spans[start - 1][1] if start else 0
            return place, place
        return spans[0][0], max(last for _, last in spans)
