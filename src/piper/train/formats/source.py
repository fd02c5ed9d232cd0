"""What every format is read to: rows of recordings and texts. Knows no format, writes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from piper.errors import DatasetError
from piper.json_reader import load_kept_object, read_bounded
from piper.train.data.layout import UTF_8, decode_text
from piper.train.data.names import AUDIO_SUFFIXES, find_audio_folder, find_named, find_similar

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceRow:
    """One utterance, as the source states it; nothing is checked yet.

    Attributes:
        audio_path: The recording, or the table that holds it; it may be missing.
        text: What is said; it may be empty.
        speaker: Name of the speaker, None where the source tells none.
        name: What to call the recording, without an ending; need not be unique.
        cell: Column and row of the table that `audio_path` is, None where it is a recording.
    """

    audio_path: Path
    text: str
    speaker: str | None
    name: str
    cell: tuple[str, int] | None = None


@dataclass(frozen=True)
class LeftOut:
    """What was not imported.

    Attributes:
        name: Of the recording, or file and line.
        reason: A phrase that begins with what is counted: "empty text".
        detail: More of it, may be empty.
    """

    name: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Source:
    """All that a format's reader found.

    Attributes:
        rows: In the order of the source.
        left_out: Lines that are no rows.
        language: The espeak voice, where the source tells it.
        config: What the source's own config.json holds.
        columns: What was read as what, as the user is told: `file|speaker|text`.
        notes: What else the user is told of how it was read, sentences.
    """

    rows: Sequence[SourceRow]
    left_out: Sequence[LeftOut] = ()
    language: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    columns: str = ""
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class ReadOptions:
    """How a source is to be read.

    Attributes:
        use_original_text: Take the text before it was normalised, where there are two.
        columns: Names of the columns by `audio`, `text` and `speaker`; the usual ones where a key
            is missing.
        audio_dir: Another folder in which recordings are looked for first.
    """

    use_original_text: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    audio_dir: Path | None = None

    def find_folders(self, *folders: Path) -> list[Path]:
        """Return the folders in which recordings are looked for, in order."""
        return [*([self.audio_dir] if self.audio_dir else []), *folders]


@dataclass(frozen=True)
class Format:
    """A layout of recordings and texts.

    Attributes:
        name: As `--format` has it.
        summary: What lies in the folder, a phrase.
        is_this: Whether a folder or file looks like it; opens a line or two at most.
        load: Reads all rows.
        is_general: Asked only where none of the other formats is found, since folders of those
            may look like it too.
    """

    name: str
    summary: str
    is_this: Callable[[Path], bool]
    load: Callable[[Path, ReadOptions], Source]
    is_general: bool = False


def find_root(source: Path) -> Path:
    """Return the folder of a source that is a folder or a file in it."""
    return source if source.is_dir() else source.parent


def find_recording(name: str, folders: Sequence[Path]) -> Path:
    """Return the recording that a list's name means, or where it was looked for first."""
    found = find_named(name, folders, AUDIO_SUFFIXES) or find_similar(name, folders)
    return found or folders[0] / name


def load_config(root: Path) -> tuple[dict[str, Any], str | None]:
    """Return a source's own config.json, and the espeak voice that it names."""
    data = load_kept_object(root / "config.json")
    if not data.keys() & {"audio", "espeak", "phoneme_type"}:
        return {}, None
    espeak = data.get("espeak")
    voice = espeak.get("voice") if isinstance(espeak, dict) else None
    return data, voice if isinstance(voice, str) else None


def describe_columns(found: Mapping[str, str]) -> str:
    """Return which column was read as what: "audio=file, text=sentence"."""
    return ", ".join(f"{key}={name}" for key, name in found.items())


def find_folders(root: Path, options: ReadOptions) -> list[Path]:
    """Return where the recordings of a list in a folder are looked for, in order."""
    inner = find_audio_folder(root)
    return options.find_folders(*([inner] if inner else []), root)


def read_text(path: Path) -> str:
    r"""Return a text file without its byte-order mark, `\n` at the ends of lines.

    What is not UTF-8 is guessed, and said once a folder.

    Raises:
        DatasetError: It cannot be read.
    """
    try:
        text, encoding = decode_text(read_bounded(path, "text file"))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}).") from None
    if encoding != UTF_8:
        _say_encoding(path.parent, path.name, encoding)
    return text


@lru_cache(maxsize=64)
def _say_encoding(folder: Path, name: str, encoding: str) -> None:
    _LOGGER.warning("%s is not UTF-8; it is read as %s.", folder / name, encoding)


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return the numbered lines of a text file, empty ones left out.

    Raises:
        DatasetError: It cannot be read, or is not UTF-8.
    """
    # Not splitlines(), which would also cut a text at U+2028 or U+0085.
    numbered = enumerate(read_text(path).split("\n"), start=1)
    return [(number, line) for number, line in numbered if line.strip()]


def read_first_line(path: Path) -> str:
    """Return the first line of a text file; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError:
        return ""
    # Cut within a character, the rest of it must not make another encoding likely.
    return decode_text(head[: head.find(b"\n") + 1] or head)[0].split("\n", maxsplit=1)[0]
