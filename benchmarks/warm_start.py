"""What a warm start is worth: the validation losses of a fresh start and a warm one, as a table.

Two small trainings on the same recordings differ in where they start alone. Without a file to
start from, a voice is first trained on sentences that espeak-ng speaks, so that the warm start
goes from a synthetic voice to a person's. One JSON line comes last.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tools" / "datasets"))

from make_test_dataset import make_test_dataset

TAGS = ("val_loss", "val_mel", "val_kl", "val_duration")
SOURCE_SENTENCES = 84


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, type=Path, help="as fetch_festvox_ru.py makes")
    parser.add_argument("--source", type=Path, help="checkpoint or .onnx to start from")
    parser.add_argument("--quality", default="tiny", help="default: %(default)s")
    parser.add_argument("--utterances", type=int, default=100, help="first lines of the dataset")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=200, help="updates of both trainings")
    parser.add_argument("--every", type=int, default=20, help="updates between validations")
    parser.add_argument("--source-steps", type=int, default=400, help="updates of the source")
    parser.add_argument("flags", nargs="*", help="after --: more flags of the trainer")
    return parser.parse_args()


def train(root: Path, flags: list[str], log: Path) -> Path:
    """Run a training; return the folder of its log."""
    command = [sys.executable, "-m", "piper.train", "fit", f"--trainer.default_root_dir={root}"]
    command += ["--trainer.accelerator=cpu", "--data.num_workers=0", "--data.num_test_examples=0"]
    command += ["--validation_quality=off", *flags]
    with log.open("w", encoding="utf-8") as file:
        result = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{log.read_text(encoding='utf-8')}")
    return root / "lightning_logs" / "version_0"


def read_curves(log: Path) -> dict[str, list[float]]:
    """Return the losses of each validation by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(log), {"scalars": 0})
    events.Reload()
    tags = [tag for tag in TAGS if tag in events.Tags()["scalars"]]  # not all of a quick voice
    return {tag: [event.value for event in events.Scalars(tag)] for tag in tags}


def choose_recordings(args: argparse.Namespace, folder: Path) -> list[str]:
    """Write the CSV of the recordings that are trained on; return the flags that name them."""
    lines = (args.dataset / "metadata.csv").read_text(encoding="utf-8").splitlines()
    folder.mkdir()
    text = "\n".join(lines[: args.utterances]) + "\n"
    (folder / "metadata.csv").write_text(text, encoding="utf-8")
    config = args.dataset / "config.json"
    said = json.loads(config.read_text(encoding="utf-8"))
    said.get("audio", {}).pop("quality", None)
    (folder / "config.json").write_text(json.dumps(said), encoding="utf-8")
    return [f"--data.dataset_dir={folder}", f"--data.audio_dir={args.dataset / 'wavs'}"]


def train_source(args: argparse.Namespace, folder: Path) -> Path:
    """Train the voice to start from; return its checkpoint."""
    rate = json.loads((args.dataset / "config.json").read_text(encoding="utf-8"))["audio"]
    speech = make_test_dataset(
        folder / "espeak", sentences=SOURCE_SENTENCES, sample_rate=rate["sample_rate"]
    )
    flags = [f"--data.dataset_dir={speech}", f"--model.quality={args.quality}", *args.flags]
    flags += [f"--data.batch_size={args.batch_size}", f"--trainer.max_steps={args.source_steps}"]
    flags += ["--trainer.check_val_every_n_epoch=1000"]
    log = train(folder / "source", flags, folder / "source.log")
    return log / "checkpoints" / "last.ckpt"


def print_table(args: argparse.Namespace, curves: dict[str, dict[str, list[float]]]) -> None:
    print(f"{'update':>6}" + "".join(f"{tag:>18}" for tag in curves["fresh"]))
    print(f"{'':>6}" + f"{'fresh':>10}{'warm':>8}" * len(curves["fresh"]))
    for index in range(min(len(curve["val_loss"]) for curve in curves.values())):
        cells = (
            f"{curves['fresh'][tag][index]:>10.2f}{curves['warm'][tag][index]:>8.2f}"
            for tag in curves["fresh"]
        )
        print(f"{min(index * args.every, args.steps):>6}" + "".join(cells))


def main() -> None:
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begin = time.monotonic()
        source = args.source or train_source(args, folder)
        source_seconds = time.monotonic() - begin
        flags = choose_recordings(args, folder / "recordings")
        flags += [f"--model.quality={args.quality}", f"--data.batch_size={args.batch_size}"]
        flags += [f"--trainer.max_steps={args.steps}", f"--trainer.val_check_interval={args.every}"]
        flags += ["--trainer.check_val_every_n_epoch=null", *args.flags]
        starts: dict[str, list[str]] = {"fresh": [], "warm": [f"--model.warmstart={source}"]}
        curves = {}
        for start, more in starts.items():
            log = train(folder / start, [*flags, *more], folder / f"{start}.log")
            curves[start] = read_curves(log)
        said = (folder / "warm.log").read_text(encoding="utf-8")
        print(said[said.index("Started from") :].partition("\nepoch")[0])
    print_table(args, curves)
    result: dict[str, Any] = {
        "benchmark": "warm_start",
        "quality": args.quality,
        "batch_size": args.batch_size,
        "utterances": args.utterances,
        "source_updates": None if args.source else args.source_steps,
        "source_seconds": round(source_seconds),
        "every": args.every,
        "cores": os.cpu_count(),
        "curves": {
            start: {tag: _round(curve[tag]) for tag in curve} for start, curve in curves.items()
        },
    }
    print(json.dumps(result))


def _round(values: list[float]) -> list[float]:
    return [round(value, 3) for value in values]


if __name__ == "__main__":
    main()
