"""A callback for tests: each process writes the weights that it ends with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class SaveRankWeights(Callback):
    """Writes `rank<N>.pt` into the trainer's root folder."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, *error: Any) -> None:
        path = Path(trainer.default_root_dir) / f"rank{trainer.global_rank}.pt"
        torch.save(pl_module.state_dict(), path)
