"""Chinese phonemes: structure and ids as seen on piper-tts 1.8.0, readings as in a dictionary."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from frontends import to_pairs, to_strings

from piper.config import PhonemeType
from piper.text.chinese import PINYIN_PHONEME_ID_MAP, find_edits, split_syllable
from piper.text.frontend import Frontend
from piper.text.sentence import RewrittenText
from piper.voice.voice import PiperVoice


@pytest.fixture(scope="module")
def frontend() -> Frontend:
    return Frontend(PhonemeType.PINYIN, "zh", PINYIN_PHONEME_ID_MAP)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (
            "你好，世界。今天！是吗？好…",
            ["ni3hao3，shi4jie4。", "jin1tian1！", "shi4ma5？", "hao3…"],
        ),
        ("“你好。”他说：（好）《书》", ["ni3hao3。", "ta1shuo1：hao3shu1"]),
        ("你好. 好? 好.好!好", ["ni3hao3.", "hao3?", "hao3.hao3!hao3"]),
        ("你好, 世界；好、好—好", ["ni3hao3, shi4jie4；hao3、hao3—hao3"]),
        ("一行\n二行\n\n三", ["yi4xing2Øer4xing2", "san1"]),
        ("爱安昂欧儿额恩", ["Øai4Øan1Øang2Øou1Øer2Øe2Øen1"]),
        ("鱼月元云五我翁", ["yu2yue4yuan2yun2wu3wo3weng1"]),
        ("女绿略居雪全军", ["nv3lv4lve4ju1xue3quan2jun1"]),
        ("知吃师日资次四", ["zhi1chi1shi1ri4zi1ci4si4"]),
        ("。 …", []),
    ],
)
def test_structure_is_that_observed(frontend: Frontend, text: str, sentences: list[str]) -> None:
    assert to_strings(frontend, text) == sentences
    assert not frontend.missing


@pytest.mark.parametrize(
    ("text", "phonemes"),
    [
        ("银行", "yin2hang2"),
        ("重庆", "chong2qing4"),
        ("长江", "chang2jiang1"),
        ("不去，不好，不是，不", "bu2qu4，bu4hao3，bu2shi4，bu4"),
        (
            "一个，一天，一百，第一，一月，十一",
            "yi2ge4，yi4tian1，yi4bai3，di4yi1，yi1yue4，shi2yi1",
        ),
        ("看一看，跑得快", "kan4yi5kan4，pao3de5kuai4"),
        ("漢語", "han4yu3"),
        ("嗯，欸", "Øen2，Øai1"),
    ],
)
def test_readings(frontend: Frontend, text: str, phonemes: str) -> None:
    assert to_strings(frontend, text) == [phonemes]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2024年5月12日", "二零二四年五月十二日"),
        ("123, 1,234, 10000", "一百二十三, 一千二百三十四, 一万"),
        ("3.14, -5, 0.5", "三点一四, 负五, 零点五"),
        ("50%, 12.5％", "百分之五十, 百分之十二点五"),
        ("25℃, −3.5 °C", "二十五度, 负三点五度"),
        ("10:30, 9:05, 8:00", "十点三十分, 九点零五分, 八点"),
        ("1/2, 2个, 12个", "二分之一, 两个, 十二个"),
        ("$100, ￥5", "一百美元, 五元"),
        ("13812345678, 007", "一三八一二三四五六七八, 零零七"),
        ("A股, OK", "诶股, 欧开"),
    ],
)
def test_figures_and_letters_are_written_out(text: str, words: str) -> None:
    assert RewrittenText(text).replace(find_edits(text)).text == words


def test_ids_have_pads_after_syllables_and_marks_only(frontend: Frontend) -> None:
    # As PiperVoice.phonemes_to_ids of piper-tts 1.8.0 gave them.
    (sentence,) = frontend.text_to_sentences("你好，好。")
    assert sentence.phonemes == ["n", "i", "3", "h", "ao", "3", "，", "h", "ao", "3", "。"]
    assert sentence.ids == [1, 10, 39, 66, 0, 14, 32, 66, 0, 72, 0, 14, 32, 66, 0, 69, 0, 2]
    assert frontend.phonemes_to_ids(["x", "?"]) == [1, 17, 70, 0, 2]


def test_the_map_is_that_of_the_published_voices() -> None:
    assert len(PINYIN_PHONEME_ID_MAP) == 85
    assert [PINYIN_PHONEME_ID_MAP[symbol] for symbol in ("_", "Ø", "w", "a", "ue", "1", "5")] == [
        *([0], [3], [26], [27], [63], [64], [68])
    ]
    assert [PINYIN_PHONEME_ID_MAP[symbol] for symbol in "。.？！…、，,：;— "] == [
        *([69], [69], [70], [71], *([[72]] * 8))
    ]


def test_a_syllable_is_initial_final_and_tone() -> None:
    assert split_syllable("zhuang4") == ("zh", "uang", "4")
    assert split_syllable("an") == ("Ø", "an", "5")
    assert split_syllable("ng2") == ("Ø", "en", "2")
    assert split_syllable("ê1") == ("Ø", "ei", "1")


def test_sentences_know_their_text_pauses_and_words(frontend: Frontend) -> None:
    first, second = frontend.text_to_sentences("我有100元，不是２０２４年。“好！”")
    assert [first.phonemes[index] for index in first.clause_breaks] == ["，"]
    words = to_pairs(first)
    assert words[:7] == [
        ("我", "wo3"),
        ("有", "you3"),
        ("100", "yi4bai3"),
        ("元", "yuan2"),
        ("不是", "bu2shi4"),
        ("２０２４", "Øer4ling2Øer4si4"),
        ("年", "nian2"),
    ]
    assert [(word.text, word.start) for word in second.words] == [("好", 1)]


def test_raw_phonemes_are_syllables(frontend: Frontend) -> None:
    (sentence,) = frontend.text_to_sentences("[[ni3 Øai4]]好！")
    assert sentence.phonemes == ["n", "i", "3", " ", "Ø", "ai", "4", "h", "ao", "3", "！"]
    assert [word.text for word in sentence.words] == ["[[ni3 Øai4]]", "好"]


def test_paragraphs_end_at_blank_lines(frontend: Frontend) -> None:
    first, second = frontend.text_to_sentences("好。\n\n好")
    assert (first.text, first.ends_paragraph, second.ends_paragraph) == ("好。", True, False)


def test_an_unknown_character_is_counted_as_missing() -> None:
    other = Frontend(PhonemeType.PINYIN, "zh", PINYIN_PHONEME_ID_MAP)
    assert "".join(other.text_to_sentences("好あ")[0].phonemes) == "hao3あ"
    assert other.missing == {"あ": 1}


def test_a_voice_speaks_with_times_of_words(tiny_voice: Path, tmp_path: Path) -> None:
    model = Path(shutil.copy(tiny_voice, tmp_path / "zh.onnx"))
    config = json.loads(tiny_voice.with_name(f"{tiny_voice.name}.json").read_text())
    config |= {"phoneme_type": "pinyin", "phoneme_id_map": PINYIN_PHONEME_ID_MAP}
    model.with_name("zh.onnx.json").write_text(json.dumps(config))
    voice = PiperVoice.load(model)
    (chunk,) = voice.synthesize("银行，3个。", include_alignments=True)
    assert chunk.audio_float_array.size
    assert [word.text for word in chunk.word_timings or []] == ["银行", "3", "个"]
