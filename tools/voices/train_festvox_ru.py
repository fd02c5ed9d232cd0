#!/usr/bin/env python3
"""A real Russian voice: fetched, trained, exported, evaluated, with its card.

Each stage goes on where it was. festvox-ru is fetched and 30 sentences are held out; the network
starts from a published English voice and trains for the given minutes in pieces. After each piece
the held-out sentences are spoken; all are scored on the CPU afterwards, by the seconds trained.

On a machine that is rented for minutes and has no network: `--stages data,pack` here, carry
WORK/packed there, `sh packed/train.sh` there, which sets up and trains, bring WORK/RUN/parts, curve
and facts.json back, `--stages evaluate` here.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "runpod"))

from festvox_ru import (
    HELD_OUT,
    TRAINING,
    fetch_start_voice,
    load_held_out_names,
    make_datasets,
    read_lines,
)
from relay import run_logged

from piper.errors import PiperError
from piper.files import replace_on_success
from piper.train.command import run_command
from piper.train.presets import PRESET_SAMPLE_RATES, QUICK, parse_quality

NONE = "none"
STAGES = ("data", "pack", "train", "evaluate")
GPU_MINUTES, CPU_MINUTES = 18.0, 30.0
PIECE_MINUTES = 3.0
GPU_BATCH, CPU_BATCH = 64, 8
GPU_QUALITY, CPU_QUALITY = "medium", QUICK
DEFAULT_RATE = 22050
SAMPLE_RATES = {**PRESET_SAMPLE_RATES, QUICK: 16000}
"""Of qualities that no published voice is started from: that of the recordings."""
GPU_FLAGS = (
    "--trainer.precision=bf16-mixed",
    # Recordings of 16 kHz have nothing above 8 kHz, and a voice of 22 kHz says something there.
    "--model.mel_fmax=7800",
    # Some thousand updates in all: fast at first, a third of it at the end.
    *("--model.learning_rate=3e-4", "--model.lr_decay=0.998"),
    *("--model.learning_rate_d=2e-4", "--model.lr_decay_d=0.999"),
)
HELD_UPDATES = 400
"""On a GPU, until the encoder of recordings, which a voice has not, no longer gains by it."""
PACKED, START_NAME = "packed", "start.ckpt"


def create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--work-dir", type=Path, default=Path("festvox_ru_voice"), help="default: %(default)s")
    add(
        "--stages",
        default="data,train,evaluate",
        help=f"some of {', '.join(STAGES)}, joined by commas; default: %(default)s",
    )
    add("--run", default="run", help="name of the training, of several in one folder")
    add("--quality", type=parse_quality, help="default: medium on a GPU, quick without one")
    add(
        "--start",
        help="a voice or checkpoint to start from, or none; default: a published voice, of quick "
        "none",
    )
    add("--dataset", default=TRAINING, help="folder in WORK to train on; default: %(default)s")
    add("--minutes", type=float, help="of training in all; default: 18 on a GPU, 30 without one")
    add("--piece-minutes", type=float, help="of one piece; default: 3; quick has one piece")
    add("--batch-size", type=int, help="default: 64 on a GPU, 8 without one")
    add("--packed", action="store_true", help="train on what the stage pack made")
    add("--target-python", help="version of Python there, such as 3.12; default: this one's")
    add("flags", nargs="*", help="after --: more flags of the trainer")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    arguments = create_parser().parse_args(argv)
    stopped = "Stopped; what was done is kept, and the same command goes on."
    return run_command(lambda: _run(arguments), stopped)


def _run(arguments: argparse.Namespace) -> int:
    import torch

    is_gpu = torch.cuda.is_available()
    arguments.quality = arguments.quality or (GPU_QUALITY if is_gpu else CPU_QUALITY)
    arguments.minutes = arguments.minutes or (GPU_MINUTES if is_gpu else CPU_MINUTES)
    if arguments.quality == QUICK:
        # Its learning rates end with the time that it is told, and no other family is its start.
        arguments.start = arguments.start or NONE
        arguments.piece_minutes = arguments.minutes
    arguments.piece_minutes = arguments.piece_minutes or PIECE_MINUTES
    folder: Path = arguments.work_dir
    folder.mkdir(parents=True, exist_ok=True)
    stages = arguments.stages.split(",")
    unknown = [stage for stage in stages if stage not in STAGES]
    if unknown:
        raise PiperError(f"--stages: {', '.join(unknown)}: give some of {', '.join(STAGES)}.")
    rate = SAMPLE_RATES.get(arguments.quality, DEFAULT_RATE)
    for stage, work in {
        "data": lambda: make_datasets(folder, arguments.quality, rate),
        "pack": lambda: _pack(arguments),
        "train": lambda: _train(arguments, is_gpu),
        "evaluate": lambda: _evaluate(folder, arguments.run),
    }.items():
        if stage in stages:
            print(f"== {stage}", flush=True)
            work()
    return 0


def _pack(arguments: argparse.Namespace) -> None:
    # Here and below, because torch is slow to load for `--help`.
    from carrying import pack_dataset, pack_start, write_setup

    folder: Path = arguments.work_dir
    packed = folder / PACKED
    size = sum(pack_dataset(folder / name, packed / name) for name in (TRAINING, HELD_OUT))
    if (name := arguments.dataset) != TRAINING:  # speech of a voice, with its own ids
        size += pack_dataset(folder / name, packed / name, "phoneme_ids")
    start = _find_start(arguments)
    if start is not None:
        size += pack_start(Path(start), packed / START_NAME)
    size += write_setup(packed, arguments.target_python)
    print(f"   {size / 1e6:.0f} MB in {packed}", flush=True)


def _find_start(arguments: argparse.Namespace) -> str | None:
    """Return what training starts from; None where it begins anew."""
    if arguments.start == NONE:
        return None
    if arguments.start is not None:
        return str(arguments.start)
    if arguments.packed:
        return str(arguments.work_dir / PACKED / START_NAME)
    return str(fetch_start_voice(arguments.work_dir))


def _train(arguments: argparse.Namespace, is_gpu: bool) -> None:
    from carrying import speak_checkpoint, write_parts

    folder: Path = arguments.work_dir
    data = folder / PACKED if arguments.packed else folder
    kind = "phoneme_ids" if arguments.packed else "text"
    is_speech = arguments.dataset != TRAINING
    flags = _find_flags(
        arguments, data / arguments.dataset, "phoneme_ids" if is_speech else kind, is_gpu
    )
    run = folder / arguments.run
    end = 60 * arguments.minutes
    until = 0.0
    while until < end:
        until = min(end, until + 60 * arguments.piece_minutes)
        speech = run / "curve" / f"{round(until):06d}"
        if (speech / "done").exists():
            continue
        checkpoint = train_until(until, run, flags)
        _write_facts(arguments, run, flags, is_gpu, until)
        speak_checkpoint(checkpoint, data / HELD_OUT, kind, speech, as_opus=arguments.packed)
        (speech / "done").touch()
        if arguments.packed:
            # With each piece: the machine may be gone before the next one's end.
            write_parts(checkpoint, run / "parts")
        print(f"   {until / 60:.1f} of {end / 60:g} minutes: {speech}", flush=True)


def train_until(seconds: float, run: Path, flags: Sequence[str]) -> Path:
    """Train, from the last checkpoint, until a run has had so many seconds; return the checkpoint.

    Raises:
        PiperError: The training ended in another way than by its time, or saved nothing.
    """
    from piper.train.checkpoints import find_last_checkpoint

    clock = time.strftime("%H:%M:%S", time.gmtime(round(seconds)))
    log_path = run / "training.log"
    command = [sys.executable, "-m", "piper.train", "fit", *flags]
    command += [f"--trainer.default_root_dir={run}", f"--trainer.max_time=00:{clock}"]
    command += ["--trainer.max_epochs=1000000", "--save_minutes=10", "--keep_every_hours=0"]
    code = run_logged([*command, "--ckpt_path=last"], log_path)
    if code != 0:
        raise PiperError(
            f"The training ended with {code}; {log_path} says why. The same command goes on."
        )
    checkpoint = find_last_checkpoint(str(run))
    if checkpoint is None:
        raise PiperError(f"Nothing was saved in {run}; give more minutes a piece.")
    return Path(checkpoint)


def _find_flags(arguments: argparse.Namespace, dataset: Path, kind: str, is_gpu: bool) -> list[str]:
    batch_size = arguments.batch_size or (GPU_BATCH if is_gpu else CPU_BATCH)
    start = _find_start(arguments)
    # Of a voice alone; a checkpoint, or a run's folder, has an encoder of recordings.
    is_voice = start is not None and Path(start).name.endswith((".onnx", START_NAME))
    own = [
        *(GPU_FLAGS if is_gpu else ()),
        *([f"--model.hold_decoder={HELD_UPDATES}"] if is_gpu and is_voice else []),
        # Between two validations a slow machine may be gone; and nothing is chosen by them.
        f"--trainer.check_val_every_n_epoch={100 if is_gpu else 10}",
    ]
    return [
        f"--data.dataset_dir={dataset}",
        f"--data.dataset_type={kind}",
        f"--data.batch_size={batch_size}",
        "--data.num_test_examples=0",
        f"--model.quality={arguments.quality}",
        *([f"--model.warmstart={start}"] if start else []),
        *(own if arguments.quality != QUICK else []),
        "--validation_quality=off",
        "--keep_best=0",
        *arguments.flags,
    ]


def _write_facts(
    arguments: argparse.Namespace, run: Path, flags: Sequence[str], is_gpu: bool, seconds: float
) -> None:
    """Keep what the card will say of the training."""
    import torch

    import piper

    facts = {
        "device": torch.cuda.get_device_name() if is_gpu else f"{platform.machine()} CPU",
        "seconds": seconds,
        "quality": arguments.quality,
        "start": Path(_find_start(arguments) or NONE).name,
        "command": ["python", "-m", "piper.train", "fit", *flags],
        "versions": {"piper-workshop": piper.__version__, "torch": torch.__version__},
    }
    with replace_on_success(run / "facts.json") as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _evaluate(folder: Path, run_name: str) -> None:
    """Write a training's `evaluation/` with report and card, and the report of its pieces."""
    run = folder / run_name
    facts = json.loads((run / "facts.json").read_text(encoding="utf-8"))
    (run / "card.json").write_text(json.dumps(_describe(folder, facts), indent=2), encoding="utf-8")
    voice = ["--checkpoint", f"voice={_find_checkpoint(run)}", "--card-facts", run / "card.json"]
    _score(folder, *voice, "--output-dir", run / "evaluation")
    points = sorted(path.parent for path in (run / "curve").glob("*/done"))
    if not points:
        return
    _score(
        folder,
        *(flag for point in points for flag in ("--speech", f"{point.name}={point}")),
        *("--scores", "distillmos,per,mel_cepstral_distance"),
        *("--output-dir", run / "curve_evaluation"),
    )


def _score(folder: Path, *arguments: object) -> None:
    command = [sys.executable, "-m", "piper.train", "evaluate", "--held-out", "all"]
    # The recogniser learns on what the voice may know, and never on what is spoken here.
    command += ["--dataset", str(folder / HELD_OUT), "--fit-recogniser", str(folder / TRAINING)]
    if subprocess.run([*command, *map(str, arguments)]).returncode != 0:
        raise PiperError("The voice cannot be evaluated; see above.")


def _find_checkpoint(run: Path) -> Path:
    from carrying import join_parts

    from piper.train.checkpoints import find_last_checkpoint

    found = find_last_checkpoint(str(run)) if (run / "lightning_logs").is_dir() else None
    return Path(found) if found else join_parts(run / "parts", run / "voice.ckpt")


def _describe(folder: Path, facts: Mapping[str, Any]) -> dict[str, object]:
    """Return what the card says of data and training."""
    import soundfile

    names = [line.partition("|")[0] for line in read_lines(folder / TRAINING)]
    seconds = sum(soundfile.info(folder / TRAINING / "wavs" / name).duration for name in names)
    return {
        "name": f"ru_RU-festvox-{facts['quality']}",
        "language": "ru",
        "license": "BSD-like",
        "speaker": "one man, who reads literature",
        "dataset": "festvox-ru",
        "dataset_address": "https://packages.debian.org/festvox-ru",
        "dataset_license": "BSD-like; the copyright notice goes with the recordings",
        "utterances": len(names),
        "hours": round(seconds / 3600, 2),
        "held_out": len(load_held_out_names()),
        "quality": facts["quality"],
        "started_from": "" if facts["start"] == NONE else facts["start"],
        "training_seconds": facts["seconds"],
        "device": facts["device"],
        "versions": facts["versions"],
        "seed": 1234,
        "command": shlex.join(facts["command"]),
    }


if __name__ == "__main__":
    sys.exit(main())
