"""Training, beside piper-tts: a table of speed, memory and padding, one of losses, then JSON.

Both programs run `python -m piper.train fit` on the same recordings, alternately, each in a process
of its own; figures are medians. The second table compares the losses of the first steps, from equal
weights, batches and noise, without dropout, and shows the floor beneath such a comparison: the same
program with another number of threads. Where the peer is not installed, ours is measured alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from train_compare import compare_losses, print_losses
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

from piper.jobs import calm_threads

ROWS = {
    "seconds": ("time per utterance over an epoch", "s", 0.60),
    "processor": ("processor time per utterance", "s", None),
    "rate": ("utterances a second", "", 3.0),
    "memory": ("peak memory", "GB", 0.60),
    "memory_before": ("memory of the process before the first step", "GB", None),
    "padding": ("padding, share of all frames", "%", None),
    "waiting": ("waiting for data, share of the time", "%", None),
    "busy": ("device busy, by the profiler", "%", None),
    "kernels": ("kernels a step", "", None),
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, type=Path, help="as fetch_festvox_ru.py makes")
    parser.add_argument(
        f"--{PEER}", type=Path, metavar="PYTHON", help="Python of an environment that has it"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--network", choices=tuple(NETWORKS), default="medium")
    parser.add_argument("--sample-rate", type=int, default=22050, help="default: %(default)s")
    parser.add_argument(
        "--precision", help="one or several; default: 32-true; cuda: 16-mixed,bf16-mixed"
    )
    parser.add_argument("--batch-size", type=int, help="default: 8; cuda: 80")
    parser.add_argument("--utterances", type=int, help="default: 5 batches; cuda: 7")
    parser.add_argument("--epochs", type=int, help="measured in a process; default: 1; cuda: 3")
    parser.add_argument("--rounds", type=int, help="processes of each; default: 2; 0: no speed")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument(
        "--busy", type=int, default=0, help="other processes that want a core meanwhile; default: 0"
    )
    parser.add_argument("--workers", type=int, help="processes that load data; default: 0; cuda: 4")
    parser.add_argument("--warm-up", type=int, help="steps before; default: 1; cuda: an epoch")
    parser.add_argument("--profile-steps", type=int, help="default: 0; cuda: 5")
    text = "a column more: ours with these flags, such as compiled=--model.compile=on"
    parser.add_argument("--variant", action="append", default=[], metavar="NAME=FLAGS", help=text)
    parser.add_argument("--steps", type=int, help="whose losses are compared; default: 20; cuda: 0")
    parser.add_argument("--loss-batch-size", type=int, default=4, help="default: 4")
    parser.add_argument("--checkpoint", help="whose weights the losses start from; default: new")
    parser.add_argument("--quick", action="store_true", help="a small network and few steps")
    args = parser.parse_args()
    set_defaults(args)
    if args.utterances % args.batch_size:
        parser.error(f"--utterances must be a multiple of --batch-size {args.batch_size}.")
    return args


def set_defaults(args: argparse.Namespace) -> None:
    """Fill in what depends on the device, and what --quick means."""
    on_gpu = args.device == "cuda"
    args.batch_size = args.batch_size or (2 if args.quick else 80 if on_gpu else 8)
    defaults = {
        "rounds": 2,
        "precision": "16-mixed,bf16-mixed" if on_gpu else "32-true",
        "utterances": (7 if on_gpu else 5) * args.batch_size,
        "epochs": 3 if on_gpu else 1,
        "workers": 4 if on_gpu else 0,
        "warm_up": 1000 if on_gpu else 1,
        "profile_steps": 5 if on_gpu else 0,
        "steps": 0 if on_gpu else 20,
    }
    if args.quick:
        args.network, args.loss_batch_size = "quick", 2
        defaults |= {"steps": 2, "rounds": 1}
    for name, value in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, value)


# -- speed


def measure_speed(
    args: argparse.Namespace, programs: list[Program], dataset: Dataset, precision: str
) -> dict[str, dict[str, Any]]:
    """Return the figures of each program, medians over rounds and epochs."""
    found: dict[str, list[dict[str, Any]]] = {program.name: [] for program in programs}
    for seed in range(args.rounds):
        for program in programs:
            spec = speed_spec(args, program, dataset, precision, seed)
            with busy_processes(args.busy):
                result = run_process(program, "speed", args.threads, spec)
            if len(result["epochs"]) != args.epochs:
                raise SystemExit(f"{program.name} trained {len(result['epochs'])} epochs.")
            found[program.name] += [flatten(result, epoch) for epoch in result["epochs"]]
            last = found[program.name][-1]
            print(f"{precision} {program.name}: {last['seconds']:.3f} s an utterance", flush=True)
    return {name: take_medians(rounds) for name, rounds in found.items()}


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


def speed_spec(
    args: argparse.Namespace, program: Program, dataset: Dataset, precision: str, seed: int
) -> dict[str, Any]:
    epochs = 1 + args.epochs + (1 if args.profile_steps else 0)
    trainer = {
        "accelerator": "gpu" if args.device == "cuda" else "cpu",
        "precision": precision,
        "max_epochs": epochs,
    }
    model = {**NETWORKS[args.network], "sample_rate": dataset.sample_rate}
    arguments = fit_arguments(
        program, dataset.options(program, args.batch_size, args.workers), model, trainer
    )
    return {
        "epochs": args.epochs,
        "warm_up": args.warm_up,
        "profile_steps": args.profile_steps,
        "arguments": [f"--seed_everything={seed + 1}", *arguments],
    }


def prepare_dataset(args: argparse.Namespace, programs: list[Program], dataset: Dataset) -> None:
    """Let each program fill its cache, before anything is measured."""
    for program in {program.kind: program for program in reversed(programs)}.values():
        spec = speed_spec(args, program, dataset, "32-true", 0)
        spec["arguments"].append("--trainer.max_epochs=0")
        run_process(program, "speed", args.threads, spec)


def flatten(result: dict[str, Any], epoch: dict[str, Any]) -> dict[str, Any]:
    """Return one epoch's figures, in the units of the table."""
    figures = {key: value for key, value in result.items() if key != "epochs"}
    return figures | {
        "seconds": epoch["seconds"] / epoch["utterances"],
        "processor": epoch["processor"] / epoch["utterances"],
        "rate": epoch["utterances"] / epoch["seconds"],
        "padding": 100 * epoch["padding"],
        "waiting": 100 * epoch["waiting"] / epoch["seconds"],
        "steps": epoch["steps"],
        **({"busy": 100 * result["busy"]} if "busy" in result else {}),
    }


def take_medians(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    first = rounds[0]
    return {
        key: value if isinstance(value, str) else statistics.median(one[key] for one in rounds)
        for key, value in first.items()
    }


def print_speed(figures: dict[str, dict[str, Any]], on_gpu: bool) -> None:
    """Print a row for each figure; the ratio is that of ours to the peer's."""
    print(f"{'what':45}" + "".join(f"{name:>16}" for name in figures) + f"{'ratio':>8}{'goal':>6}")
    for key, (what, unit, goal) in ROWS.items():
        if key not in figures["ours"]:
            continue
        values = {name: figures[name][key] for name in figures}
        columns = "".join(f"{value:>13.3g} {unit:2}" for value in values.values())
        has_goal = PEER in values and goal and (key != "rate" or on_gpu)
        ratio = f"{values['ours'] / values[PEER]:>8.2f}{goal:>6.2f}" if has_goal else ""
        print(f"{what:45}{columns}{ratio}")


def main() -> int:
    args = parse_arguments()
    programs = find_programs(getattr(args, PEER.replace("-", "_")), args.variant)
    report: dict[str, Any] = {"benchmark": "train_step", "network": args.network}
    report |= {"batch_size": args.batch_size, "threads": args.threads, "speed": {}}
    calm_threads()  # as `python -m piper.train` does, for the peer as well
    load = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        source = args.dataset.resolve()
        if args.rounds:
            dataset = choose_utterances(
                source, Path(folder) / "speed", args.utterances, args.sample_rate
            )
            prepare_dataset(args, programs, dataset)
            print(f"{args.utterances} utterances, {sum(dataset.seconds):.0f} s of audio")
            for precision in args.precision.split(","):
                figures = measure_speed(args, programs, dataset, precision)
                print(f"{figures['ours']['device']}, {precision}, batches of {args.batch_size}")
                print_speed(figures, args.device == "cuda")
                report["speed"][precision] = figures
        if args.steps:
            count = args.loss_batch_size * args.steps
            dataset = choose_utterances(
                source, Path(folder) / "losses", count, args.sample_rate, shortest=True
            )
            report["losses"] = compare_losses(args, programs, dataset)
            print_losses(report["losses"])
    report["load_average"] = [load, os.getloadavg()]
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
