"""The losses of the first steps, of both programs from the same start: differences and their floor.

Knows which losses correspond; the steps themselves are taken in `train_losses.py`.
"""

from __future__ import annotations

import argparse
from typing import Any

from train_programs import NETWORKS, PEER, Dataset, Program, run_process

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
        "accelerator": "cpu",
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
