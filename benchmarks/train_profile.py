"""Where a training step's time goes, on the GPU or CPU that is at hand: a table, then JSON.

    python benchmarks/train_profile.py
    python benchmarks/train_profile.py --data.dataset_dir=recordings --data.batch_size=80 \
        --trainer.precision=bf16-mixed --model.compile=on

A real training by `python -m piper.train fit`, with every flag that is not the script's own handed
on: some steps to warm up, some that are timed, and as many again under torch's profiler. Without a
dataset it trains on sentences that espeak-ng speaks: medium on a GPU, tiny on a CPU.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from train_meter import (
    attach_to_trainers,
    covered_length,
    name_device,
    read_peak_gigabytes,
    synchronize,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "tools" / "datasets"))

COPIES = {"gpu_memcpy", "gpu_memset"}
RUNNING = {"cuda": {"kernel", *COPIES}, "cpu": {"cpu_op"}}
"""Categories of a trace that are work of the device itself."""
HOST_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


class Profile(Callback):
    """Times steps and profiles as many after them.

    Args:
        warm_up: Steps before; the first ones build caches, and may compile.
        steps: Steps to time, and again to profile.
    """

    def __init__(self, warm_up: int, steps: int) -> None:
        self.warm_up = warm_up
        self.steps = steps
        self.figures: dict[str, Any] = {}
        self.operations: dict[str, list[float]] = defaultdict(list)
        self._done = 0
        self._utterances = 0
        self._waiting = self._waiting_since = self._begin = 0.0
        self._profiler: Any = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin the clock or the profiler; what lies between two steps is waiting for data."""
        now = time.perf_counter()
        if self._done == self.warm_up:
            synchronize()
            self._begin, self._waiting = time.perf_counter(), 0.0
        elif self.warm_up < self._done < self.warm_up + self.steps:
            self._waiting += now - self._waiting_since
        elif self._done == self.warm_up + self.steps:
            self._start_profiler()
        if self.warm_up <= self._done < self.warm_up + self.steps:
            self._utterances += len(batch)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End the clock or the profiler."""
        self._done += 1
        if self._done == self.warm_up + self.steps:
            synchronize()
            self._keep_times(time.perf_counter() - self._begin, trainer.strategy.root_device)
        elif self._done == self.warm_up + 2 * self.steps:
            self._end_profiler(trainer.strategy.root_device.type)
        self._waiting_since = time.perf_counter()

    def _keep_times(self, seconds: float, device: torch.device) -> None:
        self.figures |= {
            "device": name_device(device),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "step_seconds": seconds / self.steps,
            "utterances_per_second": self._utterances / seconds,
            "waiting_for_data": self._waiting / seconds,
            "memory_gigabytes": read_peak_gigabytes(),
        }

    def _start_profiler(self) -> None:
        synchronize()
        kinds = [torch.profiler.ProfilerActivity.CPU]
        if torch.cuda.is_available():
            kinds.append(torch.profiler.ProfilerActivity.CUDA)
        self._profiler = torch.profiler.profile(activities=kinds)
        self._profiler.start()
        self._begin = time.perf_counter()

    def _end_profiler(self, kind: str) -> None:
        synchronize()
        seconds = time.perf_counter() - self._begin
        self._profiler.stop()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            self._profiler.export_chrome_trace(str(path))
            events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
        spans = []
        for event in events:
            if event.get("cat") in RUNNING[kind]:
                spans.append((event["ts"], event["ts"] + event["dur"]))
                self.operations[event["name"]].append(event["dur"] / 1e3)
        waits = [event for event in events if event.get("name") in HOST_WAITS]
        self.figures |= {
            # The profiler slows the host, so that the share is rather too low than too high.
            "busy": covered_length(spans) / 1e6 / seconds,
            # On a CPU an operation counts with those that it is made of.
            "operations_per_step": len(spans) / self.steps,
            "host_waits_per_step": len(waits) / self.steps,
        }

    def print_table(self, rows: int) -> None:
        """Print the figures and the operations that take longest; on a CPU those hold others."""
        for name, value in self.figures.items():
            print(f"{name:24} {value if isinstance(value, str) else format(value, '.4g')}")
        print(f"\n{'ms a step':>10} {'a step':>8}  operation")
        longest = sorted(self.operations.items(), key=lambda item: -sum(item[1]))
        for name, times in longest[:rows]:
            print(f"{sum(times) / self.steps:10.3f} {len(times) / self.steps:8.1f}  {name[:100]}")


def parse_arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=20, help="steps to time, and to profile")
    parser.add_argument("--warm-up", type=int, default=20, help="steps before them")
    parser.add_argument("--rows", type=int, default=25, help="operations in the table")
    return parser.parse_known_args()


def fit_arguments(options: argparse.Namespace, given: list[str], folder: Path) -> list[str]:
    """The training's flags: those given, and what they leave open."""
    has_gpu = torch.cuda.is_available() and "--trainer.accelerator=cpu" not in given
    batch_size = 80 if has_gpu else 4
    flags = {
        "--model.quality": "medium" if has_gpu else "tiny",
        "--data.batch_size": str(batch_size),
        "--trainer.precision": "bf16-mixed" if has_gpu else "32",
        "--trainer.devices": "1",
        "--trainer.max_steps": str(options.warm_up + 2 * options.steps),
        "--trainer.limit_val_batches": "0",
        "--trainer.enable_checkpointing": "false",
        "--trainer.logger": "false",
        "--trainer.default_root_dir": str(folder),
    }
    names = {argument.partition("=")[0] for argument in given}
    if not names & {"--data.dataset_dir", "--data.csv_path"}:
        from make_test_dataset import make_test_dataset

        dataset = make_test_dataset(folder / "dataset", sentences=5 * batch_size)
        flags["--data.dataset_dir"] = str(dataset)
    return [*(f"{name}={value}" for name, value in flags.items() if name not in names), *given]


def main() -> int:
    options, given = parse_arguments()
    from piper.train import cli

    profile = Profile(options.warm_up, options.steps)
    attach_to_trainers(profile)
    with tempfile.TemporaryDirectory() as folder:
        arguments = fit_arguments(options, given, Path(folder))
        sys.argv = sys.argv[:1]  # LightningCLI looks there too
        code = cli.main(["fit", *arguments])
    logging.shutdown()
    if code:
        return code
    if "busy" not in profile.figures:
        print("error: the training ended before all steps were profiled", file=sys.stderr)
        return 1
    profile.print_table(options.rows)
    print(json.dumps({"arguments": given, **profile.figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
