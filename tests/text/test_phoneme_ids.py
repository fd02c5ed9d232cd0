from __future__ import annotations

import logging
from collections import Counter

import pytest

import piper.const
from piper.errors import PhonemizeError
from piper.phoneme_ids import BOS, DEFAULT_PHONEME_ID_MAP, EOS, PAD, phonemes_to_ids


def test_id_rule() -> None:
    # BOS PAD (phoneme PAD)* EOS
    assert phonemes_to_ids(list("ab")) == [1, 0, 14, 0, 15, 0, 2]
    assert phonemes_to_ids([]) == [1, 0, 2]


def test_symbols_of_several_ids_are_written_whole() -> None:
    id_map = {BOS: [1, 9], PAD: [0, 8], EOS: [2, 7], "a": [5, 6]}
    assert phonemes_to_ids(["a"], id_map) == [1, 9, 0, 8, 5, 6, 0, 8, 2, 7]


def test_default_map_is_pipers() -> None:
    assert len(DEFAULT_PHONEME_ID_MAP) == 166
    assert sorted(ids[0] for ids in DEFAULT_PHONEME_ID_MAP.values()) == list(range(166))
    picked = {
        symbol: DEFAULT_PHONEME_ID_MAP[symbol] for symbol in ("_", "^", "$", " ", "ɡ", "ˈ", "g")
    }
    assert picked == {
        "_": [0],
        "^": [1],
        "$": [2],
        " ": [3],
        "ɡ": [66],
        "ˈ": [120],
        "g": [154],
    }
    assert DEFAULT_PHONEME_ID_MAP["\u0327"] == [140]
    assert DEFAULT_PHONEME_ID_MAP['"'] == [150]
    assert DEFAULT_PHONEME_ID_MAP["oʊ"] == [165]


def test_missing_phonemes_are_dropped_counted_and_warned_about_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    missing: Counter[str] = Counter()
    with caplog.at_level(logging.WARNING):
        assert phonemes_to_ids(list("a§§b"), missing=missing) == [1, 0, 14, 0, 15, 0, 2]
        phonemes_to_ids(list("§¤"), missing=missing)
    assert missing == {"§": 3, "¤": 1}
    assert [record.getMessage() for record in caplog.records] == [
        "The phoneme '§' (U+00A7) has no id in this voice's phoneme_id_map and is dropped.",
        "The phoneme '¤' (U+00A4) has no id in this voice's phoneme_id_map and is dropped.",
    ]


def test_a_map_without_frame_symbols_is_an_error() -> None:
    with pytest.raises(PhonemizeError, match='lacks "_"'):
        phonemes_to_ids(["a"], {BOS: [1], EOS: [2], "a": [3]})


def test_import_paths_of_other_programs() -> None:
    assert (piper.const.BOS, piper.const.EOS, piper.const.PAD) == ("^", "$", "_")
    id_map = {"^": [1], "$": [2], "_": [0], "a": [9]}
    assert phonemes_to_ids(list("ab"), id_map=id_map) == [1, 0, 9, 0, 2]
