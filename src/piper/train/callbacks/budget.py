"""When a training ends and how often it is validated, where no flag says so.

How long it goes on, `allowance` knows.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from piper.progress import count_things
from piper.train.allowance import find_allowance
from piper.train.callbacks.axis import count_updates
from piper.train.callbacks.judge import Judge
from piper.train.presets import find_quality

_LOGGER = logging.getLogger(__name__)


class Budget(Callback):
    """Ends a training after its allowance of updates, where no flag says when.

    A checkpoint carries where its training began, so that a resumed one ends where it would have.
    One of another trainer starts a new training that is fine-tuned.

    Args:
        is_active: Whether no limit was given.
        is_warm: Whether the training starts from the weights of another.
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
    made. What judges take is not counted here: they have a share of their own.

    Args:
        judge: Whose seconds are left out.
    """

    def __init__(self, judge: Judge | None = None) -> None:
        self._judge = judge
        self._begin = self._last = 0.0
        self._started: float | None = None
        self._judged = 0.0
        self._spent = 0.0
        self._cost: float | None = None
        """Seconds of the last one; None before there was one in this run."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here."""
        self._begin = self._last = time.monotonic()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count what it takes."""
        self._started, self._judged = time.monotonic(), self._judge_seconds()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A validation and all that it brought with it is over."""
        self._end_validation()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A validation and all that it brought with it is over."""
        self._end_validation()

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Decide at an epoch's last batch whether it is validated, the same on all processes."""
        if not trainer.is_last_batch:
            return
        is_due = self._is_due(time.monotonic(), trainer.current_epoch < FIRST_EPOCHS)
        if trainer.world_size > 1:
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

    def _end_validation(self) -> None:
        if self._started is None:
            return
        self._last = time.monotonic()
        self._cost = self._last - self._started - (self._judge_seconds() - self._judged)
        self._spent += self._cost
        self._started = None

    def _judge_seconds(self) -> float:
        return 0.0 if self._judge is None else self._judge.spent_seconds


def has_limit(trainer: Any) -> bool:
    """Return whether the `--trainer.*` flags say when a training ends."""
    return trainer.max_epochs is not None or trainer.max_steps > 0 or trainer.max_time is not None


def is_warm_start(model: Any) -> bool:
    """Return whether the `--model.*` flags start a whole network from the weights of another."""
    return bool(model.get("warmstart"))
