"""What the families' Lightning modules share: averages, validations, checkpoints, warm starts."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from piper.errors import CheckpointError, name_some
from piper.train.checkpoints import (
    AVERAGES_KEY,
    SETTINGS_KEY,
    VOICE_CONFIG_KEY,
    FitReport,
    find_differences,
    fit_weights,
    network_config_from_checkpoint,
    raise_other_network,
)
from piper.train.data.batches import Batch
from piper.train.distributed import sum_over_processes
from piper.train.presets import TRAINING_KEYS, NetworkShape
from piper.train.steps.update import Updater, WeightAverages
from piper.train.warm_start import WarmStart, compare_voices, speakers_of

_LOGGER = logging.getLogger(__name__)
NETWORKS = ("generator", "discriminator")
"""What the figures of the two optimizers are called by."""
VALIDATION_SEED = 20210611
"""Seed of validation's noise and segments: the same in each epoch, so that epochs compare."""


class VoiceModule(LightningModule, ABC):
    """A voice in training: generator `model_g`, what tells it from recordings, two optimizers.

    A family's module builds its networks, makes gradients, names the losses of a
    validation, and fits checkpoints to itself. Both optimizers step once an update.
    """

    network_config: NetworkShape
    model_g: nn.Module
    is_last_best = False
    """Whether the end of a training is its best, whatever val_loss says."""

    def __init__(
        self,
        network_config: NetworkShape,
        settings: Mapping[str, Any],
        warm_starts: list[WarmStart],
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network_config = network_config
        self._training = dict(settings)
        self.updater = Updater(settings.get("warmup_updates", 0))
        self.accumulate_grad_batches = 1
        """Parts of a batch, which makes one update; `--trainer.accumulate_grad_batches` sets it."""
        self.averages: WeightAverages | None = None
        self._loaded_averages: dict[str, Any] | None = None
        # What seed_everything has set; each update begins with numbers that follow from it.
        self._seed = torch.initial_seed()
        self._validated_step = 0
        self._warm_starts = warm_starts
        for start in warm_starts:
            start.check_family(network_config)

    # -- what a family says

    @abstractmethod
    def make_gradients(self, batch: Any, update: int, scale: Tensor | None) -> dict[str, Tensor]:
        """Give all networks, which have none, the gradients of a batch; return its losses by name.

        Args:
            batch: This process's share of the update, on its device.
            update: How many updates were done before.
            scale: Factor on all gradients, in 16-mixed.
        """

    def settle_weights(self) -> None:
        """Take back what an update must not have changed, before the averages see it."""

    @abstractmethod
    def try_update(self, batch: Batch) -> None:
        """Compute the gradients of a batch as an update does, to see whether they fit in memory."""

    @abstractmethod
    def validation_losses(self, batch: Any, batch_index: int) -> dict[str, Tensor]:
        """Return the losses of a batch of validation by name, with the batch's own fixed noise."""

    @abstractmethod
    def total(self, named: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the named losses."""

    @abstractmethod
    def configure_optimizers(self) -> tuple[list[Any], list[Any]]:
        """Return the generator's and the discriminators' optimizer, and their schedules."""

    @abstractmethod
    def adapt_checkpoint(self, checkpoint: dict[str, Any], path: Any) -> list[str]:
        """Make a checkpoint fit; return a sentence for each setting that is another one now."""

    @property
    def training_settings(self) -> dict[str, Any]:
        """How it is trained, beside the network: by the names of the flags."""
        return {
            **self._training,
            "gradient_clip_val": self.updater.clip_value or 0,
            "gradient_clip_algorithm": self.updater.clip_algorithm,
        }

    # -- warm starts

    def setup(self, stage: str) -> None:
        """Start from other weights, now that the dataset's symbols and speakers are known."""
        data = getattr(self._trainer, "datamodule", None)
        is_first = self._trainer is None or self._trainer.is_global_zero
        while self._warm_starts:
            start = self._warm_starts.pop(0)
            silent = []
            if data is not None and start.takes_speakers:
                silent = data.adopt_speakers(start.source.speaker_ids, keeps_rows=False)
            if silent and is_first and not self._training.get("new_speakers_only"):
                self._warn_about_silent(silent)
            report = start.apply(self, data.voice_config() if data else None)
            if is_first:
                _LOGGER.info("%s", report)

    def _warn_about_silent(self, speakers: list[str]) -> None:
        advice = ""
        if "new_speakers_only" in self._training:
            advice = ", or train nothing but the new speakers: --model.new_speakers_only=true"
        _LOGGER.warning(
            "The dataset has no recordings of %d speakers of the voice (%s), who lose their voices "
            "while the others are trained. To keep them, add some of their recordings, or speech "
            "of theirs that the old voice speaks%s.",
            len(speakers),
            name_some(speakers, 12),
            advice,
        )

    # -- training

    def on_fit_start(self) -> None:
        """Begin the averages, with the weights or with what a checkpoint says."""
        self._begin_averages()

    def _begin_averages(self) -> None:
        decay = self._training["ema_decay"]
        self.averages = WeightAverages(self.model_g, decay) if decay else None
        if self.averages is not None and self._loaded_averages is not None:
            self.averages.load_state_dict(self._loaded_averages)
        self._loaded_averages = None

    def training_step(self, batch: Any, batch_index: int) -> None:
        """Make one update of all networks from one batch, which each process has a share of."""
        optimizers = cast(list[LightningOptimizer], self.optimizers())
        for optimizer in optimizers:
            optimizer.zero_grad()
        update = self.trainer.global_step // len(optimizers)
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        scale = None if scaler is None else scaler.scale(torch.ones((), device=self.device))
        named = self.make_gradients(batch, update, scale)
        # The discriminators first, as callbacks that look at gradients have always seen them.
        figures = self.updater.apply(optimizers[::-1], NETWORKS[::-1], update, scaler)
        self.settle_weights()
        if self.averages is not None:
            self.averages.update()
        self._log_training(named, figures, len(batch))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        """Look now and then whether training still gets anywhere."""
        if (batch_index + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self.updater.check()

    def _log_training(
        self, named: dict[str, Tensor], figures: dict[str, Tensor], batch_size: int
    ) -> None:
        whole = dict(zip(named, sum_over_processes(torch.stack([*named.values()])), strict=True))
        scalars = {f"train_{name}": value for name, value in {**whole, **figures}.items()}
        whole.pop("discriminator", None)
        scalars["train_loss"] = self.total(whole)
        self.log_dict(scalars, batch_size=batch_size)
        for name, optimizer in zip(NETWORKS, self.trainer.optimizers, strict=True):
            self.log(f"learning_rate_{name}", optimizer.param_groups[0]["lr"], batch_size=1)

    def on_train_epoch_end(self) -> None:
        """Let both learning rates decay, which manual optimization leaves to us."""
        for schedule in cast(list[Any], self.lr_schedulers() or []):
            schedule.step()
        # No end goes unheard: Lightning validates every few epochs, and not where time is up.
        if is_last_epoch(self.trainer) and self.trainer.global_step != self._validated_step:
            self._validate()

    def _planned_updates(self) -> float:
        """Updates that are left of the budget of epochs and steps; infinite where there is none."""
        trainer, plans = self.trainer, [math.inf]
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            epochs = trainer.max_epochs - trainer.current_epoch
            plans.append(epochs * trainer.num_training_batches)
        if trainer.max_steps >= 0:
            plans.append((trainer.max_steps - trainer.global_step) / 2)
        return min(plans)

    # -- validation

    def on_train_start(self) -> None:
        """Validate before the first step, so that the log shows what training started from."""
        self._validated_step = self.trainer.global_step
        if self.trainer.global_step == 0:
            self._validate()

    def on_validation_start(self) -> None:
        """Take the averages of a checkpoint that is only validated."""
        if self._loaded_averages is not None:
            self._begin_averages()

    def on_validation_epoch_end(self) -> None:
        """Remember that these weights were validated."""
        self._validated_step = self.trainer.global_step

    def _validate(self) -> None:
        trainer = self.trainer
        if getattr(trainer, "fast_dev_run", False) or not trainer.limit_val_batches:
            return
        trainer.validating = True
        trainer.fit_loop.epoch_loop.val_loop.run()
        trainer.training = True

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Take the losses of fixed segments with fixed noise.

        `val_loss` leaves the adversarial losses out: they measure the discriminators as much as
        the generator, so two epochs would not compare.
        """
        with self.averaged_weights():
            named = self.validation_losses(batch, batch_index)
        scalars = {f"val_{name}": value for name, value in named.items()}
        scalars["val_loss"] = self.total(named)
        self.log_dict(scalars, batch_size=len(batch), sync_dist=True)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Let the generator have its averaged weights in this block, where there are any."""
        if self.averages is None:
            yield
            return
        with self.averages.applied():
            yield

    # -- checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint carry the averages, and the voice's JSON that export needs."""
        if self.averages is not None:
            checkpoint[AVERAGES_KEY] = self.averages.state_dict()
        checkpoint[SETTINGS_KEY] = {
            key: value for key, value in self.training_settings.items() if key not in TRAINING_KEYS
        }
        data = getattr(self.trainer, "datamodule", None)
        if data is not None:
            checkpoint[VOICE_CONFIG_KEY] = data.voice_config().to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make a checkpoint of any age fit this network, or say why it does not."""
        trainer = self._trainer
        data = getattr(trainer, "datamodule", None)
        path, changes = getattr(trainer, "ckpt_path", None), []
        if data is not None:
            changes = compare_voices(checkpoint, path, data.voice_config())
            if carried := speakers_of(checkpoint):
                data.adopt_speakers(carried, keeps_rows=True)
        changes += self.adapt_checkpoint(checkpoint, path)
        if trainer is not None and trainer.state.fn == "fit" and trainer.is_global_zero:
            for change in changes:
                _LOGGER.info("%s", change)
        self._loaded_averages = checkpoint.get(AVERAGES_KEY)

    def fit_checkpoint(self, checkpoint: dict[str, Any], path: Any) -> FitReport:
        """Give a checkpoint all weights of this model: its own where they fit.

        Those of the generator must.
        """
        fitted, report = fit_weights(checkpoint["state_dict"], self.state_dict())
        if report.other_shape or any(name.startswith("model_g.") for name in report.missing):
            saved = network_config_from_checkpoint(checkpoint)
            if differences := find_differences(saved, self.network_config):
                raise_other_network(path or "The checkpoint", differences)
            raise CheckpointError(
                f"The checkpoint does not fit this network: {report} "
                "Start a new training from what fits with --model.warmstart."
            )
        checkpoint["state_dict"] = fitted
        return report


def is_last_epoch(trainer: Trainer) -> bool:
    """Return whether training ends with the present epoch or update, as far as is known."""
    max_epochs = trainer.max_epochs or -1
    return (
        trainer.should_stop
        or 0 < trainer.max_steps <= trainer.global_step
        or 0 < max_epochs <= trainer.current_epoch + 1
    )


def count_updates(trainer: Trainer) -> int:
    """Return the updates of the weights so far: two optimizers step in each."""
    return trainer.global_step // 2


def logged_step(trainer: Trainer) -> int:
    """Return the step that Lightning writes beside a scalar at this moment.

    Its count of batches is the one that every logger gets, and it has no public name. It differs
    from `global_step // 2`, the updates that checkpoints and messages count: it lags by one at a
    validation, and goes on over updates that were skipped. What is drawn or heard beside scalars
    has to stand where they do, also after resuming from a checkpoint of another trainer.
    """
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def is_time_to_log(trainer: Trainer) -> bool:
    """Return whether the batch that ends is one that is logged.

    Counted over epochs, as Lightning counts it: an epoch may be shorter than the interval.
    """
    interval: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return (logged_step(trainer) + 1) % interval == 0


def find_timers(trainer: Trainer) -> list[Timer]:
    """Return what counts the time of `--trainer.max_time`: one timer, or none."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return [one for one in callbacks if isinstance(one, Timer) and one._duration is not None]
