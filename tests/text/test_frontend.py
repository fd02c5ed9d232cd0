from __future__ import annotations

import json
import logging
import re
import threading
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from piper.config import PhonemeType, Phonemizer, VoiceConfig
from piper.errors import PhonemizeError
from piper.text.frontend import Frontend, create_frontend, sentences_to_ids
from piper.text.ids import DEFAULT_PHONEME_ID_MAP

GOLDEN: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "espeak_phonemes.json").read_text(encoding="utf-8")
)


def create_espeak(voice: str = "en-us", **options: Any) -> Frontend:
    return Frontend(PhonemeType.ESPEAK, voice, DEFAULT_PHONEME_ID_MAP, **options)


def to_strings(frontend: Frontend, text: str) -> list[str]:
    return ["".join(phonemes) for phonemes in frontend.text_to_phonemes(text)]


def hide_letters(sentences: list[str]) -> list[str]:
    return [re.sub(r"[^ .,!?:;]+", "x", sentence) for sentence in sentences]


@pytest.mark.parametrize("voice", ["ru", "en-us", "es-419", "fr", "it"])
def test_golden_letters_are_espeaks_and_structure_is_pipers(voice: str) -> None:
    frontend = create_espeak(voice)
    rows = [row for row in GOLDEN if row["voice"] == voice]
    assert len(rows) >= 15
    for row in rows:
        sentences = to_strings(frontend, row["text"])
        letters = re.sub(r"[ .,!?:;]", "", "".join(sentences))
        assert letters == unicodedata.normalize("NFD", row["espeak_1_52_letters"]), row["text"]
        # Sentences, marks, spaces and joins, however many letters a word has.
        assert hide_letters(sentences) == hide_letters(row["piper_1_8"]), row["text"]


def test_phonemes_are_single_code_points_and_ids_frame_each_sentence() -> None:
    frontend = create_espeak("fr")
    sentences = frontend.text_to_sentences("Le vin. Non!")
    assert len(sentences) == 2
    for sentence in sentences:
        assert all(len(phoneme) == 1 for phoneme in sentence.phonemes)
        assert sentence.ids[:2] == [1, 0]
        assert sentence.ids[-2:] == [0, 2]
        assert len(sentence.ids) == 2 * len(sentence.phonemes) + 3
    assert "\u0303" in sentences[0].phonemes
    assert not frontend.missing


def test_a_training_row_is_its_sentences_one_after_the_other() -> None:
    sentences = create_espeak().text_to_sentences("Yes. No.")
    assert sentences_to_ids(sentences) == sentences[0].ids + sentences[1].ids
    assert sentences_to_ids([]) == []


@pytest.mark.parametrize("text", ["", "  ", "\n\n\n", "...", "[[ ]]"])
def test_nothing_to_say_has_no_sentences(text: str) -> None:
    assert create_espeak().text_to_sentences(text) == []


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Hi. [[x]] Next one.", ["hˈaɪ. x nˈɛkst wˌʌn."]),
        ("[[x]]", ["x"]),
        ("a[[x]]b", ["ˈeɪxbˈiː"]),
        ("a  [[ x y ]]  b", ["ˈeɪ x y bˈiː"]),
        ("a\n[[x]]\nb", ["ˈeɪxbˈiː"]),
        ("One. Two [[x]] three. Four.", ["wˌʌn.", "tˈuː x θɹˈiː.", "fˈɔːɹ."]),
        ("One. [[x]] [[y]] Two", ["wˌʌn. x  y tˈuː"]),
        ("Hi [[x]]. Next", ["hˈaɪ xnˈɛkst"]),
        ("a, [[x]] b", ["ˈeɪ,  x bˈiː"]),
        ("a. \n\n[[x]]\n\nb", ["ˈeɪx", "bˈiː"]),
        ("[[a]]\n\n[[b]]", ["ab"]),
        ("a [[x]] b. C. [[y]] d. E.", ["ˈeɪ x bˈiː.", "sˈiː. y dˈiː.", "ˈiː."]),
        ("a [[ [y] ]] b", ["ˈeɪ [y] bˈiː"]),
        ("a [[x", ["ɐ ˈɛks"]),
        ("[[(en)x.]]", ["(en)x."]),
        ("[[\u00e7]]", ["c\u0327"]),
    ],
)
def test_raw_phonemes(text: str, sentences: list[str]) -> None:
    assert to_strings(create_espeak(), text) == sentences


def test_language_flags_are_no_phonemes() -> None:
    assert to_strings(create_espeak("ru"), "слово hello слово.") == ["sɭˈovʌ həlˈəʊ sɭˈovʌ."]


def test_phoneme_map_replaces_by_none_one_or_more() -> None:
    frontend = create_espeak(phoneme_map={"h": ["q", "z"], "ˈ": [], "ʊ": ["u"]})
    assert to_strings(frontend, "Hello") == ["qzəlou"]


def test_missing_phonemes_are_counted_and_warned_about_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    id_map = {key: ids for key, ids in DEFAULT_PHONEME_ID_MAP.items() if key != "l"}
    frontend = Frontend(PhonemeType.ESPEAK, "en-us", id_map)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            (sentence,) = frontend.text_to_sentences("hill")
    assert "l" in sentence.phonemes
    assert sentence.ids == [1, 0, 20, 0, 120, 0, 74, 0, 2]
    assert frontend.missing == {"l": 3}
    assert len(caplog.records) == 1


def test_text_type_is_code_points_in_one_sentence() -> None:
    frontend = Frontend(PhonemeType.TEXT, "", DEFAULT_PHONEME_ID_MAP)
    assert frontend.phonemizer == Phonemizer("text", "NFD")
    assert to_strings(frontend, "Hi. Wé [[x]]") == ["Hi. We\u0301 [[x]]"]
    assert frontend.text_to_sentences(" \n") == []
    assert frontend.phonemes_to_ids(["a"]) == [1, 0, 14, 0, 2]


def test_create_frontend_from_a_voice() -> None:
    config = VoiceConfig(
        num_symbols=256,
        num_speakers=1,
        sample_rate=22050,
        espeak_voice="ru",
        phoneme_id_map=DEFAULT_PHONEME_ID_MAP,
        phoneme_map={"ˈ": []},
    )
    frontend = create_frontend(config)
    assert frontend.phonemizer == Phonemizer("espeak-ng", "1.52.0")
    assert to_strings(frontend, "Да.") == ["dɑ."]


def test_unknown_voice_is_one_sentence() -> None:
    with pytest.raises(PhonemizeError, match=r'^espeak-ng 1\.52\.0 has no voice "klingon2";.*\.$'):
        create_espeak("klingon2")


@pytest.mark.parametrize("phoneme_type", [PhonemeType.HEBREW, PhonemeType.THAI])
def test_types_without_a_library_speak_raw_phonemes(phoneme_type: PhonemeType) -> None:
    frontend = Frontend(phoneme_type, "", DEFAULT_PHONEME_ID_MAP)
    (sentence,) = frontend.text_to_sentences("[[ʃalˈom]] [[olˈam]]!")
    assert "".join(sentence.phonemes) == "ʃalˈomolˈam"
    assert [word.text for word in sentence.words] == ["[[ʃalˈom]]", "[[olˈam]]"]
    assert frontend.text_to_sentences(" … ") == []
    name = phoneme_type.value.capitalize()
    with pytest.raises(
        PhonemizeError, match=rf"^{name} texts cannot be .* as in \[\[ʃalˈom\]\]\.$"
    ):
        frontend.text_to_sentences("[[ʃalˈom]] שלום")


def test_frontends_of_two_languages_in_two_threads() -> None:
    texts = {
        voice: [row["text"] for row in GOLDEN if row["voice"] == voice] for voice in ("ru", "fr")
    }
    alone = {
        voice: [create_espeak(voice).text_to_sentences(text) for text in texts[voice]]
        for voice in texts
    }
    together: dict[str, list[Any]] = {}

    def work(voice: str) -> None:
        frontend = create_espeak(voice)
        together[voice] = [frontend.text_to_sentences(text) for text in texts[voice]]

    threads = [threading.Thread(target=work, args=(voice,)) for voice in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone
