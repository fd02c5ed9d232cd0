"""A recogniser learns on real synthetic speech: it hears what it never heard before."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from make_test_dataset import record, synthesize_speech
from training_examples import read_rows, text_to_groups

from piper.errors import DatasetError
from piper.train.aligner import features as module
from piper.train.aligner.features import SAMPLE_RATE, load_samples
from piper.train.aligner.fitting import TrainingExample
from piper.train.aligner.recogniser import (
    PhonemeRecogniser,
    find_phoneme_errors,
    load_phoneme_recogniser,
)
from piper.train.data.audio import FloatArray


def list_units(example: TrainingExample) -> list[str]:
    return [unit for group in example.groups for unit in group]


def test_its_own_errors_are_counted_on_what_it_did_not_learn(
    recogniser: PhonemeRecogniser, examples: list[TrainingExample], held_out: list[TrainingExample]
) -> None:
    assert recogniser.floor is not None
    assert recogniser.floor.count == sum(len(list_units(example)) for example in held_out)
    assert recogniser.floor.rate < 0.5
    for example in examples:
        is_learnt = example not in held_out
        assert (example.path.stem in recogniser.seen) == is_learnt
        assert (example.key in recogniser.seen) == is_learnt


def test_swapped_texts_raise_the_error(
    recogniser: PhonemeRecogniser, held_out: list[TrainingExample]
) -> None:
    heard = [recogniser.recognise(load_samples(example.path)) for example in held_out]
    for place, example in enumerate(held_out):
        own = find_phoneme_errors(list_units(example), heard[place]).rate
        other = find_phoneme_errors(list_units(example), heard[place - 1]).rate
        assert own < 0.6
        assert other > 0.7
        assert other > own + 0.25


def test_another_voice_is_heard_worse(
    recogniser: PhonemeRecogniser, spoken_dataset: Path, examples: list[TrainingExample]
) -> None:
    """A whispering child's throat: what a voice that is not that of the recordings is judged by."""
    some = examples[3:9]
    texts = dict(read_rows(spoken_dataset))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        job = executor.submit(
            synthesize_speech, [texts[one.path] for one in some], ["ru+f4"] * 6, [160] * 6
        )
        spoken, rate = job.result()
    own = others = 0.0
    for example, samples in zip(some, spoken, strict=True):
        units = list_units(example)
        other = record(samples, rate, SAMPLE_RATE, seed=1)
        own += find_phoneme_errors(units, recogniser.recognise(load_samples(example.path))).rate
        others += find_phoneme_errors(units, recogniser.recognise(other)).rate
    assert others > own + 6 * 0.1


@pytest.mark.parametrize("count", [0, 1, 319, 320, 16000])
def test_silence_has_no_phonemes(recogniser: PhonemeRecogniser, count: int) -> None:
    heard = recogniser.recognise(np.zeros(count, dtype=np.float32))
    assert heard == ()


def test_long_speech_is_heard_as_its_parts_are(
    recogniser: PhonemeRecogniser, held_out: list[TrainingExample], monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = np.concatenate([load_samples(example.path) for example in held_out[:4]])
    whole = recogniser.recognise(samples)
    monkeypatch.setattr(module, "STRETCH_SECONDS", 3.0)
    parts = recogniser.recognise(samples)
    assert find_phoneme_errors(whole, parts).rate < 0.1


def test_a_saved_recogniser_is_the_same_and_a_damaged_one_is_named(
    recogniser: PhonemeRecogniser, held_out: list[TrainingExample], tmp_path: Path
) -> None:
    path = tmp_path / "recogniser.pt"
    recogniser.save(path)
    copy = load_phoneme_recogniser(path)
    samples = load_samples(held_out[0].path)
    assert_same(
        copy.compute_log_probabilities(samples), recogniser.compute_log_probabilities(samples)
    )
    assert copy.recognise(samples) == recogniser.recognise(samples)
    assert (copy.floor, copy.seen, copy.details) == (
        recogniser.floor,
        recogniser.seen,
        recogniser.details,
    )
    data = path.read_bytes()
    (tmp_path / "cut.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(DatasetError, match=r"cut\.pt is no phoneme recogniser"):
        load_phoneme_recogniser(tmp_path / "cut.pt")
    copy.aligner.save(tmp_path / "aligner.pt")
    with pytest.raises(DatasetError, match=r"aligner\.pt is no phoneme recogniser"):
        load_phoneme_recogniser(tmp_path / "aligner.pt")
    with pytest.raises(DatasetError, match=r"gone\.pt does not exist"):
        load_phoneme_recogniser(tmp_path / "gone.pt")


def assert_same(left: FloatArray, right: FloatArray) -> None:
    np.testing.assert_array_equal(left, right)


def test_it_knows_the_units_of_texts(recogniser: PhonemeRecogniser) -> None:
    units = {unit for group in text_to_groups("Дети бежали к реке.") for unit in group}
    assert units <= set(recogniser.inventory)
    assert recogniser.inventory == recogniser.aligner.inventory
