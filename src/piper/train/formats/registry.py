"""The formats, and which of them a source has. Reads no rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from piper.errors import DatasetError
from piper.train.formats.corpora import FESTVOX, MLS, VCTK
from piper.train.formats.delimited import COMMON_VOICE, CSV
from piper.train.formats.hugging_face import HUGGING_FACE
from piper.train.formats.json_lines import JSONL
from piper.train.formats.ljspeech import LJSPEECH, PIPER
from piper.train.formats.pairs import PAIRS
from piper.train.formats.source import Format

FORMATS: Sequence[Format] = (
    *(LJSPEECH, PAIRS, CSV, JSONL, VCTK, MLS, COMMON_VOICE, FESTVOX, HUGGING_FACE, PIPER),
)


def find_format(source: Path, name: str | None = None) -> Format:
    """Return the format of a name, or the one that a source looks like.

    Args:
        source: A folder, or the one file that lists the recordings.
        name: As `--format` has it; None looks into the source.

    Raises:
        DatasetError: There is no such source or format, or the source looks like none or several.
    """
    if not source.exists():
        raise DatasetError(f"{source} does not exist; name the folder of the recordings.")
    names = ", ".join(one.name for one in FORMATS)
    if name is not None:
        for one in FORMATS:
            if one.name == name.replace("-", "_"):
                return one
        raise DatasetError(f'There is no format "{name}"; pass one of {names} with --format.')
    for is_general in (False, True):
        found = [one for one in FORMATS if one.is_general == is_general and one.is_this(source)]
        if len(found) == 1:
            return found[0]
        if found:
            several = " and ".join(one.name for one in found)
            raise DatasetError(f"{source} looks like {several}; say which with --format ({names}).")
    raise DatasetError(
        f"{source} looks like none of the formats {names}; is it the folder that holds the list "
        "of the recordings? If so, name its format with --format."
    )
