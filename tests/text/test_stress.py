from __future__ import annotations

import importlib.util
import logging

import pytest
from frontends import create_espeak, to_strings

from piper.config import VoiceConfig
from piper.errors import ConfigError
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.text import stress
from piper.text.frontend import Frontend, TextOptions, create_frontend
from piper.text.stress import VOWELS, add_signs, move_stress, remove_signs

# Each with its one possible stress, which espeak-ng's dictionary has; sounds of every letter.
WORDS = (
    "голов+а молок+о к+омната стол+ица дер+евня шоф+ёр желт+еть цен+а ж+ивопись "
    "час+ы щек+а +яблоко яз+ык юл+а +юбка мо+я по+эт +эхо "
    "эт+аж изъ+ян бель+ё семь+я вь+юга жюр+и маш+ина пружин+а цир+к "
    "ц+ирк+уль+н+ый +улица +утюг окн+о хорош+о пи+анино т+ест+ер "
)
UNIQUE = [word for word in WORDS.split() if word.count("+") == 1]


def create_russian(**options: str) -> Frontend:
    return create_espeak("ru", options=TextOptions(**options))


def to_string(frontend: Frontend, text: str) -> str:
    return "|".join(to_strings(frontend, text))


@pytest.mark.parametrize(
    ("text", "phonemes"),
    [
        ("за́мок", "zˈɑmʌk"),
        ("замо́к", "zamˈok"),
        ("З+амок и зам+ок.", "zˈɑmʌk ɪ zamˈok."),
        ("стои́т, сто́ит", "stʌˈit, stˈoit"),
        ("бо́льшая больша́я", "bˈoɭʃʌja bʌɭʃˈɑja"),
        ("+яма ям+а", "ˈjama jamˈɑ"),
        ("про́пасть", "prˈopʌstʲ"),
        ("что́", "ʃtˈo"),
        ("2+2 и x+а", "dvˈɑ pɭˈjus dvˈɑ ɪ ˈɛks pɭˈjus ˈɑ"),
        ("[[з+а]]", "з+а"),
    ],
)
def test_signs_move_the_stress_and_the_vowels_follow(text: str, phonemes: str) -> None:
    assert to_string(create_russian(), text) == phonemes


def test_off_leaves_the_text_to_espeak() -> None:
    assert to_string(create_russian(stress="off"), "зам+ок") == "zˈɑm pɭˈjus ˈok"


@pytest.mark.parametrize("word", UNIQUE)
def test_the_stress_that_espeak_has_changes_nothing(word: str) -> None:
    plain = to_string(create_russian(), word.replace("+", ""))
    place = word.index("+")
    vowel = sum(letter in VOWELS for letter in word[:place])
    vowels = [i for i, sound in enumerate(_find_vowels(plain)) if "ˈ" in sound]
    if vowels == [vowel]:  # espeak-ng 1.52 agrees with the word list
        assert to_string(create_russian(), word) == plain
    # Moved away and back, all sounds are again those that espeak-ng itself gives.
    letters = word.replace("+", "")
    for other in range(sum(letter in VOWELS for letter in letters)):
        moved = move_stress(letters, plain, other)
        assert moved is not None
        assert moved.count("ˈ") == 1
        assert move_stress(letters, moved, vowels[0]) == plain


def _find_vowels(phonemes: str) -> list[str]:
    from piper.text.stress import _VOWEL

    return [match[0] for match in _VOWEL.finditer(phonemes)]


def test_most_of_the_list_agrees_with_espeak() -> None:
    frontend = create_russian()
    same = [w for w in UNIQUE if to_string(frontend, w) == to_string(frontend, w.replace("+", ""))]
    assert len(same) >= len(UNIQUE) * 0.8


def test_signs_in_other_languages_are_left_alone() -> None:
    frontend = create_espeak("es-419")
    assert to_string(frontend, "pap\u00e9") == "papˈe"
    options = TextOptions(stress="off")
    plain = create_espeak("es-419", options=options)
    for text in ("pape\u0301", "p+ape", "за́мок"):
        assert to_string(frontend, text) == to_string(plain, text)


def test_words_keep_their_place_in_the_text() -> None:
    (sentence,) = create_russian().text_to_sentences("Вот за́мок, +яма.")
    assert [word.text for word in sentence.words] == ["Вот", "за́мок", "яма"]
    assert sentence.text == "Вот за́мок, +яма."


def test_a_word_whose_sounds_do_not_pair_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        to_string(create_russian(), "кг+абвгджз")
    assert len(caplog.records) <= 1
    assert move_stress("кг", "kˌɑɡˈɛ", 0) is None


def test_removed_signs_tell_their_vowels() -> None:
    edits, vowels = remove_signs("з+амок замо́к")
    assert [(edit.start, edit.end) for edit in edits] == [(1, 2), (11, 12)]
    assert vowels == [1, 9]


def test_an_accentor_marks_words_without_signs() -> None:
    # What silero-stress gives: each word, also of one vowel, with signs and ё.
    def accentor(text: str) -> str:
        assert "+" not in text
        return text.replace("елка на замке", "+ёлка н+а замк+е")

    text = "елка на з+амке"
    edits = add_signs(text, accentor)
    assert [(text[edit.start : edit.end], edit.text) for edit in edits] == [("елка", "+ёлка")]
    assert add_signs(text, lambda _: "другое") == []


def test_silero_tells_homographs_apart_and_leaves_torch_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # It sets one thread and turns gradients off for the whole process: a training whose texts
    # were prepared in it lost its cores, and what followed in the process did not learn.
    assert importlib.util.find_spec("silero_stress"), "the development environment has it"
    import torch

    monkeypatch.setattr(stress, "_accentor", [])
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        frontend = create_russian(stress="silero")
        assert to_string(frontend, "На двери висит замок.").endswith("zamˈok.")
        assert (torch.get_num_threads(), torch.is_grad_enabled()) == (2, True)
    finally:
        torch.set_num_threads(threads)
    assert to_string(frontend, "Старый замок на горе.").startswith("stˈɑryj zˈɑmʌk nə")
    assert to_string(frontend, "Еще пьют мед.") == to_string(create_russian(), "Ещё пьют мёд.")


def test_options_come_from_the_call_then_the_voice() -> None:
    config = VoiceConfig(
        num_symbols=256,
        num_speakers=1,
        sample_rate=22050,
        espeak_voice="ru",
        phoneme_id_map=DEFAULT_PHONEME_ID_MAP,
        extra={"text_options": {"write_numbers": True, "stress": "off"}},
    )
    assert create_frontend(config).options == TextOptions(None, True, "off", False)
    asked = TextOptions(write_numbers=False, stress="marks", abbreviations=True)
    assert create_frontend(config, asked).options == asked
    defaults = {"write_numbers": False, "stress": "marks", "abbreviations": True}
    assert TextOptions().fill(None).to_dict() == defaults
    config.extra["text_options"] = {"write_numbers": "yes"}
    with pytest.raises(ConfigError, match='"text_options" holds'):
        create_frontend(config)
    with pytest.raises(ConfigError, match='"loud" is not known; choose one of marks, silero, off'):
        TextOptions(stress="loud")
