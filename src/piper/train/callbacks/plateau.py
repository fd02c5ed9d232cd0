"""How a training's score went so far, and what to expect from going on; ends it by patience.

Knows the score of each validation by the name that checkpoints are kept by; no losses, no files.
"""

from __future__ import annotations

import logging
import math
import statistics
import time
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from piper.progress import count_things
from piper.train.callbacks.axis import count_updates
from piper.train.callbacks.scores import Scored, Scores

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
    """Remembers the scores of all validations of a training, through interruptions.

    Args:
        patience: Validations without a gain after which training ends; 0 never ends it.
        scores: Gives the figure that counts, some time after its validation; None where that is
            a loss.
    """

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
        is_through = 0 < self.patience <= self.without_gain
        if self._scores is not None:
            # Only the first process hears of scores.
            is_through = trainer.strategy.broadcast(is_through)
        if is_through:
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
            parts = [f"best {self.name} so far, {better}"]
        else:
            ago = _shown_minutes(self.trained_seconds - self.best.seconds)
            count = count_things(self.without_gain, "validation")
            if self.patience:
                count = f"{self.without_gain} of {count_things(self.patience, 'validation')}"
            parts = [
                f"best {self.name} {self.best.score:.4f} at step {self.best.update:,} "
                f"(epoch {self.best.epoch}, {ago} ago); no gain for {count}"
            ]
        expected = self.expect()
        return "; ".join([*parts, expected] if expected else parts)

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
        ago = _shown_minutes(self.trained_seconds - self.best.seconds)
        return f"best {self.name} {self.best.score:.2f} found {ago} ago"

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
            return f"the trend says no change beyond the scatter ({scatter:.2g}) in {span} more"
        if self._gain(0.0, change) < 0:
            return f"the trend is for the worse, by {abs(change):.2g} in {span} more"
        return f"the trend says {abs(change):.2g} better in {span} more"

    def _recent(self) -> list[Validation]:
        """Return the validations of the later half, thinned to what is quick to compare."""
        if not self._history:
            return []
        half = self._history[-1].seconds / 2
        points = [item for item in self._history if item.seconds >= max(half, 1e-3)]
        # Two at one time have no slope.
        points = list({item.seconds: item for item in points}.values())
        return points[-1 :: -max(1, len(points) // 32)][::-1]

    def _gain(self, old: float, new: float) -> float:
        return old - new if self._is_lower_better else new - old

    def _add_loss(self, trainer: Trainer) -> None:
        keeper = trainer.checkpoint_callback
        self._rename(
            getattr(keeper, "monitor", None) or DEFAULT_SCORE,
            getattr(keeper, "mode", "min") != "max",
        )
        score = float(trainer.callback_metrics.get(self.name, math.nan))
        update = count_updates(trainer)
        # What training began with is in no checkpoint of its own, so it cannot be the best.
        if not math.isnan(score) and update:
            self.add(Validation(trainer.current_epoch, update, self.trained_seconds, score))

    def _add_scored(self, trainer: Trainer, scored: Scored) -> None:
        score = scored.figures.get(self.name)
        job = scored.job
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
