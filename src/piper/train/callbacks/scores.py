"""Scores of judges at validations, taken beside the training: it speaks, a process judges.

Knows samples, recordings and judges; nothing of a training, its steps or its files.

Knows flags and where judges are had; scores nothing.

It takes few threads of a low priority and sees no GPU; it ends with the process that started it.
Importing this loads no torch: the process hides GPUs first.

Knows when sentences are spoken, where figures go and who wants to hear of them; what they mean, and
how they come about, is in `panel` and `scorer`.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import queue
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from piper.errors import ConfigError, DatasetError, PiperError
from piper.jobs import available_cores, describe_end, end_with_parent, interrupts_blocked
from piper.train.aligner.aligner import is_unit
from piper.train.callbacks.axis import count_updates, logged_step
from piper.train.callbacks.judge import is_last_validation, speak_example
from piper.train.callbacks.stopping import is_stopping
from piper.train.data.module import ListeningExample
from piper.train.evaluate.results import SCORES
from piper.train.families import Spoken
from piper.train.judges import (
    AUTO,
    DISTILLMOS,
    OFF,
    RESEMBLYZER,
    explain_missing_judge,
    find_quality_predictor,
    is_judge_here,
)

FloatArray = npt.NDArray[np.float32]

OPINION, ERRORS, SIMILARITY = "distillmos", "per", "similarity"
RECOGNISER_RATE = 16000


@dataclass(frozen=True)
class Reference:
    """What a test sentence should be like.

    Attributes:
        recording: (S,) as it is trained on.
        units: Its phonemes, as `aligner/units` has them.
        speaker: The speaker's number; 0 where there is one.
    """

    recording: FloatArray
    units: tuple[str, ...]
    speaker: int = 0


@dataclass(frozen=True)
class PanelSettings:
    """Which judges there are.

    Attributes:
        names: As the flag gives them: those above, or plug-ins of `judges/opinion`.
        sample_rate: Hertz of what they hear.
        recogniser_path: A phoneme recogniser's file; only for the phoneme error rate.
    """

    names: tuple[str, ...]
    sample_rate: int
    recogniser_path: Path | None = None


@dataclass(frozen=True)
class Opinion:
    """What the judges said.

    Attributes:
        scores: By name; one that could not be had is not in it.
        troubles: Why, by name.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    troubles: Mapping[str, str] = field(default_factory=dict)


def score_title(name: str) -> str:
    """Return the name of a score in the log, after `val_`: of `package.module:function` the last.

    It stands in names of files, too, so it is one word.
    """
    return re.sub(r"\W", "_", name.rpartition(":")[2])


class Judge(ABC):
    """Scores all test sentences together.

    Args:
        references: What they should be like, in their order.
    """

    def __init__(self, references: Sequence[Reference]) -> None:
        self.references = references

    @abstractmethod
    def score(self, spoken: Sequence[FloatArray]) -> float:
        """Return the score of the sentences, (S,) each, as they are spoken."""

    def score_recordings(self) -> float:
        """Return what the recordings themselves get; NaN where that means nothing."""
        return self.score([reference.recording for reference in self.references])


class Panel:
    """All judges that are wanted.

    Args:
        settings: Which.
        references: Of the sentences that they will hear.
    """

    def __init__(self, settings: PanelSettings, references: Sequence[Reference]) -> None:
        self._judges: dict[str, Judge] = {}
        self._troubles: dict[str, str] = {}
        for name in settings.names:
            title = score_title(name)
            try:
                self._judges[title] = _create_judge(name, settings, references)
            except Exception as error:  # someone else's code, and only a figure
                self._troubles[title] = _describe(error)

    def hear(self, spoken: Sequence[FloatArray]) -> Opinion:
        """Score the sentences, (S,) each, as they are spoken."""
        return self._ask(lambda judge: judge.score(spoken))

    def hear_recordings(self) -> Opinion:
        """Score the recordings of the sentences: what a voice can hope for."""
        return self._ask(lambda judge: judge.score_recordings())

    def _ask(self, ask: Callable[[Judge], float]) -> Opinion:
        scores: dict[str, float] = {}
        troubles = dict(self._troubles)
        for title, judge in self._judges.items():
            try:
                scores[title] = float(ask(judge))
            except Exception as error:  # likewise
                troubles[title] = _describe(error)
        return Opinion({t: s for t, s in scores.items() if math.isfinite(s)}, troubles)


def _create_judge(name: str, settings: PanelSettings, references: Sequence[Reference]) -> Judge:
    if name == ERRORS:
        return PhonemeJudge(settings, references)
    if name == SIMILARITY:
        return SpeakerJudge(settings, references)
    return OpinionJudge(name, settings, references)


class OpinionJudge(Judge):
    """The mean of a predictor's scores."""

    def __init__(self, name: str, settings: PanelSettings, references: Sequence[Reference]) -> None:
        super().__init__(references)
        predictor = find_quality_predictor(AUTO if name == OPINION else name)
        if predictor is None:
            raise PiperError("it is not installed")
        self._predictor = predictor
        self._rate = settings.sample_rate

    def score(self, spoken: Sequence[FloatArray]) -> float:
        """Return the mean score."""
        return float(np.mean([self._predictor(samples, self._rate) for samples in spoken]))


class PhonemeJudge(Judge):
    """Errors of what a recogniser hears, as a share of the phonemes of all texts."""

    def __init__(self, settings: PanelSettings, references: Sequence[Reference]) -> None:
        from piper.train.aligner.recogniser import load_phoneme_recogniser

        super().__init__(references)
        assert settings.recogniser_path is not None
        self._recogniser = load_phoneme_recogniser(settings.recogniser_path)
        self._rate = settings.sample_rate

    def score(self, spoken: Sequence[FloatArray]) -> float:
        """Return the phoneme error rate."""
        import soxr

        from piper.train.aligner.recogniser import (
            add_phoneme_errors,
            find_phoneme_errors,
        )

        errors = []
        for reference, samples in zip(self.references, spoken, strict=True):
            if self._rate != RECOGNISER_RATE:
                samples = soxr.resample(samples, self._rate, RECOGNISER_RATE)
            errors.append(find_phoneme_errors(reference.units, self._recogniser.recognise(samples)))
        return add_phoneme_errors(errors).rate


class SpeakerJudge(Judge):
    """How near sentences are to the recordings of their speakers."""

    def __init__(self, settings: PanelSettings, references: Sequence[Reference]) -> None:
        from piper.train.judges import create_reference, load_speaker_encoder

        super().__init__(references)
        encoder = load_speaker_encoder()
        if encoder is None:
            raise PiperError("it is not installed")
        self._encoder = encoder
        self._rate = settings.sample_rate
        embeddings = self._embed([reference.recording for reference in references])
        self._speakers = [reference.speaker for reference in references]
        numbers = np.asarray(self._speakers)
        self._recorded = {number: embeddings[numbers == number] for number in self._speakers}
        self._likes = {number: create_reference(own) for number, own in self._recorded.items()}

    def score(self, spoken: Sequence[FloatArray]) -> float:
        """Return the mean similarity of sentences to their speakers."""
        from piper.train.judges import measure_similarity

        pairs = zip(self._embed(spoken), self._speakers, strict=True)
        return float(np.mean([measure_similarity(e, self._likes[s]) for e, s in pairs]))

    def score_recordings(self) -> float:
        """Return the mean similarity of recordings to the others of their speaker."""
        from piper.train.judges import compare_with_others

        several = [own for own in self._recorded.values() if len(own) > 1]
        if not several:
            return math.nan
        return float(np.mean(np.concatenate([compare_with_others(own) for own in several])))

    def _embed(self, spoken: Sequence[FloatArray]) -> FloatArray:
        return np.stack([self._encoder.embed(samples, self._rate) for samples in spoken])


def _describe(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:150] or type(error).__name__


_PACKAGES = {OPINION: DISTILLMOS, SIMILARITY: RESEMBLYZER}


@dataclass(frozen=True)
class WantedScores:
    """The scores of a training's validations.

    Attributes:
        names: As they were given; the best checkpoints are kept by the first.
        recogniser_path: The phoneme recogniser's file, where it is needed.
        learnt: Names of the recordings that the recogniser knows.
    """

    names: tuple[str, ...] = ()
    recogniser_path: Path | None = None
    learnt: frozenset[str] = field(default_factory=frozenset)

    @property
    def monitor(self) -> str:
        """The name in the log of the figure that checkpoints are kept by."""
        return f"val_{score_title(self.names[0])}"

    @property
    def mode(self) -> str:
        """`min` where a lower figure is better, else `max`; higher is better for plug-ins."""
        known = SCORES.get(self.names[0])
        return "min" if known is not None and known.is_lower_better else "max"


def check_scores(scores: str | None, recogniser: str | None) -> WantedScores:
    """Return what two flags ask for.

    Args:
        scores: Names, joined by commas; None or empty for none.
        recogniser: A phoneme recogniser's file.

    Raises:
        ConfigError: A score is unknown, its judge is not here, or the file holds no recogniser.
    """
    names = tuple(name for part in (scores or "").split(",") if (name := part.strip()))
    titles = [score_title(name) for name in names]
    if len(set(titles)) < len(titles):
        raise ConfigError(f"--model.scores={scores} names a score twice; leave one out.")
    if recogniser and ERRORS not in names:
        raise ConfigError(
            f"--model.phoneme_recogniser serves the score {ERRORS} alone; "
            f"add --model.scores={','.join((*names, ERRORS))}, or leave it out."
        )
    learnt: frozenset[str] = frozenset()
    for name in names:
        if name == ERRORS:
            learnt = _check_recogniser(recogniser)
        else:
            _check_judge(name)
    return WantedScores(names, Path(recogniser) if recogniser else None, learnt)


def _check_judge(name: str) -> None:
    package = _PACKAGES.get(name)
    if package is not None:
        if not is_judge_here(package):
            raise ConfigError(f"--model.scores={name}: {explain_missing_judge(package)}")
        return
    if name in (AUTO, OFF) or name in SCORES:
        raise ConfigError(
            f'--model.scores: "{name}" is no score of a training; give {OPINION}, {ERRORS}, '
            f"{SIMILARITY}, or a predictor as package.module:function."
        )
    find_quality_predictor(name, flag="--model.scores")


def _check_recogniser(path: str | None) -> frozenset[str]:
    from piper.train.aligner.recogniser import load_phoneme_recogniser

    if not path:
        raise ConfigError(
            f"--model.scores={ERRORS} needs a phoneme recogniser: make one with `python -m "
            "piper.train evaluate --fit-recogniser DATASET` and name its file with "
            "--model.phoneme_recogniser."
        )
    try:
        return load_phoneme_recogniser(Path(path)).learnt
    except DatasetError as error:
        raise ConfigError(f"--model.phoneme_recogniser: {error}") from None


_LOGGER = logging.getLogger(__name__)

NICENESS = 10
"""A tenth of the processor's time where a training wants all of it."""
CORES_A_THREAD = 4
"""A thread for so many cores: the others are the training's."""
MAX_THREADS = 4
LIVES = 2
"""A process that was killed is started once more: it may have been by chance."""


@dataclass(frozen=True)
class Verdict:
    """What a process answers.

    Attributes:
        spoken: Scores of the sentences.
        recorded: Scores of their recordings, where they were asked for.
    """

    spoken: Opinion
    recorded: Opinion


class Scorer:
    """Scores sentences in a process of its own, one job at a time, and never lets anyone wait.

    Args:
        settings: Which judges there are.
        references: What the sentences should be like.
    """

    def __init__(self, settings: PanelSettings, references: Sequence[Reference]) -> None:
        self._arguments = (settings, tuple(references))
        self._verdicts: queue.SimpleQueue[Verdict | None] = queue.SimpleQueue()
        self._process: Any = None
        self._connection: Connection | None = None
        self._lives = LIVES
        self._lock = threading.Lock()
        self._is_closed = False

    @property
    def is_over(self) -> bool:
        """Whether the process has ended too often, so that nothing is scored any more."""
        return self._lives <= 0

    @property
    def process_id(self) -> int | None:
        """The process's number; None before it is started."""
        return None if self._process is None else self._process.pid

    def submit(self, spoken: Sequence[FloatArray], *, with_recordings: bool = False) -> None:
        """Begin to score sentences, (S,) each; at once back, and to be taken by `take`."""
        # What is sent is larger than a pipe holds, and a process that starts does not read yet.
        arguments = (tuple(spoken), with_recordings)
        threading.Thread(target=self._score, args=arguments, name="scores", daemon=True).start()

    def take(self, seconds: float = 0.0) -> Verdict | None:
        """Return what came of the job, or raise where it has not come yet.

        Args:
            seconds: How long to wait for it.

        Returns:
            None where the process has ended too often.

        Raises:
            queue.Empty: It has not come.
        """
        return self._verdicts.get(timeout=seconds) if seconds else self._verdicts.get_nowait()

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
                verdict = connection.recv()
            except (EOFError, OSError):
                self._bury()
            else:
                self._verdicts.put(verdict)
                return
        self._verdicts.put(None)

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

    def _bury(self) -> None:
        with self._lock:
            if self._is_closed:
                return
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._process.join()
            self._lives -= 1
            end = describe_end(self._process.exitcode)
        if self.is_over:
            _LOGGER.warning(
                "The process that scores speech has ended again (%s): training goes on without "
                "scores, and keeps the best of those that have one.",
                end,
            )
        else:
            _LOGGER.warning("The process that scores speech has ended (%s); it starts anew.", end)


def serve_scores(
    connection: Connection, settings: PanelSettings, references: Sequence[Reference]
) -> None:
    """Score what comes through a connection, until it is closed."""
    end_with_parent()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    import torch

    torch.set_num_threads(max(1, min(MAX_THREADS, available_cores() // CORES_A_THREAD)))
    panel = Panel(settings, references)
    while True:
        try:
            spoken, with_recordings = connection.recv()
            recorded = panel.hear_recordings() if with_recordings else Opinion()
            connection.send(Verdict(panel.hear(spoken), recorded))
        except (EOFError, OSError):
            return


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
