from __future__ import annotations

import pytest

from piper.text.phonemizers import Espeak
from piper.text.sentence import (
    Clause,
    find_terminator,
    group_clauses,
    join_abbreviations,
    join_clauses,
    join_phonemes,
)


def to_sentences(text: str, voice: str = "en-us") -> list[str]:
    return join_clauses(Espeak().translate(voice, text))


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Wait... what?!", ["wˈeɪtwˌʌt?"]),
        ("Wait … what", ["wˈeɪtwˌʌt"]),
        ("what...? foo", ["wˌʌtfˈuː"]),
        ("Hello.\n\nWorld. Hi?\n\nYes", ["həlˈoʊ", "wˈɜːld.", "hˈaɪ", "jˈɛs"]),
        ("Hello.\nWorld", ["həlˈoʊ.", "wˈɜːld"]),
        ("Hello.\n", ["həlˈoʊ."]),
        ("Hello.\n\n", ["həlˈoʊ"]),
        ("Hi，there、you。Yes！No？ok", ["hˈaɪðˈɛɹjuː", "jˈɛs", "nˈoʊ", "ˌoʊkˈeɪ"]),
        ("Hello - you — there – you", ["həlˈoʊ juː; ðˈɛɹ; juː"]),
        ("a,. foo", ["ˈeɪ, fˈuː"]),
        ("yes‼ no", ["jˈɛs!", "nˈoʊ"]),
        ("yes। no", ["jˈɛs", "nˈoʊ"]),
        ("Hello\u2029 there", ["həlˈoʊ", "ðˈɛɹ"]),
        ("⒈ Hello", [".", "həlˈoʊ"]),
        (", , , hi , , ok", ["hˈaɪ, ˌoʊkˈeɪ"]),
        (
            "\"Hi.\" (Yes.) 'No.' She said: “Well.”",
            ["hˈaɪ.", "jˈɛs.", "nˈoʊ.", "ʃiː sˈɛd: wˈɛl.", ""],
        ),
        ("Hi,", ["hˈaɪ, "]),
        ("yes.\u00a0", ["jˈɛs dˈɑːt"]),
        ("", [""]),
    ],
)
def test_structure_is_that_observed_on_piper(text: str, sentences: list[str]) -> None:
    assert to_sentences(text) == sentences


def test_spanish_marks_join_words() -> None:
    assert to_sentences("Hola ¿qué tal? ¡Sí!", "es-419") == ["ˈolakˈe tˈal?", "sˈi!"]


def test_an_over_long_clause_is_joined_without_a_mark() -> None:
    text = "yes " * 300 + "no. Yes"
    clauses = Espeak().translate("en-us", text)
    assert len(clauses) > 2
    joined = join_clauses(clauses)
    assert [sentence[-3:] for sentence in joined] == ["oʊ.", "jˈɛs"[-3:]]
    assert "jˈɛsjˈɛs" in joined[0]


def test_a_clause_cut_after_an_abbreviations_dot_has_no_mark() -> None:
    # Buffer full right after "a.m. ": the dot before a small letter ends nothing.
    clause = Clause("word " * 150 + "a.m. ", "f", "…")
    assert find_terminator(clause).mark == ""
    assert not find_terminator(clause).ends_sentence


def test_punctuation_without_words_leaves_no_mark() -> None:
    assert to_sentences("« . ") == [""]
    assert to_sentences("?") == [""]
    assert to_sentences("Hello.\n?\nWorld") == ["həlˈoʊ.", "?", "wˈɜːld"]


def test_a_roman_ordinals_dot_is_no_full_stop_where_the_language_writes_ordinals_so() -> None:
    assert to_sentences("Paul II.", "de")[0][-1] != "."
    assert to_sentences("Paul 2.", "de")[0][-1] == "."
    assert to_sentences("Paul II.", "en-us")[0][-1] == "."


def test_a_script_without_capitals_ends_sentences_too() -> None:
    # Python calls Georgian letters small, espeak-ng does not.
    assert [sentence[-1] for sentence in to_sentences("და. და.", "ka")] == [".", "."]


def test_armenian_marks_inside_words_end_nothing() -> None:
    assert find_terminator(Clause("ինչ՞ ", "է", "intʃ")).ends_sentence is False


def split_sentences(voice: str, text: str) -> list[str]:
    sentences = join_abbreviations(group_clauses(Espeak().translate(voice, text)), voice)
    return ["".join(clause.source for clause in sentence).strip() for sentence in sentences]


@pytest.mark.parametrize(
    ("voice", "text"),
    [
        ("en-us", "Dr. Smith met Mr. Jones.|It was late."),
        ("en-us", "In St. Petersburg.|On Main St.|He went to St. Louis."),
        ("en-us", "No. 5 is alive.|He said no.|5 men came.|See fig. 3 on p. 5.|We left on Jan. 5."),
        ("en-us", "J. R. R. Tolkien and J.K. Rowling.|George W. Bush, by A. Nobody."),
        ("en-us", "Plan B.|Then we ate vitamin C.|Nobody got an A.|In the U.S.|It was I.|He left."),
        ("en-us", "He met Dr.\nSmith.|He was a Dr.\n\n|Smith"),
        (
            "en-us",
            "Coffee, etc.|Acme Inc.|We left at 5 a.m.|Then it rained, e.g. London vs. Paris.",
        ),
        ("ru", "В 2024 г.|Иван жил в г. Москва на ул. Ленина, стр. 5."),
        ("ru", "А. С. Пушкин и Л.Н. Толстой.|Витамин С.|Рим до н. э.|Проф. Иванов."),
        ("ru", "И т. д.|Потом ещё 5 р.|Иван, см. Рим."),
        ("de", "Dr. Müller und Hr. Schmidt, z. B. Anna.|Prof. Dr. Meier wohnt in St. Gallen."),
        ("fr", "M. Dupont et Mme. Durand.|Non."),
        ("es", "El Sr. García y D. Juan.|Sí."),
    ],
)
def test_titles_and_short_forms_end_no_sentence(voice: str, text: str) -> None:
    expected = [part.strip() for part in text.split("|")]
    assert split_sentences(voice, text.replace("|", " ")) == expected


def test_a_title_is_said_as_before_but_without_its_stop() -> None:
    # Half a second of silence stood between title and name.
    [sentence] = join_abbreviations(group_clauses(Espeak().translate("en-us", "Dr. Smith.")), "en")
    assert join_phonemes(sentence) == "dˈɑːktɚ smˈɪθ."
