from __future__ import annotations

from pathlib import Path

import pytest
from frontends import create_espeak, to_pairs, to_strings

from piper.errors import LexiconError, PiperError
from piper.files import MAX_FILE_BYTES
from piper.text.frontend import Frontend, TextOptions, TextPreparer
from piper.text.lexicon import Lexicon, load_lexicon


def create_frontend(tmp_path: Path, content: str, voice: str = "en-us") -> Frontend:
    path = tmp_path / "words.lexicon"
    path.write_text(content, encoding="utf-8")
    options = TextOptions(lexicon=load_lexicon(path))
    return create_espeak(voice, options=options)


def to_string(frontend: Frontend, text: str) -> str:
    return "|".join(to_strings(frontend, text))


def test_texts_and_phonemes_replace_whole_words_in_any_case(tmp_path: Path) -> None:
    frontend = create_frontend(
        tmp_path, "\ufeff# names\n\nGIF\t[[dʒˈɪf]]\r\nnginx\tengine x\nNew York\tthe city\n"
    )
    assert to_string(frontend, "A gif, not a GIFT.") == "ɐ dʒˈɪf, nˌɑːɾə ɡˈɪft."
    assert to_string(frontend, "Nginx!") == to_string(frontend, "engine x!")
    assert to_string(frontend, "new  york-like") != to_string(frontend, "the city-like")
    assert to_string(frontend, "In new  york.") == to_string(frontend, "In the city.")


def test_phonemes_keep_the_punctuation_around_them(tmp_path: Path) -> None:
    # `[[…]]` in a text would swallow the mark after it.
    frontend = create_frontend(tmp_path, "cat\t[[kˈɒt]]\n")
    assert to_string(frontend, "One cat. Two (cat), cat?") == "wˈʌn kˈɒt.|tˈuː kˈɒt, kˈɒt?"


def test_words_are_those_of_the_text(tmp_path: Path) -> None:
    frontend = create_frontend(tmp_path, "etc.\tand so on\ncat\t[[kˈɒt]]\nIvan Petrov\t[[x y]]\n")
    (sentence,) = frontend.text_to_sentences("Cat, dog etc. by ivan petrov now")
    pairs = to_pairs(sentence)
    assert sentence.text == "Cat, dog etc. by ivan petrov now"
    assert pairs[:3] == [("Cat", "kˈɒt"), ("dog", "dˈɑːɡ"), ("etc.", "ænd sˌoʊ ˌɔn")]
    assert pairs[4:] == [("ivan", "x y"), ("now", "nˈaʊ")]


def test_raw_phonemes_are_not_looked_up(tmp_path: Path) -> None:
    assert to_string(create_frontend(tmp_path, "cat\tdog\n"), "[[cat]]") == "cat"


def test_stress_marks_in_a_replacement_are_honoured(tmp_path: Path) -> None:
    frontend = create_frontend(tmp_path, "замок\tз+амок\n", "ru")
    assert to_string(frontend, "Замок!") == "zˈɑmʌk!"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cat\tdog\ncat dog\n", r"line 2: 1 columns, but word<TAB>replacement is wanted"),
        ("cat\tdog\tcow\n", r"line 1: 3 columns"),
        ("cat\t \n", r"line 1: the replacement is empty"),
        ("\tcat\n", r"line 1: the word is empty"),
        ("cat\tdog\n\nCat\tcow\n", r'line 3: "Cat" is already in line 1'),
        ("cat\ta [[b]]\n", r"line 1: 'a \[\[b\]\]' mixes text and \[\[phonemes\]\]"),
    ],
)
def test_mistakes_name_file_and_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(LexiconError, match=rf"words\.lexicon {message}"):
        create_frontend(tmp_path, content)


def test_missing_and_other_encodings(tmp_path: Path) -> None:
    with pytest.raises(LexiconError, match=r"no\.lexicon does not exist; check the path"):
        load_lexicon(tmp_path / "no.lexicon")
    (tmp_path / "cp1251").write_bytes("a\tb\nкот\tпёс\n".encode("cp1251"))
    with pytest.raises(LexiconError, match=r"cp1251 line 2: the text is not UTF-8"):
        load_lexicon(tmp_path / "cp1251")
    assert Lexicon().find_texts("a") == []
    with (tmp_path / "endless").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(PiperError, match=r"endless is larger than 256 MiB; is it really a lexicon"):
        load_lexicon(tmp_path / "endless")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It ran. NASA came. nasa", "It ran. The space agency came. the space agency"),
        ("Apples, etc. He left.", "Apples, et cetera. He left."),
        ("Apples, etc. and pears, etc.", "Apples, et cetera and pears, et cetera."),
        ("Mr Smith saw Mr. Jones. Mr", "mister Smith saw mister Jones. Mister"),
    ],
)
def test_words_keep_the_sentences(text: str, words: str) -> None:
    lexicon = Lexicon({"etc.": "et cetera", "mr": "mister", "nasa": "the space agency"})
    options = TextOptions(lexicon, write_numbers=False, stress="off")
    assert TextPreparer("en-us", options).prepare(text).rewritten.text == words
