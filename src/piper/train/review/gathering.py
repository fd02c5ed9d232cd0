"""A dataset, its check and its split to clips. Decides nothing, and decodes nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import soundfile

from piper.errors import ConfigError, DatasetError
from piper.files import is_own_file, is_plain_name, load_json_object
from piper.train.check.entries import Entry
from piper.train.check.issues import Issue
from piper.train.check.rules_set import is_below, read_structure
from piper.train.check.run import RULES
from piper.train.data.settings import DataSettings
from piper.train.review.session import SPLIT_RULE, Clip, ClipIssue

REPORT_NAME = Path("check") / "report.json"
"""Where `python -m piper.train check` writes it, in the dataset's folder."""


def load_issues(path: Path, entries: Sequence[Entry]) -> dict[int, list[ClipIssue]]:
    """Return the findings of a check by line of the CSV; those about no entry are left out."""
    names = {entry.line: entry.name for entry in entries}
    texts = {entry.line: entry.text for entry in entries}
    again = f"python -m piper.train check {path.parents[1]}"
    issues: dict[int, list[ClipIssue]] = defaultdict(list)
    try:
        for rule in load_json_object(path)["rules"]:
            for finding in rule["findings"]:
                line, name = finding["line"], finding["name"]
                if line not in names:
                    continue
                if name and names[line] != name:
                    raise DatasetError(
                        f"{path} is of another metadata.csv (line {line} was {name}, and is "
                        f"{names[line]}); check again: {again}"
                    )
                span = finding["span"]
                issue = ClipIssue(
                    str(rule["rule"]),
                    str(rule["severity"]),
                    str(finding["message"]),
                    str(rule["advice"]),
                    (float(span[0]), float(span[1])) if span else None,
                    texts.get(finding.get("likely_line"), ""),
                )
                issues[line].append(issue)
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"{path} is no report of a check ({type(error).__name__}: {error}); make it anew: "
            f"{again}"
        ) from None
    return issues


SPLIT_NAME = "split.json"


@dataclass(frozen=True)
class Piece:
    """A part of a long recording, with its text.

    Attributes:
        name: Of its recording, without `.wav`.
        sha256: Its digest, as the split wrote it; empty where it did not.
        issue: Why it is in no line of the CSV, a sentence; None where it is in one.
    """

    name: str
    source: Path
    sha256: str
    start_seconds: float
    end_seconds: float
    text: str
    issue: str | None


def load_pieces(path: Path) -> list[Piece]:
    """Return the pieces of a split; none where there is no such file."""
    if not path.is_file():
        return []
    data = load_json_object(path)
    try:
        # A relative source is meant beside the file.
        source = path.parent / str(data["source"])
        sha256 = str(data.get("sha256") or "")
        pieces = [
            Piece(
                str(piece["name"]),
                source,
                sha256,
                float(piece["start"]),
                float(piece["end"]),
                str(piece["text"]),
                None if piece.get("doubt") is None else str(piece["doubt"]),
            )
            for piece in data["pieces"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{path} is no list of pieces ({type(error).__name__}: {error}); make it anew by the "
            "split, or remove it."
        ) from None
    _check(path, pieces)
    return pieces


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


CONTEXT_SECONDS = 3.0
"""Of the long recording around a piece: a word or two, and the pause."""
MAX_SECONDS = 600.0
"""Of a recording that is shown: a screen's pixel is then half a second, too coarse for borders."""


@dataclass(frozen=True)
class Gathered:
    """All that can be reviewed of a dataset.

    Attributes:
        clips: One for each line that names a recording and a text, then the pieces in no line.
    """

    clips: list[Clip]
    entries: list[Entry]
    issues: list[Issue]
    has_report: bool


def gather_clips(settings: DataSettings) -> Gathered:
    """Read a dataset's lines, its check's report and its split."""
    folder = settings.csv_path.parent
    structure = read_structure(settings.csv_path, settings.audio_dir)
    report = folder / REPORT_NAME
    issues = load_issues(report, structure.entries) if report.is_file() else {}
    pieces = load_pieces(folder / SPLIT_NAME)
    by_name = {piece.name: piece for piece in pieces}
    # One source for all of them; an MP3's length takes a pass over the file.
    source_seconds = 0.0
    if pieces and is_own_file(pieces[0].source, folder, pieces[0].sha256):
        source_seconds, _ = _measure(pieces[0].source)
    folders = (settings.audio_dir, folder)
    counts: Counter[str] = Counter()
    clips = []
    for entry in structure.entries:
        counts[entry.name] += 1
        number = counts[entry.name]
        key = entry.name if number == 1 else f"{entry.name}#{number}"
        clip = _create_clip(entry, key, issues.get(entry.line, ()), folders)
        piece = by_name.get(_find_piece_name(entry))
        if piece is not None and clip.ready_path is not None:
            clip = _move_to_source(clip, piece, source_seconds)
        clips.append(clip)
    clips += _create_piece_clips(pieces, structure.entries, source_seconds)
    return Gathered(clips, structure.entries, structure.issues, report.is_file())


def select_clips(gathered: Gathered, folder: Path, *, is_all: bool, rules: str) -> list[Clip]:
    """Return the clips to review, those with errors first.

    Args:
        is_all: Whether also those that nothing is wrong with.
        rules: Names joined by commas; where there are any, only clips that break one of them.
    """
    wanted = {name for name in (part.strip() for part in rules.split(",")) if name}
    known = {rule.name for rule in RULES} | {SPLIT_RULE}
    for name in sorted(wanted - known):
        raise ConfigError(
            f'There is no rule "{name}"; choose from {", ".join(sorted(known))} (--rules).'
        )
    has_pieces = any(not clip.is_in_dataset for clip in gathered.clips)
    if not (gathered.has_report or has_pieces or is_all):
        raise DatasetError(
            f"{folder / REPORT_NAME} is not there; check first: "
            f"python -m piper.train check {folder}, or review every line with --all."
        )
    if wanted:
        clips = [c for c in gathered.clips if any(issue.rule in wanted for issue in c.issues)]
    else:
        clips = [clip for clip in gathered.clips if is_all or clip.is_doubted]
    return sorted(clips, key=lambda clip: not clip.has_error)


def _create_clip(
    entry: Entry, key: str, issues: Sequence[ClipIssue], folders: Sequence[Path]
) -> Clip:
    path, obstacle, seconds = entry.audio_path, "", 0.0
    if path is None:
        obstacle = "There is no recording of this name; put it into wavs/, or drop the line."
    elif not is_below(path, folders):
        path, obstacle = None, "The recording lies outside the dataset; copy it into wavs/."
    else:
        seconds, obstacle = _measure(path)
    is_broken = seconds == 0.0
    return Clip(
        key,
        entry.line,
        entry.name,
        entry.speaker,
        entry.text,
        None if obstacle else path,
        None if is_broken else path,
        0.0,
        seconds,
        (0.0, seconds),
        tuple(issues),
        obstacle,
    )


def _measure(path: Path) -> tuple[float, str]:
    """Return a recording's length in seconds, and why it cannot be shown."""
    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, OSError, RuntimeError):
        return 0.0, "The recording cannot be decoded; replace it, or drop the line."
    seconds = info.frames / info.samplerate
    if seconds == 0.0:
        return 0.0, "The recording is empty; replace it, or drop the line."
    if seconds > MAX_SECONDS:
        return seconds, f"The recording has {seconds:.0f} s; cut it into sentences first."
    return seconds, ""


def _find_piece_name(entry: Entry) -> str:
    return Path(entry.name).name.removesuffix(".wav")


def _move_to_source(clip: Clip, piece: Piece, source_seconds: float) -> Clip:
    """Return a line's clip as it lies in the long recording, where that is still there."""
    start = piece.start_seconds
    issues = tuple(
        replace(issue, span=(issue.span[0] + start, issue.span[1] + start)) if issue.span else issue
        for issue in clip.issues
    )
    placed = _place(clip, piece, source_seconds)
    return clip if placed.obstacle else replace(placed, issues=issues)


def _place(clip: Clip, piece: Piece, source_seconds: float) -> Clip:
    end = min(piece.end_seconds, source_seconds)
    if end <= piece.start_seconds:
        obstacle = (
            f"{piece.source} is not there any more, or is not the recording that was split; split "
            "it again, or put it beside split.json and name it there."
        )
        return replace(clip, obstacle=obstacle)
    return replace(
        clip,
        path=piece.source,
        start_seconds=piece.start_seconds,
        end_seconds=end,
        limits=(
            max(0.0, piece.start_seconds - CONTEXT_SECONDS),
            min(source_seconds, end + CONTEXT_SECONDS),
        ),
        obstacle="",
    )


def _create_piece_clips(
    pieces: Sequence[Piece], entries: Sequence[Entry], source_seconds: float
) -> list[Clip]:
    """Return the pieces that are in no line of the CSV."""
    named = {_find_piece_name(entry): entry for entry in entries}
    speaker = _find_speaker(pieces, named, entries)
    clips = []
    for piece in pieces:
        if piece.issue is None or piece.name in named:
            continue
        issue = ClipIssue(SPLIT_RULE, "warning", piece.issue)
        key = f"{SPLIT_NAME}/{piece.name}"
        clip = Clip(key, None, piece.name, speaker, piece.text, None, None, issues=(issue,))
        clips.append(_place(clip, piece, source_seconds))
    return clips


def _find_speaker(
    pieces: Sequence[Piece], named: Mapping[str, Entry], entries: Sequence[Entry]
) -> str | None:
    """Return who speaks the pieces: the one whom the CSV names for others of them."""
    if not pieces or not any(entry.speaker is not None for entry in entries):
        return None
    counts = Counter(named[piece.name].speaker for piece in pieces if piece.name in named)
    return counts.most_common(1)[0][0] if counts else pieces[0].source.stem
