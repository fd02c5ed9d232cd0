"""Phonemes to the units that are aligned."""

from __future__ import annotations

import pytest

from piper.train.aligner.aligner import create_inventory, phonemes_to_groups


@pytest.mark.parametrize(
    ("phonemes", "groups"),
    [
        ("prʲivʲˈet, ˈɛtə tʲˈest.", ("privet", "ɛtə", "test")),
        ("ˈɑː", ("ɑ",)),
        ("ɐ̃ bˈɪg", ("ɐ", "bɪg")),
        ("ni3 χɑu3", ("ni", "χɑu")),
        (" . , ", ()),
        ("", ()),
    ],
)
def test_letters_between_spaces_and_marks_are_groups(
    phonemes: str, groups: tuple[str, ...]
) -> None:
    assert phonemes_to_groups(list(phonemes)) == tuple(tuple(group) for group in groups)


def test_silence_is_the_first_unit() -> None:
    assert create_inventory([(("b", "a"),), (("a", "c"),)]) == ["", "a", "b", "c"]
