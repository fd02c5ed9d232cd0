"""Training on several processes: what they sum, and what they must agree on.

Lightning's wrapper expects one backward pass that touches every parameter; a GAN has several, each
touching one network, and plain `ddp` then fails with unused parameters. Here nothing is wrapped:
the weights are broadcast once, and `sum_gradients` is called before each optimizer's step. Each
process divides its losses by the utterances and frames of all of them, so the sum is the gradient
of the whole batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins.environments import (
    ClusterEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from piper.errors import TrainingError, describe_briefly

WAIT = timedelta(minutes=15)
"""How long a process waits for one that hangs; the first may save or speak for some minutes."""

BUCKET_NUMBERS = 32 * 1024 * 1024
"""Gradients reduced in one call: 128 MB of float32, which bounds the copy's memory."""


class GanDDPStrategy(DDPStrategy):
    """Data-parallel training without the wrapper around the module."""

    def configure_ddp(self) -> None:
        """Make all processes start from the weights of the first."""
        assert isinstance(self.model, LightningModule)
        if not dist.is_initialized():
            return
        with torch.no_grad():
            for tensor in [*self.model.parameters(), *self.model.buffers()]:
                dist.broadcast(tensor.data, src=0)


def create_strategy(name: Any, num_devices: int) -> Any:
    """Return the strategy object for a name of `--trainer.strategy`."""
    if not isinstance(name, str):
        return name
    if name == "auto":
        return GanDDPStrategy(timeout=WAIT) if num_devices > 1 else name
    if name == "ddp" or name.startswith("ddp_find_unused_parameters"):
        return GanDDPStrategy(timeout=WAIT)
    if name.startswith("ddp_spawn"):
        return GanDDPStrategy(start_method="spawn", timeout=WAIT)
    return name


def is_distributed() -> bool:
    """Return whether several processes train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def sum_over_processes(numbers: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, on its own device."""
    if is_distributed():
        numbers = numbers.clone()
        dist.all_reduce(numbers)
    return numbers


def sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace each gradient by its sum over all processes; a parameter without one counts as 0.

    Called with the same parameters in the same order on every process. Does nothing where there
    is only one.
    """
    if not is_distributed():
        return
    bucket: list[nn.Parameter] = []
    numbers = 0
    for parameter in parameters:
        bucket.append(parameter)
        numbers += parameter.numel()
        if numbers >= BUCKET_NUMBERS:
            _sum_bucket(bucket)
            bucket, numbers = [], 0
    if bucket:
        _sum_bucket(bucket)


def _sum_bucket(bucket: Sequence[nn.Parameter]) -> None:
    gradients: list[Tensor] = []
    for parameter in bucket:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()


class Agreement:
    """Numbers that all processes get alike, through memory of the CPU.

    Made at the same moment on every process. A group of its own over gloo, so that asking does not
    wait for a GPU.
    """

    def __init__(self, timeout: timedelta = WAIT) -> None:
        self._group = dist.new_group(backend="gloo", timeout=timeout) if is_distributed() else None

    def largest(self, value: int) -> int:
        """Return the largest value that any process gives."""
        if self._group is None:
            return value
        tensor = torch.tensor([value], dtype=torch.int32)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=self._group)
        return int(tensor)

    def first(self, values: list[float]) -> list[float]:
        """Return the first process's values; each gives as many."""
        if self._group is None:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.broadcast(tensor, src=0, group=self._group)
        received: list[float] = tensor.tolist()
        return received


_LOST_SIGNS = ("gloo/", "Application timeout caused pair closure", "NCCL error", "ProcessGroupNCCL")
"""What errors of torch's two ways to talk to other processes say; gloo's are RuntimeErrors."""


def check_agreement(numbers: Mapping[str, int], device: torch.device) -> None:
    """Compare what all processes must have alike, before they wait for each other in vain."""
    if not is_distributed():
        return
    least = torch.tensor(list(numbers.values()), dtype=torch.int64, device=device)
    most = least.clone()
    dist.all_reduce(least, op=dist.ReduceOp.MIN)
    dist.all_reduce(most, op=dist.ReduceOp.MAX)
    different = [
        f"{name} ({low} on one, {high} on another)"
        for name, low, high in zip(numbers, least.tolist(), most.tolist(), strict=True)
        if low != high
    ]
    if different:
        raise TrainingError(
            f"The processes of this training do not agree: {', '.join(different)}. Each machine "
            "needs the same dataset, flags and checkpoint: use a folder that all of them share, or "
            "copy it to the same path on each."
        )


def describe_lost_process(error: BaseException) -> str | None:
    """Return a sentence where an error means that another process is gone, else None."""
    is_lost = isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in _LOST_SIGNS)
    )
    if not is_lost:
        return None
    rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else None
    # gloo begins with a line of its source, and goes on with advice.
    reason = describe_briefly(error, 1000).split("] ", 1)[-1].split(". ")[0]
    here = "this one" if rank is None else f"this one (rank {rank})"
    return (
        f"Another process of this training has ended, or does not answer, so {here} ends too; "
        f"what went wrong stands in the other's output ({reason:.160})."
    )


def find_cluster() -> list[ClusterEnvironment]:
    """Return the plugin for SLURM where `srun` started this process.

    Lightning's own would requeue the job at SIGUSR1: it saves inside a step, while other processes
    wait for this one, and prefers that checkpoint to the one asked for from then on.
    """
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        return [SLURMEnvironment(auto_requeue=False)]
    return []
