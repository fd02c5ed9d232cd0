"""Recordings and texts of a dataset as an aligner learns on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

import pytest

from piper.config import PhonemeType
from piper.errors import DatasetError
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.progress import ProgressLine
from piper.text.frontend import Frontend
from piper.train.aligner import fitting
from piper.train.aligner.aligner import Groups, load_aligner, phonemes_to_groups
from piper.train.aligner.fitting import TrainingExample, create_example_key
from piper.train.data.audio import FloatArray


@lru_cache(maxsize=1)
def russian_frontend() -> Frontend:
    """The frontend of the synthetic speech's language."""
    return Frontend(PhonemeType.ESPEAK, "ru", DEFAULT_PHONEME_ID_MAP)


def text_to_groups(text: str) -> Groups:
    """Return the units of a Russian text."""
    sentences = russian_frontend().text_to_phonemes(text)
    return phonemes_to_groups([phoneme for sentence in sentences for phoneme in sentence])


def read_rows(dataset: Path) -> list[tuple[Path, str]]:
    """Return recordings and texts of a dataset."""
    rows = []
    for line in (dataset / "metadata.csv").read_text(encoding="utf-8").splitlines():
        name, text = line.split("|")
        rows.append((dataset / "wavs" / name, text))
    return rows


def create_examples(dataset: Path) -> list[TrainingExample]:
    """Return an example for each of a dataset's recordings."""
    examples = []
    for path, text in read_rows(dataset):
        groups = text_to_groups(text)
        examples.append(TrainingExample(create_example_key(path, groups), path, groups))
    return examples


@contextmanager
def hasty_aligner(num_batches: int) -> Iterator[None]:
    """Let an aligner learn in few batches, where it need not be good: a user's has 100 and more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "MIN_BATCHES", num_batches)
        patch.setattr(fitting, "MIN_PASSES", 1)
        patch.setattr(fitting, "MAX_PASSES", 1)
        yield


@contextmanager
def stop_at(done: int) -> Iterator[None]:
    """Interrupt what shows its progress when so much of it is done."""

    def show(_self: ProgressLine, count: int) -> None:
        if count >= done:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProgressLine, "show", show)
        yield


class Recogniser:
    """One that really listens: it lays each of the texts that it knows over what it hears."""

    def __init__(self, aligner_path: Path, texts: Sequence[str]) -> None:
        self._aligner = load_aligner(aligner_path)
        self._groups = {text: text_to_groups(text) for text in texts}

    def recognise(self, samples: FloatArray, sample_rate: int) -> str:
        assert sample_rate == 16000
        frames = self._aligner.score_frames(samples)
        scores = {}
        for text, groups in self._groups.items():
            with suppress(DatasetError):
                scores[text] = self._aligner.align(frames, groups).score
        return max(scores, key=scores.__getitem__).lower() if scores else ""
