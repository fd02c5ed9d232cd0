"""Scores spoken test sentences by judges: opinion, phoneme errors, likeness to the speaker.

Knows samples, recordings and judges; nothing of a training, its steps or its files.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from piper.errors import PiperError
from piper.train.judges.opinion import AUTO, find_quality_predictor

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
        from piper.train.phoneme_recogniser.recogniser import load_phoneme_recogniser

        super().__init__(references)
        assert settings.recogniser_path is not None
        self._recogniser = load_phoneme_recogniser(settings.recogniser_path)
        self._rate = settings.sample_rate

    def score(self, spoken: Sequence[FloatArray]) -> float:
        """Return the phoneme error rate."""
        import soxr

        from piper.train.phoneme_recogniser.errors import add_phoneme_errors, find_phoneme_errors

        errors = []
        for reference, samples in zip(self.references, spoken, strict=True):
            if self._rate != RECOGNISER_RATE:
                samples = soxr.resample(samples, self._rate, RECOGNISER_RATE)
            # Where they lie, as `recognise` would say, takes as long again and is not asked.
            heard = self._recogniser.decode(self._recogniser.hear(samples))
            errors.append(find_phoneme_errors(reference.units, heard))
        return add_phoneme_errors(errors).rate


class SpeakerJudge(Judge):
    """How near sentences are to the recordings of their speakers."""

    def __init__(self, settings: PanelSettings, references: Sequence[Reference]) -> None:
        from piper.train.judges.speaker import create_reference, load_speaker_encoder

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
        from piper.train.judges.speaker import measure_similarity

        pairs = zip(self._embed(spoken), self._speakers, strict=True)
        return float(np.mean([measure_similarity(e, self._likes[s]) for e, s in pairs]))

    def score_recordings(self) -> float:
        """Return the mean similarity of recordings to the others of their speaker."""
        from piper.train.judges.speaker import compare_with_others

        several = [own for own in self._recorded.values() if len(own) > 1]
        if not several:
            return math.nan
        return float(np.mean(np.concatenate([compare_with_others(own) for own in several])))

    def _embed(self, spoken: Sequence[FloatArray]) -> FloatArray:
        return np.stack([self._encoder.embed(samples, self._rate) for samples in spoken])


def _describe(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:150] or type(error).__name__
