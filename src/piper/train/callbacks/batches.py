"""Settles the batches of a training: finds their size where that was left open, and keeps count.

Knows the data module and the step, but neither lengths nor losses.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from piper.errors import ConfigError
from piper.train.data.loader import ResumableLoader
from piper.train.data.module import VitsDataModule
from piper.train.data.resources import available_memory_bytes
from piper.train.data.sampler import BatchBounds
from piper.train.parallel.ranks import check_agreement
from piper.train.steps import batch_size

_LOGGER = logging.getLogger(__name__)

STATES_OF_OPTIMIZER = 2
"""AdamW keeps two numbers for each weight; the averages keep a third for the generator's."""


class Batches(Callback):
    """Finds the batch size for `--data.batch_size=auto`, and goes on where an epoch stopped.

    Args:
        limit_bytes: How much this process may grow on a CPU; None takes what the machine has.
    """

    def __init__(self, limit_bytes: int | None = None) -> None:
        self._limit_bytes = limit_bytes

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the batch size: the weights are on their device, and no loader was made yet.

        Raises:
            ConfigError: Not even one utterance fits.
        """
        data = getattr(trainer, "datamodule", None)
        if not isinstance(data, VitsDataModule) or not data.has_open_batch_size:
            return
        parts = trainer.world_size * data.accumulate_grad_batches
        is_cpu = pl_module.device.type == "cpu"
        top = batch_size.bound_batch_size(len(data.split.training), parts, is_cpu)
        own = self._find(trainer, pl_module, data, top)
        # All ranks take the same, so that each has as many batches.
        found = torch.tensor(float(own), device=pl_module.device)
        size = int(trainer.strategy.reduce(found, reduce_op="min"))
        if size == 0:
            raise ConfigError(
                "--data.batch_size=auto: the step of one utterance does not fit in memory; leave "
                "out long recordings (--data.max_seconds), or take a smaller --model.quality."
            )
        data.found_batch_size = size
        if trainer.is_global_zero:
            reason = "the most that is tried here" if size == top else "the most that fits"
            _LOGGER.info(
                "--data.batch_size=auto: %d utterances a batch on each process, %s with %.0f %% of "
                "the memory left free; --data.batch_size=%d says so without a trial.",
                size,
                reason,
                100 * batch_size.MARGIN,
                size,
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let Lightning count from where the loader goes on, which may be another batch.

        It counts the batches of an interrupted epoch as they were; with other ranks or another
        batch size the epoch has another number of them.

        Raises:
            TrainingError: Other processes are elsewhere, or have other data.
        """
        loader = trainer.train_dataloader
        if not isinstance(loader, ResumableLoader):
            return
        if loader.is_restored:
            self._align(trainer, loader)
        numbers = {
            "updates so far": trainer.global_step // max(1, len(trainer.optimizers)),
            "the epoch": trainer.current_epoch,
            "batches done in it": trainer.fit_loop.epoch_loop.batch_progress.current.ready,
            "batches of an epoch": len(loader),
            "training utterances": len(loader.dataset),  # type: ignore[arg-type]
            "their frames": sum(trainer.datamodule.train_lengths),  # type: ignore[attr-defined]
        }
        check_agreement(numbers, pl_module.device)

    def _align(self, trainer: Trainer, loader: ResumableLoader) -> None:
        is_done = loader.epoch > trainer.current_epoch
        position = len(loader) if is_done else loader.given
        current: Any = trainer.fit_loop.epoch_loop.batch_progress.current
        moved = position - current.ready
        current.ready += moved
        current.started += moved
        current.processed += moved
        current.completed += moved

    def _find(self, trainer: Trainer, module: Any, data: VitsDataModule, top: int) -> int:
        trial = StepTrial(trainer, module, data)
        weights = sum(p.numel() * p.element_size() for p in module.parameters())
        averaged = sum(p.numel() * p.element_size() for p in module.model_g.parameters())
        later = STATES_OF_OPTIMIZER * weights + averaged
        if module.device.type == "cuda":
            with batch_size.less_memory(module.device, later):
                return batch_size.find_by_out_of_memory(trial, top)
        if sys.platform == "win32":
            raise ConfigError(
                "--data.batch_size=auto cannot measure the memory of a CPU under Windows; give a "
                "number."
            )
        limit = self._limit_bytes
        if limit is None:
            here = max(1, trainer.num_devices)
            limit = int(available_memory_bytes() * (1 - batch_size.MARGIN)) // here - later
        return batch_size.find_by_growth(trial, top, limit)


class StepTrial:
    """Takes the heaviest step with so many utterances; weights and random states stay as they are.

    Args:
        trainer: Whose precision is used.
        module: The Lightning module, a `VoiceModule`.
        data: Where the longest utterances are loaded from.
    """

    def __init__(self, trainer: Trainer, module: Any, data: VitsDataModule) -> None:
        self._trainer = trainer
        self._module = module
        self._data = data

    def __call__(self, size: int) -> None:
        """Take the step's forward and backward passes.

        Raises:
            torch.OutOfMemoryError: It does not fit on the GPU.
        """
        for indices in heaviest_batches(
            self._data.train_lengths, size, self._data.settings.max_batch_frames
        ):
            self._run(indices)

    def _run(self, indices: list[int]) -> None:
        batch = self._data.load_batch(indices)
        plugin = self._trainer.precision_plugin
        try:
            # Compiled code would be made for each size; without it a step takes no less memory.
            with (
                isolate_rng(),
                plugin.train_step_context(),
                torch.compiler.set_stance("force_eager"),
            ):
                self._module.try_update(batch)
        finally:
            self._module.zero_grad(set_to_none=True)
            if self._module.device.type == "cuda":
                torch.cuda.empty_cache()


def heaviest_batches(lengths: list[int], size: int, max_frames: int | None) -> list[list[int]]:
    """Return the micro-batches that take the most memory: the longest, and the most numerous.

    Args:
        lengths: Frames of each utterance.
        size: Most utterances of a micro-batch.
        max_frames: Most padded frames of one.
    """
    order = [int(index) for index in np.argsort(-np.asarray(lengths), kind="stable")]
    bounds = BatchBounds(size, max_frames)
    counts = [
        min(bounds.most(lengths[index]), len(order) - place) for place, index in enumerate(order)
    ]
    places = {0, counts.index(max(counts))}
    return [order[place : place + counts[place]] for place in sorted(places)]
