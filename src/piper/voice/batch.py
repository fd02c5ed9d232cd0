"""Many lines to numbered files, on many cores or machines, resumable. Knows nothing of flags."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

from piper.audio.naming import number_to_file_name
from piper.audio.sinks import create_sink
from piper.config import load_voice_config
from piper.errors import PiperError
from piper.processes import available_cores
from piper.progress import ProgressLine
from piper.voice.batch_line import LineOutcome, LineSettings, LineTask
from piper.voice.batch_manifest import Entry, Manifest, create_digest
from piper.voice.speakers import find_speaker
from piper.voices import VoiceFiles, find_voice

MAX_SHOWN = 20
"""Failures that are named; a book may have thousands, mostly for one reason."""


@dataclass
class BatchReport:
    """How a run ended.

    Attributes:
        spoken: Lines that were spoken now.
        skipped: Lines that were done before.
        empty: Lines (of those spoken) without anything to speak; they have no file.
        failures: Number of a line, from 1, to what went wrong.
        audio_seconds: Speech made now.
        wall_seconds: How long that took.
    """

    spoken: int = 0
    skipped: int = 0
    empty: int = 0
    failures: dict[int, str] = field(default_factory=dict)
    audio_seconds: float = 0.0
    wall_seconds: float = 0.0

    def describe(self) -> str:
        """Return one sentence about the run."""
        seconds = max(self.wall_seconds, 1e-3)
        parts = [f"Spoke {self.spoken} lines"]
        if self.spoken:
            parts.append(
                f"{self.audio_seconds:.1f} s of speech in {self.wall_seconds:.1f} s "
                f"({self.spoken / seconds:.1f} lines a second, "
                f"{self.audio_seconds / seconds:.1f} times as fast as it sounds)"
            )
        if self.skipped:
            parts.append(f"{self.skipped} were done before")
        if self.empty:
            parts.append(f"{self.empty} had nothing to speak")
        return "; ".join(parts) + "."

    def describe_failures(self) -> str:
        """Return a short table of the lines that could not be spoken."""
        numbers = sorted(self.failures)
        shown = [f"line {number}: {self.failures[number]}" for number in numbers[:MAX_SHOWN]]
        if len(numbers) > MAX_SHOWN:
            shown.append(f"and {len(numbers) - MAX_SHOWN} more")
        lines = "\n  ".join(shown)
        count = f"{len(numbers)} lines" if len(numbers) > 1 else "1 line"
        return f"{count} could not be spoken; run it again to try only that:\n  {lines}"


class Workers(Protocol):
    """What speaks lines: processes of this machine, or a cluster."""

    def run(self, tasks: Iterable[LineTask]) -> Iterator[LineOutcome]:
        """Yield what becomes of each line, in the order in which they are done."""
        ...


def speak_lines(
    lines: Iterable[str],
    voice_path: Path | str,
    output_dir: Path | str,
    *,
    config_path: Path | str | None = None,
    jobs: int | None = None,
    ray_address: str | None = None,
    settings: LineSettings | None = None,
    progress_stream: TextIO | None = None,
) -> BatchReport:
    """Speak each line to a file of its own: 000001.wav, 000002.wav, …

    A line whose file is there, made from the same text, voice and settings, is not spoken again.
    The folder's `manifest.jsonl` says which those are. An error of one line stops no other line.

    Args:
        lines: The texts.
        voice_path: The voice's ONNX file.
        output_dir: The folder; made where it is missing.
        config_path: The voice's JSON; None means the file beside the ONNX.
        jobs: Lines spoken at once; None means one a core, on a cluster one a core of it.
        ray_address: Speak on the Ray cluster with this address instead of on this machine.
        settings: How to speak and write; None takes the defaults.
        progress_stream: Where the progress goes; None means standard error.

    Raises:
        PiperError: The voice cannot speak so, the folder cannot be written, another process is
            writing to it, a library is missing, or the cluster does not answer.
    """
    settings = settings or LineSettings()
    files = find_voice(voice_path, config_path=config_path)
    _check_settings(files, settings)
    tasks = [LineTask(number, line) for number, line in enumerate(lines, start=1)]
    with Manifest(Path(output_dir)) as manifest:
        run = _Run(manifest, settings, _digest_files(files))
        waiting = [task for task in tasks if not run.is_done(task)]
        run.report.skipped = len(tasks) - len(waiting)
        if not waiting:
            return run.report
        with _create_workers(files, settings, jobs, ray_address) as workers:
            run.speak(workers, waiting, progress_stream)
        return run.report


class _Run:
    """One run over a folder."""

    def __init__(self, manifest: Manifest, settings: LineSettings, voice_digest: str) -> None:
        self.report = BatchReport()
        self._manifest = manifest
        self._settings = settings
        self._common = (voice_digest, _describe_settings(settings))

    def is_done(self, task: LineTask) -> bool:
        return self._manifest.is_done(number_to_file_name(task.number), self._digest(task))

    def speak(
        self, workers: Workers, tasks: list[LineTask], progress_stream: TextIO | None
    ) -> None:
        start = time.monotonic()
        progress = ProgressLine("Speaking", len(tasks), "lines", progress_stream)
        done = 0
        for outcome in workers.run(tasks):
            done += 1
            self._take(outcome)
            progress.show(done)
        progress.finish(done)
        self.report.wall_seconds = time.monotonic() - start

    def _take(self, outcome: LineOutcome) -> None:
        task = outcome.task
        if outcome.error:
            self.report.failures[task.number] = outcome.error
            return
        name = number_to_file_name(task.number)
        file_name = f"{name}.{self._settings.output_format}" if outcome.audio else ""
        entry = Entry(
            file_name,
            self._digest(task),
            len(outcome.audio),
            round(outcome.seconds, 3),
            task.text,
        )
        self._manifest.add(name, entry, outcome.audio)
        self.report.spoken += 1
        self.report.empty += not outcome.audio
        self.report.audio_seconds += outcome.seconds

    def _digest(self, task: LineTask) -> str:
        return create_digest(task.text, *self._common)


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
