"""What the processes of one training must agree on, and how it shows that one was lost.

Knows neither networks nor data; for SLURM, which signals of whom end a job.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from lightning.pytorch.plugins.environments import (
    ClusterEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from piper.errors import TrainingError
from piper.train.parallel.distributed import is_distributed

_LOST_SIGNS = ("gloo/", "Application timeout caused pair closure", "NCCL error", "ProcessGroupNCCL")
"""What errors of torch's two ways to talk to other processes say; gloo's are RuntimeErrors."""


def check_agreement(numbers: Mapping[str, int], device: torch.device) -> None:
    """Compare what all processes must have alike, before they wait for each other in vain.

    Args:
        numbers: By a name that a person understands.
        device: Where this process trains.

    Raises:
        TrainingError: Another process has another number; said by all of them.
    """
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
    reason = str(error).splitlines()[0].split("] ", 1)[-1].split(". ")[0]
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
