"""The programs whose training is measured, how one is started, and the dataset that they get."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soundfile

PROCESS = Path(__file__).with_name("train_process.py")
PEER = "piper-tts"
PEER_PACKAGES = "'piper-tts[train]==1.8.0' monotonic-alignment-search==0.2.1"
NETWORKS: dict[str, dict[str, Any]] = {
    "medium": {},
    # To try the benchmark itself. Names that both programs know, so no preset of ours.
    "quick": {
        "hidden_channels": 16,
        "inter_channels": 16,
        "filter_channels": 32,
        "n_layers": 1,
        "upsample_initial_channel": 32,
        "segment_size": 2048,
    },
}
TRAINER = {
    "devices": 1,
    "limit_val_batches": 0,
    "num_sanity_val_steps": 0,
    "logger": "false",
    "enable_progress_bar": "false",
    "enable_model_summary": "false",
}
"""Nothing but training: no validation, no logs; checkpoints, see `train_process.py`."""


@dataclass(frozen=True)
class Program:
    """A program that trains Piper voices; with flags beside what all are given."""

    name: str
    python: Path
    flags: tuple[str, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Return whether it is this project, with whatever flags."""
        return self.name != PEER

    @property
    def kind(self) -> str:
        """Return whose program it is."""
        return "ours" if self.is_ours else PEER


@dataclass
class Dataset:
    """Recordings for both programs, each with a cache of its own in the folder."""

    csv_path: Path
    audio_dir: Path
    sample_rate: int
    espeak_voice: str
    folder: Path
    seconds: list[float] = field(default_factory=list)
    ids_path: Path | None = None
    """With phoneme ids, for ours: a machine that a dataset was packed for has no espeak-ng."""

    def options(self, program: Program, batch_size: int, workers: int) -> dict[str, Any]:
        """Return the data module's options, whatever the program; all recordings are trained on."""
        own = self.folder / program.kind
        own.mkdir(exist_ok=True)
        with_ids = self.ids_path is not None and program.is_ours
        return {
            "csv_path": str(self.ids_path if with_ids else self.csv_path),
            **({"dataset_type": "phoneme_ids"} if with_ids else {}),
            "audio_dir": str(self.audio_dir),
            "cache_dir": str(own / "cache"),
            "config_path": str(own / "config.json"),
            "voice_name": "benchmark",
            "espeak_voice": self.espeak_voice,
            "batch_size": batch_size,
            "num_workers": workers,
            "validation_split": 0.0,
            "num_test_examples": 0,
            # The programs find silence in different ways, and the audio is to be the same.
            "trim_silence": False,
        }


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep some other processes at work, as on a machine that one shares."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def choose_utterances(
    source: Path, folder: Path, count: int, sample_rate: int, *, shortest: bool = False
) -> Dataset:
    """Write a dataset of some of the recordings: evenly over their lengths, or the shortest."""
    rows = []
    for line in (source / "metadata.csv").read_text(encoding="utf-8").splitlines():
        name, text, *ids = line.split("|")
        seconds = soundfile.info(source / "wavs" / name).duration
        # A mark of stress is read aloud by one program and not by the other; quotes likewise.
        rows.append((seconds, name, text.replace("+", "").replace('"', ""), *ids))
    if len(rows) < count:
        raise SystemExit(f"{source} has {len(rows)} recordings: give --utterances {len(rows)}.")
    by_length = sorted(rows)
    step = 1 if shortest else len(rows) / count
    chosen = {by_length[int((index + 0.5) * step)] for index in range(count)}
    kept = [row for row in rows if row in chosen]
    folder.mkdir(exist_ok=True)
    csv_path, ids_path = folder / "metadata.csv", folder / "ids.csv"
    csv_path.write_text("".join(f"{row[1]}|{row[2]}\n" for row in kept), encoding="utf-8")
    if has_ids := len(kept[0]) > 3:
        ids_path.write_text("".join("|".join(row[1:]) + "\n" for row in kept), encoding="utf-8")
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    seconds = [row[0] for row in kept]
    voice = config["espeak"]["voice"]
    ids = ids_path if has_ids else None
    return Dataset(csv_path, source / "wavs", sample_rate, voice, folder, seconds, ids)


def find_programs(peer_python: Path | None, variants: list[str]) -> list[Program]:
    """Return ours, its variants (`NAME=FLAGS`), and the peer where it can be imported."""
    ours = Path(sys.executable)
    programs = [Program("ours", ours)]
    for variant in variants:
        name, _, flags = variant.partition("=")
        programs.append(Program(name, ours, tuple(flags.split())))
    modules = ("piper.train", "monotonic_alignment_search", "lightning")
    python = find_peer(PEER, peer_python, PEER_PACKAGES, modules)
    return programs if python is None else [*programs, Program(PEER, python)]


def find_peer(
    name: str, python: Path | None, packages: str, modules: tuple[str, ...]
) -> Path | None:
    """Return the Python of a program that has its modules; else say how to install it."""
    code = (
        f"import importlib.util, sys; sys.exit(None in map(importlib.util.find_spec, {modules!r}))"
    )
    if python is not None:
        # Not resolved: an environment's python is a link, and its path names the environment.
        python = python.absolute()
        with tempfile.TemporaryDirectory() as folder:
            command = [str(python), "-c", code]
            if subprocess.run(command, capture_output=True, cwd=folder).returncode == 0:
                return python
    print(
        f"{name} is not measured; install it with: python3 -m venv {name} && "
        f"{name}/bin/pip install {packages}, and give --{name} {name}/bin/python"
    )
    return None


def fit_arguments(
    program: Program,
    data: dict[str, Any],
    model: dict[str, Any],
    trainer: dict[str, Any],
) -> list[str]:
    """Return the flags of `piper.train fit`."""
    groups = {"data": data, "model": model, "trainer": {**TRAINER, **trainer}}
    flags = [
        f"--{group}.{name}={value}"
        for group, values in groups.items()
        for name, value in values.items()
    ]
    if not program.is_ours:
        # A speech quality network that would be downloaded.
        flags.append("--model.mos_metric=null")
    else:
        flags.append("--trainer.enable_checkpointing=false")
    return [*flags, *program.flags]


def run_process(program: Program, task: str, threads: int, spec: dict[str, Any]) -> dict[str, Any]:
    """Run one task in a process of the program's environment; return its result.

    Raises:
        SystemExit: The process failed; the end of what it said was printed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if not program.is_ours:
        environment.pop("PYTHONPATH", None)
    # An empty folder: a checkout's own packages must not be found in the current one.
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        spec = {**spec, "task": task, "result": str(result), "program": program.kind}
        process = subprocess.run(
            [str(program.python), str(PROCESS), json.dumps(spec)],
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment,
        )
        if process.returncode != 0:
            print(process.stdout[-2000:], process.stderr[-4000:], sep="\n", file=sys.stderr)
            raise SystemExit(f"{program.name} failed at {task}; what it said is above.")
        return dict(json.loads(result.read_text(encoding="utf-8")))
