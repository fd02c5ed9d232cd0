"""`whole_ends`: room for the first and the last sound of a sentence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from piper.config import SynthesisConfig
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.text.frontend import Sentence
from piper.voice.synthesizer import needs_room, widen_ends
from piper.voice.voice import PiperVoice

QUIET = SynthesisConfig(noise_scale=0, noise_w_scale=0, normalize="off", whole_ends=False)
WHOLE = replace(QUIET, whole_ends=True)
STOP = DEFAULT_PHONEME_ID_MAP["."][0]


@pytest.mark.parametrize(
    ("text", "is_closed"), [("six", True), ("six.", False), ("six?", False), ("six,", False)]
)
def test_a_run_up_and_a_full_stop(voice: PiperVoice, text: str, is_closed: bool) -> None:
    [before] = voice.synthesize(text, QUIET)
    [after] = voice.synthesize(text, WHOLE, include_alignments=True)
    ids = [*before.phoneme_ids[:-1], *([STOP, 0] if is_closed else []), 2]
    assert after.phoneme_ids == [1, 0, 0, *ids[1:]]
    assert after.phonemes == before.phonemes + ["."] * is_closed
    assert after.phoneme_alignments is not None
    assert [a.phoneme for a in after.phoneme_alignments] == ["^", *after.phonemes, "$"]
    assert [i for a in after.phoneme_alignments for i in a.phoneme_ids] == after.phoneme_ids
    assert len(after.audio_float_array) > len(before.audio_float_array)
    expected = voice.phoneme_ids_to_audio(after.phoneme_ids, QUIET)
    assert np.array_equal(after.audio_float_array, expected)
    assert after.word_timings is not None
    assert [word.text for word in after.word_timings] == ["six"]


def test_by_default_single_words_have_it(voice: PiperVoice) -> None:
    default = replace(QUIET, whole_ends=None)
    for text, config in (("six", WHOLE), ("7", WHOLE), ("Oh!", WHOLE), ("one, two", QUIET)):
        [found] = voice.synthesize(text, default)
        [expected] = voice.synthesize(text, config)
        assert found.phoneme_ids == expected.phoneme_ids, text
    assert needs_room(Sentence([], []), None)
    assert widen_ends(Sentence([], []), {}) == Sentence([], [])


def test_streamed_it_is_the_same(voice: PiperVoice) -> None:
    pieces = [piece.audio_float_array for piece in voice.synthesize_stream("six", WHOLE)]
    [whole] = voice.synthesize("six", WHOLE)
    assert np.concatenate(pieces) == pytest.approx(whole.audio_float_array, abs=1e-4)


def test_given_ids_are_spoken_as_they_are(voice: PiperVoice) -> None:
    ids = voice.phonemes_to_ids(["a"])
    whole = voice.phoneme_ids_to_audio(ids, WHOLE)
    assert np.array_equal(whole, voice.phoneme_ids_to_audio(ids, QUIET))


def test_what_the_id_map_lacks_is_not_added() -> None:
    ids = {"^": [1], "_": [0], "$": [2], "a": [9]}
    sentence = Sentence(["a"], [1, 0, 9, 0, 2])
    assert widen_ends(sentence, ids).ids == [1, 0, 0, 0, 9, 0, 2]
    assert widen_ends(sentence, ids).phonemes == ["a"]
    assert widen_ends(sentence, {**ids, "^": [3]}) == sentence
    assert widen_ends(sentence, {"a": [9]}) == sentence
