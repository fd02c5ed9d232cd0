"""Scores of speech at validations, taken beside the training: it speaks, a process scores.

`--model.scores` names them, and the first chooses the best checkpoints; `--validation_quality` asks
for one more, which chooses nothing.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from piper.errors import ConfigError, DatasetError, describe_briefly
from piper.jobs import describe_end, interrupts_blocked
from piper.train.aligner.aligner import is_unit
from piper.train.callbacks.sentences import speak_example
from piper.train.callbacks.stopping import is_stopping
from piper.train.data.module import ListeningExample
from piper.train.evaluate.results import SCORES
from piper.train.families import Spoken
from piper.train.judges import (
    AUTO,
    DISTILLMOS,
    ERRORS,
    OFF,
    OPINION,
    RESEMBLYZER,
    SIMILARITY,
    FloatArray,
    MetricScores,
    MetricSettings,
    Reference,
    explain_missing_judge,
    find_quality_predictor,
    is_judge_here,
    score_title,
    serve_scores,
)
from piper.train.voice_module import count_updates, is_last_epoch, logged_step

_LOGGER = logging.getLogger(__name__)

_PACKAGES = {OPINION: DISTILLMOS, SIMILARITY: RESEMBLYZER}
QUALITY = "quality"
"""The title of what `--validation_quality` asks for."""


@dataclass(frozen=True)
class WantedScores:
    """The scores of a training's validations.

    Attributes:
        names: As they were given; the best checkpoints are kept by the first.
        quality: One more, by `--validation_quality`; empty for none.
        recogniser_path: The phoneme recogniser's file, where it is needed.
        seen: Names of the recordings that the recogniser was fitted to.
    """

    names: tuple[str, ...] = ()
    quality: str = ""
    recogniser_path: Path | None = None
    seen: frozenset[str] = frozenset()

    @property
    def by_title(self) -> dict[str, str]:
        """The predictors by the titles of their scores."""
        named = {score_title(name): name for name in self.names}
        return {**named, QUALITY: self.quality} if self.quality else named

    @property
    def monitor(self) -> str:
        """The name in the log of the figure that checkpoints are kept by."""
        return f"val_{score_title(self.names[0])}"

    @property
    def mode(self) -> str:
        """`min` where a lower figure is better, else `max`; higher is better for plug-ins."""
        known = SCORES.get(self.names[0])
        return "min" if known is not None and known.is_lower_better else "max"


def check_scores(scores: str | None, recogniser: str | None, quality: str = OFF) -> WantedScores:
    """Return what three flags ask for.

    Args:
        scores: Names, joined by commas; None or empty for none.
        recogniser: A phoneme recogniser's file.
        quality: `--validation_quality`; `auto` is DistillMOS where it is here and nothing else
            scores.
    """
    names = tuple(name for part in (scores or "").split(",") if (name := part.strip()))
    if len(set(map(score_title, names))) < len(names):
        raise ConfigError(f"--model.scores={scores} names a score twice; leave one out.")
    if recogniser and ERRORS not in names:
        raise ConfigError(
            f"--model.phoneme_recogniser serves the score {ERRORS} alone; "
            f"add --model.scores={','.join((*names, ERRORS))}, or leave it out."
        )
    for name in names:
        if package := _PACKAGES.get(name):
            if not is_judge_here(package):
                raise ConfigError(f"--model.scores={name}: {explain_missing_judge(package)}")
        elif name != ERRORS and (name in (AUTO, OFF) or name in SCORES):
            raise ConfigError(
                f'--model.scores: "{name}" is no score of a training; give {OPINION}, {ERRORS}, '
                f"{SIMILARITY}, or a predictor as package.module:function."
            )
        elif name != ERRORS:
            find_quality_predictor(name, flag="--model.scores")
    seen = _check_recogniser(recogniser) if ERRORS in names else frozenset()
    if quality == AUTO:
        quality = AUTO if not names and is_judge_here(DISTILLMOS) else OFF
    elif quality != OFF:
        find_quality_predictor(quality)
    quality = "" if quality == OFF else quality
    return WantedScores(names, quality, Path(recogniser) if recogniser else None, seen)


def _check_recogniser(path: str | None) -> frozenset[str]:
    from piper.train.aligner.recogniser import load_phoneme_recogniser

    if not path:
        raise ConfigError(
            f"--model.scores={ERRORS} needs a phoneme recogniser: make one with `python -m "
            "piper.train evaluate --fit-recogniser DATASET` and name its file with "
            "--model.phoneme_recogniser."
        )
    try:
        return load_phoneme_recogniser(Path(path)).seen
    except DatasetError as error:
        raise ConfigError(f"--model.phoneme_recogniser: {error}") from None


MAX_STARTS = 2
"""A process that was killed is started once more: it may have been by chance."""

Answer = tuple[MetricScores, MetricScores]
"""Scores of the sentences, and of their recordings where they were asked for."""


class Scorer:
    """Scores sentences in a process of its own, one job at a time, and never lets anyone wait."""

    def __init__(self, settings: MetricSettings, references: Sequence[Reference]) -> None:
        self._arguments = (settings, tuple(references))
        self._answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._process: Any = None
        self._connection: Connection | None = None
        self._ends = 0
        self._lock = threading.Lock()
        self._is_closed = False

    @property
    def is_over(self) -> bool:
        """Whether the process has ended too often, so that nothing is scored any more."""
        return self._ends >= MAX_STARTS

    def submit(self, spoken: Sequence[FloatArray], *, with_recordings: bool = False) -> None:
        """Begin to score sentences, (S,) each."""
        # What is sent is larger than a pipe holds, and a process that starts does not read yet.
        arguments = (tuple(spoken), with_recordings)
        threading.Thread(target=self._score, args=arguments, name="scores", daemon=True).start()

    def take(self, seconds: float = 0.0) -> Answer | None:
        """Return what came of the job; None where the process has ended too often.

        Raises:
            queue.Empty: It has not come within so many seconds.
        """
        return self._answers.get(timeout=seconds) if seconds else self._answers.get_nowait()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._is_closed = True
            if self._process is not None:
                self._process.kill()  # it writes nothing
                self._process.join()

    def _score(self, *job: Any) -> None:
        while not self._is_closed and not self.is_over:
            try:
                connection = self._connect()
                if connection is None:
                    return
                connection.send(job)
                answer = connection.recv()
            except (EOFError, OSError):
                self._clear_away()
            else:
                self._answers.put(answer)
                return
        self._answers.put(None)

    def _connect(self) -> Connection | None:
        """Return the way to the process, which is started where there is none."""
        with self._lock:
            if self._is_closed:
                return None
            if self._connection is None:
                context = multiprocessing.get_context("spawn")
                self._connection, theirs = context.Pipe()
                self._process = context.Process(
                    target=serve_scores, args=(theirs, *self._arguments), daemon=True
                )
                with theirs, interrupts_blocked():
                    self._process.start()
            return self._connection

    def _clear_away(self) -> None:
        """Forget a process that has ended, and say so."""
        with self._lock:
            if self._is_closed:
                return
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._process.join()
            self._ends += 1
            end = describe_end(self._process.exitcode)
        if self.is_over:
            _LOGGER.warning(
                "The process that scores speech has ended again (%s): training goes on without "
                "scores, and keeps the best of those that have one.",
                end,
            )
        else:
            _LOGGER.warning("The process that scores speech has ended (%s); it starts anew.", end)


LAST_SECONDS = 120.0
"""How long the last scores are waited for: five sentences take three metrics 10 s on one core, and
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
    """Scores each validation's weights by what they speak, while training goes on.

    One job at a time: a validation that comes while the one before is still being scored has no
    scores, except the last, which waits. Only the first process does all this.

    Args:
        wanted: Which scores.
        wait_seconds: How long a validation waits for the scores of the one before.
        last_seconds: How long the last one does, and the end of the training for it.
    """

    def __init__(
        self, wanted: WantedScores, *, wait_seconds: float = 0.0, last_seconds: float = LAST_SECONDS
    ) -> None:
        self.chooses = bool(wanted.names)
        """Whether the best checkpoints are kept by a score."""
        if self.chooses:
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
        """Look at the sentences before anything is trained."""
        if stage not in ("fit", "validate"):
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        examples = data.listening_examples()
        if self.chooses and not examples:
            raise ConfigError(
                "--model.scores speaks held-out sentences, and there are none; give "
                "--data.num_test_examples=5."
            )
        if not examples or not trainer.is_global_zero:
            return
        if seen := sum(example.name in self._wanted.seen for example in examples):
            _LOGGER.warning(
                "The phoneme recogniser was trained on %d of the %d test sentences, so val_per is "
                "better than it should be; fit it on recordings without them.",
                seen,
                len(examples),
            )
        settings = MetricSettings(
            self._wanted.by_title, data.settings.sample_rate, self._wanted.recogniser_path
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

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End the process."""
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """End the process."""
        self._close()

    def _close(self) -> None:
        if self._scorer is not None:
            self._scorer.close()

    def state_dict(self) -> dict[str, Any]:
        """Return what is being scored, for an interrupted training to take it up."""
        return {
            "names": list(self._wanted.names),
            "quality": self._wanted.quality,
            "open": asdict(self._open) if self._open is not None else None,
            "recordings": dict(self._recordings),
            "scored_step": self._scored_step,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what was being scored."""
        job = state_dict["open"]
        self._open = Job(**{**job, "sentences": tuple(job["sentences"])}) if job else None
        was = state_dict["names"], state_dict.get("quality", "")
        if was == (list(self._wanted.names), self._wanted.quality):
            self._recordings = dict(state_dict["recordings"])
        self._scored_step = state_dict["scored_step"]

    # -- validations

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score a checkpoint that is only validated, and wait for it."""
        if trainer.state.fn != "validate":
            return
        figures: dict[str, float] = {}
        if self._scorer is not None and (spoken := self._speak(trainer, pl_module)):
            self._scorer.submit(_unpack(spoken), with_recordings=True)
            with contextlib.suppress(queue.Empty):
                figures = self._name_figures(self._scorer.take(self._last_seconds))
        pl_module.log_dict(trainer.strategy.broadcast(figures), batch_size=1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Speak the sentences with the weights that will be exported, and have them scored."""
        is_trial = trainer.sanity_checking or getattr(trainer, "fast_dev_run", False)
        if trainer.state.fn != "fit" or is_trial:
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
        is_last = is_last_epoch(trainer)
        self._receive(trainer, self._last_seconds if is_last else self._wait_seconds)
        if self._scorer is None or self._scorer.is_over or is_stopping(trainer):
            return False
        if self._open is not None:
            self._tell(
                "Scores take longer than the time between two validations: those that come "
                "meanwhile have none."
            )
            return False
        if (sentences := self._speak(trainer, model)) is None:
            return False
        epoch, step = trainer.current_epoch, trainer.global_step
        self._open = Job(epoch, step, count_updates(trainer), logged_step(trainer), sentences)
        self._scored_step = step
        self._submit(self._open)
        return True

    def _speak(self, trainer: Trainer, model: Any) -> tuple[Tensor, ...] | None:
        """Return the sentences, (S,) int16 each; None, and it is said, where they cannot be had."""
        examples = trainer.datamodule.listening_examples()  # type: ignore[attr-defined]
        try:
            with model.averaged_weights():
                self.spoken = {i: speak_example(model, one) for i, one in enumerate(examples)}
        except RuntimeError as error:
            reason = describe_briefly(error)
            self._tell(f"A validation has no scores: sentences cannot be spoken ({reason}).")
            return None
        return tuple(
            (spoken.audio.clamp(-1.0, 1.0) * FULL_SCALE).round().to(torch.int16)
            for spoken in self.spoken.values()
        )

    def _submit(self, job: Job) -> None:
        assert self._scorer is not None
        self._scorer.submit(_unpack(job.sentences), with_recordings=not self._recordings)

    def _receive(self, trainer: Trainer, seconds: float = 0.0) -> None:
        """Take scores where they have come, or come within some seconds, and pass them on."""
        if self._open is None or self._scorer is None:
            return
        end = time.monotonic() + seconds
        while True:
            left = max(0.0, end - time.monotonic())
            try:
                answer = self._scorer.take(min(left, POLL_SECONDS))
                break
            except queue.Empty:
                if left == 0.0 or is_stopping(trainer):
                    return
        job, self._open = self._open, None
        named = self._name_figures(answer)
        for logger in trainer.loggers if named else ():
            logger.log_metrics(named, step=job.log_step)
        scores = {} if answer is None else answer[0].scores
        figures = {f"val_{name}": score for name, score in scores.items()}
        for listener in self.listeners:
            listener(trainer, Scored(job, figures, self._recordings))

    def _name_figures(self, answer: Answer | None) -> dict[str, float]:
        """Return scores by their names in the log, those of recordings too."""
        if answer is None:
            return {}
        spoken, recorded = answer
        for name, reason in {**recorded.issues, **spoken.issues}.items():
            self._tell(f"A validation has no val_{name}: its predictor failed ({reason}).")
        if recorded.scores:
            self._recordings = {f"val_{name}": score for name, score in recorded.scores.items()}
        figures = {f"val_{name}": score for name, score in spoken.scores.items()}
        return figures | {f"val_{name}_recordings": v for name, v in recorded.scores.items()}

    def _tell(self, text: str) -> None:
        """Say something once."""
        if text not in self._told:
            self._told.add(text)
            _LOGGER.warning("%s", text)


def create_scores(names: str | None, recogniser: str | None, quality: str) -> Scores | None:
    """Return what three flags ask for (see `check_scores`); None for nothing."""
    wanted = check_scores(names, recogniser, quality)
    return Scores(wanted) if wanted.by_title else None


def _unpack(sentences: Sequence[Tensor]) -> list[FloatArray]:
    """Return sentences, (S,) int16 each, as float32 within 1."""
    return [(sentence.float() / FULL_SCALE).numpy() for sentence in sentences]


def _create_reference(example: ListeningExample, symbols: Mapping[int, str]) -> Reference:
    phonemes = (symbols.get(number, "") for number in example.ids.tolist())
    units = tuple(phoneme for phoneme in phonemes if is_unit(phoneme))
    return Reference(example.audio.numpy(), units, example.speaker_id or 0)
