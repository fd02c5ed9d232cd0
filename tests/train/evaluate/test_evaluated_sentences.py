"""What is spoken: the lines that training holds out, or those of a list; words and letters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from piper.errors import ConfigError
from piper.train.data.metadata import Row
from piper.train.data.module import VitsDataModule
from piper.train.data.settings import resolve_settings
from piper.train.evaluate.results import Kind, Sentence
from piper.train.evaluate.systems import (
    find_singles,
    load_rows,
    load_texts,
    rows_to_sentences,
    speak_all,
    split_rows,
)


def test_what_is_held_out_is_what_training_holds_out(dataset: Path) -> None:
    """Else a voice would be judged by sentences that it was trained on."""
    module = VitsDataModule(dataset_dir=str(dataset), num_workers=0, validation_split=0.25)
    module.prepare_data()
    module.setup("fit")
    settings = resolve_settings(dataset_dir=dataset, validation_split=0.25)
    learnt, held_out = split_rows(load_rows(settings), "split", settings)
    names = [utterance.row.audio_path.name for utterance in module.split.validation]
    assert [row.audio_path.name for row in held_out] == names
    assert {row.audio_path.name for row in learnt}.isdisjoint(names)


def test_a_list_of_names_is_held_out_in_its_order(dataset: Path, tmp_path: Path) -> None:
    settings = resolve_settings(dataset_dir=dataset)
    rows = load_rows(settings)
    names = tmp_path / "names.txt"
    names.write_text(f"# ours\n{rows[5].audio_path.name}\n\n{rows[2].audio_path.stem}\n")
    learnt, held_out = split_rows(rows, str(names), settings)
    assert [row.line for row in held_out] == [rows[5].line, rows[2].line]
    assert len(learnt) == len(rows) - 2
    sentences = rows_to_sentences(held_out, 1)
    assert [one.name for one in sentences] == [rows[5].audio_path.stem]


@pytest.mark.parametrize(
    ("content", "said"),
    [("none.wav\n", "names none.wav, which the dataset lacks"), ("# \n", "names no recording")],
)
def test_a_list_that_cannot_be_used_is_one_sentence(
    dataset: Path, tmp_path: Path, content: str, said: str
) -> None:
    settings = resolve_settings(dataset_dir=dataset)
    names = tmp_path / "names.txt"
    names.write_text(content)
    with pytest.raises(ConfigError, match=said):
        split_rows(load_rows(settings), str(names), settings)
    with pytest.raises(ConfigError, match="cannot be read"):
        split_rows(load_rows(settings), str(tmp_path / "other.txt"), settings)


def test_texts_are_lines_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("\ufeffПервая.\n\n  Вторая. \nТретья.\n", encoding="utf-8")
    assert [(one.name, one.text) for one in load_texts(path, 2)] == [
        ("sentence_0001", "Первая."),
        ("sentence_0002", "Вторая."),
    ]
    path.write_text(" \n")
    with pytest.raises(ConfigError, match="is empty"):
        load_texts(path, 2)


def test_words_are_short_and_long_and_letters_are_the_alphabet() -> None:
    sentences = [
        Sentence("a", "Я вол+осы мою, мою 3 раза."),
        Sentence("b", "Достопримечательность!"),
    ]
    singles = find_singles(sentences, 3)
    words = [one.text for one in singles if one.kind is Kind.WORD]
    letters = [one.text for one in singles if one.kind is Kind.LETTER]
    assert words == ["я", "раза", "достопримечательность"]
    assert letters == sorted(set("яволосымоюразадостопримечательность"))
    assert find_singles(sentences, 0) == []
    assert [one.text for one in find_singles(sentences, 3)] == [one.text for one in singles]


def test_a_row_keeps_its_speaker() -> None:
    row = Row(1, Path("wavs/a.wav"), "Да.", "anna", None)
    assert rows_to_sentences([row], 5) == [
        Sentence("a", "Да.", Kind.SENTENCE, Path("wavs/a.wav"), "anna")
    ]


def test_speech_that_was_damaged_meanwhile_is_spoken_again(
    tiny_voice: Path, tmp_path: Path
) -> None:
    sentences = [Sentence(f"s{number}", "One two.") for number in range(3)]
    before = speak_all(tiny_voice, sentences, tmp_path, 1, "voice")
    (tmp_path / "s0.flac").write_bytes(b"fLaC")
    for name, joints in (("s1", ["x"]), ("s2", 3)):
        known = {"text": "One two.", "speaker": None, "joints_seconds": joints}
        (tmp_path / f"{name}.json").write_text(json.dumps(known))
    again = speak_all(tiny_voice, sentences, tmp_path, 1, "voice")
    assert [one.samples.tolist() for one in again] == [one.samples.tolist() for one in before]
    assert [one.joints_seconds for one in again] == [()] * 3
