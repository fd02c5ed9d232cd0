"""What every format is read to: rows of recordings and texts."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from piper.errors import DatasetError, PiperError, describe_briefly
from piper.files import load_kept_object, read_bounded
from piper.train.data.metadata import (
    AUDIO_SUFFIXES,
    UTF_8,
    decode_text,
    find_audio,
    find_audio_folder,
)
from piper.voices import hub_errors, is_hub_address, name_address

_LOGGER = logging.getLogger(__name__)
AUDIO = "audio"
TEXT = "text"
SPEAKER = "speaker"
USUAL_NAMES: Mapping[str, Sequence[str]] = {
    AUDIO: (
        *("audio_path", "audio_filepath", "audio_file", "file_name", "filename", "filepath"),
        *("file_path", "file", "path", "wav", "wav_path", "wav_filename", "audio"),
        *("имя_файла", "файл", "путь", "аудио", "запись"),
    ),
    TEXT: (
        *("text", "sentence", "transcript", "transcription", "raw_text", "prompt"),
        *("текст", "фраза", "предложение", "расшифровка"),
    ),
    SPEAKER: (
        *("speaker", "speaker_id", "speaker_name", "client_id"),
        *("диктор", "имя_диктора", "голос", "спикер"),
    ),
}
"""The more telling name first: of `path` and `audio_path` it is the latter."""
NORMALISED_NAMES = ("normalized_text", "normalised_text", "text_normalized", "normalized")
PARQUET = ".parquet"
ARROW = ".arrow"
BYTES = "bytes"
PATH = "path"


@dataclass(frozen=True)
class SourceRow:
    """One utterance, as the source states it; nothing is checked yet.

    Attributes:
        audio_path: The recording, or the table that holds it; it may be missing.
        speaker: Name of the speaker, None where the source tells none.
        name: What to call the recording, without an ending; need not be unique.
        cell: Column and row of the table that `audio_path` is, None where it is a recording.
        version: What the Hub knows the table's content by; empty for what lies on this machine.
    """

    audio_path: Path
    text: str
    speaker: str | None
    name: str
    cell: tuple[str, int] | None = None
    version: str = ""


@dataclass(frozen=True)
class LeftOut:
    """What was not imported.

    Attributes:
        name: Of the recording, or file and line.
        reason: A phrase that begins with what is counted: "empty text".
    """

    name: str
    reason: str
    detail: str = ""


@dataclass
class Source:
    """All that a format's reader found.

    Attributes:
        language: The espeak voice, where the source tells it.
        columns: What was read as what, as the user is told: `file|speaker|text`.
    """

    rows: list[SourceRow] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    language: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    columns: str = ""
    notes: list[str] = field(default_factory=list)

    def add(self, audio_path: Path, text: str, speaker: str | None, name: str) -> None:
        """Add a row."""
        self.rows.append(SourceRow(audio_path, text, speaker, name))

    def leave_out(self, name: str, reason: str, detail: str = "") -> None:
        """Add something that cannot be imported."""
        self.left_out.append(LeftOut(name, reason, detail))


@dataclass(frozen=True)
class ReadOptions:
    """How a source is to be read.

    Attributes:
        use_original_text: Take the text before it was normalised, where there are two.
        columns: Names of the columns by `audio`, `text` and `speaker`; the usual ones where a key
            is missing.
        audio_dir: Another folder in which recordings are looked for first.
        subset: Configuration of a dataset of the Hub.
        split: Part of it, such as `train`.
        limit: A dataset of the Hub is read no further than to so many rows.
    """

    use_original_text: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    audio_dir: Path | None = None
    subset: str | None = None
    split: str | None = None
    limit: int | None = None

    def find_folders(self, *folders: Path) -> list[Path]:
        """Return the folders in which recordings are looked for, in order."""
        return [*([self.audio_dir] if self.audio_dir else []), *folders]

    def find_list_folders(self, root: Path) -> list[Path]:
        """Return the same for the recordings of a list in a folder."""
        inner = find_audio_folder(root)
        return self.find_folders(*([inner] if inner else []), root)

    def find_columns(self, names: Sequence[str]) -> dict[str, str]:
        """Return the name of each column that is there, by `audio`, `text`, `speaker`.

        Letters' case does not matter; a name that the user gave is taken or nothing.
        """
        by_lower = {_normalise(name): name for name in reversed(names)}
        found = {}
        for key, usual in USUAL_NAMES.items():
            wanted: Sequence[str] = [self.columns[key]] if key in self.columns else usual
            if key == TEXT and key not in self.columns:
                is_first = not self.use_original_text
                wanted = (*NORMALISED_NAMES, *usual) if is_first else (*usual, *NORMALISED_NAMES)
            keys = map(_normalise, wanted)
            match = next((by_lower[name] for name in keys if name in by_lower), None)
            if match is not None:
                found[key] = match
        return found

    def require_columns(self, where: str, names: Sequence[str]) -> dict[str, str]:
        """Return the same, where recording, text and whatever the user named are there."""
        found = self.find_columns(names)
        self.check_columns(where, names, found)
        return found

    def check_columns(self, where: str, names: Sequence[str], found: Mapping[str, str]) -> None:
        """Refuse columns among which one that is needed or named is missing."""
        needed = dict.fromkeys((AUDIO, TEXT, *self.columns))
        missing = [key for key in needed if key not in found]
        if not missing:
            return
        given = self.columns
        whats = [
            f'column "{given[key]}"' if key in given else f"column for the {key}" for key in missing
        ]
        flag = ",".join(f"{key}=NAME" for key in missing)
        named = ", ".join(names) or "none"
        raise DatasetError(
            f"{where} has no {' and no '.join(whats)}; name what is missing with --columns {flag} "
            f"(there are: {named})."
        )


def _normalise(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def parse_columns(words: str) -> dict[str, str]:
    """Return what `audio=…,text=…,speaker=…` says."""
    columns = {}
    for word in words.split(","):
        key, sign, name = word.partition("=")
        if key.strip() not in USUAL_NAMES or not sign or not name.strip():
            raise DatasetError(
                f"--columns has {word.strip()!r}, but audio=NAME,text=NAME,speaker=NAME is "
                "wanted (each may be left out)."
            )
        columns[key.strip()] = name.strip()
    return columns


def describe_columns(found: Mapping[str, str]) -> str:
    """Return which column was read as what: "audio=file, text=sentence"."""
    return ", ".join(f"{key}={name}" for key, name in found.items())


@dataclass(frozen=True)
class Format:
    """A layout of recordings and texts.

    Attributes:
        is_this: Whether a folder or file looks like it; opens a line or two at most.
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
    return find_audio(name, folders, AUDIO_SUFFIXES) or folders[0] / name


def load_config(root: Path) -> tuple[dict[str, Any], str | None]:
    """Return a source's own config.json, and the espeak voice that it names."""
    data = load_kept_object(root / "config.json")
    if not data.keys() & {"audio", "espeak", "phoneme_type"}:
        return {}, None
    espeak = data.get("espeak")
    voice = espeak.get("voice") if isinstance(espeak, dict) else None
    return data, voice if isinstance(voice, str) else None


def read_text(path: Path) -> str:
    r"""Return a text file without its byte-order mark, `\n` at the ends of lines.

    What is not UTF-8 is guessed, and said once a folder.
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
    """Return the numbered lines of a text file, empty ones left out."""
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


class Table:
    """A file of rows; what is not asked for is not read.

    Args:
        path: `.parquet`, also at an address of the Hub, of which only what is asked for is
            fetched; or `.arrow` as a stream or file.

    Raises:
        DatasetError: pyarrow is missing, or the file is damaged.
        PiperError: The Hub does not give it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._reading():
            self._blocks: Any = _Parquet(path) if path.suffix == PARQUET else _Arrow(path)
        self._ends = list(accumulate(self._blocks.counts))
        self._kept: tuple[int, str, Any] = (-1, "", None)

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return list(self._blocks.schema.names)

    def has_bytes(self, name: str) -> bool:
        """Return whether a column holds recordings: structures of `bytes` and `path`."""
        import pyarrow

        kind = self._blocks.schema.field(name).type
        return pyarrow.types.is_struct(kind) and kind.get_field_index(BYTES) >= 0

    def read_columns(self, names: Sequence[str]) -> Iterator[list[Any]]:
        """Return the values of columns row by row; `a.path` is a field of a structure."""
        for number in range(len(self._blocks.counts)):
            columns = [self._read(number, name).to_pylist() for name in names]
            yield from (list(values) for values in zip(*columns, strict=True))

    def read_bytes(self, name: str, row: int) -> tuple[bytes, str]:
        """Return the bytes of the recording in a column and row, and the path beside them.

        The block of the last call is kept: whoever asks in order reads each once.
        """
        number = bisect_right(self._ends, row)
        if self._kept[:2] != (number, name):
            self._kept = (number, name, self._read(number, name))
        start = self._ends[number] - self._blocks.counts[number]
        value = self._kept[2][row - start].as_py() or {}
        return value.get(BYTES) or b"", value.get(PATH) or ""

    def _read(self, number: int, name: str) -> Any:
        with self._reading():
            return self._blocks.read(number, name)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            import pyarrow
        except ImportError:
            raise DatasetError(
                "Parquet and Arrow files need the library pyarrow: "
                'pip install "piper-workshop[formats]".'
            ) from None
        outside = hub_errors() if is_hub_address(self.path) else ()
        try:
            yield
        except pyarrow.ArrowException as error:
            raise self._describe_damage(error) from None
        except outside as error:
            # A network that fails damages no row: what is left out is a DatasetError.
            raise PiperError(
                f"{name_address(self.path)} cannot be had ({describe_briefly(error, 200)}); check "
                "the address, the network, and HF_TOKEN where the repository is private."
            ) from None
        except OSError as error:
            raise self._describe_damage(error) from None

    def _describe_damage(self, error: Exception) -> DatasetError:
        reason = describe_briefly(error).rstrip(".")
        return DatasetError(f"{self.path} cannot be read ({reason}); fetch the file again.")


class _Parquet:
    def __init__(self, path: Path) -> None:
        import pyarrow.parquet

        self._file = pyarrow.parquet.ParquetFile(
            _open_on_hub(path) if is_hub_address(path) else path
        )
        self.schema = self._file.schema_arrow
        metadata = self._file.metadata
        self.counts = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]

    def read(self, number: int, name: str) -> Any:
        # One thread: there is a process for each core already.
        column = self._file.read_row_group(number, columns=[name], use_threads=False).column(0)
        return _find_field(column.combine_chunks(), name)


def _open_on_hub(path: Path) -> Any:
    from huggingface_hub import HfFileSystem

    # What is read is a column of many rows: nothing more is fetched ahead.
    return HfFileSystem().open(name_address(path), "rb", cache_type="none")


class _Arrow:
    def __init__(self, path: Path) -> None:
        import pyarrow

        mapped = pyarrow.memory_map(str(path))
        try:
            reader = pyarrow.ipc.open_stream(mapped)
            self._batches = list(reader)
        except pyarrow.ArrowInvalid:
            mapped.seek(0)
            reader = pyarrow.ipc.open_file(mapped)
            self._batches = [reader.get_batch(n) for n in range(reader.num_record_batches)]
        self.schema = reader.schema
        self.counts = [batch.num_rows for batch in self._batches]

    def read(self, number: int, name: str) -> Any:
        column = self._batches[number].column(name.split(".", maxsplit=1)[0])
        return _find_field(column, name)


def _find_field(column: Any, name: str) -> Any:
    """Return `path` of `audio.path`, the column itself where it is no structure."""
    import pyarrow

    _, dot, inner = name.partition(".")
    is_inner = dot and pyarrow.types.is_struct(column.type)
    return column.field(inner) if is_inner else column


@lru_cache(maxsize=2)
def open_table(path: Path) -> Table:
    """Return the table of a file; the last two stay open, a process."""
    return Table(path)
