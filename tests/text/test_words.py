from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from frontends import create_espeak, to_pairs

from piper.text.frontend import Sentence
from piper.text.sentence import find_words, share_phonemes

GOLDEN: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "espeak_phonemes.json").read_text(encoding="utf-8")
)


def to_sentences(voice: str, text: str) -> list[Sentence]:
    return create_espeak(voice).text_to_sentences(text)


def check_words(sentence: Sentence) -> None:
    """Check that the words follow each other and share all phonemes but spaces and marks."""
    assert all(sentence.text[word.start : word.end] == word.text for word in sentence.words)
    for left, right in pairwise(sentence.words):
        assert left.end <= right.start
        assert left.first_phoneme <= left.last_phoneme <= right.first_phoneme
    covered = {
        index for word in sentence.words for index in range(word.first_phoneme, word.last_phoneme)
    }
    rest = {
        sentence.phonemes[index] for index in range(len(sentence.phonemes)) if index not in covered
    }
    assert rest <= set(" .,!?:;"), (sentence.text, rest)


@pytest.mark.parametrize("voice", ["ru", "en-us", "es-419", "fr", "it"])
def test_words_of_the_golden_texts_cover_all_phonemes(voice: str) -> None:
    for row in GOLDEN:
        if row["voice"] == voice:
            for sentence in to_sentences(voice, row["text"]):
                check_words(sentence)


@pytest.mark.parametrize("voice", ["ru", "en-us", "fr"])
def test_words_of_jumbled_texts_cover_all_phonemes(voice: str) -> None:
    generator = random.Random(7)
    pieces = " ".join(row["text"] for row in GOLDEN).split()
    pieces += [
        "2024",
        "3.14",
        "1 200",
        "«",
        "—",
        "of the",
        "…",
        "№5",
        "😀",
        "$5",
        "50%",
        "e.g.",
        "&",
    ]
    frontend = create_espeak(voice)
    for _ in range(150):
        text = " ".join(generator.choices(pieces, k=generator.randint(1, 20)))
        for sentence in frontend.text_to_sentences(text):
            check_words(sentence)


def test_joined_words_and_numbers_have_their_share() -> None:
    (sentence,) = to_sentences("en-us", "The end of the world, in 1984!")
    assert to_pairs(sentence) == [
        ("The", "ðɪ"),
        ("end", "ˈɛnd"),
        ("of", "ʌv"),
        ("the", "ðə"),
        ("world", "wˈɜːld"),
        ("in", "ɪn"),
        ("1984", "nˈaɪntiːnhˈʌndɹɪd ˈeɪɾi fˈɔːɹ"),
    ]


def test_raw_phonemes_are_one_word() -> None:
    (sentence,) = to_sentences("en-us", "Next [[həlˈoʊ]] par.")
    assert to_pairs(sentence) == [("Next", "nˈɛkst"), ("[[həlˈoʊ]]", "həlˈoʊ"), ("par", "pˈɑːɹ")]


def test_text_and_paragraphs() -> None:
    sentences = to_sentences("en-us", 'One. "Two."\n\nThree, \nfour. Five\n\n\nSix')
    assert [(sentence.text, sentence.ends_paragraph) for sentence in sentences] == [
        ("One.", False),
        ('"Two."', True),
        ("Three, \nfour.", False),
        ("Five", True),
        ("Six", False),
    ]


def test_clause_breaks_are_the_last_phonemes_of_clauses() -> None:
    (sentence,) = to_sentences("en-us", "Well, wait... so; it goes… yes.")
    ends = ["".join(sentence.phonemes[: index + 1]) for index in sentence.clause_breaks]
    assert [end.split(" ")[-1] or end[-3:] for end in ends] == ["l, ", "wˈeɪt", "ʊ; ", "ɡˈoʊz"]
    assert [sentence.clause_breaks.index(index) for index in sentence.ellipses] == [1, 3]
    (sentence,) = to_sentences("es-419", "Hola ¿qué tal?")
    assert sentence.clause_breaks == []


def test_words_are_found_without_their_punctuation() -> None:
    text = "«Да», — 5% (кто-то)... $5"
    words = [text[start:end] for start, end in find_words(text)]
    assert words == ["Да", "5%", "кто-то", "$5"]


def test_what_cannot_be_aligned_is_shared_by_length() -> None:
    assert share_phonemes(list("abcd"), [[], []]) == [(0, 2), (2, 4)]
    assert share_phonemes(list("a"), ["x", "y", "z"])[-1][1] == 1
    assert share_phonemes([], ["x"]) == [(0, 0)]
    long = share_phonemes(list("ab" * 600), [list("ab" * 300)] * 3)
    assert [first for first, _ in long] == [0, 400, 800]
