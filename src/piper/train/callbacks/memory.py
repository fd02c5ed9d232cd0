"""Logs how much memory training takes, and how busy the GPU is where there is one."""

from __future__ import annotations

import sys
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from piper.train.callbacks.axis import logged_step

GIB = 1024.0**3


class Memory(Callback):
    """Logs memory in GiB with the losses, every `log_every_n_steps` batches."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Log the figures of this process's device."""
        # Counted over epochs, as Lightning counts it: an epoch may be shorter than the interval.
        step = logged_step(trainer) + 1
        if step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        figures = device_figures(pl_module.device)
        if figures:
            pl_module.log_dict(figures, batch_size=1)


def device_figures(device: torch.device) -> dict[str, float]:
    """Return what there is to say about a device: peak memory in GiB, use in percent."""
    if device.type != "cuda":
        peak = peak_resident_gib()
        return {} if peak is None else {"memory_process_gib": peak}
    figures = {
        "memory_gpu_gib": torch.cuda.max_memory_allocated(device) / GIB,
        "memory_gpu_reserved_gib": torch.cuda.memory_reserved(device) / GIB,
    }
    try:
        figures["gpu_use_percent"] = float(torch.cuda.utilization(device))
    except (ModuleNotFoundError, RuntimeError):
        # Needs nvidia-ml-py, which is not worth a failed training where it is absent.
        return figures
    return figures


def peak_resident_gib() -> float | None:
    """Return the largest resident memory of this process so far in GiB; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts kilobytes, macOS bytes.
    return peak / GIB if sys.platform == "darwin" else peak * 1024 / GIB
