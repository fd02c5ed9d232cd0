"""A changed copy of a dataset, whole or not at all, with a list of every change.

Does not know what is changed, or why; the original stays as it is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from piper.atomic import place_folder, remove_folder
from piper.audio.encode import write_wav
from piper.errors import DatasetError
from piper.train.data.audio import FloatArray

LEFT_OUT = "left out"
"""What was done to a line that is not in the copy."""


@dataclass(frozen=True)
class Change:
    """One thing that is otherwise in the copy.

    Attributes:
        line: Of the original's CSV; None where it is about no line.
        name: Of the recording.
        rule: Why.
        what: What was done.
    """

    line: int | None
    name: str
    rule: str
    what: str


@dataclass(frozen=True)
class CopiedLine:
    """A line of the copy's CSV.

    Attributes:
        name: Of the recording in `wavs/`.
        speaker: Its name where the set has several, else None.
        text: What is said.
    """

    name: str
    speaker: str | None
    text: str


class RecordingNames:
    """Gives each recording of a copy a name of its own: names of several folders may be alike."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, name: str) -> str:
        """Return the name, or the next free one with a number: `a-2.wav`."""
        wanted, number = name, 2
        while wanted in self._taken:
            wanted, number = f"{Path(name).stem}-{number}{Path(name).suffix}", number + 1
        self._taken.add(wanted)
        return wanted


def require_new_folder(folder: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        DatasetError: It does, or is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"{folder} is there already; name a new folder.")


@contextmanager
def create_copy(folder: Path) -> Iterator[Path]:
    """Give a folder with `wavs/` to write to; it becomes `folder` if the block ends without error.

    Args:
        folder: Of the copy; must not exist yet, or be empty.

    Raises:
        DatasetError: There is something in the folder.
    """
    require_new_folder(folder)
    part = folder.absolute().with_name(f".{folder.absolute().name}.part")
    remove_folder(part)  # of a killed run
    (part / "wavs").mkdir(parents=True)
    try:
        yield part
        place_folder(part, folder)
    finally:
        remove_folder(part)


def write_lines(
    folder: Path, lines: Sequence[CopiedLine], changes: Sequence[Change], config_path: Path
) -> None:
    """Write metadata.csv, changes.json and config.json of a copy.

    Args:
        folder: As `create_copy` gave it.
        lines: Of metadata.csv, in order.
        changes: All that is otherwise.
        config_path: The original's config.json; need not exist.

    Raises:
        DatasetError: There is no line.
    """
    if not lines:
        raise DatasetError("No line is left that could be used; see the report.")
    if config_path.is_file():
        shutil.copy(config_path, folder / "config.json")
    listed = json.dumps([asdict(change) for change in changes], ensure_ascii=False, indent=1)
    (folder / "changes.json").write_text(listed + "\n", encoding="utf-8")
    rows = [
        "|".join([line.name, *([] if line.speaker is None else [line.speaker]), line.text]) + "\n"
        for line in lines
    ]
    (folder / "metadata.csv").write_text("".join(rows), encoding="utf-8")


def write_cut(path: Path, samples: FloatArray, sample_rate: int) -> None:
    """Write samples that were cut from a recording as a WAV of 16 bits.

    Args:
        path: Where.
        samples: (S,) float32, as libsndfile gave them.
        sample_rate: Hertz.
    """
    # libsndfile divides by 32,768: so a sample of 16 bits comes out as it was.
    whole = np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)
    write_wav(path, whole, sample_rate)
