"""Many lines, or documents with markup, to numbered files on many cores or machines, resumable."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import tempfile
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from piper.audio.output import (
    NameGiver,
    OutputFormat,
    OutputNaming,
    Sink,
    create_sink,
    number_to_file_name,
)
from piper.config import SynthesisConfig, load_voice_config
from piper.errors import PiperError, cannot_write, name_some
from piper.files import (
    append_record,
    digest_file,
    hold_lock,
    is_plain_name,
    load_records,
    refuse_overwriting,
    replace_on_success,
)
from piper.jobs import Lost, run_in_processes, run_on_cluster
from piper.progress import ProgressLine, count_things
from piper.system import available_cores
from piper.text.frontend import TextOptions
from piper.text.markup import Utterance
from piper.text.pieces import Piece
from piper.voice.synthesizer import find_speaker
from piper.voice.voice import PiperVoice
from piper.voices import VoiceFiles, find_voice

MANIFEST_NAME = "manifest.jsonl"
LOCK_NAME = ".manifest.lock"
MAX_SHOWN = 20
"""Failures that are named; a book may have thousands, mostly for one reason."""


@dataclass(frozen=True)
class LineSettings:
    """How each line is spoken and written.

    Attributes:
        syn_config: How the voice speaks.
        output_format: The kind of file.
        output_rate: Hertz of the file; None is the voice's.
        seed: Makes each line repeatable, in whatever order and process it is spoken.
        text_options: How the texts are prepared; None takes the voice's own.
    """

    syn_config: SynthesisConfig = field(default_factory=SynthesisConfig)
    output_format: OutputFormat = OutputFormat.WAV
    output_rate: int | None = None
    seed: int | None = None
    text_options: TextOptions | None = None

    def create_sink(self, sample_rate: int, buffer: io.BytesIO) -> Sink:
        """Return what writes a line's file into memory."""
        return create_sink(
            sample_rate,
            buffer,
            output_file="-",
            output_format=self.output_format,
            output_rate=self.output_rate,
        )

    def describe(self) -> dict[str, Any]:
        """Return what differs from the defaults, so that options to come make no line outdated."""
        described, usual = asdict(self), asdict(LineSettings())
        config = described.pop("syn_config"), usual.pop("syn_config")
        found = _find_changes(described, usual)
        # It stands here also where nothing in it differs.
        return {"syn_config": _find_changes(*config), **found}


def _find_changes(values: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value != usual[name]}


@dataclass(frozen=True)
class LineTask:
    """A line, or the pieces of a document, to speak; numbers count from 1."""

    number: int
    text: str | tuple[Piece, ...]
    name: str


@dataclass(frozen=True)
class LineOutcome:
    """What became of a line: a file's bytes (none where there was nothing to speak) or an error."""

    task: LineTask
    audio: bytes = b""
    seconds: float = 0.0
    error: str = ""


class LineSpeaker:
    """Speaks lines with a voice of its own, on one thread: the cores are the processes' business.

    Can be sent to other processes, with the voice's files or, for machines without them, their
    contents; the voice is loaded with the first line.
    """

    def __init__(self, files: VoiceFiles | tuple[bytes, bytes], settings: LineSettings) -> None:
        self._files = files
        self._settings = settings
        self._voice: PiperVoice | None = None

    def __call__(self, task: LineTask) -> LineOutcome:
        """Speak a line; an error is part of the outcome, since others are to follow."""
        voice = self._voice = self._voice or self._load()
        try:
            return self._speak(voice, task)
        except PiperError as error:
            return LineOutcome(task, error=str(error))
        except Exception as error:  # whatever it is, the other lines do not depend on it
            return LineOutcome(task, error=f"{type(error).__name__}: {error}")

    def _load(self) -> PiperVoice:
        options = self._settings.text_options
        if isinstance(self._files, VoiceFiles):
            return PiperVoice.load(self._files, threads=1, text_options=options)
        # Files, since that is what a voice is loaded from; afterwards they are not needed.
        with tempfile.TemporaryDirectory(prefix="piper-voice-") as folder:
            model, config = Path(folder, "voice.onnx"), Path(folder, "voice.onnx.json")
            model.write_bytes(self._files[0])
            config.write_bytes(self._files[1])
            return PiperVoice.load(model, threads=1, text_options=options)

    def _speak(self, voice: PiperVoice, task: LineTask) -> LineOutcome:
        syn_config = self._settings.syn_config
        if self._settings.seed is not None:
            syn_config = replace(syn_config, seed=self._settings.seed + task.number)
        buffer = io.BytesIO()
        with self._settings.create_sink(voice.config.sample_rate, buffer) as sink:
            seconds = sink.write_utterance(voice.synthesize(task.text, syn_config))
        return LineOutcome(task, buffer.getvalue() if seconds else b"", seconds)


@dataclass(frozen=True)
class Entry:
    """A line that is done, with a digest of text, voice and settings.

    The file's name is empty where there was nothing to speak; the text is for those who read.
    """

    file: str
    digest: str
    bytes: int
    seconds: float
    text: str


class Manifest:
    """The manifest of a folder; one process at a time holds it, in a `with` block.

    A record is one write, after its file has its name: whatever kills the process, no record is
    there without its file, and a record cut short is no record.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / MANIFEST_NAME
        self._entries: dict[str, Entry] = {}
        self._lock = hold_lock(folder / LOCK_NAME, self._refuse, is_removed=True)

    def __enter__(self) -> Manifest:
        """Read what is done."""
        try:
            self._lock.__enter__()
            for record in load_records(self.path):
                with suppress(TypeError, KeyError, AttributeError):
                    name = record.pop("name")
                    self._entries[name] = Entry(**record)
        except OSError as error:
            raise self._cannot_write(error) from None
        return self

    def __exit__(self, *error: Any) -> None:
        self._lock.__exit__(*error)

    def is_done(self, name: str, digest: str) -> bool:
        """Return whether the line of this name is done, with this digest, and its file there."""
        entry = self._entries.get(name)
        if entry is None or entry.digest != digest:
            return False
        if not entry.file:
            return True
        # A name that is a path is nothing that this program wrote.
        with suppress(OSError):
            size = (self.folder / entry.file).stat().st_size
            return is_plain_name(entry.file) and size == entry.bytes
        return False

    def add(self, name: str, entry: Entry, audio: bytes) -> None:
        """Write a line's file, then its record; a line without audio gets no file."""
        try:
            if entry.file:
                with replace_on_success(self.folder / entry.file) as temporary:
                    temporary.write_bytes(audio)
            append_record(self.path, {"name": name, **asdict(entry)})
        except OSError as error:
            raise self._cannot_write(error) from None
        self._entries[name] = entry

    def _refuse(self) -> None:
        raise PiperError(
            f"Another process is writing to {self.folder}; wait for its end, "
            "or give another --output-dir."
        )

    def _cannot_write(self, error: OSError) -> PiperError:
        return cannot_write(error.filename or self.folder, error, "choose another --output-dir")


@contextmanager
def stops_deferred() -> Iterator[None]:
    """Keep Ctrl+C and SIGTERM waiting until the block's end.

    Python's handlers are swapped, since a mask would hold for this thread alone: another one, of
    NumPy's or Ray's, would take the signal and have Python's handler run here all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # where no handler ever runs
        return
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)

    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # Only Python's own functions can be put back, and only they run in the middle of a block.
    handled = [number for number, handler in old.items() if callable(handler)]
    for number in handled:
        signal.signal(number, remember)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, old[number])
        if received:
            signal.raise_signal(received[0])


@dataclass
class BatchReport:
    """How a run ended.

    Attributes:
        unit: What is counted: `line`, `document`, or `text` where there were both.
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
        units = f"{self.unit}s"
        parts = [f"Spoke {self.count(self.spoken)}"]
        if self.spoken:
            parts.append(
                f"{self.audio_seconds:.1f} s of speech in {self.wall_seconds:.1f} s "
                f"({self.spoken / seconds:.1f} {units} a second, "
                f"{self.audio_seconds / seconds:.1f} times as fast as it sounds)"
            )
        if self.skipped:
            parts.append(f"{self.skipped} {'was' if self.skipped == 1 else 'were'} done before")
        if self.empty:
            parts.append(f"{self.empty} had nothing to speak")
        return "; ".join(parts) + "."

    def describe_failures(self) -> str:
        """Return a short table of the lines that could not be spoken."""
        failures = sorted(self.failures.items())
        shown = (f"{self.unit} {number}: {reason}" for number, reason in failures)
        return (
            f"{self.count(len(failures))} could not be spoken; run it again to try only that:"
            f"\n  {name_some(shown, MAX_SHOWN, chr(10) + '  ')}"
        )

    def count(self, number: int) -> str:
        """Return so many lines in words."""
        return count_things(number, self.unit)


class InterruptedBatchError(KeyboardInterrupt):
    """Ctrl+C, or what a program made of SIGTERM, ended a run; what was done is kept."""

    def __init__(self, report: BatchReport, left: int) -> None:
        super().__init__()
        self.report = report
        self.left = left


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

    A document (`piper.text.markup`) becomes one file that has the document's name. A line whose
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
    if jobs is not None and jobs < 1:
        raise PiperError(f"jobs is {jobs}, but at least one line must be spoken at a time.")
    settings = settings or LineSettings()
    files = find_voice(voice_path, config_path=config_path)
    # What would go wrong with every line goes wrong here, once.
    config = load_voice_config(files.config)
    speaker = find_speaker(config, settings.syn_config.speaker_id)
    settings = replace(settings, syn_config=replace(settings.syn_config, speaker_id=speaker))
    settings.create_sink(config.sample_rate, io.BytesIO()).abort()
    utterances = [Utterance(line, line) if isinstance(line, str) else line for line in lines]
    kinds = {utterance.is_document for utterance in utterances}
    unit = "text" if len(kinds) > 1 else "document" if kinds == {True} else "line"
    tasks = _create_tasks(utterances)
    read = {**(inputs or {}), "--model": files.model, "--config": files.config}
    for task in tasks:
        path = Path(output_dir) / f"{task.name}.{settings.output_format}"
        refuse_overwriting({"--output-dir": path}, read)
    with Manifest(Path(output_dir)) as manifest:
        run = _Run(manifest, settings, files, unit)
        waiting = [task for task in tasks if not manifest.is_done(task.name, run.digest(task))]
        run.report.skipped = len(tasks) - len(waiting)
        if waiting:
            with closing(_run_tasks(waiting, files, settings, jobs, ray_address)) as outcomes:
                run.take(outcomes, len(waiting), progress_stream)
        return run.report


def _create_tasks(utterances: Sequence[Utterance]) -> list[LineTask]:
    """Return the tasks, each with a name that no other one has and the next run gives again."""
    names = NameGiver(OutputNaming.TEXT)
    tasks = []
    for number, utterance in enumerate(utterances, start=1):
        name = utterance.name if utterance.is_document else number_to_file_name(number)
        tasks.append(LineTask(number, utterance.text, names.give_name(name)))
    return tasks


class _Run:
    """One run over a folder."""

    def __init__(
        self, manifest: Manifest, settings: LineSettings, files: VoiceFiles, unit: str
    ) -> None:
        self.report = BatchReport(unit)
        self._manifest = manifest
        self._ending = settings.output_format
        digests = [bytes.fromhex(digest_file(path)) for path in (files.model, files.config)]
        self._common = hashlib.sha256(b"".join(digests)).hexdigest(), settings.describe()

    def digest(self, task: LineTask) -> str:
        """Return a digest of all that a line's sound depends on."""
        text: Any = task.text
        if not isinstance(text, str):
            # Without what a piece says nothing of, so that no field to come outdates it.
            text = [
                {name: value for name, value in asdict(piece).items() if value not in (None, ())}
                for piece in text
            ]
        parts = json.dumps([text, *self._common], ensure_ascii=False, sort_keys=True, default=str)
        return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()

    def take(
        self, outcomes: Iterable[LineOutcome], num_tasks: int, progress_stream: TextIO | None
    ) -> None:
        start = time.monotonic()
        unit = self.report.unit if num_tasks == 1 else f"{self.report.unit}s"
        progress = ProgressLine("Speaking", num_tasks, unit, progress_stream)
        done = 0
        try:
            for outcome in outcomes:
                self._take(outcome)
                done += 1
                progress.show(done)
        except KeyboardInterrupt:
            settled = self.report.spoken + len(self.report.failures)
            raise InterruptedBatchError(self.report, num_tasks - settled) from None
        finally:
            # On a terminal, what is said next must not stand in the same line.
            if progress.is_terminal or done == num_tasks:
                progress.finish(done)
        self.report.wall_seconds = time.monotonic() - start

    def _take(self, outcome: LineOutcome) -> None:
        task = outcome.task
        if outcome.error:
            named = outcome.error if isinstance(task.text, str) else f"{task.name}: {outcome.error}"
            self.report.failures[task.number] = named
            return
        entry = Entry(
            f"{task.name}.{self._ending}" if outcome.audio else "",
            self.digest(task),
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


def _run_tasks(
    tasks: Sequence[LineTask],
    files: VoiceFiles,
    settings: LineSettings,
    jobs: int | None,
    ray_address: str | None,
) -> Generator[LineOutcome]:
    """Yield what becomes of each line, in the order in which they are done."""
    if ray_address is None:
        speaker, num_processes = LineSpeaker(files, settings), jobs or available_cores()
        made = run_in_processes(speaker, tasks, num_processes, is_killed=True)
    else:
        try:
            contents = files.model.read_bytes(), files.config.read_bytes()
        except OSError as error:
            raise PiperError(f"{error.filename} cannot be read ({error.strerror}).") from None
        there = LineSpeaker(contents, settings)
        made = run_on_cluster(there, tasks, ray_address, "speaking", "--jobs", max_chunks=jobs)
    with closing(made):
        for number, outcome in made:
            if isinstance(outcome, Lost):
                yield LineOutcome(
                    tasks[number],
                    error=f"each process that spoke it ended ({outcome.reason}), perhaps for want "
                    "of memory",
                )
            else:
                yield outcome
