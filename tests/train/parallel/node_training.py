"""A training whose noise follows from each utterance alone, so that ranks and batches can be told
apart from chance; run by torchrun on each node, or alone, by test_nodes."""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from piper.errors import TrainingError
from piper.train.callbacks.batches import BatchSizeFinder
from piper.train.data.module import VitsDataModule
from piper.train.distributed import GanDDPStrategy, check_agreement
from piper.train.lightning import VitsModel
from piper.train.vits.layers import TrainingNoise

MAX_FRAMES = 2000
SMALL = {"hidden_channels": 16, "inter_channels": 16, "filter_channels": 16, "n_layers": 1}
NAMES = ("mel", "kl", "duration", "adversarial", "feature", "discriminator", "loss")


def draw_by_utterance(
    self: Any, ids: Tensor, spectrogram: Tensor, generator: Any = None
) -> TrainingNoise:
    """Draw the same numbers for an utterance in whatever batch it is."""
    rows = []
    for utterance in ids:
        seed = int((utterance * torch.arange(1, len(utterance) + 1)).sum())
        random = torch.Generator().manual_seed(seed)
        latents = torch.randn(MAX_FRAMES, self.config.inter_channels, generator=random)
        durations = torch.randn(MAX_FRAMES, 2, generator=random)
        rows.append((latents, durations, torch.rand((), generator=random)))
    latents, durations, segments = (torch.stack(part) for part in zip(*rows, strict=True))
    return TrainingNoise(
        latents.mT[:, :, : spectrogram.shape[2]], durations.mT[:, :, : ids.shape[1]], segments
    )


class Disagreement(Callback):
    """Asks the processes whether they agree on something that they do not agree on."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        try:
            numbers = {"the epoch": 3, "utterances": 14 + trainer.global_rank}
            check_agreement(numbers, pl_module.device)
        except TrainingError as error:
            self.path.with_suffix(".error").write_text(str(error), encoding="utf-8")


class Recorder(Callback):
    """Writes each update's losses, and holds still where a test wants a rank that hangs."""

    def __init__(self, path: Path, hang_rank: int | None) -> None:
        self.path, self.hang_rank = path, hang_rank
        self.losses: list[list[float]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        metrics = trainer.callback_metrics
        self.losses.append([float(metrics[f"train_{name}"]) for name in NAMES])
        self.path.write_text(json.dumps(self.losses), encoding="utf-8")
        if self.hang_rank == trainer.global_rank:
            while True:
                time.sleep(1)


def train(
    dataset: Path,
    out: Path,
    batch_size: int,
    accumulate: int = 1,
    nodes: int = 1,
    hang_rank: int | None = None,
    timeout_seconds: float = 60,
) -> None:
    """Train two epochs of a small model; write the losses to `out`."""
    torch.manual_seed(1)
    model = VitsModel(
        quality="tiny",
        discriminator_channels=16,
        upsample_initial_channel=32,
        p_dropout=0.0,
        **SMALL,  # type: ignore[arg-type]
    )
    model.model_g.draw_noise = MethodType(draw_by_utterance, model.model_g)  # type: ignore[method-assign]
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    data = VitsDataModule(
        dataset_dir=str(dataset), batch_size=batch_size, num_workers=0, validation_split=0.0
    )
    model.accumulate_grad_batches = data.accumulate_grad_batches = accumulate
    distributed: dict[str, Any] = {}
    if nodes > 1:
        strategy = GanDDPStrategy(timeout=timedelta(seconds=timeout_seconds))
        distributed = {"num_nodes": nodes, "strategy": strategy}
    Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=2,
        limit_val_batches=0,
        logger=False,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[BatchSizeFinder(), Disagreement(out), Recorder(out, hang_rank)],
        **distributed,
    ).fit(model, data)


if __name__ == "__main__":
    hang = int(sys.argv[3])
    train(Path(sys.argv[1]), Path(sys.argv[2]), 2, 1, 2, hang if hang >= 0 else None, 10)
