"""Times, memory and padding of a training, seen from outside: a Lightning callback.

Imports nothing of
ours, since it runs in other programs' environments too.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

FEWEST_BINS = 65
"""A spectrogram has more frequency bins than this; audio has one channel."""
RUNNING = {"cuda": {"kernel"}, "cpu": {"cpu_op"}}
"""Categories of a trace that are work of the device itself."""


class Meter(Callback):
    """Measures whole epochs after a short first one that only warms up.

    Args:
        epochs: Epochs to measure.
        warm_up: Steps of the epoch before them.
        profile_steps: Steps of one more epoch that are profiled; 0 for none.
    """

    def __init__(self, epochs: int, warm_up: int, profile_steps: int = 0) -> None:
        self.epochs = epochs
        self.warm_up = warm_up
        self.profile_steps = profile_steps
        self.figures: dict[str, Any] = {"epochs": []}
        self._epoch: dict[str, Any] = {}
        self._frames: list[tuple[torch.Tensor, int]] = []
        self._waiting_since = 0.0
        self._begin = self._processor_begin = 0.0
        self._profiler: Any = None

    def is_measured(self, trainer: Trainer) -> bool:
        """Return whether the running epoch is one of those that count."""
        return 1 <= trainer.current_epoch <= self.epochs

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the first epoch end after the warm-up."""
        original = pl_module.on_train_batch_start

        def end_first_epoch(batch: Any, batch_index: int) -> int | None:
            if trainer.current_epoch == 0 and batch_index >= self.warm_up:
                return -1  # Lightning's sign for the end of an epoch
            return original(batch, batch_index)

        pl_module.on_train_batch_start = end_first_epoch  # type: ignore[method-assign]
        device = trainer.strategy.root_device
        self.figures["device"] = name_device(device)
        self.figures["threads"] = torch.get_num_threads()
        self.figures["memory_before"] = read_status_gigabytes("VmRSS")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin an epoch's clock, with nothing left running."""
        synchronize()
        self._epoch = {"waiting": 0.0, "utterances": 0, "steps": 0}
        self._frames = []
        self._processor_begin = time.process_time()
        self._begin = self._waiting_since = time.perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """End the wait for data."""
        self._epoch["waiting"] += time.perf_counter() - self._waiting_since
        if self.is_measured(trainer):
            spectrogram = find_spectrogram(batch)
            # Without a copy to the host; a frame of a recording is nowhere quite zero.
            frames = (spectrogram.amax(1) > 0).sum()
            self._frames.append((frames, spectrogram.shape[0] * spectrogram.shape[2]))
            self._epoch["utterances"] += spectrogram.shape[0]
        elif trainer.current_epoch > self.epochs and batch_idx == 0 and self.profile_steps:
            self._start_profile(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a step; begin the wait for the next one's data."""
        self._epoch["steps"] += 1
        if self._profiler is not None and self._epoch["steps"] == self.profile_steps:
            self._end_profile(trainer)
        if self.is_measured(trainer) and batch_idx + 1 == trainer.num_training_batches:
            synchronize()
            self._epoch["seconds"] = time.perf_counter() - self._begin
            self._epoch["processor"] = time.process_time() - self._processor_begin
        self._waiting_since = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep an epoch's figures."""
        if self._profiler is not None:
            self._end_profile(trainer)
        if not self.is_measured(trainer):
            return
        frames = sum(int(count) for count, _ in self._frames)
        self._epoch["padding"] = 1 - frames / sum(padded for _, padded in self._frames)
        self.figures["epochs"].append(self._epoch)
        # Before a profiler takes memory of its own.
        self.figures["memory"] = read_peak_gigabytes()

    def _start_profile(self, trainer: Trainer) -> None:
        synchronize()
        activities = [torch.profiler.ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities = [torch.profiler.ProfilerActivity.CUDA]
        self._profiler = torch.profiler.profile(activities=activities)
        self._profiler.start()
        self._profile_begin = time.perf_counter()

    def _end_profile(self, trainer: Trainer) -> None:
        synchronize()
        seconds = time.perf_counter() - self._profile_begin
        self._profiler.stop()
        kind = trainer.strategy.root_device.type
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            self._profiler.export_chrome_trace(str(path))
            events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
        spans = [
            (event["ts"], event["ts"] + event["dur"])
            for event in events
            if event.get("cat") in RUNNING[kind]
        ]
        self.figures["busy"] = covered_length(spans) / 1e6 / seconds
        self.figures["kernels"] = len(spans) / self._epoch["steps"]
        self._profiler = None

    def result(self) -> dict[str, Any]:
        """Return all figures; times in seconds, memory in gigabytes (10⁹ bytes)."""
        return self.figures


def attach_to_trainers(callback: Callback) -> None:
    """Let every Trainer of this process have one more callback, and none that writes checkpoints.

    piper-tts always has one, and refuses the flag that would leave it out.
    """
    original: Callable[..., Any] = Trainer.fit

    def fit(self: Trainer, *args: Any, **kwargs: Any) -> Any:
        kept = [one for one in self.callbacks if not isinstance(one, Checkpoint)]  # type: ignore[attr-defined]
        self.callbacks = [*kept, callback]  # type: ignore[attr-defined]
        return original(self, *args, **kwargs)

    Trainer.fit = fit  # type: ignore[method-assign]


def find_spectrogram(batch: Any) -> torch.Tensor:
    """Return the tensor (B, F, T) of a batch, whatever the program calls it."""
    for value in vars(batch).values():
        is_tensor = isinstance(value, torch.Tensor) and value.dim() == 3
        if is_tensor and value.shape[1] >= FEWEST_BINS:
            return value
    raise TypeError(f"{type(batch).__name__} holds no spectrogram (B, F, T)")


def covered_length(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of (begin, end) spans: what overlaps counts once."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def name_device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "CPU"


def read_peak_gigabytes() -> float:
    """Return the largest memory so far: allocated on the GPU, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    # Not ru_maxrss, in which a process begins with what its parent has.
    return read_status_gigabytes("VmHWM")


def read_status_gigabytes(key: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    [value] = (line.split()[1] for line in lines if line.startswith(f"{key}:"))
    return int(value) * 1024 / 1e9
