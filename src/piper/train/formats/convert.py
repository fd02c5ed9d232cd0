"""A source's rows to a dataset of the documented structure. Knows no format's layout."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from piper.atomic import hold_lock, replace_on_success
from piper.errors import DatasetError
from piper.json_reader import load_kept_object
from piper.messages import say
from piper.progress import count_things
from piper.train.data.trained_rates import find_trained_rate
from piper.train.data.workers import run_jobs
from piper.train.formats.journal import Identity, Journal
from piper.train.formats.planning import Plan, PlannedRow, plan_rows
from piper.train.formats.recordings import (
    UNDECODABLE,
    RecordingJob,
    Written,
    check_libraries,
    measure_wav,
    write_recording,
)
from piper.train.formats.registry import find_format
from piper.train.formats.source import LeftOut, ReadOptions, Source, find_root

NAMED_AT_MOST = 3


@dataclass(frozen=True)
class ImportOptions:
    """What a user may say about an import.

    Attributes:
        format_name: As `find_format` has it; None finds it out.
        language: The espeak voice; None where the source tells it.
        sample_rate: Hertz that the voice will have; None takes that of most recordings.
        read: How the source is read.
        is_one_speaker: Whether the source's speakers are one person.
        limit: At most so many recordings, the first ones.
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
        folder: The dataset.
        format_name: Of the source.
        num_recordings: In metadata.csv.
        num_reused: Of these, how many lay there from an earlier run.
        seconds: Of speech.
        num_speakers: 1 where the source tells none.
        sample_rate: Hertz that the voice will have.
        rates: How many recordings there are of each rate.
        left_out: What was not imported.
        changes: How many texts and recordings were changed.
        columns: What was read as what.
        notes: What else there is to say of how the source was read.
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
        source: A folder of a format that `find_format` knows, or the file that lists it.
        folder: The dataset: new, empty, or an import of the same source.

    Raises:
        DatasetError: The source cannot be read, nothing of it can be used, or the folder is
            something else.
        OSError: Something cannot be written.
    """
    options = options or ImportOptions()
    found_format = find_format(source, options.format_name)
    _check_folders(source, folder, options.read.audio_dir)
    identity = Identity(source.resolve(), found_format.name)
    journal = Journal(folder)
    journal.check(identity)
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
            f"{source} was read as {found_format.name} ({found.columns or 'its usual columns'}; "
            f"{len(found.rows)} rows), and does not tell the language; name it with --language, an "
            "espeak-ng voice such as ru or en-us."
        )
    roots = [find_root(source)] + ([options.read.audio_dir] if options.read.audio_dir else [])
    plan = plan_rows(found, roots, is_one_speaker=options.is_one_speaker, limit=options.limit)
    if not plan.rows:
        raise DatasetError(_describe_nothing(source, plan.left_out))
    with hold_lock(journal.lock_path):
        journal.check(identity)
        journal.begin(identity)
        return _convert(journal, identity, found, plan, replace(options, language=language))


def _check_folders(source: Path, folder: Path, audio_dir: Path | None) -> None:
    inner = folder.resolve()
    for outer in (find_root(source), *([audio_dir] if audio_dir else [])):
        if inner.is_relative_to(outer.resolve()):
            raise DatasetError(
                f"{folder} lies in {outer}, where nothing is changed; name a folder elsewhere."
            )
    if audio_dir is not None and not audio_dir.is_dir():
        raise DatasetError(f"--audio-dir {audio_dir} does not exist.")


def _convert(
    journal: Journal, identity: Identity, found: Source, plan: Plan, options: ImportOptions
) -> ImportReport:
    folder = journal.folder
    there = journal.plan({row.name: row.stamp for row in plan.rows})
    written, num_reused = _write_recordings(folder, plan.rows, there)
    rows, left_out, changes = [], list(plan.left_out), list(plan.changes)
    for row in plan.rows:
        result = written[row.name]
        if result.error:
            left_out.append(LeftOut(row.shown_name, UNDECODABLE, result.error))
            continue
        rows.append(row)
        if result.change:
            changes.append({"name": row.name, "audio": result.change})
    if not rows:
        raise DatasetError(_describe_nothing(identity.source, left_out))
    rates = Counter(written[row.name].sample_rate for row in rows)
    speakers = {row.speaker for row in rows}
    config = _create_config(folder, found.config, options, rates, len(speakers))
    report = ImportReport(
        folder=folder,
        format_name=identity.format_name,
        num_recordings=len(rows),
        num_reused=num_reused,
        seconds=sum(written[row.name].seconds for row in rows),
        num_speakers=len(speakers),
        sample_rate=config["audio"]["sample_rate"],
        rates=rates,
        left_out=left_out,
        changes=len(changes),
        columns=found.columns,
        notes=found.notes,
    )
    with replace_on_success(folder / "config.json") as temporary:
        text = json.dumps(config, ensure_ascii=False, indent=2)
        temporary.write_text(text + "\n", encoding="utf-8")
    journal.finish(identity, _create_csv(rows, len(speakers)), _describe(report, changes))
    return report


def _write_recordings(
    folder: Path, rows: Sequence[PlannedRow], there: set[str]
) -> tuple[dict[str, Written], int]:
    """Return what became of each recording, and how many were there already."""
    paths = {row.name: folder / "wavs" / f"{row.name}.wav" for row in rows}
    measured = ((name, measure_wav(paths[name])) for name in paths if name in there)
    written = {name: result for name, result in measured if result is not None}
    num_reused = len(written)
    missing = [row for row in rows if row.name not in written]
    jobs = [RecordingJob(row.audio_path, row.cell, paths[row.name]) for row in missing]
    if jobs:
        if num_reused:
            say(f"There already: {count_things(num_reused, 'recording')}.")
        check_libraries(jobs)
        results = run_jobs(write_recording, jobs, "Importing", "recordings")
        written.update(zip((row.name for row in missing), results, strict=True))
    return written, num_reused


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


def _create_csv(rows: Sequence[PlannedRow], num_speakers: int) -> str:
    lines = []
    for row in rows:
        speaker = f"{row.speaker}|" if num_speakers > 1 else ""
        lines.append(f"{row.name}.wav|{speaker}{row.text}\n")
    return "".join(lines)


def _describe(report: ImportReport, changes: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    return {
        "recordings": report.num_recordings,
        "seconds": round(report.seconds, 1),
        "speakers": report.num_speakers,
        "sample_rate": report.sample_rate,
        "sample_rates": {str(rate): count for rate, count in sorted(report.rates.items())},
        "left_out": [
            {"name": one.name, "reason": one.reason, "detail": one.detail}
            for one in report.left_out
        ],
        "changes": list(changes),
    }


def describe_left_out(left_out: Sequence[LeftOut]) -> str:
    """Return how many were left out for which reason, the most frequent first."""
    counts = Counter(one.reason for one in left_out)
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())


def _describe_nothing(source: Path, left_out: Sequence[LeftOut]) -> str:
    if not left_out:
        return f"{source} lists no recordings; is it the right folder and --format?"
    named = "; ".join(
        f"{one.name}: {one.reason}{f' ({one.detail})' if one.detail else ''}"
        for one in left_out[:NAMED_AT_MOST]
    )
    return (
        f"None of the {len(left_out)} rows of {source} can be imported ({named}); are --format "
        "and --audio-dir right?"
    )
