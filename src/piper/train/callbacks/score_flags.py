"""What `--model.scores` and `--model.phoneme_recogniser` ask for, checked before training begins.

Knows flags and where judges are had; scores nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from piper.errors import ConfigError, DatasetError
from piper.train.callbacks.panel import ERRORS, OPINION, SIMILARITY, score_title
from piper.train.evaluate.results import SCORES
from piper.train.judges.folder import (
    DISTILLMOS,
    RESEMBLYZER,
    explain_missing_judge,
    is_judge_here,
)
from piper.train.judges.opinion import AUTO, OFF, find_quality_predictor

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
    from piper.train.phoneme_recogniser.recogniser import load_phoneme_recogniser

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
