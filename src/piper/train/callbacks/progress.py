"""Live progress of a training as lines of text: rate, losses, how it stands, time to the end.

Knows what the other callbacks have to say, not how they come to it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from piper.progress import ChangingLine
from piper.train.callbacks.axis import count_updates
from piper.train.callbacks.judge import Judge
from piper.train.callbacks.plateau import Plateau
from piper.train.callbacks.scores import Scored, Scores
from piper.train.callbacks.waiting import DataWait
from piper.train.evaluate.results import SCORES

TERMINAL_SECONDS = 1.0
LINE_SECONDS = 15.0
LOSSES = ("val_loss", "val_mel", "val_kl", "val_duration")


class Progress(Callback):
    """One line that changes on a terminal, a line every few seconds elsewhere.

    The losses are read from the device only when a line is written, never in each step.

    Args:
        plateau: Knows the best validation so far and what to expect.
        judge: Knows how the fixed sentences sound.
        wait: Knows the share of time that is spent waiting for data.
        scores: Tells what judges say of a validation, later than it.
        is_verbose: Say all that a validation measured, and what the scores so far let one expect.
    """

    def __init__(
        self,
        plateau: Plateau,
        judge: Judge,
        wait: DataWait,
        scores: Scores | None = None,
        *,
        is_verbose: bool = False,
    ) -> None:
        self._plateau = plateau
        self._judge = judge
        self._wait = wait
        self._has_scores = scores is not None
        if scores is not None:
            scores.listeners.append(self._say_scores)
        self._is_verbose = is_verbose
        self._shown = ChangingLine()
        self._begin: float | None = None
        self._begin_batches = 0
        self._utterances = 0
        self._last_line = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting anew."""
        self._begin = None
        self._utterances = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a batch, and say so where it is time."""
        now = time.monotonic()
        if self._begin is None:
            # The first batch brings the start of loaders and kernels with it: an hour of training
            # had five to go by its time.
            self._begin, self._begin_batches = now, _batches_done(trainer)
        else:
            # What the other processes have is as large, by a few.
            self._utterances += len(batch) * trainer.world_size
        seconds = TERMINAL_SECONDS if self._shown.is_terminal else LINE_SECONDS
        if now - self._last_line < seconds:
            return
        self._last_line = now
        if trainer.is_global_zero:
            self._shown.change(self._line(trainer, now))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a validation's result on a line of its own."""
        # `validate` prints a table of its own, and knows no step.
        if trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        shown = [
            f"{name} {float(trainer.callback_metrics[name]):.4f}"
            for name in (LOSSES if self._is_verbose else LOSSES[:1])
            if name in trainer.callback_metrics
        ]
        figures = dict(self._judge.figures)
        if not self._is_verbose:
            figures = {name: value for name, value in figures.items() if name == "val_quality"}
        recordings = self._judge.recordings_quality if self._is_verbose else None
        shown += describe_figures(figures, recordings)
        self._say(trainer.current_epoch, count_updates(trainer), shown, not self._has_scores)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the last line standing."""
        self._shown.leave()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave the last line standing."""
        self._shown.leave()

    @property
    def is_idle(self) -> bool:
        """Whether no batch was trained on."""
        return self._begin is None

    def _line(self, trainer: Trainer, now: float) -> list[str]:
        """Return what there is to say, the most important first."""
        assert self._begin is not None
        done = _batches_done(trainer) - self._begin_batches
        seconds = max(now - self._begin, 1e-6)
        left = _seconds_left(trainer, done, seconds)
        parts = [] if left is None else [f"{clock(left)} left"]
        parts += [
            f"epoch {trainer.current_epoch} · batch "
            f"{trainer.fit_loop.epoch_loop.batch_progress.current.ready}"
            f"/{trainer.num_training_batches}",
        ]
        if self._utterances:
            parts.append(f"{self._utterances / seconds:.1f} utterances/s")
        for name in ("train_mel", "train_loss"):
            if name in trainer.callback_metrics:
                parts.append(f"{name} {float(trainer.callback_metrics[name]):.3f}")
        parts += [text for text in (self._wait.describe(), self._plateau.describe_best()) if text]
        return parts

    def _say_scores(self, trainer: Trainer, scored: Scored) -> None:
        """Write what judges said of an earlier step on a line of its own."""
        shown = describe_scores(scored.figures, scored.recordings)
        if shown:
            self._say(scored.job.epoch, scored.job.update, shown, has_standing=True)

    def _say(self, epoch: int, update: int, figures: Sequence[str], has_standing: bool) -> None:
        """Write what a validation found on a line of its own, and in it how it stands."""
        parts = [f"epoch {epoch}", f"step {update:,}", *figures]
        standing = self._plateau.describe_shortly()
        if has_standing and standing and not self._is_verbose:
            parts.append(standing)
        self._shown.say(" · ".join(parts))
        standing = self._plateau.describe()
        if has_standing and standing and self._is_verbose:
            self._shown.say(standing)


def clock(seconds: float) -> str:
    """Return hours, minutes and seconds."""
    # Of days, too, hours: a comma within a number would part what is said.
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def describe_figures(figures: Mapping[str, float], recordings: float | None) -> list[str]:
    """Say in a few words each how the fixed sentences came out; nothing where not measured."""
    texts = {
        "val_mel_whole": "whole sentences: mel {:.3f}",
        "val_mel_text": "from text {:.3f}",
        "val_duration_error_ms": "durations {:.0f} ms off",
        "val_length_ratio": "{:.2f} of the length",
        "val_quality": "quality {:.2f}",
    }
    parts = [text.format(figures[name]) for name, text in texts.items() if name in figures]
    if "val_quality" in figures and recordings is not None:
        parts[-1] += f" (recordings {recordings:.2f})"
    return parts


def describe_scores(figures: Mapping[str, float], recordings: Mapping[str, float]) -> list[str]:
    """Say the scores of judges in a few words each, and what recordings get beside them."""
    parts = []
    for name, value in figures.items():
        score = SCORES.get(name.removeprefix("val_"))
        digits = score.digits if score is not None else 2
        part = f"{name.removeprefix('val_')} {value:.{digits}f}"
        if name in recordings:
            part += f" (recordings {recordings[name]:.{digits}f})"
        parts.append(part)
    return parts


def _batches_done(trainer: Trainer) -> int:
    return int(trainer.fit_loop.epoch_loop.total_batch_idx) + 1


def _seconds_left(trainer: Trainer, done: int, seconds: float) -> float | None:
    """Return the time to the end by whichever limit comes first, or None without a limit."""
    estimates: list[float] = []
    if done > 0:
        second_per_batch = seconds / done
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            total = trainer.max_epochs * int(trainer.num_training_batches)
            estimates.append((total - _batches_done(trainer)) * second_per_batch)
        if trainer.max_steps is not None and trainer.max_steps > 0:
            # Two optimizers count two steps an update, and each batch is one.
            left_batches = (trainer.max_steps - trainer.global_step) / 2
            estimates.append(left_batches * second_per_batch)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        remaining = getattr(callback, "time_remaining", None)
        if callable(remaining) and (value := remaining()) is not None:
            estimates.append(float(value))
    return max(0.0, min(estimates)) if estimates else None
