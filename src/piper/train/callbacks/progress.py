"""Progress of a training: lines of text, how far its score went, what it waits for, its memory."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from piper.progress import ChangingLine, count_things
from piper.system import peak_resident_bytes
from piper.train.callbacks.scores import Scored, Scores
from piper.train.callbacks.sentences import MeasureSentences
from piper.train.evaluate.results import SCORES
from piper.train.voice_module import count_updates, find_timers, is_time_to_log

_LOGGER = logging.getLogger(__name__)

DEFAULT_SCORE = "val_loss"
HORIZON_SECONDS = 3600.0
"""How far ahead an expectation reaches, and never further than training went so far."""
MIN_POINTS = 4
MAX_POINTS = 256
NOISE_FACTOR = 1.4826
"""Median absolute deviation to the deviation of normally distributed noise."""


@dataclass(frozen=True)
class Validation:
    """One validation's score.

    Attributes:
        epoch: Whole epochs before it.
        update: Updates before it.
        seconds: Seconds of training before it, over all runs together.
        score: The figure that checkpoints are kept by.
    """

    epoch: int
    update: int
    seconds: float
    score: float


class Plateau(Callback):
    """Remembers the scores of all validations of a training, through interruptions."""

    def __init__(self, patience: int = 0, scores: Scores | None = None) -> None:
        self.patience = patience
        self.name = scores.monitor if scores is not None else DEFAULT_SCORE
        self._scores = scores
        if scores is not None:
            scores.listeners.append(self._add_scored)
        self.best: Validation | None = None
        self.without_gain = 0
        self._is_lower_better = True
        self._ended_after = 0
        self._history: list[Validation] = []
        self._seconds = 0.0
        self._begin: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._begin = time.monotonic()
        if self._scores is not None:  # a checkpoint may have counted another figure
            self._rename(self._scores.monitor, self._scores.mode != "max")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take a validation's score, and end the training where patience is at its end."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        if self._scores is None:
            self._add_loss(trainer)
        # Only the first process hears of scores.
        if trainer.strategy.broadcast(0 < self.patience <= self.without_gain):
            trainer.should_stop = True
            self._ended_after = self.without_gain

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say so where it was patience that ended the training."""
        if self._ended_after and trainer.is_global_zero:
            _LOGGER.info(
                "Training ends: no gain in %s for %s (--patience).",
                self.name,
                count_things(self._ended_after, "validation"),
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the scores so far as plain data."""
        return {
            "name": self.name,
            "seconds": self.trained_seconds,
            "without_gain": self.without_gain,
            "best": asdict(self.best) if self.best else None,
            "history": [list(asdict(item).values()) for item in self._history],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the scores of a checkpoint."""
        self.name = state_dict["name"]
        self._seconds = state_dict["seconds"]
        self.without_gain = state_dict["without_gain"]
        best = state_dict["best"]
        self.best = Validation(**best) if best else None
        self._history = [Validation(*item) for item in state_dict["history"]]

    @property
    def trained_seconds(self) -> float:
        """Seconds of training so far, over all runs together."""
        return self._seconds + (time.monotonic() - self._begin if self._begin else 0.0)

    def add(self, validation: Validation) -> None:
        """Take a validation's score."""
        if self.best is None or self._gain(self.best.score, validation.score) > 0:
            self.best, self.without_gain = validation, 0
        else:
            self.without_gain += 1
        self._history.append(validation)
        if len(self._history) > MAX_POINTS:
            # Every second one is enough to see a trend by; the newest stays.
            self._history = self._history[-1::-2][::-1]

    def describe(self) -> str | None:
        """Say in a line how it stands: best so far, since when, and what to expect."""
        if self.best is None or len(self._history) < 2:
            return None
        if self.without_gain == 0:
            before = [item.score for item in self._history[:-1]]
            old = min(before) if self._is_lower_better else max(before)
            better = f"{abs(old - self.best.score):.3g} better than the best before"
            said = f"best {self.name} so far, {better}"
        else:
            count = count_things(self.without_gain, "validation")
            if self.patience:
                count = f"{self.without_gain} of {count_things(self.patience, 'validation')}"
            said = (
                f"best {self.name} {self.best.score:.4f} at step {self.best.update:,} "
                f"(epoch {self.best.epoch}, {self._since(self.best)} ago); no gain for {count}"
            )
        expected = self.expect()
        return f"{said}; {expected}" if expected else said

    def describe_shortly(self) -> str | None:
        """Say in a few words how it stands; the best, where the newest is none."""
        if self.best is None or len(self._history) < 2:
            return None
        if self.without_gain == 0:
            return "best so far"
        patience = f", {self.without_gain} of {self.patience}" if self.patience else ""
        return f"best {self.best.score:.4f} at step {self.best.update:,}{patience}"

    def describe_best(self) -> str | None:
        """Say the best so far and when that was in a few words."""
        if self.best is None:
            return None
        return f"best {self.name} {self.best.score:.2f} found {self._since(self.best)} ago"

    def _since(self, validation: Validation) -> str:
        return _shown_minutes(self.trained_seconds - validation.seconds)

    def expect(self) -> str | None:
        """Say what the scores so far let one expect from going on, or None before they do.

        The later half of the training is fitted by `score = a + b log(seconds)`, as losses go,
        with the median of all pairs' slopes (Theil 1950, Sen 1968), which single bad validations
        do not move. What lies within the scatter around it is called no change.
        """
        points = self._recent()
        if len(points) < MIN_POINTS:
            return None
        times = [math.log(item.seconds) for item in points]
        scores = [item.score for item in points]
        slope = statistics.median(
            (scores[j] - scores[i]) / (times[j] - times[i])
            for i, j in combinations(range(len(points)), 2)
        )
        offset = statistics.median(s - slope * t for s, t in zip(scores, times, strict=True))
        scatter = NOISE_FACTOR * statistics.median(
            abs(s - offset - slope * t) for s, t in zip(scores, times, strict=True)
        )
        now = points[-1].seconds
        ahead = min(HORIZON_SECONDS, now)
        change = slope * math.log((now + ahead) / now)
        span = _shown_minutes(ahead)
        if abs(change) <= scatter:
            return f"the trend says no change larger than the noise ({scatter:.2g}) in {span} more"
        if self._gain(0.0, change) < 0:
            return f"the trend is for the worse, by {abs(change):.2g} in {span} more"
        return f"the trend says {abs(change):.2g} better in {span} more"

    def _recent(self) -> list[Validation]:
        """Return the validations of the later half, thinned to what is quick to compare."""
        half = max(self._history[-1].seconds / 2, 1e-3) if self._history else 0.0
        # Two at one time have no slope.
        points = {item.seconds: item for item in self._history if item.seconds >= half}
        return [*points.values()][-1 :: -max(1, len(points) // 32)][::-1]

    def _gain(self, old: float, new: float) -> float:
        return old - new if self._is_lower_better else new - old

    def _add_loss(self, trainer: Trainer) -> None:
        keeper = trainer.checkpoint_callback
        name = getattr(keeper, "monitor", None) or DEFAULT_SCORE
        self._rename(name, getattr(keeper, "mode", "min") != "max")
        score = float(trainer.callback_metrics.get(self.name, math.nan))
        update = count_updates(trainer)
        # What training began with is in no checkpoint of its own, so it cannot be the best.
        if not math.isnan(score) and update:
            self.add(Validation(trainer.current_epoch, update, self.trained_seconds, score))

    def _add_scored(self, trainer: Trainer, scored: Scored) -> None:
        score, job = scored.figures.get(self.name), scored.job
        if score is not None and job.update:
            self.add(Validation(job.epoch, job.update, self.trained_seconds, score))

    def _rename(self, name: str, is_lower_better: bool) -> None:
        """Take the figure that checkpoints are kept by now; another one's past says nothing."""
        if name != self.name:
            self.best, self.without_gain, self._history = None, 0, []
        self.name, self._is_lower_better = name, is_lower_better


def _shown_minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


WINDOW_BATCHES = 100
MIN_BATCHES = 10
SHOWN_PERCENT = 5.0


class DataWait(Callback):
    """Measures the pauses between batches, and logs them as `data_wait_percent`.

    On a CPU the clock tells them. A GPU works on while this process waits, so there the pause is
    what passes on the GPU between the end of one batch's work and the begin of the next; events
    mark both, and are read when they are over, so that nothing is waited for. Comes after the
    other callbacks, whose work after a batch is no waiting; pauses in which a checkpoint was
    written or a validation run are left out.
    """

    def __init__(self) -> None:
        self._end: _Mark | None = None
        self._begin: _Mark | None = None
        self._has_begun = False
        self._open: deque[tuple[_Mark, _Mark, _Mark]] = deque(maxlen=WINDOW_BATCHES)
        self._pauses: deque[tuple[float, float]] = deque(maxlen=WINDOW_BATCHES)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the present batch: what passes until the next one is no waiting."""
        self._begin = self._end = None

    def on_save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Forget the present batch here, too."""
        self._begin = self._end = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here: what comes next is the epoch's first batch."""
        # The very first batch of this process brings the start of the workers with it.
        if self._has_begun:
            self._end = _Mark(pl_module.device)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """The pause before this batch ends."""
        self._has_begun = True
        self._begin = _Mark(pl_module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Count batch and pause, log the share where it is time to; another pause begins."""
        now = _Mark(pl_module.device)
        if self._begin is not None and self._end is not None:
            self._open.append((self._end, self._begin, now))
        if is_time_to_log(trainer) and (percent := self.percent()) is not None:
            pl_module.log("data_wait_percent", percent, batch_size=1)
        self._end = _Mark(pl_module.device)

    def percent(self) -> float | None:
        """Return the share of the last hundred batches' time that was waiting.

        None before there are ten of them: one alone says nothing.
        """
        while self._open and self._open[0][2].is_over:
            end, begin, following = self._open.popleft()
            self._pauses.append((begin.seconds_since(end), following.seconds_since(end)))
        total = sum(seconds for _, seconds in self._pauses)
        if len(self._pauses) < MIN_BATCHES or not total:
            return None
        return 100.0 * sum(pause for pause, _ in self._pauses) / total

    def describe(self) -> str | None:
        """Say it where it matters, and what helps."""
        percent = self.percent()
        if percent is None or percent <= SHOWN_PERCENT:
            return None
        return f"{percent:.0f} % waiting for data (raise --data.num_workers)"


class _Mark:
    """A moment on a device, marked without waiting for it."""

    def __init__(self, device: torch.device) -> None:
        self._seconds = time.monotonic()
        self._event: torch.cuda.Event | None = None
        if device.type == "cuda":
            self._event = torch.cuda.Event(enable_timing=True)
            self._event.record(torch.cuda.current_stream(device))

    @property
    def is_over(self) -> bool:
        """Whether the device has passed it, and with it all earlier ones."""
        return self._event is None or self._event.query()

    def seconds_since(self, earlier: _Mark) -> float:
        if self._event is None or earlier._event is None:
            return self._seconds - earlier._seconds
        return earlier._event.elapsed_time(self._event) / 1000.0


TERMINAL_SECONDS = 1.0
LINE_SECONDS = 15.0
LOSSES = ("val_loss", "val_mel", "val_kl", "val_duration")


class Progress(Callback):
    """One line that changes on a terminal, a line every few seconds elsewhere.

    The losses are read from the device only when a line is written, never in each step.
    """

    def __init__(
        self,
        plateau: Plateau,
        measures: MeasureSentences,
        wait: DataWait,
        scores: Scores | None = None,
        *,
        is_verbose: bool = False,
    ) -> None:
        self._plateau = plateau
        self._measures = measures
        self._wait = wait
        self._has_scores = scores is not None and scores.chooses
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
        if now - self._last_line >= seconds:
            self._last_line = now
            if trainer.is_global_zero:
                self._shown.change(self._line(trainer, now - self._begin))

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
        if self._is_verbose:
            shown += describe_figures(self._measures.figures)
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

    def _line(self, trainer: Trainer, seconds: float) -> list[str]:
        """Return what there is to say, the most important first."""
        seconds = max(seconds, 1e-6)
        left = _seconds_left(trainer, _batches_done(trainer) - self._begin_batches, seconds)
        parts = [] if left is None else [f"{clock(left)} left"]
        batch = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        parts.append(
            f"epoch {trainer.current_epoch} · batch {batch}/{trainer.num_training_batches}"
        )
        if self._utterances:
            parts.append(f"{self._utterances / seconds:.1f} utterances/s")
        for name in ("train_mel", "train_loss"):
            if name in trainer.callback_metrics:
                parts.append(f"{name} {float(trainer.callback_metrics[name]):.3f}")
        return parts + [
            text for text in (self._wait.describe(), self._plateau.describe_best()) if text
        ]

    def _say_scores(self, trainer: Trainer, scored: Scored) -> None:
        """Write the scores of an earlier step on a line of their own."""
        if shown := _describe_scores(scored):
            self._say(scored.job.epoch, scored.job.update, shown, self._has_scores)

    def _say(self, epoch: int, update: int, figures: Sequence[str], has_standing: bool) -> None:
        """Write what a validation found on a line of its own, and in it how it stands."""
        parts = [f"epoch {epoch}", f"step {update:,}", *figures]
        short = self._plateau.describe_shortly() if has_standing else None
        if short and not self._is_verbose:
            parts.append(short)
        self._shown.say(" · ".join(parts))
        if short and self._is_verbose:
            self._shown.say(self._plateau.describe() or short)


def clock(seconds: float) -> str:
    """Return hours, minutes and seconds."""
    # Of days, too, hours: a comma within a number would part what is said.
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def describe_figures(figures: Mapping[str, float]) -> list[str]:
    """Say in a few words each how the fixed sentences came out; nothing where not measured."""
    texts = {
        "val_mel_whole": "whole sentences: mel {:.3f}",
        "val_mel_text": "from text {:.3f}",
        "val_duration_error_ms": "durations {:.0f} ms off",
        "val_length_ratio": "{:.2f} of the length",
    }
    return [text.format(figures[name]) for name, text in texts.items() if name in figures]


def _describe_scores(scored: Scored) -> list[str]:
    """Say scores in a few words each, and what recordings get beside them."""
    parts = []
    for name, value in scored.figures.items():
        title = name.removeprefix("val_")
        digits = SCORES[title].digits if title in SCORES else 2
        part = f"{title} {value:.{digits}f}"
        if name in scored.recordings:
            part += f" (recordings {scored.recordings[name]:.{digits}f})"
        parts.append(part)
    return parts


def _batches_done(trainer: Trainer) -> int:
    return int(trainer.fit_loop.epoch_loop.total_batch_idx) + 1


def _seconds_left(trainer: Trainer, done: int, seconds: float) -> float | None:
    """Return the time to the end by whichever limit comes first, or None without a limit."""
    estimates = [float(timer.time_remaining() or 0.0) for timer in find_timers(trainer)]
    if done > 0:
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            total = trainer.max_epochs * int(trainer.num_training_batches)
            estimates.append((total - _batches_done(trainer)) * seconds / done)
        if trainer.max_steps is not None and trainer.max_steps > 0:
            # Two optimizers count two steps an update, and each batch is one.
            estimates.append((trainer.max_steps - trainer.global_step) / 2 * seconds / done)
    return max(0.0, min(estimates)) if estimates else None


GIB = 1024.0**3


class Memory(Callback):
    """Logs memory in GiB with the losses, every `log_every_n_steps` batches."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Log the figures of this process's device."""
        if is_time_to_log(trainer) and (figures := _device_figures(pl_module.device)):
            pl_module.log_dict(figures, batch_size=1)


def _device_figures(device: torch.device) -> dict[str, float]:
    """Return what there is to say about a device: peak memory in GiB, use in percent."""
    if device.type != "cuda":
        # Windows does not say.
        peak = peak_resident_bytes()
        return {"memory_process_gib": peak / GIB} if peak else {}
    figures = {
        "memory_gpu_gib": torch.cuda.max_memory_allocated(device) / GIB,
        "memory_gpu_reserved_gib": torch.cuda.memory_reserved(device) / GIB,
    }
    # Needs nvidia-ml-py, which is not worth a failed training where it is absent.
    with suppress(ModuleNotFoundError, RuntimeError):
        figures["gpu_use_percent"] = float(torch.cuda.utilization(device))
    return figures
