"""What an evaluation found, as data: scores, sentences, systems, comparisons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from piper.files import digest_file

NOTHING = "–"
"""Stands for a figure that could not be had."""


class Group(Enum):
    """What a score is about; the order is that of tables."""

    QUALITY = "quality"
    INTELLIGIBILITY = "intelligibility"
    LIKENESS = "likeness"
    TROUBLE = "trouble"
    COST = "cost"


class Kind(Enum):
    """What is spoken: figures are those of sentences; words and letters stand apart."""

    SENTENCE = "sentence"
    WORD = "word"
    LETTER = "letter"


@dataclass(frozen=True)
class Score:
    """A figure that speech gets.

    Attributes:
        name: In report.json and `--require`.
        unit: Of the figure; empty for a share or a score without one.
        is_lower_better: None where neither end is better.
        digits: After the point, where it is shown.
    """

    name: str
    title: str
    unit: str
    group: Group
    is_lower_better: bool | None
    digits: int = 2

    @property
    def name_with_unit(self) -> str:
        """Its title with its unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    def format(self, value: float, sign: str = "") -> str:
        """Return a value with its digits; `sign` is `+` where positive ones get a sign, too."""
        # What is rounded to zero has no sign.
        text = f"{value:{sign}z,.{self.digits}f}" if math.isfinite(value) else NOTHING
        return text.replace("-", "−")

    def format_interval(self, low: float | None, high: float | None, sign: str = "") -> str:
        """Return `3.51 to 3.70`; empty where there is no interval."""
        if low is None or high is None:
            return ""
        return f"{self.format(low, sign)} to {self.format(high, sign)}"


_ALL = (
    Score("distillmos", "DistillMOS", "", Group.QUALITY, False),
    Score("per", "phoneme error rate", "", Group.INTELLIGIBILITY, True, 3),
    Score("wer", "word error rate", "", Group.INTELLIGIBILITY, True, 3),
    Score("cer", "character error rate", "", Group.INTELLIGIBILITY, True, 3),
    Score("similarity", "speaker similarity", "", Group.LIKENESS, False, 3),
    Score("mel_cepstral_distance", "mel-cepstral distance", "dB", Group.LIKENESS, True),
    Score("pitch_error", "pitch error", "semitones", Group.LIKENESS, True),
    Score("pitch_contour_error", "pitch contour error", "semitones", Group.LIKENESS, True),
    Score("pitch_spread", "pitch spread", "semitones", Group.LIKENESS, None),
    Score("voicing_error", "voicing error", "", Group.LIKENESS, True, 3),
    Score("duration_error", "phoneme duration error", "ms", Group.LIKENESS, True, 1),
    Score("pause_error", "pause error", "ms", Group.LIKENESS, True, 0),
    Score("speaking_rate", "speaking rate", "phonemes/s", Group.LIKENESS, None),
    Score("clipped_share", "clipped samples", "%", Group.TROUBLE, True, 3),
    Score("clicks", "clicks", "", Group.TROUBLE, True),
    Score("dc_offset", "DC offset", "% of full scale", Group.TROUBLE, True, 3),
    Score("silent_speech", "silence inside words", "s", Group.TROUBLE, True, 3),
    Score("skipped_words", "skipped words", "", Group.TROUBLE, True),
    Score("repeated_words", "repeated words", "", Group.TROUBLE, True),
    Score("lost_ends", "first or last phoneme missing", "", Group.TROUBLE, True),
    Score("loudness_spread", "loudness spread", "dB", Group.TROUBLE, True),
    Score("real_time_factor", "real-time factor", "", Group.COST, True, 3),
    Score("first_audio_seconds", "time to first audio", "s", Group.COST, True, 3),
    Score("size_megabytes", "size", "MB", Group.COST, True, 1),
    Score("memory_megabytes", "memory", "MB", Group.COST, True, 0),
)
SCORES: Mapping[str, Score] = {score.name: score for score in _ALL}
"""All scores by name, in the order of tables. Predictors that a user plugs in come beside them."""


def list_scores(names: Iterable[str]) -> list[Score]:
    """Return scores in the order of tables; others are a user's opinions, higher is better."""
    wanted = set(names)
    known = [score for score in _ALL if score.name in wanted]
    others = sorted(wanted - SCORES.keys())
    return known + [Score(name, name, "", Group.QUALITY, False) for name in others]


@dataclass(frozen=True)
class Trouble:
    """Something wrong at a place of a sentence.

    Attributes:
        name: Of the score that counts it, such as `clicks`.
    """

    name: str
    message: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Sentence:
    """Something to say.

    Attributes:
        name: Of its recording, or `sentence_0001` and so on.
        recording: The file, None where there is none.
        speaker: The speaker's name, None in voices of one.
    """

    name: str
    text: str
    kind: Kind = Kind.SENTENCE
    recording: Path | None = None
    speaker: str | None = None


@dataclass
class SpokenSentence:
    """How a system said a sentence.

    Attributes:
        audio: The file, as it was spoken; of recordings theirs.
        values: Scores by name; those that could not be had are not in it.
        heard: Phonemes that the recogniser heard, empty without one.
        recognised: Words that a speech recogniser heard, empty without one.
        wanted: Phonemes of the text, as the recogniser writes them.
        sizes: What error rates are weighted by: `phonemes`, `words`, `letters` of the text.
    """

    sentence: Sentence
    audio: Path
    seconds: float
    values: dict[str, float] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)
    heard: str = ""
    recognised: str = ""
    wanted: str = ""
    sizes: dict[str, int] = field(default_factory=dict)

    def measured(self) -> dict[str, Any]:
        """Return what was measured, with JSON's kinds of values."""
        data = asdict(self)
        return {name: data[name] for name in _MEASURED}


_MEASURED = ("values", "troubles", "wanted", "heard", "recognised", "sizes")


@dataclass(frozen=True)
class Figure:
    """A score of all sentences together.

    Attributes:
        low: Lower end of its 95 % interval; None where there is none (size, memory).
    """

    value: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True)
class System:
    """A voice, a checkpoint, or the recordings themselves, and what became of its sentences.

    Attributes:
        label: Short and unique in the evaluation.
        source: The file, as it was given; None for the recordings.
        details: What is known of it: quality, sample rate, updates, …
    """

    label: str
    source: Path | None
    spoken: tuple[SpokenSentence, ...]
    figures: Mapping[str, Figure]
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Two systems by the differences of the same sentences.

    Attributes:
        difference: Mean of second minus first.
        low: Lower end of its 95 % interval; None where there are too few sentences for one.
        better: Label of the better one; None where the interval holds zero.
    """

    first: str
    second: str
    score: str
    difference: float
    low: float | None
    high: float | None
    better: str | None
    count: int


@dataclass(frozen=True)
class Evaluation:
    """All that was found.

    Attributes:
        dataset: Where the sentences come from: a folder, or a file of texts.
        recordings: The ceiling, None where there are no recordings.
        comparisons: Each system after the first beside the first, by score.
        scores: Those that anything has, in the order of tables; plugged in ones last.
        missing: What could not be measured, and how to get it, a sentence each.
        facts: How it was done: versions, seed, recogniser's own error, …
    """

    dataset: Path
    recordings: System | None
    systems: tuple[System, ...]
    comparisons: tuple[Comparison, ...]
    scores: tuple[Score, ...]
    missing: tuple[str, ...]
    facts: Mapping[str, str]

    def to_dict(self, folder: Path | None = None) -> dict[str, Any]:
        """Return what report.json holds; files in its folder are named from there."""
        return {
            "dataset": str(self.dataset),
            "facts": dict(self.facts),
            "missing": list(self.missing),
            "scores": {
                score.name: {
                    "title": score.title,
                    "unit": score.unit,
                    "group": score.group.value,
                    "is_lower_better": score.is_lower_better,
                }
                for score in self.scores
            },
            "systems": [_system_to_dict(system, folder) for system in self.all_systems],
            "comparisons": [vars(comparison) for comparison in self.comparisons],
        }

    @property
    def all_systems(self) -> list[System]:
        """The recordings, where there are some, and the systems."""
        recordings = [self.recordings] if self.recordings is not None else []
        return [*recordings, *self.systems]


def _system_to_dict(system: System, folder: Path | None) -> dict[str, Any]:
    real = (folder or Path()).resolve()
    return {
        "label": system.label,
        "source": None if system.source is None else str(system.source),
        "details": system.details,
        "figures": {name: vars(figure) for name, figure in system.figures.items()},
        "sentences": [
            {
                "name": spoken.sentence.name,
                "text": spoken.sentence.text,
                "kind": spoken.sentence.kind.value,
                "speaker": spoken.sentence.speaker,
                "audio": _name_from(spoken.audio.resolve(), real),
                "sha256": digest_file(spoken.audio),
                "seconds": round(spoken.seconds, 4),
                **spoken.measured(),
            }
            for spoken in system.spoken
        ],
    }


def _name_from(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
