"""Many lines to numbered files, on many cores or machines, resumable. Knows nothing of flags."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

from piper.atomic import refuse_overwriting
from piper.audio.naming import NameGiver, OutputNaming, number_to_file_name
from piper.audio.sinks import create_sink
from piper.config import load_voice_config
from piper.errors import PiperError
from piper.processes import available_cores
from piper.progress import ProgressLine
from piper.text.documents import Utterance
from piper.text.piece import Piece
from piper.voice.batch_line import LineOutcome, LineSettings, LineTask
from piper.voice.batch_manifest import Entry, Manifest, create_digest, stops_deferred
from piper.voice.speakers import find_speaker
from piper.voices import VoiceFiles, find_voice

MAX_SHOWN = 20
"""Failures that are named; a book may have thousands, mostly for one reason."""


@dataclass
class BatchReport:
    """How a run ended.

    Attributes:
        unit: What is counted: `line`, `document`, or `text` where there were both.
        spoken: Lines that were spoken now.
        skipped: Lines that were done before.
        empty: Lines (of those spoken) without anything to speak; they have no file.
        failures: Number of a line, from 1, to what went wrong.
        audio_seconds: Speech made now.
        wall_seconds: How long that took.
    """

    unit: str = "line"
    spoken: int = 0
    skipped: int = 0
    empty: int = 0
    failures: dict[int, str] = field(default_factory=dict)
    audio_seconds: float = 0.0
    wall_seconds: float = 0.0

    def describe(self) -> str:
        """Return one sentence about the run."""
        seconds = max(self.wall_seconds, 1e-3)
        parts = [f"Spoke {self.count(self.spoken)}"]
        if self.spoken:
            parts.append(
                f"{self.audio_seconds:.1f} s of speech in {self.wall_seconds:.1f} s "
                f"({self.spoken / seconds:.1f} {name_units(self.unit, 2)} a second, "
                f"{self.audio_seconds / seconds:.1f} times as fast as it sounds)"
            )
        if self.skipped:
            parts.append(f"{self.skipped} {'was' if self.skipped == 1 else 'were'} done before")
        if self.empty:
            parts.append(f"{self.empty} had nothing to speak")
        return "; ".join(parts) + "."

    def describe_failures(self) -> str:
        """Return a short table of the lines that could not be spoken."""
        numbers = sorted(self.failures)
        shown = [f"{self.unit} {number}: {self.failures[number]}" for number in numbers]
        if len(numbers) > MAX_SHOWN:
            shown = [*shown[:MAX_SHOWN], f"and {len(numbers) - MAX_SHOWN} more"]
        lines = "\n  ".join(shown)
        return (
            f"{self.count(len(numbers))} could not be spoken; run it again to try only that:"
            f"\n  {lines}"
        )

    def count(self, number: int) -> str:
        """Return so many lines in words."""
        return f"{number} {name_units(self.unit, number)}"


class InterruptedBatchError(KeyboardInterrupt):
    """Ctrl+C, or what a program made of SIGTERM, ended a run; what was done is kept.

    Attributes:
        report: How far it came.
        left: Lines that were not reached.
    """

    def __init__(self, report: BatchReport, left: int) -> None:
        super().__init__()
        self.report = report
        self.left = left


def name_units(unit: str, number: int) -> str:
    """Return the singular or the plural of `line`, `document` or `text`."""
    return unit if number == 1 else f"{unit}s"


class Workers(Protocol):
    """What speaks lines: processes of this machine, or a cluster."""

    def run(self, tasks: Iterable[LineTask]) -> Iterator[LineOutcome]:
        """Yield what becomes of each line, in the order in which they are done."""
        ...


def speak_lines(
    lines: Iterable[str | Utterance],
    voice_path: Path | str,
    output_dir: Path | str,
    *,
    config_path: Path | str | None = None,
    jobs: int | None = None,
    ray_address: str | None = None,
    inputs: Mapping[str, Path | str | None] | None = None,
    settings: LineSettings | None = None,
    progress_stream: TextIO | None = None,
) -> BatchReport:
    """Speak each line to a file of its own: 000001.wav, 000002.wav, …

    A document (`piper.text.documents`) becomes one file that has the document's name. A line whose
    file is there, made from the same text, voice and settings, is not spoken again. The folder's
    `manifest.jsonl` says which those are. An error of one line stops no other line.

    Args:
        lines: The texts, or documents with markup.
        voice_path: The voice's ONNX file.
        output_dir: The folder; made where it is missing.
        config_path: The voice's JSON; None means the file beside the ONNX.
        jobs: Lines spoken at once; None means one a core, on a cluster one a core of it.
        ray_address: Speak on the Ray cluster with this address instead of on this machine.
        inputs: Files that the texts came from, by their options; none is replaced.
        settings: How to speak and write; None takes the defaults.
        progress_stream: Where the progress goes; None means standard error.

    Raises:
        PiperError: The voice cannot speak so, the folder cannot be written, another process is
            writing to it, a library is missing, or the cluster does not answer.
        InterruptedBatchError: Ctrl+C while it spoke.
    """
    settings = settings or LineSettings()
    files = find_voice(voice_path, config_path=config_path)
    _check_settings(files, settings)
    utterances = [Utterance(line, line) if isinstance(line, str) else line for line in lines]
    tasks = _create_tasks(utterances)
    read = {**(inputs or {}), "--model": files.model, "--config": files.config}
    for task in tasks:
        path = Path(output_dir) / f"{task.name}.{settings.output_format}"
        refuse_overwriting({"--output-dir": path}, read)
    with Manifest(Path(output_dir)) as manifest:
        run = _Run(manifest, settings, _digest_files(files), _find_unit(utterances))
        waiting = [task for task in tasks if not run.is_done(task)]
        run.report.skipped = len(tasks) - len(waiting)
        if not waiting:
            return run.report
        with _create_workers(files, settings, jobs, ray_address) as workers:
            run.speak(workers, waiting, progress_stream)
        return run.report


class _Run:
    """One run over a folder."""

    def __init__(
        self, manifest: Manifest, settings: LineSettings, voice_digest: str, unit: str
    ) -> None:
        self.report = BatchReport(unit)
        self._manifest = manifest
        self._settings = settings
        self._common = (voice_digest, _describe_settings(settings))

    def is_done(self, task: LineTask) -> bool:
        return self._manifest.is_done(task.name, self._digest(task))

    def speak(
        self, workers: Workers, tasks: list[LineTask], progress_stream: TextIO | None
    ) -> None:
        start = time.monotonic()
        unit = name_units(self.report.unit, len(tasks))
        progress = ProgressLine("Speaking", len(tasks), unit, progress_stream)
        done = 0
        try:
            for outcome in workers.run(tasks):
                self._take(outcome)
                done += 1
                progress.show(done)
        except KeyboardInterrupt:
            settled = self.report.spoken + len(self.report.failures)
            raise InterruptedBatchError(self.report, len(tasks) - settled) from None
        finally:
            # On a terminal, what is said next must not stand in the same line.
            if progress.is_terminal or done == len(tasks):
                progress.finish(done)
        self.report.wall_seconds = time.monotonic() - start

    def _take(self, outcome: LineOutcome) -> None:
        task = outcome.task
        if outcome.error:
            is_document = not isinstance(task.text, str)
            error = f"{task.name}: {outcome.error}" if is_document else outcome.error
            self.report.failures[task.number] = error
            return
        file_name = f"{task.name}.{self._settings.output_format}" if outcome.audio else ""
        entry = Entry(
            file_name,
            self._digest(task),
            len(outcome.audio),
            round(outcome.seconds, 3),
            task.text if isinstance(task.text, str) else task.name,
        )
        # Kept and counted, or neither: Ctrl+C waits for the end of this.
        with stops_deferred():
            self._manifest.add(task.name, entry, outcome.audio)
            self.report.spoken += 1
            self.report.empty += not outcome.audio
            self.report.audio_seconds += outcome.seconds

    def _digest(self, task: LineTask) -> str:
        text = task.text
        described = text if isinstance(text, str) else [_describe_piece(piece) for piece in text]
        return create_digest(described, *self._common)


def _create_tasks(utterances: Sequence[Utterance]) -> list[LineTask]:
    """Return the tasks, each with a name that no other one has and the next run gives again."""
    names = NameGiver(OutputNaming.TEXT)
    return [
        LineTask(
            number,
            utterance.text,
            names.give_name(
                utterance.name if utterance.is_document else number_to_file_name(number)
            ),
        )
        for number, utterance in enumerate(utterances, start=1)
    ]


def _find_unit(utterances: Sequence[Utterance]) -> str:
    kinds = {utterance.is_document for utterance in utterances}
    return "text" if len(kinds) > 1 else "document" if kinds == {True} else "line"


def _check_settings(files: VoiceFiles, settings: LineSettings) -> None:
    """Raise here, once, what would go wrong with every line; say once what is worth saying."""
    config = load_voice_config(files.config)
    find_speaker(config, settings.syn_config.speaker_id)
    create_sink(
        config.sample_rate,
        io.BytesIO(),
        output_file="-",
        output_format=settings.output_format,
        output_rate=settings.output_rate,
    ).abort()


def _describe_settings(settings: LineSettings) -> dict[str, Any]:
    """Return what differs from the defaults, so that options to come make no line outdated."""
    described = asdict(settings)
    defaults = asdict(LineSettings())
    for values, usual in (
        (described["syn_config"], defaults["syn_config"]),
        (described, defaults),
    ):
        for name in [name for name, value in values.items() if value == usual[name]]:
            del values[name]
    return described


def _describe_piece(piece: Piece) -> dict[str, Any]:
    """Return a piece without what it says nothing of, so that no field to come outdates it."""
    return {name: value for name, value in asdict(piece).items() if value not in (None, ())}


def _digest_files(files: VoiceFiles) -> str:
    digest = hashlib.sha256()
    for path in (files.model, files.config):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _create_workers(
    files: VoiceFiles, settings: LineSettings, jobs: int | None, ray_address: str | None
) -> AbstractContextManager[Workers]:
    if jobs is not None and jobs < 1:
        raise PiperError(f"jobs is {jobs}, but at least one line must be spoken at a time.")
    if ray_address is not None:
        from piper.voice.batch_ray import RayWorkers

        return RayWorkers(files.model, files.config, settings, ray_address, jobs)
    from piper.voice.batch_workers import LocalWorkers

    return LocalWorkers(files.model, files.config, settings, jobs or available_cores())
