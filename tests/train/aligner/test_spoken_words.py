"""Which words were said: what is cut or doubled in real synthetic speech is found, nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from training_examples import text_to_groups

from piper.train.aligner.features import load_samples
from piper.train.aligner.fitting import TrainingExample
from piper.train.aligner.recogniser import PhonemeRecogniser
from piper.train.aligner.words import SpokenWords, find_spoken_words
from piper.train.data.audio import FloatArray

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from phoneme_recogniser import cut, double


@pytest.fixture(scope="module")
def example(examples: list[TrainingExample]) -> TrainingExample:
    """`Река медленно несла жёлтые листья к морю.`"""
    return next(one for one in examples if one.groups == text_to_groups(SENTENCE))


SENTENCE = "Река медленно несла жёлтые листья к морю."


@pytest.fixture(scope="module")
def samples(example: TrainingExample) -> FloatArray:
    return load_samples(example.path)


@pytest.fixture(scope="module")
def whole(
    recogniser: PhonemeRecogniser, example: TrainingExample, samples: FloatArray
) -> SpokenWords:
    return find_spoken_words(example.groups, samples, recogniser)


def test_nothing_is_wrong_with_what_was_left_alone(
    recogniser: PhonemeRecogniser, examples: list[TrainingExample]
) -> None:
    for example in examples[12:18]:
        words = find_spoken_words(example.groups, load_samples(example.path), recogniser)
        assert (words.skipped, words.repeated) == ((), ())


def test_every_unit_has_its_place(
    recogniser: PhonemeRecogniser, example: TrainingExample, whole: SpokenWords
) -> None:
    spelt = [recogniser.inventory[unit.unit] for unit in whole.units]
    assert spelt == [unit for group in example.groups for unit in group]
    for number, span in enumerate(whole.groups):
        assert span is not None
        own = [unit for unit in whole.units if unit.group == number]
        assert own[0].start_seconds == span.start_seconds
        assert own[-1].end_seconds == span.end_seconds


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_word_that_was_cut_out_is_skipped_and_no_other(
    recogniser: PhonemeRecogniser,
    example: TrainingExample,
    samples: FloatArray,
    whole: SpokenWords,
    number: int,
) -> None:
    span = whole.groups[number]
    assert span is not None
    spoilt = cut(samples, span.start_seconds, span.end_seconds)
    words = find_spoken_words(example.groups, spoilt, recogniser)
    assert words.skipped == (number,)
    assert words.repeated == ()
    assert words.groups[number] is None
    assert number not in {unit.group for unit in words.units}


@pytest.mark.parametrize("number", [0, 2, 4])
def test_a_word_that_was_said_twice_is_repeated(
    recogniser: PhonemeRecogniser,
    example: TrainingExample,
    samples: FloatArray,
    whole: SpokenWords,
    number: int,
) -> None:
    span = whole.groups[number]
    assert span is not None
    spoilt = double(samples, span.start_seconds, span.end_seconds)
    words = find_spoken_words(example.groups, spoilt, recogniser)
    assert words.skipped == ()
    assert [(one.first, one.last) for one in words.repeated] == [(number, number)]
    assert words.repeated[0].start_seconds == pytest.approx(span.start_seconds, abs=0.1)
    assert words.repeated[0].end_seconds == pytest.approx(span.end_seconds, abs=0.1)


def test_two_words_that_were_said_twice_are_one_repetition(
    recogniser: PhonemeRecogniser, example: TrainingExample, samples: FloatArray, whole: SpokenWords
) -> None:
    first, last = whole.groups[1], whole.groups[2]
    assert first is not None
    assert last is not None
    spoilt = double(samples, first.start_seconds, last.end_seconds)
    words = find_spoken_words(example.groups, spoilt, recogniser)
    assert [(one.first, one.last) for one in words.repeated] == [(1, 2)]


def test_the_last_sounds_are_missed(
    recogniser: PhonemeRecogniser, example: TrainingExample, samples: FloatArray, whole: SpokenWords
) -> None:
    spoilt = samples[: round(whole.units[-1].start_seconds * 16000)]
    words = find_spoken_words(example.groups, spoilt, recogniser)
    assert words.skipped == ()
    assert words.has_first
    assert not words.has_last


def test_the_first_sound_is_missed(
    recogniser: PhonemeRecogniser, example: TrainingExample, samples: FloatArray, whole: SpokenWords
) -> None:
    spoilt = samples[round(whole.units[0].end_seconds * 16000) :]
    words = find_spoken_words(example.groups, spoilt, recogniser)
    assert words.skipped == ()
    assert not words.has_first
    assert words.has_last


def test_silence_says_no_word(recogniser: PhonemeRecogniser, example: TrainingExample) -> None:
    words = find_spoken_words(example.groups, np.zeros(16000, dtype=np.float32), recogniser)
    assert words.skipped == tuple(range(len(example.groups)))
    assert not words.has_first
    assert not words.has_last
    assert words.units == ()


@pytest.mark.parametrize("count", [0, 400, 3200])
def test_too_little_sound_for_a_text_is_no_error(
    recogniser: PhonemeRecogniser, example: TrainingExample, samples: FloatArray, count: int
) -> None:
    words = find_spoken_words(example.groups, samples[8000 : 8000 + count], recogniser)
    assert len(words.skipped) >= len(example.groups) - 2


def test_a_text_without_units_has_nothing_to_say(
    recogniser: PhonemeRecogniser, samples: FloatArray
) -> None:
    words = find_spoken_words((), samples, recogniser)
    assert words == SpokenWords((), (), False, False, (), ())
    unknown = find_spoken_words((("ʘ",),), samples, recogniser)
    assert unknown == SpokenWords((), (), False, False, (None,), ())
