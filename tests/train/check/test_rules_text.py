"""What is wrong with texts is found by real phonemes of espeak-ng, and told from what is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_reports import SETTINGS, found

from piper.config import PhonemeType, VoiceConfig
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.text.frontend import TextOptions
from piper.train.check import cli
from piper.train.check.entries import Entry
from piper.train.check.issues import Issue
from piper.train.check.measuring import TextMeasurer
from piper.train.check.rules_text import find_in_texts, find_stresses, find_usual_script

GOOD = [
    "Она вышла на улицу, и дождь кончился.",
    "Пойдём домой, — сказал он. «Уже поздно…»",
    "Из-за туч вышло солнце; стало тепло!",
    "На кухне пахло вол+осами и дымом.",
]


def create_voice(**changes: object) -> VoiceConfig:
    values = {
        "num_symbols": 256,
        "num_speakers": 1,
        "sample_rate": 22050,
        "espeak_voice": "ru",
        "phoneme_id_map": dict(DEFAULT_PHONEME_ID_MAP),
    }
    return VoiceConfig(**{**values, **changes})  # type: ignore[arg-type]


def create_entries(*texts: str) -> list[Entry]:
    return [
        Entry(line, f"{line}.wav", Path(f"{line}.wav"), None, text)
        for line, text in enumerate(texts, 1)
    ]


def check(*texts: str, writes_numbers: bool = False, **changes: object) -> list[Issue]:
    measurer = TextMeasurer(create_voice(**changes))
    settings = replace(SETTINGS, text_options=TextOptions(write_numbers=writes_numbers))
    if changes.get("phoneme_type") is PhonemeType.TEXT:
        settings = replace(settings, phoneme_type=PhonemeType.TEXT)
    entries = [
        replace(entry, read=measurer(entry.text) if entry.text else None)
        for entry in create_entries(*texts)
    ]
    return find_in_texts(entries, settings)


def test_good_texts_have_no_issues() -> None:
    assert check(*GOOD) == []


@pytest.mark.parametrize(
    ("text", "rules", "said"),
    [
        ("", {"empty-text"}, "the text is empty"),
        ("…!", {"no-phonemes"}, "the text is"),
        ("Ему было 25 лет.", {"numbers"}, "25 in"),
        ("Он жил на ул. Ленина и т. д. недолго.", {"short-forms"}, "ул"),
        ("Cегодня он молчал.", {"mixed-scripts"}, "Cегодня (Latin C)"),
        ("Он открыл Windows и ушёл.", {"foreign-words"}, "Windows"),
        ("Скидка * для всех # и @.", {"odd-characters"}, "* # @"),
        ("Улыбка 😀 его.", {"odd-characters"}, "😀"),
    ],
)
def test_each_mistake_is_named(text: str, rules: set[str], said: str) -> None:
    issues = check(*GOOD, text)
    assert {issue.rule.name for issue in issues} == rules
    assert {issue.line for issue in issues} == {5}
    assert said in issues[0].message


def test_numbers_that_training_writes_out_are_no_mistake() -> None:
    assert check(*GOOD, "Ему было 25 лет, и т. д. и т. п.", writes_numbers=True) == []


def test_a_hyphen_joins_words_of_two_alphabets() -> None:
    assert {f.rule.name for f in check(*GOOD, "Это web-сайт.")} == {"foreign-words"}


def test_phonemes_that_the_id_map_lacks_are_counted_with_an_example() -> None:
    id_map = {key: ids for key, ids in DEFAULT_PHONEME_ID_MAP.items() if key != "ɭ"}
    issues = check(*GOOD, phoneme_id_map=id_map)
    assert [issue.rule.name for issue in issues] == ["missing-phonemes"]
    count = sum(int(issue.message.split(" times")[0].split()[-1]) for issue in issues)
    assert count > 3
    assert "first in 'Она вышла" in issues[0].message


def test_a_text_far_longer_than_the_others_is_named() -> None:
    assert found(check(*GOOD, " ".join(GOOD * 3))) == [("long-text", 5)]


def test_the_alphabet_is_that_of_most_letters() -> None:
    assert find_usual_script(GOOD) == "Cyrl"
    assert find_usual_script(["Hello there", "Привет"]) == "Latn"
    assert find_usual_script(["これはカタカナ"]) == "Hani"
    assert find_usual_script(["12 !"]) == ""


UKRAINIAN = ["М\u02bcята пахне, і п\u02bbять днів минуло.", "Сім\u02bcя жила в об\u02bcїзді."]
JAPANESE = ["スーパーへ行く人々、ラーメン。", "ﾗｰﾒﾝを食べる。Ｔシャツを着る。"]


@pytest.mark.parametrize(("language", "texts"), [("uk", UKRAINIAN), ("haw", ["Hawaiʻi ʻoe nani."])])
def test_marks_that_several_scripts_share_are_of_none(language: str, texts: list[str]) -> None:
    """U+02BC, U+02BB and U+30FC once made two alphabets of one word."""
    assert check(*texts, espeak_voice=language) == []


def test_japanese_writes_in_several_scripts_at_once() -> None:
    found = {f.rule.name for f in check(*JAPANESE, phoneme_type=PhonemeType.JAPANESE)}
    assert found <= {"missing-phonemes"}


def test_phonemes_as_texts_are_of_no_alphabet() -> None:
    texts = ["ðə θɪŋk βeta χaʊs", "əʊ ðɛn λ"]
    assert {"mixed-scripts"} <= {f.rule.name for f in check(*texts, espeak_voice="en-us")}
    as_phonemes = check(*texts, phoneme_type=PhonemeType.TEXT)
    assert {f.rule.name for f in as_phonemes} <= {"missing-phonemes"}


@pytest.mark.parametrize(
    ("voice", "text", "letters"),
    [
        ("ja", "東京へ行く。", "東京行"),
        ("ru", "Это слово 漢字.", "漢字"),
        ("en-us", "She said 漢字 and カナ twice.", "漢字カナ"),
        ("ko", "대한민국 漢字", "漢字"),
        ("vi", "Anh nói «Жук».", "Жук"),
        ("de", "Das ist ein жук.", "жук"),
        ("cmn", "我们读汉字。", ""),
        ("ko", "대한민국 만세", ""),
        ("uk", "П\u02bcять їжаків", ""),
        ("en-us", "Naïve café, α and жук", ""),
    ],
)
def test_letters_that_espeak_names_are_an_error(voice: str, text: str, letters: str) -> None:
    """“Chinese letter, Chinese letter” was trained without a word."""
    [measured] = [TextMeasurer(create_voice(espeak_voice=voice))(text)]
    assert measured is not None
    assert measured.named == letters
    found = [f for f in check(text, espeak_voice=voice) if f.rule.name == "named-letters"]
    assert len(found) == bool(letters)
    assert all(f.line == 1 and letters in f.message for f in found)


def test_stresses_that_espeak_and_silero_disagree_about_are_counted_and_named() -> None:
    texts = ("Он потом пришёл.", "Она потом ушла домой.", "Берега этой земли.", "Мама дома.")
    issues = {issue.message.split(":")[0]: issue for issue in find_stresses(create_entries(*texts))}
    issue = issues["espeak-ng п+отом, silero-stress пот+ом"]
    assert (issue.line, issue.score) == (1, 2)
    assert "2 times" in issue.message
    assert "espeak-ng з+емли, silero-stress земл+и" in issues
    assert not any("дома" in message or "мама" in message for message in issues)
    # A word with a sign is left alone.
    assert find_stresses(create_entries("Он пот+ом пришёл.", "Без гласных: вв.")) == []


def test_other_languages_have_no_such_stress(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dataset / "config.json").write_text('{"espeak": {"voice": "en-us"}}')
    assert cli.main([str(dataset), "--quick", "--stress"]) == 1
    assert "error: --stress compares Russian stresses" in capsys.readouterr().err
