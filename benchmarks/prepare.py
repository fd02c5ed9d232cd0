"""How long preparing a dataset takes, beside piper-tts: a table, then JSON.

Each program begins a training of no epoch twice on the same recordings, with an empty cache and
with a full one; the difference is the preparation, silence trimmed by each in its own way.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from train_programs import (
    NETWORKS,
    PEER,
    Dataset,
    Program,
    choose_utterances,
    find_programs,
    fit_arguments,
    run_process,
)


def measure(program: Program, dataset: Dataset) -> float:
    """Return the seconds that preparing takes."""
    shutil.rmtree(dataset.folder / program.kind, ignore_errors=True)
    seconds = []
    for _ in ("empty", "full"):
        trainer = {"accelerator": "cpu", "precision": "32-true", "max_epochs": 0}
        model = {**NETWORKS["quick"], "sample_rate": dataset.sample_rate}
        options = {**dataset.options(program, 4, 0), "trim_silence": True}
        arguments = fit_arguments(program, options, model, trainer)
        spec: dict[str, Any] = {"epochs": 0, "warm_up": 0, "profile_steps": 0}
        begin = time.perf_counter()
        run_process(program, "speed", 1, spec | {"arguments": arguments})
        seconds.append(time.perf_counter() - begin)
    return seconds[0] - seconds[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, type=Path, help="as fetch_festvox_ru.py makes")
    parser.add_argument(
        "--peer", type=Path, metavar="PYTHON", help=f"of an environment with {PEER}"
    )
    parser.add_argument("--recordings", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--sample-rate", type=int, default=22050, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    args = parser.parse_args()
    programs = find_programs(args.peer, [])
    found: dict[str, list[float]] = {program.name: [] for program in programs}
    with tempfile.TemporaryDirectory() as folder:
        dataset = choose_utterances(
            args.dataset.resolve(), Path(folder) / "speech", args.recordings, args.sample_rate
        )
        for _ in range(args.rounds):
            for program in programs:
                found[program.name].append(measure(program, dataset) / args.recordings)
        average = sum(dataset.seconds) / len(dataset.seconds)
    medians = {name: statistics.median(rounds) for name, rounds in found.items()}
    print(f"{args.recordings} recordings of {average:.1f} s on {os.cpu_count()} cores")
    for name, value in medians.items():
        print(f"{name:12}{1000 * value:>10.1f} ms a recording")
    if PEER in medians:
        print(f"{'ratio':12}{medians[PEER] / medians['ours']:>10.1f} times as fast (goal: 3)")
    print(json.dumps({"benchmark": "prepare", "seconds_a_recording": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
