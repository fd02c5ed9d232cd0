"""Names of the files in an output folder. Knows no files and no audio."""

from __future__ import annotations

import re
import time
from enum import StrEnum

# 255 bytes is the usual limit of a name; a letter of the texts met most has up to 3 bytes.
_MAX_NAME_BYTES = 200


class OutputNaming(StrEnum):
    """How a folder's files are named."""

    TIMESTAMP = "timestamp"
    TEXT = "text"
    NUMBER = "number"


class NameGiver:
    """Gives each utterance of a run a name (without ending) that no other one has."""

    def __init__(self, naming: OutputNaming) -> None:
        self._naming = naming
        self._names: set[str] = set()

    def give_name(self, text: str) -> str:
        """Return the name for the next utterance."""
        if self._naming is OutputNaming.NUMBER:
            name = number_to_file_name(len(self._names) + 1)
        elif self._naming is OutputNaming.TEXT:
            name = text_to_file_name(text)
        else:
            name = str(time.time_ns())
        # "Hi!" and "Hi?" may get one name; within a run none may overwrite another's file.
        unused, number = name, 2
        while unused.casefold() in self._names:
            unused, number = f"{name} {number}", number + 1
        self._names.add(unused.casefold())
        return unused


def number_to_file_name(number: int) -> str:
    """Return the name of the first, second, … utterance: 000001, 000002, …"""
    return f"{number:06}"


def text_to_file_name(text: str) -> str:
    """Return a file name (without suffix) that shows the text and is valid on any system."""
    name = " ".join(re.sub(r"[^\w\s'!,.-]", "", text).split())
    while len(name.encode("utf-8")) > _MAX_NAME_BYTES:
        name = name[:-1]
    # Windows drops dots and spaces at the end; a dot at the start hides the file.
    return name.strip(". ") or "utterance"
