"""Which rows are imported, under which names and with which texts. Decodes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from piper.train.data.names import is_file
from piper.train.formats.mending import UniqueNames, is_mended, mend_name, mend_text
from piper.train.formats.source import LeftOut, Source, SourceRow

EMPTY_TEXT = "empty text"
MISSING_AUDIO = "missing recording"
OUTSIDE = "recording outside the source"
NO_SPEAKER = "no speaker"
TWICE = "recording listed twice"


@dataclass(frozen=True)
class PlannedRow:
    """A row that will be imported if its recording can be decoded.

    Attributes:
        name: Of the WAV, without its ending; unique.
        shown_name: As the source has it.
        text: On one line, without `|`.
        speaker: None where there is one only.
        audio_path: The recording, or the table that holds it.
        cell: Column and row of the table.
        stamp: Changes when the recording does.
    """

    name: str
    shown_name: str
    text: str
    speaker: str | None
    audio_path: Path
    cell: tuple[str, int] | None
    stamp: tuple[Any, ...]


@dataclass(frozen=True)
class Plan:
    """What is to be imported.

    Attributes:
        rows: In the order of the source.
        left_out: What is not, and why.
        changes: For import.json: name, and a text before and after.
    """

    rows: Sequence[PlannedRow]
    left_out: Sequence[LeftOut]
    changes: Sequence[Mapping[str, str]]


def plan_rows(
    source: Source, roots: Sequence[Path], *, is_one_speaker: bool, limit: int | None
) -> Plan:
    """Decide about each row.

    Args:
        source: What was read.
        roots: Recordings outside these folders, links followed, are not touched.
        is_one_speaker: Whether the source's speakers are one person.
        limit: At most so many rows, the first ones.
    """
    speakers = {mend_text(row.speaker) for row in source.rows if row.speaker} - {""}
    has_speakers = len(speakers) > 1 and not is_one_speaker
    real_roots = [root.resolve() for root in roots]
    left_out = list(source.left_out)
    changes: list[dict[str, str]] = []
    planned: list[PlannedRow] = []
    names = UniqueNames()
    seen: set[tuple[Path, tuple[str, int] | None]] = set()
    for row in source.rows:
        if limit is not None and len(planned) >= limit:
            break
        shown_name = row.name or row.audio_path.name
        path, reason = _find_real_path(row, real_roots)
        speaker = mend_text(row.speaker or "") if has_speakers else None
        text = mend_text(row.text)
        if not reason and (path, row.cell) in seen:
            reason = TWICE
        reason = reason or (EMPTY_TEXT if not text else NO_SPEAKER if speaker == "" else "")
        if reason:
            detail = str(row.audio_path) if reason in (MISSING_AUDIO, OUTSIDE) else ""
            left_out.append(LeftOut(shown_name, reason, detail))
            continue
        seen.add((path, row.cell))
        name = names.create(_add_speaker(row.name, speaker))
        changes += _find_changes(name, row, text, speaker)
        stamp = _create_stamp(path, row.cell)
        planned.append(PlannedRow(name, shown_name, text, speaker, path, row.cell, stamp))
    return Plan(planned, left_out, changes)


def _find_real_path(row: SourceRow, real_roots: Sequence[Path]) -> tuple[Path, str]:
    """Return the recording with links followed, and why it cannot be taken."""
    try:
        path = row.audio_path.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links (until 3.12), a zero byte
        return row.audio_path, MISSING_AUDIO
    # First, so that nothing is told about files elsewhere, not even whether they are there.
    if not any(path.is_relative_to(root) for root in real_roots):
        return path, OUTSIDE
    return path, "" if is_file(path) else MISSING_AUDIO


def _add_speaker(name: str, speaker: str | None) -> str:
    """Put the speaker before a name that does not begin with it already, as VCTK's do."""
    if speaker is None or mend_name(name).startswith(mend_name(speaker)):
        return name
    return f"{mend_name(speaker)}_{name}"


def _find_changes(
    name: str, row: SourceRow, text: str, speaker: str | None
) -> Iterable[dict[str, str]]:
    if is_mended(row.text, text):
        yield {"name": name, "before": row.text, "after": text}
    if speaker is not None and row.speaker is not None and is_mended(row.speaker, speaker):
        yield {"name": name, "speaker before": row.speaker, "speaker after": speaker}


def _create_stamp(path: Path, cell: tuple[str, int] | None) -> tuple[Any, ...]:
    stat = path.stat()
    return (str(path), stat.st_size, stat.st_mtime_ns, *(cell or ()))
