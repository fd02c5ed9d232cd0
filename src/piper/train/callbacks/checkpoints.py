"""What is kept of a training: the last checkpoint, the best, a history; and its last word."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import shutil
import signal
import sys
import threading
import time
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from piper.errors import CheckpointError, ConfigError
from piper.languages import describe_language
from piper.messages import say
from piper.train import storage
from piper.train.callbacks.scores import Scored, Scores
from piper.train.callbacks.stopping import (
    DEFAULT_STOP_SECONDS,
    StopSignals,
    TrainingStopped,
    is_parent_process,
    is_time_up,
)
from piper.train.checkpoints import LAST_NAME, remove_stale_parts
from piper.train.distributed import SharedFlag
from piper.train.resuming import quote_command, resume_command
from piper.train.storage import is_file, join_address, move_file

_LOGGER = logging.getLogger(__name__)


def candidate_name(epoch: int, step: int) -> str:
    """Return the name of weights that have no score yet."""
    return f"epoch={epoch}-step={step}-candidate.ckpt"


def scored_name(epoch: int, step: int, score_name: str, score: float) -> str:
    """Return the name of weights by their score, as Piper's users know it."""
    return f"epoch={epoch}-step={step}-{score_name}={score:.4f}.ckpt"


def find_candidates(folder: str) -> list[str]:
    """Return the addresses of weights without a score; none where the storage cannot be asked."""
    return [address for address, _ in _match(folder, r"epoch=\d+-step=\d+-candidate\.ckpt")]


def find_scored(folder: str, score_name: str, last_step: int) -> dict[str, float]:
    """Return the addresses of weights up to a step that have a score, with it.

    Args:
        folder: Where they lie.
        score_name: Of the score.
        last_step: What lies beyond is another training's future.
    """
    number = r"-?\d+\.\d{4}"
    pattern = rf"epoch=\d+-step=(\d+)-{re.escape(score_name)}=({number})\.ckpt"
    found = _match(folder, pattern)
    return {address: float(match[2]) for address, match in found if int(match[1]) <= last_step}


def folder_of(address: str) -> str:
    """Return the folder that a checkpoint lies in."""
    return str(PurePosixPath(address.replace("\\", "/")).parent)


def name_of(address: str) -> str:
    """Return the name of a checkpoint in its folder."""
    return PurePosixPath(address.replace("\\", "/")).name


def _match(folder: str, pattern: str) -> list[tuple[str, re.Match[str]]]:
    try:
        files = storage.list_folder(folder)
    except OSError:  # another time
        return []
    return [
        (storage.join_address(folder, file.name), match)
        for file in files
        if (match := re.fullmatch(pattern, file.name))
    ]


OPTIMIZER_KEYS = ("optimizer_states",)
"""What a slim checkpoint lacks. AdamW keeps two numbers a weight, so that of a medium voice's
845 MB (70.4 million weights of float32) 282 are left. All else is small and stays: rates, loops,
callbacks' scores, so that training can go on from it with optimizers that start anew."""


WRITING = threading.RLock()
"""Held while a checkpoint is written: who would end the process in the middle waits for it."""


class Saver:
    """Writes checkpoints by the first process, and tells all of them how it went.

    A failed write is a warning and no end: the old file stays, and the next save tries again. All
    processes have to call `save` together.
    """

    def __init__(self) -> None:
        self._flag = SharedFlag()
        self.reason = ""

    def save(self, trainer: Trainer, address: str, *, is_slim: bool = False) -> bool:
        """Write a checkpoint.

        Args:
            trainer: Whose state is saved.
            address: Path or fsspec address of the file.
            is_slim: Leave the optimizers' running means out.

        Returns:
            Whether it is there now, the same on all processes. Where it is not, `reason` says why
            on the first one.
        """
        with WRITING:
            return self._save(trainer, address, is_slim)

    def _save(self, trainer: Trainer, address: str, is_slim: bool) -> bool:
        checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        if is_slim:
            checkpoint = {k: v for k, v in checkpoint.items() if k not in OPTIMIZER_KEYS}
        has_failed = 0
        if trainer.is_global_zero:
            try:
                trainer.strategy.save_checkpoint(checkpoint, address)
            except OSError as error:
                has_failed = 1
                self.reason = error.strerror or str(error) or type(error).__name__
        # Also the barrier that lets nobody go on before the file is there.
        return not self._flag.any(has_failed)

    def warn(self, trainer: Trainer, address: str, kept: str | None) -> None:
        """Say that a checkpoint was not written, and what there is instead."""
        if not trainer.is_global_zero:
            return
        instead = f"{kept} stays" if kept else "none was written yet"
        _LOGGER.warning(
            "%s could not be written (%s): training goes on, %s, and the next save tries again.",
            address,
            self.reason,
            instead,
        )


def remove_checkpoint(trainer: Trainer, address: str) -> None:
    """Remove a checkpoint of this training that newer ones have replaced, as far as it can be."""
    if not trainer.is_global_zero or is_same(address, trainer.ckpt_path):
        return
    try:
        storage.remove_file(address)
    except OSError as error:
        _LOGGER.warning("%s could not be removed (%s).", address, error.strerror or error)


def find_checkpoint_folder(trainer: Trainer) -> str:
    """Return where a training keeps its checkpoints: beside its log, the same on all processes."""
    folder = storage.join_address(trainer.default_root_dir, "checkpoints")
    for logger in trainer.loggers[:1]:
        version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
        root = logger.save_dir or trainer.default_root_dir
        folder = storage.join_address(root, str(logger.name), version, "checkpoints")
    shared: str = trainer.strategy.broadcast(folder)
    return shared


def is_same(address: str, other: Any) -> bool:
    """Return whether two addresses mean the same file."""
    if not other:
        return False
    first, second = storage.plain_address(address), storage.plain_address(other)
    if storage.is_remote(first) or storage.is_remote(second):
        return first == second
    return Path(first).absolute() == Path(second).absolute()


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


DEFAULT_KEEP_HOURS = 4.0
MAX_KEPT = 8
"""Slim ones of a medium voice take 8 times 0.28 GB; two days of training at four hours each are
then seen at eight points, two weeks at eight as well."""

_NAME = re.compile(r"epoch=\d+-step=(\d+)\.ckpt")


def keep_in_history(trainer: Trainer, saver: Saver, folder: str) -> bool:
    """Write the present state beside those of earlier hours, then thin them.

    They are slim: what they are for is to hear how a voice has come along.

    Returns:
        Whether it was written, the same on all processes.
    """
    name = f"epoch={trainer.current_epoch}-step={trainer.global_step}.ckpt"
    address = storage.join_address(folder, name)
    if not saver.save(trainer, address, is_slim=True):
        saver.warn(trainer, address, None)
        return False
    if trainer.is_global_zero:
        kept = find_history(folder)
        for step in choose_superfluous(sorted(kept), MAX_KEPT):
            remove_checkpoint(trainer, storage.join_address(folder, kept[step]))
    return True


def find_history(folder: str) -> dict[int, str]:
    """Return the names of a folder's checkpoints of this kind by their steps.

    The folder itself is asked, not a list in memory: a kill loses a list.
    """
    try:
        files = storage.list_folder(folder)
    except OSError:  # thinned next time
        return {}
    return {int(match[1]): file.name for file in files if (match := _NAME.fullmatch(file.name))}


def choose_superfluous(steps: list[int], most: int) -> list[int]:
    """Return which of some steps to give up, so that the rest are spread as evenly as can be.

    The first and the last always stay; of the others, again and again the one goes that leaves
    the smallest gap, so that gaps grow with the time that they span.

    Args:
        steps: In ascending order.
        most: How many may stay, at least 2.
    """
    left = list(steps)
    while len(left) > most:
        spans = [after - before for before, after in pairwise(left[::1])]
        gaps = {left[i]: spans[i - 1] + spans[i] for i in range(1, len(left) - 1)}
        left.remove(min(gaps, key=lambda step: gaps[step]))
    return [step for step in steps if step not in left]


DEFAULT_SAVE_MINUTES = 10.0
CHILD_SECONDS = 5.0
"""How much longer processes wait that another one of their machine started: it ends them, and
where they ended first, Lightning would kill it before it has said where the checkpoint is."""
FLUSH_SECONDS = 2.0
UNSAVED_SECONDS = 120.0
"""How long a step is waited for after a signal where no checkpoint is there yet: to the first one
are ten minutes at most, and whoever waits for the end of a training that hangs has a limit, too."""

_SAVE, _KEEP, _STOP = 1000, 2000, 3000
"""What one number tells all processes: save, keep for good as well, stop for signal N - 3000."""


class KeepLast(Checkpoint):
    """Writes `last.ckpt` every few minutes, after each validation, and when told to stop.

    SIGINT, SIGTERM, SIGHUP and SIGUSR1 let the present batch end, save, and raise
    `TrainingStopped`. What runs for longer is given up for the last complete checkpoint, and so at
    a second SIGINT. On several processes all of them stop after the same batch.

    Args:
        save_minutes: Minutes between two writes; a kill loses at most so much work.
        keep_every_hours: Hours of training between two checkpoints that stay; 0 keeps none.
        stop_seconds: How long after a signal a step or a validation may go on; 0 means for ever.
    """

    def __init__(
        self,
        save_minutes: float = DEFAULT_SAVE_MINUTES,
        keep_every_hours: float = DEFAULT_KEEP_HOURS,
        stop_seconds: float = DEFAULT_STOP_SECONDS,
    ) -> None:
        self.save_seconds = save_minutes * 60.0
        self.keep_seconds = keep_every_hours * 3600.0
        self.stop_seconds = stop_seconds
        self.last_complete: str | None = None
        """The newest checkpoint to go on from: one of this run, or the one that it began with."""
        self._folder = ""
        self._last_save = time.monotonic()
        self._last_tick = time.monotonic()
        self._trained_seconds = 0.0
        self._kept_seconds = 0.0
        self._flag: SharedFlag | None = None
        self._saver: Saver | None = None
        self.signals: StopSignals | None = None
        self._trainer: Trainer | None = None
        self._unsaved_until: float | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settle the folder, and clear it of what killed trainings left half-written."""
        self._folder = find_checkpoint_folder(trainer)
        if stage == "fit" and trainer.is_global_zero:
            with contextlib.suppress(OSError):
                remove_stale_parts(trainer.default_root_dir)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over.

        Not in an earlier hook: Lightning sets its own handler of SIGTERM before this one, which
        would end the training at the end of the epoch, without saving and with exit code 0.
        """
        self._trainer = trainer
        self._flag, self._saver = SharedFlag(), Saver()
        self.last_complete = str(trainer.ckpt_path) if trainer.ckpt_path else None
        self._last_save = self._last_tick = time.monotonic()
        is_parent = is_parent_process()
        wait = self.stop_seconds + (CHILD_SECONDS if self.stop_seconds and not is_parent else 0.0)
        self.signals = StopSignals(wait, self._give_up, self._pass_on, WRITING, is_parent)
        self.signals.install()
        data: Any = getattr(trainer, "datamodule", None)
        if hasattr(data, "on_wait") and trainer.world_size == 1:
            # Of several processes the others would be in their step, and wait for this one.
            data.on_wait = partial(self._look_while_waiting, trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back."""
        self._restore_signals()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Give the signals back; save where it was the data that failed, between two steps."""
        is_between = getattr(trainer.train_dataloader, "has_failed", False)
        if is_between and trainer.world_size == 1 and trainer.global_step:
            with contextlib.suppress(Exception):  # the other error is the one to tell
                if self._save(trainer, is_end=True):
                    _say(
                        f"Saved before the end; go on with:\n  {resume_command(self.last_complete)}"
                    )
        self._restore_signals()

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Save where it is time to, and stop where a signal came."""
        assert self._flag is not None
        now = time.monotonic()
        self._trained_seconds += now - self._last_tick
        self._last_tick = now
        wish = self._flag.any(self._wish(now))
        if wish >= _STOP:
            self._save_and_stop(trainer, wish - _STOP)
        if wish == _KEEP:
            self._keep(trainer)
        if wish:
            self._save(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop inside a validation too: the weights are those of the last batch."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        assert self._flag is not None and self.signals is not None
        received = self._flag.any(self.signals.received)
        if received:
            self._save_and_stop(trainer, received)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after each validation."""
        if trainer.state.fn == "fit" and trainer.global_step:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end."""
        if not self._save(trainer, is_end=True):
            raise self._unsaved("Training is at its end")

    def state_dict(self) -> dict[str, Any]:
        """Return how long was trained, over all runs together."""
        return {"trained_seconds": self._trained_seconds, "kept_seconds": self._kept_seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self._trained_seconds = float(state_dict["trained_seconds"])
        self._kept_seconds = float(state_dict["kept_seconds"])

    def _wish(self, now: float) -> int:
        assert self.signals is not None
        if self.signals.received:
            return _STOP + self.signals.received
        if self.keep_seconds and self._trained_seconds - self._kept_seconds >= self.keep_seconds:
            return _KEEP
        return _SAVE if now - self._last_save > self.save_seconds else 0

    @property
    def _address(self) -> str:
        return join_address(self._folder, LAST_NAME)

    def _look_while_waiting(self, trainer: Trainer) -> bool:
        """Stop a training that stands still for want of data; return whether its epoch is over."""
        assert self.signals is not None
        if self.signals.received:
            self._save_and_stop(trainer, self.signals.received)
        if trainer.training and is_time_up(trainer):
            trainer.should_stop = True
            return True
        return False

    def _save_and_stop(self, trainer: Trainer, number: int) -> None:
        assert self.signals is not None
        with WRITING:
            # Before the first step there is nothing to save.
            if trainer.global_step and not self._save(trainer, is_end=True):
                raise self._unsaved(f"{signal.Signals(number).name} came")
            self.signals.settle()
        raise TrainingStopped(number, self.last_complete)

    def _unsaved(self, event: str) -> CheckpointError:
        assert self._saver is not None
        instead = (
            f"the last complete checkpoint is {self.last_complete}"
            if self.last_complete
            else "there is no earlier one"
        )
        return CheckpointError(
            f"{event}, but {self._address} could not be written "
            f"({self._saver.reason or 'by the first process'}): {instead}; make room there, or "
            "name another --trainer.default_root_dir, and go on with:\n  "
            + resume_command(self.last_complete)
        )

    def _save(self, trainer: Trainer, *, is_end: bool = False) -> bool:
        assert self._saver is not None
        with WRITING:
            is_saved = self._saver.save(trainer, self._address)
            if is_saved:
                self.last_complete = self._address
        self._last_save = time.monotonic()
        if not is_saved and not is_end:
            self._saver.warn(trainer, self._address, self.last_complete)
        return is_saved

    def _keep(self, trainer: Trainer) -> None:
        assert self._saver is not None
        # Also where it fails: another try with each batch would stop the training.
        self._kept_seconds = self._trained_seconds
        keep_in_history(trainer, self._saver, self._folder)

    def _restore_signals(self) -> None:
        if self.signals is not None:
            self.signals.restore()

    def _pass_on(self, number: int) -> None:
        """Tell the processes that this one started; a terminal tells them itself, `kill` not."""
        for process in self._children():
            process.send_signal(number)

    def _children(self) -> list[Any]:
        assert self._trainer is not None
        return list(getattr(self._trainer.strategy.launcher, "procs", None) or [])

    def _give_up(self, number: int, insists: bool) -> None:
        """End the process in the middle of what it does, where there is something to go on from."""
        assert self._trainer is not None
        name = signal.Signals(number).name
        if not insists and self._waits_for_first_save(name):
            return
        why = "ended at once" if insists else f"what ran took longer than {self.stop_seconds:g} s"
        where = (
            "go on from the last complete checkpoint with:\n  " + resume_command(self.last_complete)
            if self.last_complete
            else "nothing had been saved yet."
        )
        _say(f"{name}: {why}; {where}")
        _flush_loggers(self._trainer)
        for process in self._children():
            process.kill()
            with contextlib.suppress(Exception):
                process.wait(1.0)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(128 + number)

    def _waits_for_first_save(self, name: str) -> bool:
        assert self._trainer is not None
        if self.last_complete is not None or not self._trainer.global_step:
            return False
        if self._unsaved_until is None:
            self._unsaved_until = time.monotonic() + UNSAVED_SECONDS
            _say(
                f"{name}: there is no checkpoint yet, so the running step is waited for, "
                f"{UNSAVED_SECONDS:.0f} s at most."
            )
        return time.monotonic() < self._unsaved_until


def _say(text: str) -> None:
    if is_parent_process():
        with contextlib.suppress(OSError):
            say(text, file=sys.stderr)


def _flush_loggers(trainer: Trainer) -> None:
    """Let the log be written as far as that goes quickly: what holds it may be what hangs."""

    def flush() -> None:
        for logger in trainer.loggers:
            with contextlib.suppress(Exception):
                logger.finalize("failed")

    thread = threading.Thread(target=flush, daemon=True)
    thread.start()
    thread.join(FLUSH_SECONDS)


class Ending(Callback):
    """Says at the end, however it comes, which checkpoint to export and the command for it."""

    def __init__(self) -> None:
        self._has_said = False

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say it after the last checkpoint was written."""
        if trainer.is_global_zero and is_time_up(trainer):
            _LOGGER.info("The time of --trainer.max_time is up.")
        self._say(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Say it where a signal or an error ended the training: what is there can be used."""
        self._say(trainer)

    def _say(self, trainer: Trainer) -> None:
        if self._has_said or not trainer.is_global_zero or trainer.state.fn != "fit":
            return
        self._has_said = True
        checkpoint = find_best_checkpoint(trainer)
        if checkpoint is None:
            return
        keeper: Any = trainer.checkpoint_callback
        what = "The last checkpoint"
        if checkpoint == getattr(keeper, "best_model_path", None):
            what = f"The best checkpoint ({keeper.monitor} {float(keeper.best_model_score):.4f})"
        command = export_command(checkpoint, _voice_name(trainer))
        _LOGGER.info("%s becomes a voice with:\n  %s", what, command)


def find_best_checkpoint(trainer: Trainer) -> str | None:
    """Return the checkpoint to export: the best by its score, else the last; None without one."""
    keeper = trainer.checkpoint_callback
    best = getattr(keeper, "best_model_path", None)
    # A loss that does not hear what discriminators teach says less than the end of a schedule.
    says_little = getattr(trainer.lightning_module, "is_last_best", False)
    if best and not (says_little and getattr(keeper, "monitor", "") == "val_loss"):
        return str(best)
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return next((c.last_complete for c in callbacks if isinstance(c, KeepLast)), None)


def export_command(checkpoint: str, voice_name: str) -> str:
    """Return the command line that exports a checkpoint, as this system's shell takes it."""
    found = shutil.which("python")
    is_python = found is not None and Path(found).absolute() == Path(sys.executable).absolute()
    return quote_command(
        [
            *("python" if is_python else sys.executable, "-m", "piper.train.export_onnx"),
            *("--checkpoint", checkpoint, "--output-file", f"{voice_name}.onnx"),
        ]
    )


def _voice_name(trainer: Trainer) -> str:
    """Return the name of a voice as published ones are called: `en_US-joe-medium`."""
    settings = getattr(getattr(trainer, "datamodule", None), "settings", None)
    name = str(getattr(settings, "voice_name", "") or "voice")
    if settings is not None and not re.match("[a-z]{2,3}_[A-Z]{2}-", name):
        code = describe_language(settings.espeak_voice)["code"]
        name = "-".join(part for part in (code, name, settings.quality) if part)
    return name.replace("/", "_").replace("\\", "_")
