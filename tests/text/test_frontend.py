from __future__ import annotations

import json
import logging
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from frontends import create_espeak, to_strings

from piper.config import PhonemeType, Phonemizer, VoiceConfig
from piper.errors import PhonemizeError
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.text.frontend import Frontend, TextOptions, create_frontend

GOLDEN: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "espeak_phonemes.json").read_text(encoding="utf-8")
)


def hide_letters(sentences: list[str]) -> list[str]:
    return [re.sub(r"[^ .,!?:;]+", "x", sentence) for sentence in sentences]


@pytest.mark.parametrize("voice", ["ru", "en-us", "es-419", "fr", "it"])
def test_golden_letters_are_espeaks_and_structure_is_pipers(voice: str) -> None:
    frontend = create_espeak(voice, options=TextOptions(abbreviations=False))
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


CLAUSES = "When the sun had set, the man went down to the river where the old boat lay, " * 8
ITEMS = "".join(f"\n- {size} red apples of the kind we like" for size in ("many", "few") * 18)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (CLAUSES, r"(set|lay),$"),
        (f"We need:{ITEMS}", r"(need:|like)$"),
        ("word " * 300, r"^word.*word$"),
        (f"A word of {'a' * 1500} letters.", ""),
        ("Ich will nach Hause gehen und " * 20, r"\w$"),
    ],
)
def test_long_sentences_are_cut_where_a_reader_would_breathe(text: str, end: str) -> None:
    # The text encoder takes memory by the square of the ids: 7,500 characters took all there was.
    frontend = create_espeak()
    [whole] = frontend.text_to_sentences(text)
    parts = frontend.text_to_sentences(text, 400)
    assert [part.goes_on for part in parts] == [True] * (len(parts) - 1) + [False]
    for part in parts:
        assert 100 < len(part.ids) <= 400
        # The pause at the joint is the one that the voice makes of a mark.
        assert part.phonemes[-2:] in ([",", " "], [":", " "]) or not part.goes_on
        assert re.search(end, part.text, re.DOTALL) or not part.goes_on
    # Nothing is lost, and nothing is said twice.
    assert re.sub(r"\s", "", "".join(part.text for part in parts)) == re.sub(r"\s", "", text)
    letters = [[p for p in s.phonemes if p not in " ,"] for s in (whole, *parts)]
    assert letters[0] == [phoneme for part in letters[1:] for phoneme in part]
    words = [word.text for part in parts for word in part.words]
    assert words == [word.text for word in whole.words] or "aaa" in text


@pytest.mark.parametrize(
    "text", ["我去商店" * 300, "[[" + "a" * 3000 + "]]", "https://a.example/" + "ab/" * 900]
)
def test_a_text_without_any_place_to_breathe_is_cut_too(text: str) -> None:
    voices = [create_espeak(), Frontend(PhonemeType.TEXT, "", {c: [0] for c in f"^$_{text}"})]
    for frontend in voices:
        parts = frontend.text_to_sentences(text, 400)
        assert len(parts) > 2
        assert max(len(part.ids) for part in parts) <= 400


def test_ordinary_sentences_stay_as_they_are() -> None:
    frontend = create_espeak()
    text = "Hello there, world. It was late; he went home."
    assert frontend.text_to_sentences(text, 400) == frontend.text_to_sentences(text)


@pytest.mark.parametrize(
    ("text", "phonemes"),
    [
        ("I ❤️ you", ["aɪ ɹˈɛd hˈɑːɹt juː"]),
        ("ok 👍🏽now", ["ˌoʊkˈeɪ θˈʌmz ˌʌp nˈaʊ"]),
        ("ok (👍🏽). Bye", ["ˌoʊkˈeɪ θˈʌmz ˈʌp.", "bˈaɪ"]),
        ("Thanks!👍 Bye", ["θˈæŋks!", "θˈʌmz ˌʌp bˈaɪ"]),
        ("😀😀", ["ɡɹˈɪnɪŋ fˈeɪs ɡɹˈɪnɪŋ fˈeɪs"]),
        ("a 🏳️‍🌈 b", ["ɐ ɹˈeɪnboʊ flˈæɡ bˈiː"]),
        ("a 🤷🏿‍♀️ b", ["ɐ wˈʊmən ʃɹˈʌɡɪŋ bˈiː"]),
        # Joined ones that espeak-ng does not know: it said "red fire".
        ("I ❤️‍🔥 you", ["aɪ ɹˈɛd hˈɑːɹt fˈaɪɚ juː"]),
        ("a🐻‍❄️b", ["ɐ bˈɛɹ fˈeɪs snˈoʊfleɪk bˈiː"]),
        ("1️⃣ 🇩🇪🇫🇷", ["wˈʌn dʒˈɜːməni fɹˈæns"]),
        ("tea ☕️ time, wow❗️ Yes", ["tˈiː hˈɑːt bˈɛvɚɹɪdʒ tˈaɪm, wˈaʊ!", "jˈɛs"]),
        ("won\u2060derful", ["wˈʌndɚfəl"]),
    ],
)
def test_emoji_have_their_whole_names(text: str, phonemes: list[str]) -> None:
    # espeak-ng said "I red you": how an emoji looks hid the rest of its name, and words after it.
    frontend = create_espeak()
    assert to_strings(frontend, text) == phonemes
    assert " ".join(sentence.text for sentence in frontend.text_to_sentences(text)) == text.replace(
        "!👍", "! 👍"
    )


@pytest.mark.parametrize(
    ("clusters", "text", "phonemes"),
    [
        # As Piper's client 1.8.0 gives them.
        (["aɪ", "aɪɚ"], "I like fire.", "aɪ| |l|ˈ|aɪ|k| |f|ˈ|aɪɚ|."),
        (["aɪ", "ɪɚ"], "fire.", "f|ˈ|aɪ|ɚ|."),
        (["k f"], "like fire.", "l|ˈ|a|ɪ|k f|ˈ|a|ɪ|ɚ|."),
        (["aɪ"], "[[ aɪ x ]] hi", "a|ɪ| |x| |h|ˈ|aɪ"),
        (["a", ""], "hi", "h|ˈ|a|ɪ"),
    ],
)
def test_vowel_clusters_are_phonemes_of_their_own(
    clusters: list[str], text: str, phonemes: str
) -> None:
    id_map = {**DEFAULT_PHONEME_ID_MAP, "aɪ": [200], "aɪɚ": [201]}
    config = VoiceConfig(256, 1, 22050, "en-us", id_map, vowel_clusters=clusters)
    [sentence] = create_frontend(config).text_to_sentences(text)
    assert sentence.phonemes == phonemes.split("|")
    assert sentence.ids.count(200) == phonemes.split("|").count("aɪ")
    assert all(word.first_phoneme < word.last_phoneme for word in sentence.words)
