"""Keeps the checkpoints with the best score of validation. Knows neither networks nor losses."""

from __future__ import annotations

import logging
import math
from pathlib import PurePosixPath
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from piper.errors import ConfigError
from piper.train.callbacks.saving import Saver, find_checkpoint_folder, remove_checkpoint
from piper.train.storage import is_file, join_address

_LOGGER = logging.getLogger(__name__)


class KeepBest(Checkpoint):
    """Keeps the checkpoints with the lowest score, named as Piper's users know them.

    They are slim: one goes back to them to listen and to export, and goes on from last.ckpt, so
    the optimizers' two thirds would lie there for nothing. Its state is named as that of
    Lightning's ModelCheckpoint, and goes on in a resumed training; files in another folder than
    this run's own are counted among the best, but never removed.

    Args:
        keep_best: How many to keep; -1 keeps all, 0 none.
        monitor: Name of the score.

    Raises:
        ConfigError: A number that means nothing.
    """

    mode = "min"

    def __init__(self, keep_best: int = 3, monitor: str = "val_loss") -> None:
        if keep_best < -1:
            raise ConfigError(
                f"--keep_best={keep_best}: a number of checkpoints, or -1 to keep all."
            )
        self.keep_best = keep_best
        self.monitor = monitor
        self.dirpath: str | None = None
        self.scores: dict[str, float] = {}
        self._saver: Saver | None = None
        self._saved_step = 0

    @property
    def state_key(self) -> str:
        """As ModelCheckpoint's with the same settings."""
        return self._generate_state_key(
            monitor=self.monitor,
            mode=self.mode,
            every_n_train_steps=0,
            every_n_epochs=1,
            train_time_interval=None,
        )

    @property
    def best_model_path(self) -> str:
        """The best checkpoint; empty without one."""
        return min(self.scores, key=lambda address: self.scores[address], default="")

    @property
    def best_model_score(self) -> float | None:
        """Its score."""
        return min(self.scores.values(), default=None)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settle the folder, before a checkpoint's state is read."""
        self.dirpath = find_checkpoint_folder(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the files that are gone since the state was written."""
        self._saver = Saver()
        self._saved_step = trainer.global_step
        there = {address: _is_there(address) for address in self.scores}
        # All processes have to know the same list, and the first one's disk is the one that counts.
        there = trainer.strategy.broadcast(there)
        self.scores = {a: score for a, score in self.scores.items() if there.get(a)}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights that were just validated, where they are among the best."""
        if trainer.state.fn != "fit" or trainer.sanity_checking or self.keep_best == 0:
            return
        # Without a step since the last one these weights have been judged already.
        if trainer.global_step == self._saved_step:
            return
        score = float(trainer.callback_metrics.get(self.monitor, math.nan))
        is_full = 0 < self.keep_best <= len(self.scores)
        if not math.isfinite(score) or (is_full and score >= max(self.scores.values())):
            return
        self._keep(trainer, score)

    def state_dict(self) -> dict[str, Any]:
        """Return the list of the best."""
        return {
            "monitor": self.monitor,
            "dirpath": self.dirpath,
            "best_model_path": self.best_model_path,
            "best_model_score": self.best_model_score,
            "best_k_models": dict(self.scores),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the list of a checkpoint, whichever folder its files lie in."""
        scores = state_dict.get("best_k_models") or {}
        self.scores = {str(address): float(score) for address, score in scores.items()}

    def _keep(self, trainer: Trainer, score: float) -> None:
        assert self.dirpath is not None and self._saver is not None
        name = (
            f"epoch={trainer.current_epoch}-step={trainer.global_step}-{self.monitor}={score:.4f}"
        )
        address = join_address(self.dirpath, f"{name}.ckpt")
        before = dict(self.scores)
        self.scores[address] = score
        # The new one is in the list that it carries, and complete before an old one goes.
        dropped = [] if self.keep_best < 0 else self._worst(len(self.scores) - self.keep_best)
        for old in dropped:
            del self.scores[old]
        if not self._saver.save(trainer, address, is_slim=True):
            self.scores = before
            self._saver.warn(trainer, address, self.best_model_path or None)
            return
        self._saved_step = trainer.global_step
        for old in dropped:
            if _folder(old) == _folder(address):
                remove_checkpoint(trainer, old)

    def _worst(self, count: int) -> list[str]:
        worst = sorted(self.scores, key=lambda address: self.scores[address], reverse=True)
        return worst[: max(count, 0)]


def _folder(address: str) -> str:
    return str(PurePosixPath(address.replace("\\", "/")).parent)


def _is_there(address: str) -> bool:
    try:
        return is_file(address)
    except OSError:  # a storage that cannot be asked now may be there again later
        return True
