"""Judges a training by what users will hear: fixed sentences at validations, within a budget.

Knows when to measure and where the figures go; how they come about is in `measures`, `judges`.
"""

from __future__ import annotations

import logging
import math
import statistics
import time
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

from piper.train.callbacks.measures import Measures, measure_example, summarise_measures
from piper.train.callbacks.speaking import is_stopping, speak_example
from piper.train.data.module import ListeningExample
from piper.train.families import Spoken
from piper.train.judges.opinion import QualityPredictor
from piper.train.parallel.distributed import is_distributed
from piper.train.vits.config import NetworkConfig

_LOGGER = logging.getLogger(__name__)

FIGURES = (
    "val_mel_whole",
    "val_mel_text",
    "val_duration_error_ms",
    "val_length_ratio",
    "val_quality",
    "val_quality_recordings",
)
"""Names of the figures in the log; the last is that of the recordings themselves, given once."""
SHARE = 0.03
"""Of the time since the last measurement, the most that the next may take."""
FIRST_SECONDS = 20.0
"""The first measurement takes as many sentences as fit; it stays with them, lest means differ."""
FIRST_SHARE = 0.01
"""Of --trainer.max_time, the most that it takes: there is one more at the end, and a training of
minutes has no minute for them."""
WAIT = timedelta(hours=2)
"""How long other processes wait for the first, where torch's own limit would be 10 minutes."""


class Judge(Callback):
    """Measures whole held-out utterances with the weights that will be exported.

    Only the first process does; the others wait for its figures, so that all have the same.

    Args:
        predictor: Scores speech; None leaves the score out.
        share: Of the time since the last measurement, the most that the next may take.
        first_seconds: How long the first measurement may take.
    """

    def __init__(
        self,
        predictor: QualityPredictor | None = None,
        *,
        share: float = SHARE,
        first_seconds: float = FIRST_SECONDS,
    ) -> None:
        self._predictor = predictor
        self._share = share
        self._first_seconds = first_seconds
        self._count: int | None = None
        self._cost = 0.0
        self._last_end = 0.0
        self.spent_seconds = 0.0
        """Of all measurements so far."""
        self._is_broken = self._has_said = False
        self._recordings: float | None = None
        self._send: FromFirst | None = None
        self.figures: dict[str, float] = {}
        """What the last validation measured, by name; empty where it was not time to."""
        self.spoken: dict[int, Spoken] = {}
        """Sentences that the last validation spoke for a score, by number."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure where it is time to, and log the figures on every process."""
        if trainer.sanity_checking or getattr(trainer, "fast_dev_run", False):
            return
        self.spoken = {}
        self._send = self._send or FromFirst()
        figures = {}
        if trainer.is_global_zero and self._is_due(trainer):
            figures = self._measure(trainer, pl_module)
        values = self._send([figures.get(name, math.nan) for name in FIGURES])
        self.figures = {
            name: value
            for name, value in zip(FIGURES, values, strict=True)
            if not math.isnan(value)
        }
        if self.figures:
            pl_module.log_dict(self.figures, batch_size=1, sync_dist=True)

    def state_dict(self) -> dict[str, Any]:
        """Return how many sentences are measured, lest a resumed training's means differ."""
        return {"sentences": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with as many sentences."""
        self._count = state_dict.get("sentences")

    @property
    def recordings_quality(self) -> float | None:
        """The score of the recordings themselves, or None where there is none."""
        return self._recordings

    def _is_due(self, trainer: Trainer) -> bool:
        if self._is_broken:
            return False
        if not self._last_end or trainer.state.fn != "fit" or is_last_validation(trainer):
            return True
        passed = time.monotonic() - self._last_end
        if self._cost <= self._share * passed:
            return True
        if not self._has_said:
            self._has_said = True
            _LOGGER.info(
                "Measuring the test sentences takes %.1f s, more than %.0f %% of the time between "
                "validations; it is done about every %s instead of at each.",
                self._cost,
                100 * self._share,
                timedelta(seconds=math.ceil(self._cost / self._share)),
            )
        return False

    def _measure(self, trainer: Trainer, model: Any) -> dict[str, float]:
        examples = trainer.datamodule.listening_examples()  # type: ignore[attr-defined]
        begin = time.monotonic()
        figures: dict[str, float] = {}
        if examples and self._count != 0:
            try:
                with torch.no_grad(), model.averaged_weights():
                    figures = self._measure_examples(trainer, model, examples, begin)
            except RuntimeError as error:
                # Out of memory, most likely: no reason to lose the training itself.
                self._give_up("The fixed sentences cannot be measured", error)
        self._last_end = time.monotonic()
        self._cost = self._last_end - begin
        self.spent_seconds += self._cost
        return figures

    def _measure_examples(
        self,
        trainer: Trainer,
        model: Any,
        examples: list[ListeningExample],
        begin: float,
    ) -> dict[str, float]:
        measures: list[Measures] = []
        # What they compare are VITS's posterior and prior; quick voices log the like as losses.
        is_vits = isinstance(model.network_config, NetworkConfig)
        count, limit = 0, self._find_limit(trainer)
        scores: list[float] = []
        recordings: list[float] = []
        # Those are scored once.
        has_recordings = self._predictor is None or self._recordings is not None
        for index, example in enumerate(examples[: self._count]):
            if is_stopping(trainer):
                return {}
            if self._count is None and count:
                mean = (time.monotonic() - begin) / count
                if mean * (count + 1) > limit:
                    break
            count += 1
            if is_vits:
                measures.append(measure_example(model, example))
            if self._predictor is not None:
                self.spoken[index] = speak_example(model, example)
                scores.append(self._score(self.spoken[index].audio.numpy(), model))
                if not has_recordings:
                    recordings.append(self._score(example.audio.numpy(), model))
        if self._count is None and count < len(examples):
            _LOGGER.info(
                "Validations measure %d of the %d test sentences, which take %.0f s.",
                count,
                len(examples),
                time.monotonic() - begin,
            )
        self._count = count
        figures = summarise_measures(measures, model.network_config) if is_vits else {}
        figures["val_quality"] = sum(scores) / len(scores) if scores else math.nan
        if recordings:
            self._recordings = figures["val_quality_recordings"] = statistics.fmean(recordings)
        return figures

    def _find_limit(self, trainer: Trainer) -> float:
        """Return how many seconds the first measurement may take."""
        limits = [
            FIRST_SHARE * one._duration
            for one in trainer.callbacks  # type: ignore[attr-defined]
            if isinstance(one, Timer) and one._duration is not None
        ]
        return min([self._first_seconds, *limits])

    def _score(self, audio: Any, model: Any) -> float:
        if self._predictor is None:
            return math.nan
        try:
            return float(self._predictor(audio, model.network_config.sample_rate))
        except Exception as error:
            # Someone else's code, and only a figure.
            _LOGGER.warning("Speech is no longer scored: the predictor failed (%s).", error)
            self._predictor = None
            return math.nan

    def _give_up(self, what: str, error: Exception) -> None:
        self._is_broken = True
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        _LOGGER.warning("%s (%.150s); training goes on without.", what, reason)


class FromFirst:
    """Numbers that the first process has become those of all, through memory of the CPU.

    Made at the same moment on every process. A group of its own with a longer patience than a
    GPU's, since the others wait while the first works.
    """

    def __init__(self) -> None:
        self._group = None
        if is_distributed():
            self._group = dist.new_group(backend="gloo", timeout=WAIT)

    def __call__(self, values: list[float]) -> list[float]:
        """Return the first process's values; each gives as many."""
        if self._group is None:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.broadcast(tensor, src=0, group=self._group)
        received: list[float] = tensor.tolist()
        return received


def is_last_validation(trainer: Trainer) -> bool:
    """Return whether training ends with the present epoch or update, as far as is known."""
    max_epochs = trainer.max_epochs or -1
    return (
        trainer.should_stop
        or 0 < trainer.max_steps <= trainer.global_step
        or 0 < max_epochs <= trainer.current_epoch + 1
    )
