"""A training of one layer by the real Trainer, for tests of what is kept and logged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from piper.train.cli import SafeCheckpointIO
from piper.train.event_log import EventLog


class Toy(LightningModule):
    """Takes two optimizers' steps a batch; its validations give the scores that it is told.

    Args:
        scores: `val_loss` of each validation.
        before_step: Called before each batch with the number of batches so far.
    """

    def __init__(
        self, scores: Sequence[float] = (), before_step: Callable[[int], None] | None = None
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.layer = torch.nn.Linear(100, 100)
        self._scores = list(scores)
        self._before_step = before_step
        self.batches = 0

    def training_step(self, batch: Tensor, batch_index: int) -> None:
        if self._before_step is not None:
            self._before_step(self.batches)
        self.batches += 1
        optimizers: Any = self.optimizers()
        for optimizer in optimizers:
            optimizer.zero_grad()
            loss = self.layer(batch).square().mean()
            self.manual_backward(loss)
            optimizer.step()
        self.log("train_loss", loss.detach())

    def validation_step(self, batch: Tensor, batch_index: int) -> None:
        self.log("val_loss", self._scores[self.current_epoch])

    def configure_optimizers(self) -> list[Any]:
        return [torch.optim.AdamW(self.layer.parameters()) for _ in range(2)]


def train_toy(
    root: Path | str,
    model: Toy,
    callbacks: Sequence[Callback],
    *,
    epochs: int,
    resume: str | None = None,
    batches: int = 2,
) -> Trainer:
    """Train a toy for some epochs, each followed by a validation; return the trainer."""
    loader = DataLoader(torch.ones(4 * batches, 100), batch_size=4)  # type: ignore[arg-type]
    trainer = Trainer(
        default_root_dir=root,
        logger=EventLog(root, "lightning_logs", default_hp_metric=False),
        plugins=[SafeCheckpointIO()],
        callbacks=list(callbacks),
        max_epochs=epochs,
        accelerator="cpu",
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    trainer.fit(model, loader, DataLoader(torch.ones(1, 100)), ckpt_path=resume)  # type: ignore[arg-type]
    return trainer
