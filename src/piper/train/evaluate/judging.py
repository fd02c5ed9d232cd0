"""Which judges hear, and which are missing: names to what measures. Hears nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from piper.errors import ConfigError
from piper.train.evaluate.measuring import LEVEL, Judges
from piper.train.evaluate.results import SCORES, Group
from piper.train.judges.folder import DISTILLMOS, RESEMBLYZER, explain_missing_judge
from piper.train.judges.opinion import OFF, QualityPredictor, find_quality_predictor
from piper.train.judges.speaker import load_speaker_encoder
from piper.train.phoneme_recogniser.recogniser import load_phoneme_recogniser
from piper.train.recognisers import load_recogniser

NO_PHONEMES = (
    "There is no phoneme recogniser, so there is no phoneme error, no word is missed and nothing "
    "is said of durations; fit one with --fit-recogniser DIR on recordings of the same language."
)


@dataclass(frozen=True)
class JudgeRequest:
    """Who is wanted.

    Attributes:
        scores: Names of scores or of groups; None wants all.
        predictors: The user's own predictors of opinion, by name or as MODULE:FUNCTION.
        phonemes: A phoneme recogniser's file; None where there is none.
        words: A speech recogniser as `train/recognisers` names them.
        language: espeak-ng's voice of the texts.
    """

    scores: Collection[str] | None = None
    predictors: Sequence[str] = field(default_factory=tuple)
    phonemes: Path | None = None
    words: str | None = None
    language: str = ""


def parse_scores(text: str | None, predictors: Sequence[str]) -> frozenset[str] | None:
    """Return the scores that a flag names, those of a named group among them.

    Raises:
        ConfigError: There is no such score.
    """
    if text is None:
        return None
    groups = {group.value: {s.name for s in SCORES.values() if s.group is group} for group in Group}
    wanted: set[str] = set()
    for name in (part.strip() for part in text.split(",")):
        if name in groups:
            wanted |= groups[name] | (set(predictors) if name == Group.QUALITY.value else set())
        elif name in SCORES or name in predictors:
            wanted.add(name)
        else:
            known = ", ".join([*groups, *SCORES, *predictors])
            raise ConfigError(f'--scores: there is no score "{name}"; there are {known}.')
    # The level is what the spread comes from.
    return frozenset(wanted | ({LEVEL} if "loudness_spread" in wanted else set()))


def load_judges(request: JudgeRequest) -> tuple[Judges, list[str]]:
    """Return those that are there, and a sentence for each that is missing.

    Raises:
        ConfigError: A plug-in that was asked for cannot be used.
        DatasetError: The phoneme recogniser's file cannot be used.
    """
    wanted = request.scores
    missing = []
    opinions: dict[str, QualityPredictor] = {}
    if wanted is None or "distillmos" in wanted:
        predictor = find_quality_predictor("auto")
        if predictor is None:
            missing.append(explain_missing_judge(DISTILLMOS))
        else:
            opinions["distillmos"] = predictor
    for name in request.predictors:
        plugged_in = find_quality_predictor(name) if name != OFF else None
        if plugged_in is not None:
            opinions[name] = plugged_in
    encoder = None
    if wanted is None or "similarity" in wanted:
        encoder = load_speaker_encoder()
        if encoder is None:
            missing.append(explain_missing_judge(RESEMBLYZER))
    phonemes = None
    if request.phonemes is not None:
        phonemes = load_phoneme_recogniser(request.phonemes)
    elif wanted is None or "per" in wanted:
        missing.append(NO_PHONEMES)
    words = load_recogniser(request.words, request.language) if request.words else None
    return Judges(opinions, encoder, phonemes, words, wanted), missing
