"""Names and texts that fit metadata.csv and every file system. Knows no files."""

from __future__ import annotations

import re
import unicodedata

MAX_NAME_BYTES = 120
"""Well below the 255 of file systems, with room for a speaker, a number and an ending."""
NO_NAME = "recording"
_UNSAFE = re.compile(r"[^\w.\-]+")
_SPACES = re.compile(r"\s+")
# What Windows takes for a device, whatever the ending.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def mend_name(name: str) -> str:
    """Return a name of letters, digits, `.`, `-` and `_` that is no path and not hidden."""
    name = unicodedata.normalize("NFC", name).encode("utf-8", "ignore").decode("utf-8")
    safe = _UNSAFE.sub("_", name).strip("._")
    safe = safe.encode("utf-8")[:MAX_NAME_BYTES].decode("utf-8", "ignore")
    return f"_{safe}" if _DEVICE.fullmatch(safe) else safe or NO_NAME


def mend_text(text: str) -> str:
    """Return a text on one line and without `|`, which divides the columns of metadata.csv.

    Line breaks, tabs and other control characters become spaces, and so does `|`; spaces that
    follow each other become one. Halves of surrogate pairs, which UTF-8 cannot hold, go.
    """
    text = text.encode("utf-8", "ignore").decode("utf-8")
    kept = (" " if sign == "|" or unicodedata.category(sign) == "Cc" else sign for sign in text)
    return _SPACES.sub(" ", "".join(kept).replace("\ufeff", "")).strip()


def is_mended(before: str, after: str) -> bool:
    """Return whether more than spaces at the ends changed: something to tell the user."""
    return before.strip() != after


class UniqueNames:
    """Gives each name once; letters' case does not tell names apart, as on Windows and macOS."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def create(self, name: str) -> str:
        """Return a safe name, with a number where it was given before."""
        safe = mend_name(name)
        unique = safe
        while unique.casefold() in self._counts:
            self._counts[safe.casefold()] += 1
            unique = f"{safe}-{self._counts[safe.casefold()]}"
        self._counts[unique.casefold()] = 1
        return unique
