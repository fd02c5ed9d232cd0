"""split.json: the pieces that a split cut a long recording into. Opens no recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from piper.atomic import is_plain_name
from piper.errors import DatasetError
from piper.json_reader import load_json_object

SPLIT_NAME = "split.json"


@dataclass(frozen=True)
class Piece:
    """A part of a long recording, with its text.

    Attributes:
        name: Of its recording, without `.wav`.
        source: The long recording.
        sha256: Its digest, as the split wrote it; empty where it did not.
        start_seconds, end_seconds: Where it lies in that.
        text: What is said.
        doubt: Why it is in no line of the CSV, a sentence; None where it is in one.
    """

    name: str
    source: Path
    sha256: str
    start_seconds: float
    end_seconds: float
    text: str
    doubt: str | None


def load_pieces(path: Path) -> list[Piece]:
    """Return the pieces of a split; none where there is no such file.

    Raises:
        DatasetError: The file holds something else.
    """
    if not path.is_file():
        return []
    data = load_json_object(path)
    try:
        # A relative source is meant beside the file.
        source = path.parent / str(data["source"])
        sha256 = str(data.get("sha256") or "")
        pieces = [_create_piece(source, sha256, piece) for piece in data["pieces"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{path} is no list of pieces ({type(error).__name__}: {error}); make it anew by the "
            "split, or remove it."
        ) from None
    _check(path, pieces)
    return pieces


def _create_piece(source: Path, sha256: str, data: dict[str, Any]) -> Piece:
    doubt = data.get("doubt")
    return Piece(
        str(data["name"]),
        source,
        sha256,
        float(data["start"]),
        float(data["end"]),
        str(data["text"]),
        None if doubt is None else str(doubt),
    )


def _check(path: Path, pieces: Sequence[Piece]) -> None:
    seen: set[str] = set()
    for piece in pieces:
        # Its name becomes that of a file.
        if not is_plain_name(piece.name) or piece.name in seen:
            raise DatasetError(
                f"{path} names a piece {piece.name!r:.60}; a name of its own without '/' is wanted."
            )
        if not 0 <= piece.start_seconds < piece.end_seconds:
            raise DatasetError(
                f"{path}: {piece.name} goes from {piece.start_seconds} to {piece.end_seconds} s; "
                "the end must come after the start."
            )
        seen.add(piece.name)
