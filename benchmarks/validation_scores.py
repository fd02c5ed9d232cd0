"""What scores cost a training: how long it stands still at validations, without and with them.

The same small training several times in turn: without any score, and with scores beside it
(--model.scores). A table of the time that passes, of the processor's time that the training itself
takes, which other programs do not change, and of how many validations have a score; then one JSON
line. The pause of the first validation is left
out, since libraries are loaded in it, and that of the last, which nothing follows.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

FILE_VARIABLE = "VALIDATION_PAUSES"


class Pauses(Callback):
    """Writes down how long no batch was trained on for a validation, checkpoints included."""

    def __init__(self) -> None:
        self._begin: tuple[float, float] | None = None
        self._pauses: list[tuple[float, float]] = []

    def on_validation_start(self, trainer: Trainer, *args: Any) -> None:
        """Begin a pause."""
        self._begin = time.monotonic(), time.process_time()

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        """End it."""
        if self._begin is not None:
            passed, worked = self._begin
            self._pauses.append((time.monotonic() - passed, time.process_time() - worked))
            self._begin = None

    def on_fit_end(self, trainer: Trainer, *args: Any) -> None:
        """Write them down."""
        Path(os.environ[FILE_VARIABLE]).write_text(json.dumps(self._pauses), encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, type=Path, help="folder of a dataset")
    parser.add_argument("--scores", default="distillmos", help="default: %(default)s")
    parser.add_argument("--recogniser", type=Path, help="phoneme recogniser, for the score per")
    parser.add_argument("--quality", default="tiny", help="default: %(default)s")
    parser.add_argument("--validations", type=int, default=5, help="of each training")
    parser.add_argument("--rounds", type=int, default=2, help="trainings of each kind")
    parser.add_argument("flags", nargs="*", help="after --: more flags of the trainer")
    return parser.parse_args()


def measure(
    args: argparse.Namespace, flags: list[str], tag: str
) -> tuple[list[tuple[float, float]], int]:
    """Return a training's pauses (seconds that pass, and the processor's), and how many scores."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pauses.json"
        path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "piper.train", "fit", f"--data.dataset_dir={args.dataset}"]
        command += [f"--trainer.default_root_dir={folder}", f"--model.quality={args.quality}"]
        command += [f"--trainer.max_epochs={args.validations + 1}"]
        command += ["--trainer.check_val_every_n_epoch=1", *args.flags, *flags]
        command += ["--trainer.callbacks=validation_scores.Pauses"]
        subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": path, FILE_VARIABLE: str(file)},
            stderr=subprocess.DEVNULL,
            check=True,
        )
        pauses: list[tuple[float, float]] = json.loads(file.read_text(encoding="utf-8"))
        log = EventAccumulator(str(Path(folder) / "lightning_logs" / "version_0"))
        log.Reload()
        scored = len(log.Scalars(tag)) if tag in log.Tags()["scalars"] else 0
    return pauses[1:], scored


def main() -> None:
    args = parse_arguments()
    beside = [f"--model.scores={args.scores}"]
    if args.recogniser:
        beside.append(f"--model.phoneme_recogniser={args.recogniser}")
    kinds = {
        "no score": ("val_quality", ["--validation_quality=off"]),
        f"{args.scores} beside": (f"val_{args.scores.partition(',')[0]}", beside),
    }
    pauses: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
    scored = dict.fromkeys(kinds, 0)
    for _ in range(args.rounds):
        for name, (tag, flags) in kinds.items():
            found, count = measure(args, flags, tag)
            pauses[name] += found
            scored[name] += count
    print(f"{'at a validation, median':<40}{'s':>8}{'processor s':>14}{'scored':>10}")
    total = args.rounds * (args.validations + 2)
    for name, values in pauses.items():
        passed, worked = (statistics.median(column) for column in zip(*values, strict=True))
        print(f"{name:<40}{passed:>8.2f}{worked:>14.2f}{scored[name]:>7}/{total}")
    print(
        json.dumps(
            {"pauses_seconds": pauses, "scored": scored, "arguments": vars(args)}, default=str
        )
    )


if __name__ == "__main__":
    main()
