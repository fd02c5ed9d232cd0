"""Keeps the checkpoints with the best score of validation. Knows neither networks nor losses."""

from __future__ import annotations

import logging
import math
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from piper.errors import ConfigError
from piper.train.callbacks.candidates import (
    candidate_name,
    find_candidates,
    find_scored,
    folder_of,
    name_of,
    scored_name,
)
from piper.train.callbacks.saving import Saver, find_checkpoint_folder, remove_checkpoint
from piper.train.callbacks.scores import Scored, Scores
from piper.train.storage import is_file, join_address, move_file

_LOGGER = logging.getLogger(__name__)


class KeepBest(Checkpoint):
    """Keeps the checkpoints with the best score, named as Piper's users know them.

    They are slim: one goes back to them to listen and to export, and goes on from last.ckpt, so
    the optimizers' two thirds would lie there for nothing. Its state is named as that of
    Lightning's ModelCheckpoint, and goes on in a resumed training; files in another folder than
    this run's own are counted among the best, but never removed.

    A loss is there when the weights are written. What judges say comes later: until then the
    weights lie there as a candidate, at most one at a time.

    Args:
        keep_best: How many to keep; -1 keeps all, 0 none.
        scores: What judges say; None takes `val_loss`.

    Raises:
        ConfigError: A number that means nothing.
    """

    def __init__(self, keep_best: int = 3, scores: Scores | None = None) -> None:
        if keep_best < -1:
            raise ConfigError(
                f"--keep_best={keep_best}: a number of checkpoints, or -1 to keep all."
            )
        self.keep_best = keep_best
        self.monitor = "val_loss" if scores is None else scores.monitor
        self.mode = "min" if scores is None else scores.mode
        self.dirpath: str | None = None
        self.scores: dict[str, float] = {}
        self.candidate: str | None = None
        """Weights whose score is awaited."""
        self._judges = scores
        if scores is not None:
            scores.listeners.append(self._settle)
        self._saver: Saver | None = None
        self._saved_step = 0
        self._old_folder: str | None = None

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
        return min(self.scores, key=self._badness, default="")

    @property
    def best_model_score(self) -> float | None:
        """Its score."""
        return self.scores.get(self.best_model_path)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settle the folder, before a checkpoint's state is read."""
        self.dirpath = find_checkpoint_folder(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the files that are gone since the state was written; find those that came."""
        self._saver = Saver()
        self._saved_step = trainer.global_step
        there = {address: _is_there(address) for address in self.scores}
        # All processes have to know the same list, and the first one's disk is the one that counts.
        there = trainer.strategy.broadcast(there)
        self.scores = {a: score for a, score in self.scores.items() if there.get(a)}
        if self._judges is not None and trainer.is_global_zero:
            self._take_up(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights that were just validated, where they are among the best."""
        if trainer.state.fn != "fit" or trainer.sanity_checking or self.keep_best == 0:
            return
        # Without a step since the last one these weights have been judged already.
        if trainer.global_step == self._saved_step:
            return
        if self._judges is not None:
            if self._judges.is_awaited:
                self._propose(trainer)
            return
        score = float(trainer.callback_metrics.get(self.monitor, math.nan))
        if self._is_among_best(score):
            self._keep(trainer, score)

    def state_dict(self) -> dict[str, Any]:
        """Return the list of the best."""
        return {
            "monitor": self.monitor,
            "dirpath": self.dirpath,
            "best_model_path": self.best_model_path,
            "best_model_score": self.best_model_score,
            "best_k_models": dict(self.scores),
            "candidate": self.candidate,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the list of a checkpoint, whichever folder its files lie in."""
        scores = state_dict.get("best_k_models") or {}
        self.scores = {str(address): float(score) for address, score in scores.items()}
        self.candidate = state_dict.get("candidate")
        self._old_folder = state_dict.get("dirpath")

    def _is_among_best(self, score: float) -> bool:
        if not math.isfinite(score):
            return False
        is_full = 0 < self.keep_best <= len(self.scores)
        return not is_full or self._sign * score < max(map(self._badness, self.scores))

    def _keep(self, trainer: Trainer, score: float) -> None:
        address = self._address(
            scored_name(trainer.current_epoch, trainer.global_step, self.monitor, score)
        )
        before = dict(self.scores)
        # The new one is in the list that it carries, and complete before an old one goes.
        dropped = self._add(address, score)
        if not self._write(trainer, address):
            self.scores = before
            return
        self._remove(trainer, dropped)

    def _add(self, address: str, score: float) -> list[str]:
        """Take weights among the best; return those that are so no longer."""
        self.scores[address] = score
        count = 0 if self.keep_best < 0 else max(0, len(self.scores) - self.keep_best)
        dropped = sorted(self.scores, key=self._badness, reverse=True)[:count]
        for old in dropped:
            del self.scores[old]
        return dropped

    def _write(self, trainer: Trainer, address: str) -> bool:
        assert self._saver is not None
        if not self._saver.save(trainer, address, is_slim=True):
            self._saver.warn(trainer, address, self.best_model_path or None)
            return False
        self._saved_step = trainer.global_step
        return True

    def _remove(self, trainer: Trainer, addresses: list[str]) -> None:
        for address in addresses:
            if self._is_own(address):
                remove_checkpoint(trainer, address)

    # -- scores that come later

    def _propose(self, trainer: Trainer) -> None:
        """Write weights before their score is known, so that nothing can lose them."""
        self.candidate = self._address(candidate_name(trainer.current_epoch, trainer.global_step))
        if not self._write(trainer, self.candidate):
            self.candidate = None

    def _settle(self, trainer: Trainer, scored: Scored) -> None:
        """Keep or remove the candidate, now that its score has come; on the first process."""
        candidate, self.candidate = self.candidate, None
        if candidate is None:
            return
        score = scored.figures.get(self.monitor, math.nan)
        if not self._is_among_best(score):
            remove_checkpoint(trainer, candidate)
            return
        job = scored.job
        address = self._address(scored_name(job.epoch, job.step, self.monitor, score))
        try:
            move_file(candidate, address)
        except OSError as error:
            _LOGGER.warning(
                "%s could not be renamed (%s); it keeps its name.", candidate, error.strerror
            )
            address = candidate
        self._remove(trainer, self._add(address, score))

    def _take_up(self, trainer: Trainer) -> None:
        """Find what a former run had no time to write down; clear what nobody will come for."""
        assert self.dirpath is not None
        candidate = self.candidate
        # One in another folder may be another run's by now.
        if candidate is not None and not (self._is_own(candidate) and _is_there(candidate)):
            self.candidate = None
        names = {name_of(address) for address in self.scores}
        for folder in dict.fromkeys([self.dirpath, self._old_folder or self.dirpath]):
            found = find_scored(folder, self.monitor, trainer.global_step)
            for address, score in found.items():
                if name_of(address) not in names:
                    self._remove(trainer, self._add(address, score))
        for address in find_candidates(self.dirpath):
            if address != self.candidate and address not in self.scores:
                remove_checkpoint(trainer, address)

    @property
    def _sign(self) -> int:
        return 1 if self.mode == "min" else -1

    def _badness(self, address: str) -> float:
        return self._sign * self.scores[address]

    def _address(self, name: str) -> str:
        assert self.dirpath is not None
        return join_address(self.dirpath, name)

    def _is_own(self, address: str) -> bool:
        return folder_of(address) == folder_of(self._address(name_of(address)))


def _is_there(address: str) -> bool:
    try:
        return is_file(address)
    except OSError:  # a storage that cannot be asked now may be there again later
        return True
