"""Training, beside piper-tts: a table of speed, memory and padding, one of losses, then JSON.

Both programs run `python -m piper.train fit` on the same recordings, alternately, each in a process
of its own; figures are medians. The second table compares the losses of the first steps, from equal
weights, batches and noise, without dropout, and shows the floor beneath such a comparison: the same
program with another number of threads. With `--prepare` it measures instead how long preparing
recordings takes: a training of no epoch, with an empty cache and with a full one. Where the peer is
not installed, ours is measured alone.
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
    busy_processes,
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
    "kernels": ("kernels a step; of a CPU operations", "", None),
    "host_waits": ("waits of the host a step", "", None),
}
ACCELERATORS = {"cpu": "cpu", "cuda": "gpu"}
DEFAULTS = {
    "batch_size": (8, 80),
    "rounds": (2, 2),
    "precision": ("32-true", "16-mixed,bf16-mixed"),
    "epochs": (1, 3),
    "workers": (0, 4),
    "warm_up": (1, 1000),
    "profile_steps": (0, 5),
    "steps": (20, 0),
}
"""On a CPU, on a GPU."""
LOSSES = {
    "train_mel": "train_mel",
    "train_kl": "train_kl",
    "train_duration": "train_dur",
    "train_adversarial": "train_gen",
    "train_feature": "train_fm",
    "train_loss": "loss_g",
    "train_discriminator": "train_disc",
}
"""Losses by our name and by the peer's."""
GOAL = 1e-3


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
    text = "of those that take longest, in the profiled steps; default: 0"
    parser.add_argument("--operations", type=int, default=0, help=text)
    text = "a column more: ours with these flags, such as compiled=--model.compile=on"
    parser.add_argument("--variant", action="append", default=[], metavar="NAME=FLAGS", help=text)
    parser.add_argument("--steps", type=int, help="whose losses are compared; default: 20; cuda: 0")
    parser.add_argument("--loss-batch-size", type=int, default=4, help="default: 4")
    parser.add_argument("--checkpoint", help="whose weights the losses start from; default: new")
    text = "measure the preparation of so many recordings, silence trimmed by each in its own way"
    parser.add_argument("--prepare", type=int, default=0, metavar="N", help=text)
    parser.add_argument("--quick", action="store_true", help="a small network and few steps")
    args = parser.parse_args()
    set_defaults(args)
    if args.utterances % args.batch_size:
        parser.error(f"--utterances must be a multiple of --batch-size {args.batch_size}.")
    return args


def set_defaults(args: argparse.Namespace) -> None:
    """Fill in what depends on the device, and what --quick means."""
    defaults = {name: pair[args.device == "cuda"] for name, pair in DEFAULTS.items()}
    if args.quick:
        args.network, args.loss_batch_size = "quick", 2
        defaults |= {"batch_size": 2, "steps": 2, "rounds": 1}
    for name, value in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    args.utterances = args.utterances or args.batch_size * (7 if args.device == "cuda" else 5)


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


def speed_spec(
    args: argparse.Namespace, program: Program, dataset: Dataset, precision: str, seed: int
) -> dict[str, Any]:
    epochs = 1 + args.epochs + (1 if args.profile_steps else 0)
    trainer = {
        "accelerator": ACCELERATORS[args.device],
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
        key: statistics.median(one[key] for one in rounds)
        if isinstance(value, int | float)
        else value
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


def print_operations(figures: dict[str, dict[str, Any]], rows: int) -> None:
    """Print what takes longest; on a CPU an operation holds those that it is made of."""
    for name, one in figures.items():
        print(f"{name + ', ms a step':>24} {'a step':>8}  operation")
        for operation, milliseconds, count in one.get("operations", [])[:rows]:
            print(f"{milliseconds:24.3f} {count:8.1f}  {operation[:100]}")


# -- preparation


def measure_preparation(program: Program, dataset: Dataset) -> float:
    """Return the seconds that preparing takes, and nothing else."""
    shutil.rmtree(dataset.folder / program.kind, ignore_errors=True)
    seconds = []
    for _ in ("empty", "full"):
        trainer = {"accelerator": "cpu", "precision": "32-true", "max_epochs": 0}
        model = {**NETWORKS["quick"], "sample_rate": dataset.sample_rate}
        options = {**dataset.options(program, 4, 0), "trim_silence": True}
        arguments = fit_arguments(program, options, model, trainer)
        begin = time.perf_counter()
        spec = {"epochs": 0, "warm_up": 0, "profile_steps": 0, "arguments": arguments}
        run_process(program, "speed", 1, spec)
        seconds.append(time.perf_counter() - begin)
    return seconds[0] - seconds[1]


def compare_preparation(
    args: argparse.Namespace, programs: list[Program], dataset: Dataset
) -> dict[str, float]:
    """Return each program's median seconds a recording; print them."""
    rounds = [
        {one.name: measure_preparation(one, dataset) / args.prepare for one in programs}
        for _ in range(args.rounds)
    ]
    medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    average = sum(dataset.seconds) / len(dataset.seconds)
    print(f"{args.prepare} recordings of {average:.1f} s on {os.cpu_count()} cores")
    for name, value in medians.items():
        ratio = f"{value / medians['ours']:>8.1f} times as long as ours"
        print(f"{name:12}{1000 * value:>10.1f} ms a recording{ratio if name == PEER else ''}")
    return medians


# -- losses


def compare_losses(
    args: argparse.Namespace, programs: list[Program], dataset: Dataset
) -> dict[str, Any]:
    """Return the largest relative differences, between the programs and between threads."""
    ours = programs[0]
    peer = programs[-1] if not programs[-1].is_ours else None
    folder = dataset.folder
    model = {**NETWORKS[args.network], "sample_rate": dataset.sample_rate}
    data = dataset.options(ours, args.loss_batch_size, 0)
    data |= {"sample_rate": dataset.sample_rate}
    data |= {key: value for key, value in model.items() if key == "segment_size"}
    spec = {
        "model": model,
        "data": data,
        "steps": args.steps,
        "checkpoint": args.checkpoint,
        "accelerator": ACCELERATORS[args.device],
        **{name: str(folder / f"{name}.pt") for name in ("weights", "batches", "plain_batches")},
    }
    run_process(ours, "prepare", args.threads, spec)
    other_threads = 1 if args.threads > 1 else 2
    runs = {}
    for program in (ours, peer):
        if program is not None:
            for threads in (args.threads, other_threads):
                runs[program.name, threads] = run_process(program, "record", threads, spec)
    our_run = runs["ours", args.threads]
    names = {name: name for name in LOSSES}
    result = {"floor_ours": difference(our_run, runs["ours", other_threads], names)}
    if peer is not None:
        peer_run = runs[PEER, args.threads]
        peer_names = {name: name for name in LOSSES.values()}
        result["floor_peer"] = difference(peer_run, runs[PEER, other_threads], peer_names)
        result["programs"] = difference(our_run, peer_run, LOSSES)
        result["equal_draws"] = our_run["draws"] == peer_run["draws"]
        result["draws"] = [our_run["draws"][0], peer_run["draws"][0]]
        result["losses_peer"] = peer_run["losses"]
    return result | {"losses_ours": our_run["losses"]}


def difference(
    first: dict[str, Any], second: dict[str, Any], names: dict[str, str]
) -> dict[str, list[float]]:
    """Return each loss's relative difference, step by step."""
    pairs = list(zip(first["losses"], second["losses"], strict=True))
    return {
        name: [abs(a[name] - b[other]) / max(abs(b[other]), 1e-12) for a, b in pairs]
        for name, other in names.items()
    }


def print_losses(result: dict[str, Any]) -> None:
    """Print the largest difference of each loss over the steps, and that of the first step."""
    programs, floor = result.get("programs"), result.get("floor_peer")
    steps = len(result["losses_ours"])
    print(f"relative difference of the losses of {steps} steps from equal weights, data and noise")
    print(
        f"{'loss':22}{'of piper-tts':>14}{'first step':>12}{'largest':>12}{'threads, ours':>16}"
        f"{'threads, peer':>16}{'goal':>8}"
    )
    for name, other in LOSSES.items():
        row = f"{name:22}{other:>14}"
        row += f"{programs[name][0]:>12.1e}{max(programs[name]):>12.1e}" if programs else " " * 24
        row += f"{max(result['floor_ours'][name]):>16.1e}"
        row += f"{max(floor[other]):>16.1e}{GOAL:>8.0e}" if floor else ""
        print(row)
    if programs:
        print(f"random numbers drawn in each step: {'' if result['equal_draws'] else 'not '}equal")


def main() -> int:
    args = parse_arguments()
    programs = find_programs(getattr(args, PEER.replace("-", "_")), args.variant)
    report: dict[str, Any] = {"benchmark": "train_step", "network": args.network}
    report |= {"batch_size": args.batch_size, "threads": args.threads, "speed": {}}
    calm_threads()  # as `python -m piper.train` does, for the peer as well
    load = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        source = args.dataset.resolve()
        if args.prepare:
            dataset = choose_utterances(
                source, Path(folder) / "speech", args.prepare, args.sample_rate
            )
            report["preparation"] = compare_preparation(args, programs, dataset)
            print(json.dumps(report))
            return 0
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
                if args.operations:
                    print_operations(figures, args.operations)
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
