"""Names of scores to what gives them, and what of it is missing."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from piper.errors import ConfigError, DatasetError, PiperError, name_some
from piper.text.frontend import Frontend, create_frontend
from piper.train.aligner.aligner import Groups, phonemes_to_groups
from piper.train.aligner.fitting import TrainingExample, create_example_key
from piper.train.aligner.recogniser import (
    PhonemeRecogniser,
    fit_recogniser,
    load_phoneme_recogniser,
)
from piper.train.data.dataset_config import create_voice_config
from piper.train.data.metadata import Row
from piper.train.data.settings import DataSettings
from piper.train.evaluate.measuring import LEVEL, Metrics
from piper.train.evaluate.results import SCORES, Group, Sentence
from piper.train.evaluate.systems import ALL, SPLIT, Source, load_names, load_rows, split_rows
from piper.train.judges import (
    DISTILLMOS,
    OFF,
    RESEMBLYZER,
    QualityPredictor,
    explain_missing_judge,
    find_quality_predictor,
    load_speaker_encoder,
)
from piper.train.recognisers import load_recogniser

_LOGGER = logging.getLogger(__name__)

NO_PHONEMES = (
    "There is no phoneme recogniser, so there is no phoneme error, no word is missed and nothing "
    "is said of durations; fit one with --fit-recogniser DIR on recordings of the same language."
)


@dataclass(frozen=True)
class Request:
    """What is to be evaluated, and by what.

    Attributes:
        sources: The systems, the first of which the others are compared with.
        settings: Of the dataset; None with texts.
        texts: A file of sentences, where there is no dataset.
        held_out: Which of the dataset's lines, as `split_rows` takes it.
        num_words: Single words; 0 leaves out words and letters.
        num_readings: How often voices say each sentence.
        seed: Of their noise the first time; the next is 1 more.
        scores: Names of scores or of groups; None wants all.
        predictors: The user's own predictors of opinion, by name or as MODULE:FUNCTION.
        phonemes: A phoneme recogniser's file; None where there is none.
        words: A speech recogniser as `train/recognisers` names them.
        language: Of the words.
    """

    sources: Sequence[Source]
    folder: Path
    settings: DataSettings | None
    texts: Path | None
    held_out: str
    num_sentences: int
    num_words: int
    num_readings: int
    seed: int
    scores: Collection[str] | None
    predictors: Sequence[str]
    phonemes: Path | None
    words: str | None
    language: str


def parse_scores(text: str | None, predictors: Sequence[str]) -> frozenset[str] | None:
    """Return the scores that a flag names, those of a named group among them."""
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


def load_metrics(request: Request) -> tuple[Metrics, list[str]]:
    """Return those that are there, and a sentence for each that is missing."""
    wanted = request.scores
    missing = []
    predictors: dict[str, QualityPredictor] = {}
    if wanted is None or "distillmos" in wanted:
        predictor = find_quality_predictor("auto")
        if predictor is None:
            missing.append(explain_missing_judge(DISTILLMOS))
        else:
            predictors["distillmos"] = predictor
    for name in request.predictors:
        plugged_in = find_quality_predictor(name) if name != OFF else None
        if plugged_in is not None:
            predictors[name] = plugged_in
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
    return Metrics(predictors, encoder, phonemes, words, wanted), missing


RECOGNISER_NAME = "phoneme_recogniser.pt"
"""In a dataset's cache."""


def text_to_groups(frontend: Frontend, text: str) -> Groups:
    """Return the units of a text, none where it cannot be turned into phonemes."""
    try:
        sentences = frontend.text_to_phonemes(text)
    except PiperError:
        return ()
    # A space between two sentences, so that their words do not grow together.
    return phonemes_to_groups([sign for sentence in sentences for sign in [*sentence, " "]])


def fit_for_dataset(settings: DataSettings, held_out: str, path: Path) -> PhonemeRecogniser:
    """Return a recogniser of a dataset's recordings: the kept one where nothing has changed.

    Args:
        held_out: What it must not learn on, as `split_rows` takes it. A file may name recordings
            that the dataset lacks; its own error is then that of the recordings that training
            holds out.
    """
    rows = load_rows(settings)
    training, tested = _divide(rows, held_out, settings)
    frontend = create_frontend(create_voice_config(settings, rows))
    examples, tests = (
        [_create_example(row, frontend) for row in some] for some in (training, tested)
    )
    examples = [example for example in examples if example.groups]
    if path.is_file():
        try:
            kept = load_phoneme_recogniser(path)
        except DatasetError:
            _LOGGER.warning("%s is of an earlier version; the recogniser is made anew.", path)
        else:
            # Those that it could not use are not among the learnt ones.
            keys = {example.key for example in examples}
            known = {key for key in kept.seen if key in keys}
            if len(known) >= 0.98 * len(keys) and not kept.seen & {test.key for test in tests}:
                return kept
    path.parent.mkdir(parents=True, exist_ok=True)
    state_path = path.with_name(f"{path.name}.part")
    recogniser = fit_recogniser(examples, [test for test in tests if test.groups], state_path)
    recogniser.save(path)
    state_path.unlink(missing_ok=True)
    return recogniser


def _divide(
    rows: Sequence[Row], held_out: str, settings: DataSettings
) -> tuple[list[Row], list[Row]]:
    if held_out in (ALL, SPLIT):
        return split_rows(rows, SPLIT, settings)
    names = set(load_names(Path(held_out)))
    there = [row for row in rows if {row.audio_path.name, row.audio_path.stem} & names]
    others = [row for row in rows if row not in there]
    return (others, there) if there else split_rows(others, SPLIT, settings)


def _create_example(row: Row, frontend: Frontend) -> TrainingExample:
    groups = text_to_groups(frontend, row.text)
    return TrainingExample(create_example_key(row.audio_path, groups), row.audio_path, groups)


def find_digest(recogniser: PhonemeRecogniser) -> str:
    """Return what tells a recogniser from others."""
    digest = hashlib.blake2b(digest_size=8)
    for value in recogniser.network.state_dict().values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def check_unlearnt(
    recogniser: PhonemeRecogniser, sentences: Sequence[Sentence], groups: Sequence[Groups]
) -> str | None:
    """Return a warning where recordings have names of those that the recogniser learnt on."""
    known = [
        sentence.name
        for sentence, some in zip(sentences, groups, strict=True)
        if sentence.recording is not None
        and create_example_key(sentence.recording, some) in recogniser.seen
    ]
    if known:
        raise ConfigError(
            f"The phoneme recogniser was trained on {len(known)} of these sentences "
            f"({name_some(known, 3)}), so its error would say nothing; fit another one with "
            "--fit-recogniser and the same --held-out."
        )
    names = [one.name for one in sentences if one.recording and one.name in recogniser.seen]
    if not names:
        return None
    return (
        f"{len(names)} sentences are named like recordings that the phoneme recogniser was trained "
        f"on ({name_some(names, 3)}); if they are the same, its error says nothing."
    )
