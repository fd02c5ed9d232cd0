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
from pathlib import Path
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
from piper.train.distributed import Agreement
from piper.train.resuming import quote_command, resume_command
from piper.train.storage import join_address

_LOGGER = logging.getLogger(__name__)


DEFAULT_KEEP_HOURS = 4.0
DEFAULT_SAVE_MINUTES = 10.0
MAX_KEPT = 8
"""Slim ones of a medium voice take 8 times 0.28 GB; two days of training at four hours each are
then seen at eight points, two weeks at eight as well."""

WRITING = threading.RLock()
"""Held while a checkpoint is written: who would end the process in the middle waits for it."""


class Keeper(Checkpoint):
    """Writes checkpoints by the first process, and tells all of them how it went.

    A failed write is a warning and no end: the old file stays, and the next save tries again. All
    processes have to write together.
    """

    folder = ""
    _agreement: Agreement
    _reason = ""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settle the folder, before a checkpoint's state is read."""
        self.folder = find_checkpoint_folder(trainer)
        self._agreement = Agreement()

    def _write(self, trainer: Trainer, address: str, *, is_slim: bool = False) -> bool:
        """Write a checkpoint; return whether it is there now, the same on all processes.

        A slim one lacks the optimizers' states. AdamW keeps two numbers a weight, so that of a
        medium voice's 845 MB (70.4 million weights of float32) 282 are left. All else is small and
        stays, so that training can go on from it with optimizers that start anew.
        """
        has_failed = 0
        with WRITING:
            checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
            if is_slim:
                checkpoint.pop("optimizer_states", None)
            if trainer.is_global_zero:
                try:
                    trainer.strategy.save_checkpoint(checkpoint, address)
                except OSError as error:
                    has_failed = 1
                    self._reason = error.strerror or str(error) or type(error).__name__
            # Also the barrier that lets nobody go on before the file is there.
            return not self._agreement.largest(has_failed)

    def _warn(self, trainer: Trainer, address: str, kept: str | None) -> None:
        """Say that a checkpoint was not written, and what there is instead."""
        if trainer.is_global_zero:
            _LOGGER.warning(
                "%s could not be written (%s): training goes on, %s, and the next save tries "
                "again.",
                address,
                self._reason,
                f"{kept} stays" if kept else "none was written yet",
            )


def find_checkpoint_folder(trainer: Trainer) -> str:
    """Return where a training keeps its checkpoints: beside its log, the same on all processes."""
    folder = join_address(trainer.default_root_dir, "checkpoints")
    for logger in trainer.loggers[:1]:
        version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
        root = logger.save_dir or trainer.default_root_dir
        folder = join_address(root, str(logger.name), version, "checkpoints")
    shared: str = trainer.strategy.broadcast(folder)
    return shared


def _find(folder: str, pattern: str) -> dict[str, re.Match[str]]:
    """Return a folder's checkpoints by a pattern; none where the storage cannot be asked now."""
    try:
        files = storage.list_folder(folder)
    except OSError:
        return {}
    found = {file.name: re.fullmatch(pattern, file.name) for file in files}
    return {join_address(folder, name): match for name, match in found.items() if match}


def _name_of(address: str) -> str:
    return re.split(r"[/\\]", address)[-1]


def _is_same(address: str, other: Any) -> bool:
    if not other:
        return False
    first, second = storage.plain_address(address), storage.plain_address(other)
    if storage.is_remote(first) or storage.is_remote(second):
        return first == second
    return Path(first).absolute() == Path(second).absolute()


def _is_there(address: str) -> bool:
    try:
        return storage.is_file(address)
    except OSError:  # a storage that cannot be asked now may be there again later
        return True


def _remove(trainer: Trainer, address: str) -> None:
    """Remove a checkpoint of this training that newer ones have replaced, as far as it can be."""
    if not trainer.is_global_zero or _is_same(address, trainer.ckpt_path):
        return
    try:
        storage.remove_file(address)
    except OSError as error:
        _LOGGER.warning("%s could not be removed (%s).", address, error.strerror or error)


class KeepBest(Keeper):
    """Keeps the checkpoints with the best score, named as Piper's users know them.

    They are slim: one goes back to them to listen and to export, and goes on from last.ckpt, so
    the optimizers' two thirds would lie there for nothing. Its state is named as that of
    Lightning's ModelCheckpoint, and goes on in a resumed training; files in another folder than
    this run's own are counted among the best, but never removed.

    A loss is there when the weights are written. What metrics say comes later: until then the
    weights lie there as a candidate, at most one at a time.

    Args:
        keep_best: How many to keep; -1 keeps all, 0 none.
        scores: What metrics say; None takes `val_loss`.
    """

    def __init__(self, keep_best: int = 3, scores: Scores | None = None) -> None:
        if keep_best < -1:
            raise ConfigError(
                f"--keep_best={keep_best}: a number of checkpoints, or -1 to keep all."
            )
        self.keep_best = keep_best
        self.monitor = "val_loss" if scores is None else scores.monitor
        self.mode = "min" if scores is None else scores.mode
        self.scores: dict[str, float] = {}
        self.candidate: str | None = None
        """Weights whose score is awaited."""
        self._metrics = scores
        if scores is not None:
            scores.listeners.append(self._settle)
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

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the files that are gone since the state was written; find those that came."""
        self._saved_step = trainer.global_step
        # All processes have to know the same list, and the first one's disk is the one that counts.
        there = trainer.strategy.broadcast({address: _is_there(address) for address in self.scores})
        self.scores = {a: score for a, score in self.scores.items() if there.get(a)}
        if self._metrics is not None and trainer.is_global_zero:
            self._take_up(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights that were just validated, where they are among the best."""
        if trainer.state.fn != "fit" or trainer.sanity_checking or self.keep_best == 0:
            return
        epoch, step = trainer.current_epoch, trainer.global_step
        # Without a step since the last one these weights have been judged already.
        if step == self._saved_step:
            return
        if self._metrics is not None:
            if self._metrics.is_awaited:  # written before the score, so that nothing can lose them
                name = f"epoch={epoch}-step={step}-candidate.ckpt"
                self.candidate = join_address(self.folder, name)
                if not self._write_slim(trainer, self.candidate):
                    self.candidate = None
            return
        score = float(trainer.callback_metrics.get(self.monitor, math.nan))
        if self._is_among_best(score):
            address, before = self._address(epoch, step, score), dict(self.scores)
            # The new one is in the list that it carries, and complete before an old one goes.
            dropped = self._add(address, score)
            if self._write_slim(trainer, address):
                self._remove_own(trainer, dropped)
            else:
                self.scores = before

    def state_dict(self) -> dict[str, Any]:
        """Return the list of the best."""
        return {
            "monitor": self.monitor,
            "dirpath": self.folder or None,
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

    def _add(self, address: str, score: float) -> list[str]:
        """Take weights among the best; return those that are so no longer."""
        self.scores[address] = score
        count = 0 if self.keep_best < 0 else max(0, len(self.scores) - self.keep_best)
        dropped = sorted(self.scores, key=self._badness, reverse=True)[:count]
        for old in dropped:
            del self.scores[old]
        return dropped

    def _write_slim(self, trainer: Trainer, address: str) -> bool:
        if not self._write(trainer, address, is_slim=True):
            self._warn(trainer, address, self.best_model_path or None)
            return False
        self._saved_step = trainer.global_step
        return True

    def _remove_own(self, trainer: Trainer, addresses: list[str]) -> None:
        for address in filter(self._is_own, addresses):
            _remove(trainer, address)

    def _settle(self, trainer: Trainer, scored: Scored) -> None:
        """Keep or remove the candidate, now that its score has come; on the first process."""
        candidate, self.candidate = self.candidate, None
        if candidate is None:
            return
        score = scored.figures.get(self.monitor, math.nan)
        if not self._is_among_best(score):
            _remove(trainer, candidate)
            return
        address = self._address(scored.job.epoch, scored.job.step, score)
        try:
            storage.move_file(candidate, address)
        except OSError as error:
            _LOGGER.warning(
                "%s could not be renamed (%s); it keeps its name.", candidate, error.strerror
            )
            address = candidate
        self._remove_own(trainer, self._add(address, score))

    def _take_up(self, trainer: Trainer) -> None:
        """Find what a former run had no time to write down; clear what nobody will come for."""
        candidate = self.candidate
        # One in another folder may be another run's by now.
        if candidate is not None and not (self._is_own(candidate) and _is_there(candidate)):
            self.candidate = None
        names = set(map(_name_of, self.scores))
        pattern = rf"epoch=\d+-step=(\d+)-{re.escape(self.monitor)}=(-?\d+\.\d{{4}})\.ckpt"
        for folder in dict.fromkeys([self.folder, self._old_folder or self.folder]):
            for address, match in _find(folder, pattern).items():
                # What lies beyond is another training's future.
                if int(match[1]) <= trainer.global_step and match[0] not in names:
                    self._remove_own(trainer, self._add(address, float(match[2])))
        for address in _find(self.folder, r"epoch=\d+-step=\d+-candidate\.ckpt"):
            if address != self.candidate and address not in self.scores:
                _remove(trainer, address)

    @property
    def _sign(self) -> int:
        return 1 if self.mode == "min" else -1

    def _badness(self, address: str) -> float:
        return self._sign * self.scores[address]

    def _address(self, epoch: int, step: int, score: float) -> str:
        name = f"epoch={epoch}-step={step}-{self.monitor}={score:.4f}.ckpt"
        return join_address(self.folder, name)

    def _is_own(self, address: str) -> bool:
        return _is_same(address, join_address(self.folder, _name_of(address)))


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
        gaps = {left[i]: left[i + 1] - left[i - 1] for i in range(1, len(left) - 1)}
        left.remove(min(gaps, key=lambda step: gaps[step]))
    return [step for step in steps if step not in left]


CHILD_SECONDS = 5.0
"""How much longer processes wait that another one of their machine started: it ends them, and
where they ended first, Lightning would kill it before it has said where the checkpoint is."""
FLUSH_SECONDS = 2.0
UNSAVED_SECONDS = 120.0
"""How long a step is waited for after a signal where no checkpoint is there yet: to the first one
are ten minutes at most, and whoever waits for the end of a training that hangs has a limit, too."""

_SAVE, _KEEP, _STOP = 1000, 2000, 3000
"""What one number tells all processes: save, keep for good as well, stop for signal N - 3000."""


class KeepLast(Keeper):
    """Writes `last.ckpt` every few minutes, after each validation, and when told to stop.

    SIGINT, SIGTERM, SIGHUP and SIGUSR1 let the present batch end, save, and raise
    `TrainingStopped`. What runs for longer is given up for the last complete checkpoint, and so at
    a second SIGINT. On several processes all of them stop after the same batch.

    Args:
        save_minutes: Minutes between two writes; a kill loses at most so much work.
        keep_every_hours: Hours of training between two checkpoints that stay, so that one can hear
            how a voice has come along; 0 keeps none.
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
        self.signals: StopSignals | None = None
        self._trainer: Trainer
        self._last_save = self._last_tick = time.monotonic()
        self._trained_seconds = self._kept_seconds = 0.0
        self._unsaved_until: float | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settle the folder, and clear it of what killed trainings left half-written."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit" and trainer.is_global_zero:
            with contextlib.suppress(OSError):
                remove_stale_parts(trainer.default_root_dir)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over.

        Not in an earlier hook: Lightning sets its own handler of SIGTERM before this one, which
        would end the training at the end of the epoch, without saving and with exit code 0.
        """
        self._trainer = trainer
        self.last_complete = str(trainer.ckpt_path) if trainer.ckpt_path else None
        self._last_save = self._last_tick = time.monotonic()
        is_parent = is_parent_process()
        wait = self.stop_seconds + (CHILD_SECONDS if self.stop_seconds and not is_parent else 0.0)
        self.signals = StopSignals(wait, self._give_up, self._pass_on, WRITING, is_parent)
        self.signals.install()
        data: Any = getattr(trainer, "datamodule", None)
        if hasattr(data, "on_wait") and trainer.world_size == 1:
            # Of several processes the others would be in their step, and wait for this one.
            data.on_wait = self._look_while_waiting

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back."""
        if self.signals is not None:
            self.signals.restore()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Give the signals back; save where it was the data that failed, between two steps."""
        is_between = getattr(trainer.train_dataloader, "has_failed", False)
        if is_between and trainer.world_size == 1 and trainer.global_step:
            with contextlib.suppress(Exception):  # the other error is the one to tell
                if self._save():
                    _say(
                        f"Saved before the end; go on with:\n  {resume_command(self.last_complete)}"
                    )
        self.on_fit_end(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Save where it is time to, and stop where a signal came."""
        now = time.monotonic()
        self._trained_seconds += now - self._last_tick
        self._last_tick = now
        wish = self._agreement.largest(self._wish(now))
        if wish >= _STOP:
            self._save_and_stop(wish - _STOP)
        if wish == _KEEP:
            self._keep()
        if wish:
            self._save_or_warn()

    def on_validation_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop inside a validation too: the weights are those of the last batch."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        if received := self._agreement.largest(self._received):
            self._save_and_stop(received)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after each validation."""
        if trainer.state.fn == "fit" and trainer.global_step:
            self._save_or_warn()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end."""
        if not self._save():
            raise self._unsaved("Training is at its end")

    def state_dict(self) -> dict[str, Any]:
        """Return how long was trained, over all runs together."""
        return {"trained_seconds": self._trained_seconds, "kept_seconds": self._kept_seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self._trained_seconds = float(state_dict["trained_seconds"])
        self._kept_seconds = float(state_dict["kept_seconds"])

    @property
    def _received(self) -> int:
        return self.signals.received if self.signals is not None else 0

    @property
    def _address(self) -> str:
        return join_address(self.folder, LAST_NAME)

    def _wish(self, now: float) -> int:
        if self._received:
            return _STOP + self._received
        if self.keep_seconds and self._trained_seconds - self._kept_seconds >= self.keep_seconds:
            return _KEEP
        return _SAVE if now - self._last_save > self.save_seconds else 0

    def _look_while_waiting(self) -> bool:
        """Stop a training that stands still for want of data; return whether its epoch is over."""
        if self._received:
            self._save_and_stop(self._received)
        if self._trainer.training and is_time_up(self._trainer):
            self._trainer.should_stop = True
            return True
        return False

    def _save_and_stop(self, number: int) -> None:
        with WRITING:
            # Before the first step there is nothing to save.
            if self._trainer.global_step and not self._save():
                raise self._unsaved(f"{signal.Signals(number).name} came")
            if self.signals is not None:
                self.signals.settle()
        raise TrainingStopped(number, self.last_complete)

    def _unsaved(self, event: str) -> CheckpointError:
        instead = (
            f"the last complete checkpoint is {self.last_complete}"
            if self.last_complete
            else "there is no earlier one"
        )
        return CheckpointError(
            f"{event}, but {self._address} could not be written "
            f"({self._reason or 'by the first process'}): {instead}; make room there, or "
            "name another --trainer.default_root_dir, and go on with:\n  "
            + resume_command(self.last_complete)
        )

    def _save(self) -> bool:
        with WRITING:
            is_saved = self._write(self._trainer, self._address)
            if is_saved:
                self.last_complete = self._address
        self._last_save = time.monotonic()
        return is_saved

    def _save_or_warn(self) -> None:
        if not self._save():
            self._warn(self._trainer, self._address, self.last_complete)

    def _keep(self) -> None:
        """Write the present state beside those of earlier hours, then thin them."""
        trainer = self._trainer
        # Also where it fails: another try with each batch would stop the training.
        self._kept_seconds = self._trained_seconds
        name = f"epoch={trainer.current_epoch}-step={trainer.global_step}.ckpt"
        if not self._write(trainer, join_address(self.folder, name), is_slim=True):
            self._warn(trainer, join_address(self.folder, name), None)
        elif trainer.is_global_zero:
            # The folder itself is asked, not a list in memory: a kill loses a list.
            found = _find(self.folder, r"epoch=\d+-step=(\d+)\.ckpt")
            kept = {int(match[1]): address for address, match in found.items()}
            for step in choose_superfluous(sorted(kept), MAX_KEPT):
                _remove(trainer, kept[step])

    def _pass_on(self, number: int) -> None:
        """Tell the processes that this one started; a terminal tells them itself, `kill` not."""
        for process in self._children():
            process.send_signal(number)

    def _children(self) -> list[Any]:
        return list(getattr(self._trainer.strategy.launcher, "procs", None) or [])

    def _give_up(self, number: int, insists: bool) -> None:
        """End the process in the middle of what it does, where there is something to go on from."""
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
        # As far as that goes quickly: what holds the log may be what hangs.
        flushing = threading.Thread(target=self._flush_loggers, daemon=True)
        flushing.start()
        flushing.join(FLUSH_SECONDS)
        for process in self._children():
            process.kill()
            with contextlib.suppress(Exception):
                process.wait(1.0)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(128 + number)

    def _flush_loggers(self) -> None:
        for logger in self._trainer.loggers:
            with contextlib.suppress(Exception):
                logger.finalize("failed")

    def _waits_for_first_save(self, name: str) -> bool:
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


class Ending(Callback):
    """Says at the end, however it comes, which checkpoint to export and the command for it."""

    _has_said = False

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
        if getattr(getattr(trainer.lightning_module, "network_config", None), "kept_latents", 0):
            return  # half a voice: the command that copies exports it
        keeper: Any = trainer.checkpoint_callback
        checkpoint = getattr(keeper, "best_model_path", None)
        # A loss that does not hear what discriminators teach says less than the end of a schedule.
        says_little = getattr(trainer.lightning_module, "is_last_best", False)
        if checkpoint and not (says_little and keeper.monitor == "val_loss"):
            what = f"The best checkpoint ({keeper.monitor} {float(keeper.best_model_score):.4f})"
        else:
            callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
            last = (one.last_complete for one in callbacks if isinstance(one, KeepLast))
            what, checkpoint = "The last checkpoint", next(last, None)
        if checkpoint:
            command = export_command(checkpoint, _voice_name(trainer))
            _LOGGER.info("%s becomes a voice with:\n  %s", what, command)


def export_command(checkpoint: str, voice_name: str) -> str:
    """Return the command line that exports a checkpoint, as this system's shell takes it."""
    found = shutil.which("python")
    is_python = found is not None and Path(found).absolute() == Path(sys.executable).absolute()
    program = "python" if is_python else sys.executable
    flags = ("--checkpoint", checkpoint, "--output-file", f"{voice_name}.onnx")
    return quote_command([program, "-m", "piper.train.export_onnx", *flags])


def _voice_name(trainer: Trainer) -> str:
    """Return the name of a voice as published ones are called: `en_US-joe-medium`."""
    settings = getattr(getattr(trainer, "datamodule", None), "settings", None)
    name = str(getattr(settings, "voice_name", "") or "voice")
    if settings is not None and not re.match("[a-z]{2,3}_[A-Z]{2}-", name):
        code = describe_language(settings.espeak_voice)["code"]
        name = "-".join(part for part in (code, name, settings.quality) if part)
    return re.sub(r"[/\\]", "_", name)
