"""Scores of judges at validations, taken beside the training: it speaks, a process judges.

Knows when sentences are spoken, where figures go and who wants to hear of them; what they mean, and
how they come about, is in `panel` and `scorer`.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from piper.errors import ConfigError
from piper.train.aligner.units import is_unit
from piper.train.callbacks.axis import count_updates, logged_step
from piper.train.callbacks.judge import is_last_validation
from piper.train.callbacks.panel import FloatArray, PanelSettings, Reference
from piper.train.callbacks.score_flags import WantedScores, check_scores
from piper.train.callbacks.scorer import Scorer, Verdict
from piper.train.callbacks.speaking import is_stopping, speak_example
from piper.train.data.module import ListeningExample
from piper.train.families import Spoken

_LOGGER = logging.getLogger(__name__)

LAST_SECONDS = 120.0
"""How long the last scores are waited for: five sentences take three judges 10 s on one core, and
loading them as long."""
POLL_SECONDS = 0.2
FULL_SCALE = 32767


@dataclass(frozen=True)
class Job:
    """Weights whose sentences are being scored.

    Attributes:
        epoch: Whole epochs before them.
        step: Lightning's count, as in the names of checkpoints.
        update: Updates before them.
        log_step: Where their figures stand in the log.
        sentences: (S,) int16 each, what they say: kept, so that it can be scored after an
            interruption as well.
    """

    epoch: int
    step: int
    update: int
    log_step: int
    sentences: tuple[Tensor, ...]

    def samples(self) -> list[FloatArray]:
        """Return the sentences as (S,) float32 within 1."""
        return [(sentence.float() / FULL_SCALE).numpy() for sentence in self.sentences]


@dataclass(frozen=True)
class Scored:
    """What came of a job.

    Attributes:
        job: It.
        figures: By their names in the log; one that could not be had is not in it.
        recordings: The same of the recordings, once they are known.
    """

    job: Job
    figures: Mapping[str, float]
    recordings: Mapping[str, float]


class Scores(Callback):
    """Lets judges hear each validation's weights, while training goes on.

    One job at a time: a validation that comes while the one before is still being scored has no
    scores, except the last, which waits. Only the first process does all this.

    Args:
        wanted: Which scores.
        wait_seconds: How long a validation waits for the scores of the one before.
        last_seconds: How long the last one does, and the end of the training for it.
    """

    def __init__(
        self,
        wanted: WantedScores,
        *,
        wait_seconds: float = 0.0,
        last_seconds: float = LAST_SECONDS,
    ) -> None:
        self.monitor, self.mode = wanted.monitor, wanted.mode
        self.listeners: list[Callable[[Trainer, Scored], None]] = []
        """Called on the first process when scores have come, also where there are none of them."""
        self.spoken: dict[int, Spoken] = {}
        """Sentences that the last validation spoke, by number."""
        self.is_awaited = False
        """Whether the last validation's weights are being scored; the same on all processes."""
        self._wanted = wanted
        self._wait_seconds, self._last_seconds = wait_seconds, last_seconds
        self._open: Job | None = None
        self._scored_step = -1
        self._recordings: dict[str, float] = {}
        self._scorer: Scorer | None = None
        self._told: set[str] = set()

    # -- begin and end

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Look at the sentences before anything is trained.

        Raises:
            ConfigError: There are none.
        """
        if stage != "fit":
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        examples = data.listening_examples()
        if not examples:
            raise ConfigError(
                "--model.scores speaks held-out sentences, and there are none; give "
                "--data.num_test_examples=5."
            )
        if not trainer.is_global_zero:
            return
        self._warn_about_learnt(examples)
        settings = PanelSettings(
            self._wanted.names, data.settings.sample_rate, self._wanted.recogniser_path
        )
        symbols = {i: p for p, ids in data.voice_config().phoneme_id_map.items() for i in ids}
        self._scorer = Scorer(settings, [_create_reference(one, symbols) for one in examples])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score what a former run spoke last, and had no scores of."""
        if self._open is not None and trainer.is_global_zero:
            self._submit(self._open)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for the last scores, before the end is saved."""
        if self._open is None or not trainer.is_global_zero:
            return
        step = f"{self._open.update:,}"
        _LOGGER.info("Waiting for the scores of step %s, %.0f s at most.", step, self._last_seconds)
        self._receive(trainer, self._last_seconds)
        if self._open is not None:
            _LOGGER.warning("The scores of step %s have not come.", step)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the process."""
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """End the process."""
        self._close()

    def state_dict(self) -> dict[str, Any]:
        """Return what is being scored, for an interrupted training to take it up."""
        return {
            "names": list(self._wanted.names),
            "open": asdict(self._open) if self._open is not None else None,
            "recordings": dict(self._recordings),
            "scored_step": self._scored_step,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what was being scored."""
        job = state_dict["open"]
        self._open = Job(**{**job, "sentences": tuple(job["sentences"])}) if job else None
        if state_dict["names"] == list(self._wanted.names):
            self._recordings = dict(state_dict["recordings"])
        self._scored_step = state_dict["scored_step"]

    # -- validations

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Speak the sentences with the weights that will be exported, and have them scored."""
        if not is_judged(trainer):
            return
        self.spoken = {}
        is_new = False
        if trainer.is_global_zero and trainer.global_step != self._scored_step:
            is_new = self._begin(trainer, pl_module)
        self.is_awaited = trainer.strategy.broadcast(is_new)

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Take scores that have come."""
        self._receive(trainer)

    def _begin(self, trainer: Trainer, model: Any) -> bool:
        """Speak, where nothing is being scored; return whether that was so."""
        is_last = is_last_validation(trainer)
        self._receive(trainer, self._last_seconds if is_last else self._wait_seconds)
        if self._scorer is None or self._scorer.is_over or is_stopping(trainer):
            return False
        if self._open is not None:
            self._tell(
                "Scores take longer than the time between two validations: those that come "
                "meanwhile have none."
            )
            return False
        examples = trainer.datamodule.listening_examples()  # type: ignore[attr-defined]
        try:
            with model.averaged_weights():
                self.spoken = {i: speak_example(model, one) for i, one in enumerate(examples)}
        except RuntimeError as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            self._tell(f"A validation has no scores: sentences cannot be spoken ({reason:.150}).")
            return False
        epoch, step = trainer.current_epoch, trainer.global_step
        sentences = tuple(
            (spoken.audio.clamp(-1.0, 1.0) * FULL_SCALE).round().to(torch.int16)
            for spoken in self.spoken.values()
        )
        self._open = Job(epoch, step, count_updates(trainer), logged_step(trainer), sentences)
        self._scored_step = step
        self._submit(self._open)
        return True

    def _submit(self, job: Job) -> None:
        assert self._scorer is not None
        self._scorer.submit(job.samples(), with_recordings=not self._recordings)

    def _receive(self, trainer: Trainer, seconds: float = 0.0) -> None:
        """Take scores where they have come, or come within some seconds, and pass them on."""
        if self._open is None or self._scorer is None:
            return
        end = time.monotonic() + seconds
        while True:
            left = max(0.0, end - time.monotonic())
            try:
                verdict = self._scorer.take(min(left, POLL_SECONDS))
            except queue.Empty:
                if left > 0.0 and not is_stopping(trainer):
                    continue
                return
            self._pass_on(trainer, self._open, verdict)
            return

    def _pass_on(self, trainer: Trainer, job: Job, verdict: Verdict | None) -> None:
        self._open = None
        figures: dict[str, float] = {}
        logged: dict[str, float] = {}
        if verdict is not None:
            for name, reason in {**verdict.recorded.troubles, **verdict.spoken.troubles}.items():
                self._tell(f"A validation has no val_{name}: its judge failed ({reason}).")
            figures = {f"val_{name}": score for name, score in verdict.spoken.scores.items()}
            recorded = verdict.recorded.scores.items()
            if recorded:
                self._recordings = {f"val_{name}": score for name, score in recorded}
                logged = {f"{name}_recordings": v for name, v in self._recordings.items()}
        for logger in trainer.loggers if figures or logged else ():
            logger.log_metrics({**figures, **logged}, step=job.log_step)
        for listener in self.listeners:
            listener(trainer, Scored(job, figures, self._recordings))

    def _warn_about_learnt(self, examples: Sequence[ListeningExample]) -> None:
        known = sum(example.name in self._wanted.learnt for example in examples)
        if known:
            _LOGGER.warning(
                "The phoneme recogniser learnt on %d of the %d test sentences, so val_per is "
                "better than it should be; fit it on recordings without them.",
                known,
                len(examples),
            )

    def _tell(self, text: str) -> None:
        """Say something once."""
        if text not in self._told:
            self._told.add(text)
            _LOGGER.warning("%s", text)

    def _close(self) -> None:
        if self._scorer is not None:
            self._scorer.close()


def create_scores(names: str | None, recogniser: str | None) -> Scores | None:
    """Return what `--model.scores` and `--model.phoneme_recogniser` ask for; None for nothing.

    Raises:
        ConfigError: A score or its judge is not there.
    """
    wanted = check_scores(names, recogniser)
    return Scores(wanted) if wanted.names else None


def is_judged(trainer: Trainer) -> bool:
    """Return whether a validation is one of a training, and no trial."""
    is_trial = trainer.sanity_checking or getattr(trainer, "fast_dev_run", False)
    return trainer.state.fn == "fit" and not is_trial


def _create_reference(example: ListeningExample, symbols: Mapping[int, str]) -> Reference:
    phonemes = (symbols.get(number, "") for number in example.ids.tolist())
    units = tuple(phoneme for phoneme in phonemes if is_unit(phoneme))
    return Reference(example.audio.numpy(), units, example.speaker_id or 0)
