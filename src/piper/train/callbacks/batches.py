"""How large a training's batches are, when it ends and how often it is validated."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from piper.errors import ConfigError
from piper.progress import count_things
from piper.system import WINDOWS, available_memory_bytes
from piper.train.allowance import find_allowance
from piper.train.callbacks.sentences import MeasureSentences
from piper.train.data.batches import BatchBounds
from piper.train.data.loader import ResumableLoader
from piper.train.data.module import VitsDataModule
from piper.train.distributed import check_agreement
from piper.train.presets import find_quality
from piper.train.steps.batch_size import (
    MARGIN,
    bound_batch_size,
    find_by_growth,
    find_by_out_of_memory,
    less_memory,
)
from piper.train.voice_module import count_updates

_LOGGER = logging.getLogger(__name__)


class Budget(Callback):
    """Ends a training after its allowance of updates, where no flag says when.

    A checkpoint carries where its training began, so that a resumed one ends where it would have.
    One of another trainer starts a new training that is fine-tuned.
    """

    def __init__(self, *, is_active: bool = True, is_warm: bool = False) -> None:
        self.is_active = is_active
        self._is_warm = is_warm
        self._begin: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the end, now that the data and the checkpoint are there."""
        if self._begin is None:
            self._begin = count_updates(trainer)
            self._is_warm = self._is_warm or self._begin > 0
        if not self.is_active:
            return
        model: Any = pl_module
        allowance = find_allowance(find_quality(model.network_config), is_warm=self._is_warm)
        batches = int(trainer.num_training_batches)
        updates = allowance.updates(batches)
        # Both optimizers step once an update, and Lightning counts each of them.
        trainer.fit_loop.epoch_loop.max_steps = 2 * (self._begin + updates)
        if trainer.is_global_zero:
            _LOGGER.info(
                "Training ends at step %s, after %s, the default %s; another end: "
                "--trainer.max_epochs, max_steps or max_time, or --patience.",
                f"{self._begin + updates:,}",
                count_things(-(-updates // batches), "epoch"),
                "for fine-tuning" if self._is_warm else "from scratch",
            )

    def state_dict(self) -> dict[str, Any]:
        """Return where the training began."""
        return {"begin": self._begin, "is_warm": self._is_warm}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over where the training began."""
        self._begin, self._is_warm = state_dict["begin"], state_dict["is_warm"]


FIRST_EPOCHS = 20
"""Validated each, as far as their share of time goes: how it begins is worth seeing."""
VALIDATION_SECONDS = 60.0
"""Between two validations of later epochs, and before the first of a run that goes on."""
VALIDATION_SHARE = 0.05
"""Of a run's time, the most that is spent on validations, the one at its end counted in."""
BY_TIME = 0
"""`--trainer.check_val_every_n_epoch` by default."""


class ValidationInterval(Callback):
    """Leaves out the validations that would take more than their share of a run's time.

    A minute of recordings is one batch, ten hours on a GPU are ten seconds, and a quick voice is
    trained in eight minutes: a validation with its checkpoints and its sentences after each epoch
    would take as long as the training. Those before the first and after the last update are always
    made. What measuring sentences takes is not counted here: it has a share of its own.
    """

    def __init__(self, measures: MeasureSentences) -> None:
        self._measures = measures
        self._begin = self._last = 0.0
        self._started: float | None = None
        self._measured = 0.0
        self._spent = 0.0
        self._cost: float | None = None
        """Seconds of the last one; None before there was one in this run."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here."""
        self._begin = self._last = time.monotonic()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count what it takes."""
        self._started, self._measured = time.monotonic(), self._measures.spent_seconds

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A validation and all that it brought with it is over."""
        if self._started is None:
            return
        self._last = time.monotonic()
        measuring = self._measures.spent_seconds - self._measured
        self._cost = self._last - self._started - measuring
        self._spent += self._cost
        self._started = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Likewise."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Decide at an epoch's last batch whether it is validated, the same on all processes."""
        if trainer.is_last_batch:
            is_due = self._is_due(time.monotonic(), trainer.current_epoch < FIRST_EPOCHS)
            is_due = trainer.strategy.broadcast(is_due)
            trainer.check_val_every_n_epoch = 1 if is_due else sys.maxsize

    def _is_due(self, now: float, is_early: bool) -> bool:
        if self._cost is None or not is_early:
            if now - self._last < VALIDATION_SECONDS:
                return False
            if self._cost is None:
                return True
        # This one and the last one.
        return self._spent + 2 * self._cost <= VALIDATION_SHARE * (now - self._begin)


class BatchSizeFinder(Callback):
    """Finds the batch size for `--data.batch_size=auto`, and goes on where an epoch stopped.

    Args:
        limit_bytes: How much this process may grow on a CPU; None takes what the machine has.
    """

    def __init__(self, limit_bytes: int | None = None) -> None:
        self._limit_bytes = limit_bytes

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the batch size: the weights are on their device, and no loader was made yet."""
        data = getattr(trainer, "datamodule", None)
        if not isinstance(data, VitsDataModule) or not data.has_open_batch_size:
            return
        parts = trainer.world_size * data.accumulate_grad_batches
        top = bound_batch_size(len(data.split.training), parts, pl_module.device.type == "cpu")
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
            _LOGGER.info(
                "--data.batch_size=auto: %d utterances a batch on each process, %s with %.0f %% of "
                "the memory left free; --data.batch_size=%d says so without a trial.",
                size,
                "the most that is tried here" if size == top else "the most that fits",
                100 * MARGIN,
                size,
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let Lightning count from where the loader goes on, which may be another batch.

        It counts the batches of an interrupted epoch as they were; with other ranks or another
        batch size the epoch has another number of them.
        """
        loader = trainer.train_dataloader
        if not isinstance(loader, ResumableLoader):
            return
        current: Any = trainer.fit_loop.epoch_loop.batch_progress.current
        if loader.is_restored:
            is_done = loader.epoch > trainer.current_epoch
            moved = (len(loader) if is_done else loader.given) - current.ready
            for count in ("ready", "started", "processed", "completed"):
                setattr(current, count, getattr(current, count) + moved)
        numbers = {
            "updates so far": trainer.global_step // max(1, len(trainer.optimizers)),
            "the epoch": trainer.current_epoch,
            "batches done in it": current.ready,
            "batches of an epoch": len(loader),
            "training utterances": len(loader.dataset),  # type: ignore[arg-type]
            "their frames": sum(trainer.datamodule.train_lengths),  # type: ignore[attr-defined]
        }
        check_agreement(numbers, pl_module.device)

    def _find(self, trainer: Trainer, module: Any, data: VitsDataModule, top: int) -> int:
        trial = StepTrial(trainer, module, data)
        # AdamW keeps two numbers for each weight; the averages keep a third for the generator's.
        later = 2 * _num_bytes(module) + _num_bytes(module.model_g)
        if module.device.type == "cuda":
            with less_memory(module.device, later):
                return find_by_out_of_memory(trial, top)
        if WINDOWS:
            raise ConfigError(
                "--data.batch_size=auto cannot measure the memory of a CPU under Windows; give a "
                "number."
            )
        limit = self._limit_bytes
        if limit is None:
            here = max(1, trainer.num_devices)
            limit = int(available_memory_bytes() * (1 - MARGIN)) // here - later
        return find_by_growth(trial, top, limit)


def _num_bytes(module: Any) -> int:
    return sum(p.numel() * p.element_size() for p in module.parameters())


class StepTrial:
    """Takes the heaviest step with so many utterances; weights and random states stay."""

    def __init__(self, trainer: Trainer, module: Any, data: VitsDataModule) -> None:
        self._trainer = trainer
        self._module = module
        self._data = data

    def __call__(self, size: int) -> None:
        """Take the step's forward and backward passes.

        Raises:
            torch.OutOfMemoryError: It does not fit on the GPU.
        """
        max_frames = self._data.settings.max_batch_frames
        for indices in heaviest_batches(self._data.train_lengths, size, max_frames):
            batch = self._data.load_batch(indices)
            try:
                # Compiled code would be made for each size; without it a step takes no less memory.
                with (
                    isolate_rng(),
                    self._trainer.precision_plugin.train_step_context(),
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
