"""Japanese phonemes; what `observed` compares with was seen on piper-tts 1.8.0."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from frontends import to_pairs, to_strings

from piper.config import PhonemeType
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.text.frontend import Frontend
from piper.voice.voice import PiperVoice


@pytest.fixture(scope="module")
def frontend() -> Frontend:
    return Frontend(PhonemeType.JAPANESE, "ja", DEFAULT_PHONEME_ID_MAP)


@pytest.mark.parametrize(
    ("text", "observed"),
    [
        ("こんにちは、世界。", ["ko↑ɴnitɕiwa,se↓kai."]),
        ("今日は？明日も！", ["kʲo↓owa?", "a↑ɕita↓mo."]),
        ("「こんにちは」と言った。（はい）", ["ko↑ɴnitɕiwa,to#i↑ʔta.", "ha↓i."]),
        ("これはペンです\nあれは本です", ["ko↑ɾewa#pe↓ɴdesɯ#a↑ɾewa#ho↓ɴdesɯ."]),
        ("本当！？うそ…はい", ["ho↑ɴtoo?", "ɯ↓so,ha↓i."]),
        ("行きます．はい，そうです.", ["i↑kima↓sɯ.", "ha↓i,so↑odesɯ."]),
        (
            "きゃ きゅ ぎゃ しゃ じゃ ちゃ にゃ ひゃ びゃ ぴゃ みゃ りゃ",
            ["kʲa↓kʲɯɡʲaɕa#dʑa#tɕa↑nʲa#hʲa↓bʲapʲamʲaɾʲa."],
        ),
        ("ファ ヴァ ティ トゥ ツァ クァ がっこう", ["ɸa#va↑ti#tɯ#tsa↑kʷa#ɡa↑ʔkoo."]),
        ("123円、3.14、ABC", ["hʲa↑kɯ#ni↓dʑɯɯ#sa↓ɴeɴ,sa↑ɴteɴ#i↑tɕijo↓ɴ,e↑ibiiɕi↓i."]),
        ("。、😀", []),
    ],
)
def test_phonemes_are_those_observed(frontend: Frontend, text: str, observed: list[str]) -> None:
    assert to_strings(frontend, text) == observed
    assert not frontend.missing


def test_where_the_existing_client_is_not_followed(frontend: Frontend) -> None:
    assert to_strings(frontend, "はい\n\nいいえ") == ["ha↓i.", "i↑ie."]  # there one sentence
    assert to_strings(frontend, "3．5と") == ["sa↑ɴteɴ#ɡo↓to."]  # there two
    assert to_strings(frontend, "フューチャー") == ["ɸʲɯ↓ɯtɕaa."]  # there ɯ↓ɯtɕaa
    assert to_strings(frontend, "[[ko]]です") == ["kode↓sɯ."]  # there the letters k and o


def test_sentences_know_their_text_pauses_and_words(frontend: Frontend) -> None:
    first, second = frontend.text_to_sentences("彼は、123円…払った。\n\n「はい！」")
    assert first.text == "彼は、123円…払った。"
    assert first.ends_paragraph
    assert [first.phonemes[index] for index in first.clause_breaks] == [",", ","]
    assert first.ellipses == first.clause_breaks[1:]
    words = to_pairs(first)
    assert words == [
        ("彼", "ka↓ɾe"),
        ("は", "wa"),
        ("123", "hʲa↑kɯ#ni↓dʑɯɯ#sa↓ɴ"),
        ("円", "eɴ"),
        ("払っ", "ha↑ɾa↓ʔ"),
        ("た", "ta"),
    ]
    assert [word.text for word in second.words] == ["はい"]
    assert all(first.text[word.start : word.end] == word.text for word in first.words)


def test_a_voice_speaks_with_times_of_words(tiny_voice: Path, tmp_path: Path) -> None:
    model = Path(shutil.copy(tiny_voice, tmp_path / "ja.onnx"))
    config = json.loads(tiny_voice.with_name(f"{tiny_voice.name}.json").read_text())
    config["phoneme_type"] = "japanese"
    model.with_name("ja.onnx.json").write_text(json.dumps(config))
    voice = PiperVoice.load(model)
    (chunk,) = voice.synthesize("こんにちは、世界。", include_alignments=True)
    assert chunk.audio_float_array.size
    assert [word.text for word in chunk.word_timings or []] == ["こんにちは", "世界"]
