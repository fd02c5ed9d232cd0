"""Recordings with a text file of the same name each. Knows no audio."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from piper.train.data.names import walk_recordings
from piper.train.formats.source import (
    Format,
    LeftOut,
    ReadOptions,
    Source,
    SourceRow,
    read_text,
)

TEXT_SUFFIXES = (".txt", ".lab", ".normalized.txt")
ORIGINAL_SUFFIX = ".original.txt"
"""LibriTTS has both beside each other."""


def _is_this(source: Path) -> bool:
    return source.is_dir() and any(
        _find_beside(path, TEXT_SUFFIXES) for path in walk_recordings(source)
    )


def _find_beside(path: Path, suffixes: Sequence[str]) -> Path | None:
    """Return a recording's text: in its folder, or in a folder beside that (wav/, txt/)."""
    for suffix in suffixes:
        beside = path.with_name(path.stem + suffix)
        if beside.is_file():
            return beside
        for folder in ("txt", "text", "lab", "texts", "transcripts"):
            other = path.parent.parent / folder / (path.stem + suffix)
            if other.is_file():
                return other
    return None


def _load(source: Path, options: ReadOptions) -> Source:
    """Read all pairs; where recordings lie in several folders, those are the speakers.

    Raises:
        DatasetError: A text is not UTF-8.
    """
    suffixes = (ORIGINAL_SUFFIX, *TEXT_SUFFIXES) if options.use_original_text else TEXT_SUFFIXES
    root = options.audio_dir or source
    recordings = list(walk_recordings(root))
    rows: list[SourceRow] = []
    left_out: list[LeftOut] = []
    common = Path(os.path.commonpath([path.parent for path in recordings])) if recordings else root
    for path in recordings:
        text_path = _find_beside(path, suffixes)
        if text_path is None and root != source:  # recordings elsewhere, texts here
            text_path = _find_beside(source / path.relative_to(root), suffixes)
        if text_path is None:
            left_out.append(LeftOut(str(path.relative_to(root)), "no text file"))
            continue
        folders = path.parent.relative_to(common).parts
        speaker = folders[0] if folders else None
        rows.append(SourceRow(path, read_text(text_path).strip(), speaker, path.stem))
    return Source(rows, left_out)


PAIRS = Format(
    "pairs",
    "recordings and .txt or .lab of the same name; a folder a speaker",
    _is_this,
    _load,
    is_general=True,
)
