"""Recordings with a text file of the same name each. Knows no audio."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from piper.train.data.names import walk_recordings
from piper.train.formats.source import (
    Format,
    LeftOut,
    ReadOptions,
    Source,
    SourceRow,
    load_config,
    read_text,
)

TEXT_SUFFIXES = (".txt", ".lab", ".normalized.txt")
NAMED_AT_MOST = 4
_GROUP = re.compile(
    r"\d+[-_ .].*"  # 0000000001_0300000050_General; a number alone is LibriTTS's speaker
    r"|(part|session|group|chapter|set|batch|day|take|disc|cd|book|block|lesson|prompts?|chat|general"
    r"|questions?|numbers|sentences|short|long|dialogue|news|глава|часть|сессия|группа|день|блок"
    r"|фразы|вопросы|числа)([-_ .]?\w*)",
    re.IGNORECASE,
)
"""Names of folders that a studio puts prompts of one speaker into."""
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
    """Read all pairs; where recordings lie in several folders, those are the speakers,
    unless they are called as groups of prompts are.

    Raises:
        DatasetError: A text is not UTF-8.
    """
    suffixes = (ORIGINAL_SUFFIX, *TEXT_SUFFIXES) if options.use_original_text else TEXT_SUFFIXES
    root = options.audio_dir or source
    recordings = list(walk_recordings(root))
    left_out: list[LeftOut] = []
    found: list[tuple[Path, str, str | None]] = []
    common = Path(os.path.commonpath([path.parent for path in recordings])) if recordings else root
    for path in recordings:
        text_path = _find_beside(path, suffixes)
        if text_path is None and root != source:  # recordings elsewhere, texts here
            text_path = _find_beside(source / path.relative_to(root), suffixes)
        if text_path is None:
            left_out.append(LeftOut(str(path.relative_to(root)), "no text file"))
            continue
        folders = path.parent.relative_to(common).parts
        found.append((path, read_text(text_path).strip(), folders[0] if folders else None))
    groups = {folder for *_, folder in found if folder is not None}
    are_groups = bool(groups) and all(_GROUP.fullmatch(group) for group in groups)
    rows = [
        SourceRow(path, text, None if are_groups else folder, path.stem)
        for path, text, folder in found
    ]
    notes = []
    if are_groups and len(groups) > 1:
        some = ", ".join(sorted(groups)[:NAMED_AT_MOST])
        notes.append(
            f"The folders ({some}) are groups of prompts, and no speakers, by their names."
        )
    _, voice = load_config(source)
    columns = "recording and text of one name each"
    return Source(rows, left_out, voice, columns=columns, notes=notes)


PAIRS = Format(
    "pairs",
    "recordings and .txt or .lab of the same name; a folder a speaker",
    _is_this,
    _load,
    is_general=True,
)
