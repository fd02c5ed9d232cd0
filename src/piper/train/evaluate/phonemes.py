"""The phonemes of sentences, and the recogniser that hears them: made, kept. Judges nothing."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from piper.errors import ConfigError, DatasetError, PiperError
from piper.text.frontend import Frontend, create_frontend
from piper.train.aligner.fitting import Lesson, create_lesson_key
from piper.train.aligner.units import Groups, phonemes_to_groups
from piper.train.data.dataset_config import create_voice_config
from piper.train.data.metadata import Row
from piper.train.data.settings import DataSettings
from piper.train.evaluate.results import Sentence
from piper.train.evaluate.sentences import ALL, SPLIT, load_names, load_rows, split_rows
from piper.train.phoneme_recogniser.fitting import fit_recogniser
from piper.train.phoneme_recogniser.recogniser import PhonemeRecogniser, load_phoneme_recogniser

_LOGGER = logging.getLogger(__name__)
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
        settings: Of the dataset.
        held_out: What it must not learn on, as `split_rows` takes it. A file may name recordings
            that the dataset lacks; its own error is then that of the recordings that training
            holds out.
        path: Where it is kept.

    Raises:
        DatasetError: The dataset cannot be used.
    """
    rows = load_rows(settings)
    learnt, tested = _divide(rows, held_out, settings)
    frontend = create_frontend(create_voice_config(settings, rows))
    lessons, tests = ([_create_lesson(row, frontend) for row in some] for some in (learnt, tested))
    lessons = [lesson for lesson in lessons if lesson.groups]
    if path.is_file():
        try:
            kept = load_phoneme_recogniser(path)
        except DatasetError:
            _LOGGER.warning("%s is of an earlier version; the recogniser is made anew.", path)
        else:
            # Those that it could not use are not among the learnt ones.
            keys = {lesson.key for lesson in lessons}
            known = {key for key in kept.learnt if key in keys}
            if len(known) >= 0.98 * len(keys) and not kept.learnt & {test.key for test in tests}:
                return kept
    path.parent.mkdir(parents=True, exist_ok=True)
    state_path = path.with_name(f"{path.name}.part")
    recogniser = fit_recogniser(lessons, [test for test in tests if test.groups], state_path)
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


def _create_lesson(row: Row, frontend: Frontend) -> Lesson:
    groups = text_to_groups(frontend, row.text)
    return Lesson(create_lesson_key(row.audio_path, groups), row.audio_path, groups)


def find_digest(recogniser: PhonemeRecogniser) -> str:
    """Return what tells a recogniser from others."""
    digest = hashlib.blake2b(digest_size=8)
    for value in recogniser.network.state_dict().values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def check_unlearnt(
    recogniser: PhonemeRecogniser, sentences: Sequence[Sentence], groups: Sequence[Groups]
) -> str | None:
    """Return a warning where recordings have names of those that the recogniser learnt on.

    Raises:
        ConfigError: It learnt on some of them: it would judge what it knows.
    """
    known = [
        sentence.name
        for sentence, some in zip(sentences, groups, strict=True)
        if sentence.recording is not None
        and create_lesson_key(sentence.recording, some) in recogniser.learnt
    ]
    if known:
        raise ConfigError(
            f"The phoneme recogniser learnt on {len(known)} of these sentences "
            f"({', '.join(known[:3])}), so its error would say nothing; fit another one with "
            "--fit-recogniser and the same --held-out."
        )
    names = [one.name for one in sentences if one.recording and one.name in recogniser.learnt]
    if not names:
        return None
    return (
        f"{len(names)} sentences are named like recordings that the phoneme recogniser learnt on "
        f"({', '.join(names[:3])}); if they are the same, its error says nothing."
    )
