"""A recording by the name that a list has for it, also where it is spelt otherwise on this disk.

Lists come from other machines: with backslashes, folders that are not here, other capitals, quotes,
another ending. Decodes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".g722", ".aif", ".aiff", ".au", ".caf"),
    *(".m4a", ".mp4", ".aac", ".webm", ".mka", ".wma"),
)
"""Endings of recordings, in the order in which they are looked for where a name has none."""
AUDIO_FOLDERS = ("wavs", "wav", "audio", "clips", "recordings")
"""Folders that datasets keep recordings in, in whatever capitals."""
MOST_INDEXED = 1_000_000
"""Files and folders below a folder that are looked through: it may be somebody's whole disk."""


def find_audio_folder(folder: Path) -> Path | None:
    """Return the folder of the recordings in a dataset's, None where there is none."""
    try:
        inner = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}
    except OSError:
        return None
    for name in AUDIO_FOLDERS:
        if name in inner:
            return inner[name]
        for other, path in inner.items():
            if other.lower() == name:
                return path
    return None


def find_named(
    name: str, folders: Sequence[Path], suffixes: Sequence[str] = (".wav",)
) -> Path | None:
    """Return the recording of exactly this name, or with one of the endings added to it.

    Args:
        name: As a list has it.
        folders: Where it is looked for, in order.
        suffixes: Endings that may be left out of a name.
    """
    if not name.strip():
        return None
    for folder in folders:
        path = folder / name
        for candidate in (path, *(Path(f"{path}{suffix}") for suffix in suffixes)):
            if is_file(candidate):
                return candidate
    return None


def find_similar(name: str, folders: Sequence[Path]) -> Path | None:
    """Return the one recording below the folders that a name can mean, None for none or several.

    Folders before the name count only where several recordings have it.
    """
    wanted = PurePosixPath(name.strip().strip('"').replace("\\", "/").lower())
    if not wanted.name:
        return None
    for folder in folders:
        index = _index(folder, _find_time(folder))
        for key in (wanted.name, find_stem(wanted.name)):
            found = index.get(key, ())
            if len(found) == 1:
                return found[0]
            parts = wanted.with_name(key).parts[-2:]
            near = [path for path in found if _spell(path)[-2:] in (parts, wanted.parts[-2:])]
            if len(near) == 1:
                return near[0]
    return None


def _spell(path: Path) -> tuple[str, ...]:
    return (*(part.lower() for part in path.parts[:-1]), find_stem(path.name.lower()))


def _find_time(folder: Path) -> int:
    """Return when a folder changed, so that a list of it does not outlive that."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=8)
def _index(folder: Path, changed: int) -> Mapping[str, Sequence[Path]]:
    """Return the recordings below a folder by their names in small letters, also without ending."""
    found: dict[str, list[Path]] = {}
    for path in walk_recordings(folder, MOST_INDEXED):
        name = path.name.lower()
        for key in {name, find_stem(name)}:
            found.setdefault(key, []).append(path)
    return found


def walk_recordings(folder: Path, most: int | None = None) -> Iterator[Path]:
    """Return the recordings below a folder in order; hidden files and folders are left out.

    Args:
        folder: Where.
        most: Files and folders that are looked through; None: all.
    """
    count = 0
    for parent, inner, names in os.walk(folder):
        count += len(inner) + len(names)
        if most is not None and count > most:
            return
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_SUFFIXES:
                yield Path(parent, name)


def find_stem(name: str) -> str:
    """Return a recording's name without folders, and without its ending where it has one."""
    base = name.replace("\\", "/").rsplit("/", maxsplit=1)[-1]
    ending = Path(base).suffix
    return base[: -len(ending)] if ending.lower() in AUDIO_SUFFIXES else base


def is_file(path: Path) -> bool:
    """Return whether a path is a file; names that no file can have are none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False
