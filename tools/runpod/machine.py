"""What this machine has, and what of a training fits in it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

from piper.progress import count_things
from piper.system import available_cores, available_memory_bytes

GIB = 1024.0**3
CPU_QUALITY = "quick"
MEMORY_SHARE = 0.8
"""Of the free memory; the rest is left to the page cache, loader processes and other programs."""

NEEDED_GIB = {
    "quick": (1.2, 0.04),
    "tiny": (0.8, 0.1),
    "x_low": (1.7, 0.3),
    "low": (2.0, 0.45),
    "medium": (2.0, 0.45),
    "high": (2.2, 0.7),
}
"""Peak memory of a training process on a CPU, float32: the base, and each utterance of a batch.

Measured with torch 2.13, with validation, on recordings of 15 to 18 seconds: tiny with 8 utterances
1.5 GiB, medium with 5 4.1 GiB, and with 20 8.0 GiB in its first five minutes. Updates alone on
recordings of 10 seconds: tiny with 27 2.9 GiB, x_low with 13 3.3, medium with 1, 5 and 13 2.0, 2.9
and 4.6, high with 6 4.4; low has medium's network and was not measured. Updates of a quick
voice with 8, 16 and 32 pieces: 0.8, 1.0 and 1.5, whatever the recordings' length. The figures above
are rounded up to cover all of these.
"""

_NO_TORCH = "no torch"
_COUNT_GPUS = f"""
try:
    import torch
except ImportError:
    print({_NO_TORCH!r})
else:
    print(torch.cuda.device_count() if torch.cuda.is_available() else 0)
"""


@dataclass(frozen=True)
class Machine:
    """What there is to train on, within limits of control groups; GPUs None without PyTorch."""

    num_gpus: int | None
    cores: int
    memory_bytes: int


@dataclass(frozen=True)
class Devices:
    """Lightning's `--trainer.accelerator`, `devices` and `strategy`."""

    accelerator: str
    count: int
    strategy: str


@dataclass(frozen=True)
class BatchPlan:
    """A batch in parts: `batch_size` utterances at a time, `accumulate` times an update."""

    batch_size: int
    accumulate: int


def find_machine() -> Machine:
    """Look at this machine; takes the seconds that importing torch takes."""
    return Machine(count_gpus(), available_cores(), available_memory_bytes())


def count_gpus() -> int | None:
    """Return how many GPUs PyTorch can use here, or None where PyTorch is not installed.

    Asked in a process of its own: torch would stay in the launcher's memory (200 MB) and, on a
    GPU, hold a context there for as long as the training lasts.
    """
    result = subprocess.run(
        [sys.executable, "-c", _COUNT_GPUS], capture_output=True, text=True, check=False
    )
    answer = (result.stdout.strip().splitlines() or ["0"])[-1]
    if answer == _NO_TORCH:
        return None
    return int(answer) if answer.isdigit() else 0


def plan_devices(wanted_gpus: int, machine: Machine) -> tuple[Devices, str | None]:
    """Choose the devices, with 0 GPUs the CPU; say where that is not what was asked for."""
    num_gpus = min(wanted_gpus, machine.num_gpus or 0)
    if num_gpus == 0:
        devices = Devices("cpu", 1, "auto")
        used = f"the CPU ({count_things(machine.cores, 'core')})"
    else:
        # Piper's users know this name; the trainer reduces each network's gradients by itself.
        strategy = "auto" if num_gpus == 1 else "ddp_find_unused_parameters_true"
        devices = Devices("gpu", num_gpus, strategy)
        used = count_things(num_gpus, "GPU")
    if num_gpus == wanted_gpus:
        return devices, None
    seen = "none" if num_gpus == 0 else str(num_gpus)
    return devices, (
        f"{count_things(wanted_gpus, 'GPU')} asked for, but PyTorch sees {seen} here: "
        f"training uses {used}."
    )


def plan_batch(wanted: BatchPlan, quality: str, memory_bytes: int) -> tuple[BatchPlan, str | None]:
    """Fit a batch to a CPU's memory; also return a line where it had to be divided.

    The parts are equal, so that an update sees just the utterances that were asked for. An unknown
    quality counts as the largest.
    """
    base, each = NEEDED_GIB.get(quality.replace("-", "_"), NEEDED_GIB["high"])
    room = memory_bytes / GIB * MEMORY_SHARE - base
    most = max(1, int(room / each))
    size = wanted.batch_size
    if most >= size:
        return wanted, None
    part = max(divisor for divisor in range(1, most + 1) if size % divisor == 0)
    plan = BatchPlan(part, wanted.accumulate * (size // part))
    line = (
        f"A batch of {size} does not fit in {memory_bytes / GIB:.1f} GiB of free memory with the "
        f"quality {quality}: it is taken in {size // part} parts of {part}, one update for all."
    )
    if room < each:
        line += f" Even that may be too much; use a smaller one (--quality {CPU_QUALITY})."
    return plan, line
