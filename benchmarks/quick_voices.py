"""How good a quick voice is after given minutes: a table of the goals' figures, then JSON.

festvox-ru is fetched into the folder, 30 sentences are held out, voices are trained as a user would
(`fit --model.quality=quick --trainer.max_time=…`), exported and evaluated beside the recordings;
phonemes by a recogniser that learns once on what is not held out. Each line goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tools" / "voices"))

from festvox_ru import HELD_OUT, TRAINING, make_datasets

from piper.train.checkpoints.last import find_last_checkpoint
from piper.train.data.audio import decode
from piper.train.evaluate.cepstra import HOP_SECONDS
from piper.train.evaluate.pitch import find_pitch

RATE = 16000
COLUMNS = ("per", "distillmos", "similarity", "pitch spread")


def take_minutes(training: Path, minutes: float, seed: int) -> Path:
    """Return a dataset of so many minutes out of another: a fixed choice, a part of any longer."""
    part = training.with_name(f"{training.name}-{minutes:g}")
    lines = (training / "metadata.csv").read_text(encoding="utf-8").splitlines()
    random.Random(seed).shuffle(lines)
    seconds, count = 0.0, 0
    while seconds < 60 * minutes and count < len(lines):
        audio = decode(training / "wavs" / lines[count].partition("|")[0])
        seconds += len(audio.mix()) / audio.sample_rate
        count += 1
    part.mkdir(exist_ok=True)
    text = "".join(f"{line}\n" for line in lines[:count])
    (part / "metadata.csv").write_text(text, encoding="utf-8")
    (part / "config.json").write_bytes((training / "config.json").read_bytes())
    if not (part / "wavs").exists():
        (part / "wavs").symlink_to((training / "wavs").resolve())
    return part


def run(*arguments: object) -> tuple[float, float]:
    """Run `python -m piper.train`; return the seconds by the clock, and the processor's."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-m", "piper.train", *map(str, arguments)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - begin, spent


def train(dataset: Path, run_folder: Path, minutes: float, flags: list[str]) -> dict[str, float]:
    """Train a voice, aligner and pitch included; return its times."""
    kept = run_folder / "times.json"
    if not kept.is_file():
        clock = time.strftime("00:%H:%M:%S", time.gmtime(round(60 * minutes)))
        wall, processor = run(
            *("fit", "--model.quality=quick", f"--data.dataset_dir={dataset}"),
            *(f"--data.cache_dir={run_folder / 'cache'}", f"--trainer.max_time={clock}"),
            *(f"--trainer.default_root_dir={run_folder}", "--trainer.max_epochs=1000000", *flags),
        )
        times = {"seconds": round(wall), "processor seconds": round(processor)}
        kept.write_text(json.dumps(times), encoding="utf-8")
    return dict(json.loads(kept.read_text(encoding="utf-8")))


def measure_spread(paths: list[Path]) -> float:
    """Return the mean over sentences of the pitch's standard deviation, in semitones."""
    spreads = []
    for path in paths:
        audio = decode(path)
        samples = audio.mix()
        frames = int(len(samples) / audio.sample_rate / HOP_SECONDS)
        pitch = find_pitch(samples, audio.sample_rate, frames)
        if (pitch > 0).any():
            spreads.append(np.std(12 * np.log2(pitch[pitch > 0])))
    return float(np.mean(spreads)) if spreads else float("nan")


def read_figures(report: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return each system's figures, the recordings' first."""
    found = {}
    for system in report["systems"]:
        figures = {name: figure["value"] for name, figure in system["figures"].items()}
        spoken = [one for one in system["sentences"] if one["kind"] == "sentence"]
        figures["pitch spread"] = measure_spread([Path(one["audio"]) for one in spoken])
        found[system["label"]] = figures
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for recordings, trainings and the report")
    parser.add_argument(
        "--minutes", type=float, nargs="+", default=[4, 8], help="of training; default: 4 8"
    )
    parser.add_argument("--data-minutes", type=float, help="of recordings; default: all, 1.5 hours")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.epilog = "Other flags are those of fit."
    args, more = parser.parse_known_args()
    if not (args.folder / TRAINING / "metadata.csv").is_file():
        args.folder.mkdir(parents=True, exist_ok=True)
        make_datasets(args.folder, "quick", RATE)
    training = whole = args.folder / TRAINING
    if args.data_minutes is not None:
        training = take_minutes(whole, args.data_minutes, args.seed)
    times, checkpoints = {}, []
    for minutes in args.minutes:
        label = f"minutes-{minutes:g}"
        run_folder = args.folder / f"{training.name}-{minutes:g}-minutes-{args.seed}"
        flags = [f"--seed_everything={args.seed}", *more]
        times[label] = train(training, run_folder, minutes, flags)
        checkpoint = find_last_checkpoint(str(run_folder))
        checkpoints += ["--checkpoint", f"{label}={checkpoint}"]
    output = args.folder / f"evaluation-{training.name}"
    run(
        *("evaluate", "--dataset", args.folder / HELD_OUT, "--held-out", "all", "--words", 0),
        *("--fit-recogniser", whole, "--output-dir", output, *checkpoints),
    )
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    systems = read_figures(report)
    recorded = next(iter(systems.values()))
    print(f"{'':16}" + "".join(f"{name:>14}" for name in COLUMNS) + f"{'processor s':>14}")
    for label, figures in systems.items():
        row = "".join(f"{figures.get(name, float('nan')):14.3f}" for name in COLUMNS)
        shares = "".join(
            f"{figures[name] / recorded[name]:13.2f}x" if name in figures else f"{'':14}"
            for name in COLUMNS
        )
        spent = times.get(label, {}).get("processor seconds", "")
        print(f"{label:16}{row}{spent:>14}\n{'':16}{shares}")
    print(json.dumps({"times": times, "systems": systems, "facts": report["facts"]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
