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
from piper.train.allowance import FRESH, WARM
from piper.train.callbacks.axis import count_updates

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
        allowance = WARM if self._is_warm else FRESH
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
"""Validated each: how it begins is worth seeing, and short trainings are to be seen at all."""
VALIDATION_SECONDS = 60.0
BY_TIME = 0
"""`--trainer.check_val_every_n_epoch` by default."""


class ValidationInterval(Callback):
    """Leaves validations out of later epochs that are over in seconds.

    A minute of recordings is one batch, ten hours on a GPU are ten seconds: a validation with its
    checkpoints and its sentences after each would take longer than the training.
    """

    def __init__(self) -> None:
        self._last = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here."""
        self._last = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here again."""
        self._last = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Decide at an epoch's last batch whether it is validated, the same on all processes."""
        if not trainer.is_last_batch or trainer.current_epoch < FIRST_EPOCHS:
            return
        is_due = time.monotonic() - self._last >= VALIDATION_SECONDS
        if trainer.world_size > 1:
            is_due = trainer.strategy.broadcast(is_due)
        trainer.check_val_every_n_epoch = 1 if is_due else sys.maxsize


def has_limit(trainer: Any) -> bool:
    """Return whether the `--trainer.*` flags say when a training ends."""
    return trainer.max_epochs is not None or trainer.max_steps > 0 or trainer.max_time is not None


def is_warm_start(model: Any) -> bool:
    """Return whether the `--model.*` flags start a whole network from the weights of another."""
    return bool(model.get("warmstart"))
