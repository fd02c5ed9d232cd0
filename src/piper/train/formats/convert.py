"""A source's rows to a dataset of the documented structure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from piper.errors import DatasetError, name_some
from piper.files import UniqueNames, digest_file, hold_lock, load_kept_object, write_json
from piper.jobs import run_jobs
from piper.messages import say
from piper.progress import count_things
from piper.system import avoid_device
from piper.train.data.audio import find_trained_rate
from piper.train.data.metadata import is_file, write_metadata
from piper.train.formats.readers import EMPTY_TEXT, find_format
from piper.train.formats.recordings import (
    UNDECODABLE,
    RecordingJob,
    Written,
    check_libraries,
    measure_wav,
    write_recording,
)
from piper.train.formats.source import LeftOut, ReadOptions, Source, SourceRow, find_root
from piper.voices import is_hub_address, name_address

REPORT_NAME = "import.json"
WORK_NAME = ".import"
PLAN_NAME = "recordings.json"
MAX_NAME_BYTES = 120
"""Well below the 255 of file systems, with room for a speaker, a number and an ending."""
NO_NAME = "recording"
MISSING_AUDIO = "missing recording"
OUTSIDE = "recording outside the source"
NO_SPEAKER = "no speaker"
TWICE = "recording listed twice"
_UNSAFE = re.compile(r"[^\w.\-]+")
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True)
class ImportOptions:
    """What a user may say about an import.

    Attributes:
        language: The espeak voice; None where the source tells it.
        sample_rate: Hertz that the voice will have; None takes that of most recordings.
    """

    format_name: str | None = None
    language: str | None = None
    sample_rate: int | None = None
    read: ReadOptions = field(default_factory=ReadOptions)
    is_one_speaker: bool = False
    limit: int | None = None


@dataclass(frozen=True)
class ImportReport:
    """What came of an import.

    Attributes:
        num_reused: Of these, how many lay there from an earlier run.
        num_speakers: 1 where the source tells none.
        sample_rate: Hertz that the voice will have.
        rates: How many recordings there are of each rate.
        changes: How many texts and recordings were changed.
    """

    folder: Path
    format_name: str
    num_recordings: int
    num_reused: int
    seconds: float
    num_speakers: int
    sample_rate: int
    rates: Mapping[int, int]
    left_out: Sequence[LeftOut]
    changes: int
    columns: str = ""
    notes: Sequence[str] = ()


def import_dataset(
    source: Path, folder: Path, options: ImportOptions | None = None
) -> ImportReport:
    """Make a dataset of a source, or go on with one; the source stays as it is.

    Args:
        folder: The dataset: new, empty, or an import of the same source.
    """
    options = options or ImportOptions()
    found_format = find_format(source, options.format_name)
    audio_dir = options.read.audio_dir
    is_remote = is_hub_address(source)
    options = replace(options, read=replace(options.read, limit=options.limit))
    roots = [*([] if is_remote else [find_root(source)]), *([audio_dir] if audio_dir else [])]
    for root in roots:
        if folder.resolve().is_relative_to(root.resolve()):
            raise DatasetError(
                f"{folder} lies in {root}, where nothing is changed; name a folder elsewhere."
            )
    if audio_dir is not None and not audio_dir.is_dir():
        raise DatasetError(f"--audio-dir {audio_dir} does not exist.")
    if not is_remote and (options.read.subset or options.read.split):
        raise DatasetError(
            "--config and --split are for a dataset of the Hub, hf://datasets/USER/NAME."
        )
    where = _identify(source, options.read)
    journal = Journal(folder, where, found_format.name)
    journal.check()
    try:
        found = found_format.load(source, options.read)
    except DatasetError as error:
        if options.language or "--columns" not in str(error):
            raise
        raise DatasetError(
            f"{str(error).rstrip('.')}; name the language, too: --language, an espeak-ng "
            "voice such as ru."
        ) from None
    language = options.language or found.language
    if not language and found.config.get("phoneme_type", "espeak") == "espeak":
        raise DatasetError(
            f"{where} was read as {found_format.name} ({found.columns or 'its usual columns'}; "
            f"{len(found.rows)} rows), and does not tell the language; name it with --language, an "
            "espeak-ng voice such as ru or en-us."
        )
    rows = list(_plan_rows(found, roots, folder, options))
    if not rows:
        raise DatasetError(_describe_nothing(where, found.left_out))
    with hold_lock(journal.lock_path):
        journal.check()
        journal.begin()
        return _convert(journal, found, rows, replace(options, language=language))


def mend_name(name: str) -> str:
    """Return a name of letters, digits, `.`, `-` and `_` that is no path and not hidden."""
    name = unicodedata.normalize("NFC", name).encode("utf-8", "ignore").decode("utf-8")
    safe = _UNSAFE.sub("_", name).strip("._")
    safe = safe.encode("utf-8")[:MAX_NAME_BYTES].decode("utf-8", "ignore")
    return avoid_device(safe) or NO_NAME


def mend_text(text: str) -> str:
    """Return a text on one line and without `|`, which divides the columns of metadata.csv.

    Line breaks, tabs and other control characters become spaces, and so does `|`; spaces that
    follow each other become one. Halves of surrogate pairs, which UTF-8 cannot hold, go.
    """
    text = text.encode("utf-8", "ignore").decode("utf-8")
    kept = (" " if sign == "|" or unicodedata.category(sign) == "Cc" else sign for sign in text)
    return _SPACES.sub(" ", "".join(kept).replace("\ufeff", "")).strip()


@dataclass(frozen=True)
class _PlannedRow:
    """A row that will be imported if its recording can be decoded.

    Attributes:
        name: Of the WAV, without its ending; unique.
        shown_name: As the source has it.
        speaker: None where there is one only.
        changes: For import.json: name, and a text before and after.
    """

    name: str
    shown_name: str
    text: str
    speaker: str | None
    job: RecordingJob
    changes: Sequence[Mapping[str, str]]
    version: str = ""

    def create_stamp(self) -> tuple[Any, ...]:
        """Return what changes when the recording does."""
        if self.version:
            return (self.version, *(self.job.cell or ()))
        stat = self.job.source.stat()
        return (str(self.job.source), stat.st_size, stat.st_mtime_ns, *(self.job.cell or ()))


def _plan_rows(
    found: Source, roots: Sequence[Path], folder: Path, options: ImportOptions
) -> Iterator[_PlannedRow]:
    """Decide about each row; recordings outside the roots, links followed, are not touched."""
    speakers = {mend_text(row.speaker) for row in found.rows if row.speaker} - {""}
    has_speakers = len(speakers) > 1 and not options.is_one_speaker
    real_roots = [root.resolve() for root in roots]
    names = UniqueNames()
    seen: set[tuple[Path, tuple[str, int] | None]] = set()
    count = 0
    for row in found.rows:
        if options.limit is not None and count >= options.limit:
            return
        shown_name = row.name or row.audio_path.name
        path, reason = _find_real_path(row, real_roots)
        speaker = mend_text(row.speaker or "") if has_speakers else None
        text = mend_text(row.text)
        if not reason and (path, row.cell) in seen:
            reason = TWICE
        reason = reason or (EMPTY_TEXT if not text else NO_SPEAKER if speaker == "" else "")
        if reason:
            detail = str(row.audio_path) if reason in (MISSING_AUDIO, OUTSIDE) else ""
            found.leave_out(shown_name, reason, detail)
            continue
        seen.add((path, row.cell))
        count += 1
        name = names.take(mend_name(_add_speaker(row.name, speaker)))
        changes = []
        if row.text.strip() != text:  # spaces at the ends are nothing to tell the user
            changes.append({"name": name, "before": row.text, "after": text})
        if speaker is not None and row.speaker is not None and row.speaker.strip() != speaker:
            said = {"speaker before": row.speaker, "speaker after": speaker}
            changes.append({"name": name, **said})
        job = RecordingJob(path, row.cell, folder / "wavs" / f"{name}.wav")
        yield _PlannedRow(name, shown_name, text, speaker, job, changes, row.version)


def _find_real_path(row: SourceRow, real_roots: Sequence[Path]) -> tuple[Path, str]:
    """Return the recording with links followed, and why it cannot be taken."""
    if row.version:
        return row.audio_path, ""
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


def _identify(source: Path, options: ReadOptions) -> str:
    """Return what a folder is an import of, whatever the current folder is."""
    if not is_hub_address(source):
        return str(source.resolve())
    chosen = {"config": options.subset, "split": options.split}
    flags = [f" --{name} {value}" for name, value in chosen.items() if value]
    return "".join([name_address(source), *flags])


class Journal:
    """The records of an import in its folder: of which source, in which format."""

    def __init__(self, folder: Path, source: str, format_name: str) -> None:
        self.folder = folder
        self.identity = {"source": source, "format": format_name}
        self.lock_path = folder / WORK_NAME / "lock"
        self._report_path = folder / REPORT_NAME
        self._plan_path = folder / WORK_NAME / PLAN_NAME

    def check(self) -> None:
        """Check that the folder is new, or an import of the same source that nobody edited."""
        if not self.folder.exists() or (self.folder.is_dir() and not any(self.folder.iterdir())):
            return
        if not self.folder.is_dir():
            raise DatasetError(f"{self.folder} is a file; name a folder to make the dataset in.")
        report = load_kept_object(self._report_path)
        # Right after the start there is nothing but the lock.
        if not report and {path.name for path in self.folder.iterdir()} - {WORK_NAME}:
            raise DatasetError(
                f"{self.folder} holds something that is no import; name a folder that is empty "
                "or does not exist."
            )
        if report and {name: report.get(name) for name in self.identity} != self.identity:
            raise DatasetError(
                f"{self.folder} is an import of {report.get('source')} ({report.get('format')}), "
                f"not of {self.identity['source']} ({self.identity['format']}); name another "
                "folder."
            )
        digest = report.get("metadata_sha256")
        csv_path = self.folder / "metadata.csv"
        if digest and csv_path.is_file() and digest_file(csv_path) != digest:
            raise DatasetError(
                f"{csv_path} was edited after the import, which would overwrite it; name another "
                "folder, or delete the file to import anew."
            )

    def begin(self) -> None:
        """Write down what the import is of, before anything is made."""
        digest = load_kept_object(self._report_path).get("metadata_sha256")
        known = {"metadata_sha256": digest} if digest else {}
        write_json(self._report_path, {**self.identity, "is_complete": False, **known})

    def plan(self, rows: Sequence[_PlannedRow]) -> dict[str, Written]:
        """Write down what each recording is made of; return those that stand as they are."""
        old = load_kept_object(self._plan_path)
        wanted = {row.name: row.create_stamp() for row in rows}
        for row in rows:
            if row.name in old and old[row.name] != list(wanted[row.name]):
                # Before the new plan is written: what is there must never belong to another one.
                row.job.target.unlink(missing_ok=True)
        write_json(self._plan_path, {**old, **wanted})
        for path in (self.folder / "wavs").glob(".*.part"):
            path.unlink(missing_ok=True)  # of a killed run; the lock says that none is at work
        measured = {row.name: measure_wav(row.job.target) for row in rows}
        return {name: result for name, result in measured.items() if result is not None}

    def finish(self, rows: Iterable[tuple[str, str | None, str]], facts: Mapping[str, Any]) -> None:
        """Write metadata.csv, and then that the import is complete."""
        digest = hashlib.sha256(write_metadata(self.folder, rows)).hexdigest()
        done = {"is_complete": True, "metadata_sha256": digest}
        write_json(self._report_path, {**self.identity, **done, **facts})


def _convert(
    journal: Journal, found: Source, planned: Sequence[_PlannedRow], options: ImportOptions
) -> ImportReport:
    folder = journal.folder
    written = journal.plan(planned)
    num_reused = len(written)
    missing = [row for row in planned if row.name not in written]
    if missing:
        if num_reused:
            say(f"There already: {count_things(num_reused, 'recording')}.")
        jobs = [row.job for row in missing]
        check_libraries(jobs)
        # One process takes the Hub's rows in order: so each part of a table is fetched once.
        alone = 1 if any(is_hub_address(job.source) for job in jobs) else None
        results = run_jobs(write_recording, jobs, "Importing", "recordings", alone)
        written.update(zip((row.name for row in missing), results, strict=True))
    changes = [change for row in planned for change in row.changes]
    rows = []
    for row in planned:
        result = written[row.name]
        if result.error:
            found.leave_out(row.shown_name, UNDECODABLE, result.error)
            continue
        rows.append(row)
        if result.change:
            changes.append({"name": row.name, "audio": result.change})
    if not rows:
        raise DatasetError(_describe_nothing(journal.identity["source"], found.left_out))
    rates = Counter(written[row.name].sample_rate for row in rows)
    seconds = sum(written[row.name].seconds for row in rows)
    num_speakers = len({row.speaker for row in rows})
    config = _create_config(folder, found.config, options, rates, num_speakers)
    write_json(folder / "config.json", config, indent=2)
    journal.finish(
        ((f"{row.name}.wav", row.speaker if num_speakers > 1 else None, row.text) for row in rows),
        {
            "recordings": len(rows),
            "seconds": round(seconds, 1),
            "speakers": num_speakers,
            "sample_rate": config["audio"]["sample_rate"],
            "sample_rates": {str(rate): count for rate, count in sorted(rates.items())},
            "left_out": [vars(one) for one in found.left_out],
            "changes": changes,
        },
    )
    return ImportReport(
        folder=folder,
        format_name=journal.identity["format"],
        num_recordings=len(rows),
        num_reused=num_reused,
        seconds=seconds,
        num_speakers=num_speakers,
        sample_rate=config["audio"]["sample_rate"],
        rates=rates,
        left_out=found.left_out,
        changes=len(changes),
        columns=found.columns,
        notes=found.notes,
    )


def _create_config(
    folder: Path,
    source_config: Mapping[str, Any],
    options: ImportOptions,
    rates: Counter[int],
    num_speakers: int,
) -> dict[str, Any]:
    """Return config.json: what the folder's or the source's has, brought up to date."""
    config = load_kept_object(folder / "config.json") or dict(source_config)
    most = min(rate for rate, count in rates.items() if count == max(rates.values()))
    rate = options.sample_rate or find_trained_rate(most)
    audio = config.get("audio")
    config["audio"] = {**(audio if isinstance(audio, dict) else {}), "sample_rate": rate}
    if options.language:
        espeak = config.get("espeak")
        config["espeak"] = {
            **(espeak if isinstance(espeak, dict) else {}),
            "voice": options.language,
        }
    config.pop("num_speakers", None)
    if num_speakers > 1:
        config["num_speakers"] = num_speakers
    else:
        config.pop("speaker_id_map", None)
    return config


def describe_left_out(left_out: Sequence[LeftOut]) -> str:
    """Return how many were left out for which reason, the most frequent first."""
    counts = Counter(one.reason for one in left_out)
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())


def _describe_nothing(source: str, left_out: Sequence[LeftOut]) -> str:
    if not left_out:
        return f"{source} lists no recordings; is it the right folder and --format?"
    named = name_some(
        (f"{one.name}: {one.reason}{f' ({one.detail})' if one.detail else ''}" for one in left_out),
        3,
        "; ",
    )
    return (
        f"None of the {len(left_out)} rows of {source} can be imported ({named}); are --format "
        "and --audio-dir right?"
    )
