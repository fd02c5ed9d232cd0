"""Names of files: readable, valid, no two the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from piper.audio.output import NameGiver, OutputNaming, text_to_file_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Hello there.", "Hello there"),
        ("../../etc/passwd", "etcpasswd"),
        ("  a \t b\n", "a b"),
        ("Раз, два: три!", "Раз, два три!"),
        ("...", "utterance"),
    ],
)
def test_text_to_file_name(text: str, name: str) -> None:
    assert text_to_file_name(text) == name


def test_file_names_fit_the_file_system(tmp_path: Path) -> None:
    name = text_to_file_name("ы" * 400)
    assert 150 < len(name.encode()) <= 200
    (tmp_path / f"{name}.wav").touch()


def test_numbers_are_predictable_and_sort() -> None:
    names = NameGiver(OutputNaming.NUMBER)
    assert [names.give_name(text) for text in ("a", "a", "b")] == ["000001", "000002", "000003"]


def test_one_text_twice_gets_two_names() -> None:
    names = NameGiver(OutputNaming.TEXT)
    assert [names.give_name(text) for text in ("Hi!", "Hi!", "hi!")] == ["Hi!", "Hi! 2", "hi! 3"]
