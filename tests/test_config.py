"""The border for JSON that others wrote."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from piper.config import PhonemeType, Phonemizer, VoiceConfig, load_voice_config
from piper.errors import ConfigError
from piper.files import load_json_object

# What a reader may rely on, and nothing else.
SMALLEST: dict[str, Any] = {
    "num_symbols": 256,
    "num_speakers": 1,
    "audio": {"sample_rate": 22050},
    "espeak": {"voice": "ru"},
    "phoneme_id_map": {"_": [0], "^": [1], "$": [2], "a": [3, 4]},
}


def change(dotted: str, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(SMALLEST)
    *folders, last = dotted.split(".")
    place = data
    for folder in folders:
        place = place.setdefault(folder, {})
    if value is KeyError:
        del place[last]
    else:
        place[last] = value
    return data


def test_the_smallest_file_gives_piper_s_defaults() -> None:
    config = VoiceConfig.from_dict(SMALLEST)
    assert (config.noise_scale, config.length_scale, config.noise_w_scale) == (0.667, 1.0, 0.8)
    assert config.hop_length == 256
    assert config.phoneme_type is PhonemeType.ESPEAK
    assert config.phoneme_id_map["a"] == [3, 4]
    assert config.speaker_id_map == {}
    assert config.phonemizer is None


def test_everything_is_read_and_written_back() -> None:
    data = {
        **SMALLEST,
        "audio": {"sample_rate": 16000, "quality": "x_low"},
        "language": {"code": "ru_RU"},
        "inference": {"noise_scale": 0.5, "length_scale": 2, "noise_w": 0.25},
        "phoneme_type": "text",
        "phoneme_map": {"a": ["b"]},
        "vowel_clusters": ["aɪ"],
        "num_speakers": 2,
        "speaker_id_map": {"anna": 0, "boris": 1},
        "hop_length": 128,
        "piper_version": "1.0.0",
        "default_speaker_id": 1,
        "phonemizer": {"name": "espeak-ng", "version": "1.52.0"},
    }
    config = VoiceConfig.from_dict(data)
    assert config.length_scale == 2.0
    assert config.phonemizer == Phonemizer("espeak-ng", "1.52.0")
    assert config.to_dict() == data
    assert VoiceConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_keys_that_change_phonemes_and_are_not_known_are_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = change("espeak.pitch", 3) | {"grapheme_cleaner": "x", "dataset": "joe"}
    for _ in range(2):
        VoiceConfig.from_dict(data, "odd.json")
        assert (
            VoiceConfig.from_dict({**SMALLEST, "vowel_clusters": 5}, "o.json").vowel_clusters == []
        )
    assert [record.getMessage() for record in caplog.records] == [
        "odd.json: these keys may change how texts are spoken, are not known here, and have no "
        "effect: espeak.pitch, grapheme_cleaner.",
        'o.json: the key "vowel_clusters" holds 5, but a list of phonemes is wanted. It is passed '
        "over.",
    ]


def test_extra_keys_are_tolerated_and_kept() -> None:
    config = VoiceConfig.from_dict({**SMALLEST, "dataset": "joe", "audio_format": {"x": 1}})
    assert config.extra == {"dataset": "joe", "audio_format": {"x": 1}}
    assert config.to_dict()["dataset"] == "joe"


@pytest.mark.parametrize(
    "key", ["num_speakers", "audio.sample_rate", "espeak.voice", "phoneme_id_map"]
)
@pytest.mark.parametrize("value", [KeyError, None])
def test_a_missing_key_is_named_with_its_file(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf'my\.json: the key "{key}" is missing'):
        VoiceConfig.from_dict(change(key, value), "my.json")


def test_a_single_id_is_as_good_as_a_list() -> None:
    config = VoiceConfig.from_dict(change("phoneme_id_map", {"_": 0, "a": 3, "b": [4, 5]}))
    assert config.phoneme_id_map == {"_": [0], "a": [3], "b": [4, 5]}


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("num_speakers", True, "a whole number"),
        ("num_speakers", 1.5, "a whole number"),
        ("num_speakers", 10**9, "a number from -100,000 to 100,000"),
        ("audio.sample_rate", [22050], "a whole number"),
        ("audio.sample_rate", 0, "a number from 1 to 1,000,000"),
        ("audio.sample_rate", -22050, "a number from 1 to 1,000,000"),
        ("audio.sample_rate", 2**31, "a number from 1 to 1,000,000"),
        ("audio.sample_rate", float("nan"), "a whole number"),
        ("espeak.voice", 7, "a string"),
        ("inference.noise_w", "much", "a number"),
        ("inference.noise_scale", float("inf"), "a number"),
        ("inference.length_scale", 0, "a number from 0.01 to 100.0"),
        ("phoneme_id_map", [1, 2], "an object"),
        ("phoneme_type", ["espeak"], "a string"),
    ],
)
def test_a_wrong_type_is_named_with_its_file_and_key(key: str, value: Any, wanted: str) -> None:
    with pytest.raises(ConfigError, match=rf'my\.json: the key "{key}" holds .* {wanted} is wante'):
        VoiceConfig.from_dict(change(key, value), "my.json")


@pytest.mark.parametrize("ids", [["x"], [-1], [True], [1.5], [2**31], {"1": 1}, "x"])
def test_a_wrong_id_is_named_with_its_symbol(ids: Any) -> None:
    message = rf"my\.json: .* {re.escape(repr(ids))} for 'a'"
    with pytest.raises(ConfigError, match=message):
        VoiceConfig.from_dict(change("phoneme_id_map", {"a": ids}), "my.json")


def test_a_map_does_not_let_a_text_grow_without_bound() -> None:
    with pytest.raises(ConfigError, match=r"gives 1,000 ids for 'a', but 16 are the most"):
        VoiceConfig.from_dict(change("phoneme_id_map", {"a": [1] * 1000}), "my.json")
    with pytest.raises(ConfigError, match=r"puts 1,000 characters in place of 'a', but 16 are"):
        VoiceConfig.from_dict(change("phoneme_map", {"a": ["b" * 10] * 100}), "my.json")


# What trainers and editors of Piper's voices wrote over the years.
@pytest.mark.parametrize(
    ("key", "written", "name", "read"),
    [
        ("phoneme_type", "PhonemeType.ESPEAK", "phoneme_type", PhonemeType.ESPEAK),
        ("phoneme_type", "PhonemeType.TEXT", "phoneme_type", PhonemeType.TEXT),
        ("phoneme_type", "ESPEAK", "phoneme_type", PhonemeType.ESPEAK),
        ("phoneme_type", "", "phoneme_type", PhonemeType.ESPEAK),
        ("phoneme_type", None, "phoneme_type", PhonemeType.ESPEAK),
        ("language", "en", "language", {"code": "en"}),
        ("language", "", "language", {}),
        ("audio.sample_rate", 22050.0, "sample_rate", 22050),
        ("audio.sample_rate", "22050", "sample_rate", 22050),
        ("num_symbols", "256", "num_symbols", 256),
        ("num_symbols", 256.0, "num_symbols", 256),
        ("num_symbols", KeyError, "num_symbols", 5),
        ("num_symbols", None, "num_symbols", 5),
        ("num_symbols", 2, "num_symbols", 5),
        ("num_speakers", 0, "num_speakers", 1),
        ("num_speakers", "1", "num_speakers", 1),
        ("inference.noise_scale", "0.667", "noise_scale", 0.667),
        ("inference", None, "noise_scale", 0.667),
        ("speaker_id_map", {"a": "0", "b": 0.0}, "speaker_id_map", {"a": 0, "b": 0}),
        ("phoneme_map", {"a": "b"}, "phoneme_map", {"a": ["b"]}),
        (
            "phoneme_id_map",
            {"a": "4", "b": ["4"], "c": None},
            "phoneme_id_map",
            {"a": [4], "b": [4]},
        ),
        ("default_speaker_id", "0", "default_speaker_id", 0),
    ],
)
def test_variants_that_exist_are_read(
    key: str, written: Any, name: str, read: Any, caplog: pytest.LogCaptureFixture
) -> None:
    config = VoiceConfig.from_dict(change(key, written))
    assert getattr(config, name) == read
    assert type(getattr(config, name)) is type(read)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("key", "written", "name", "read"),
    [
        ("language", ["en"], "language", {}),
        ("hop_length", 0, "hop_length", 256),
        ("hop_length", "many", "hop_length", 256),
        ("piper_version", 1.0, "piper_version", ""),
        ("speaker_id_map", ["anna"], "speaker_id_map", {}),
        ("speaker_id_map", {"anna": None}, "speaker_id_map", {}),
        ("default_speaker_id", 5, "default_speaker_id", 0),
        ("phoneme_map", {"a": [1], "b": ["c"]}, "phoneme_map", {"b": ["c"]}),
        ("phonemizer", "espeak-ng", "phonemizer", None),
    ],
)
def test_what_the_existing_client_does_not_read_is_passed_over_with_a_line(
    key: str, written: Any, name: str, read: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        assert getattr(VoiceConfig.from_dict(change(key, written), "my.json"), name) == read
    [line] = [line for line in caplog.messages if key in line]
    assert line.startswith("my.json: the key ")
    assert line.endswith("is passed over.")


def test_a_voice_without_espeak_needs_none_in_its_json() -> None:
    data = {**change("espeak", KeyError), "phoneme_type": "text"}
    assert VoiceConfig.from_dict(data).espeak_voice == ""


def test_an_unknown_phoneme_type_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'klingon', but only espeak, text, .* are known"):
        VoiceConfig.from_dict(change("phoneme_type", "klingon"))


def test_a_file_is_read_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "voice.onnx.json"
    path.write_text(json.dumps(SMALLEST), encoding="utf-8-sig")
    assert load_voice_config(path) == load_voice_config(str(path))
    assert load_voice_config(path).sample_rate == 22050


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{\n"a": 1,\n}', r"not valid JSON \(line [23]: "),
        (b"", "not valid JSON"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
        (b"[1, 2]", "holds a JSON list, but an object is wanted"),
        (b'{"a":' * 900 + b"1" + b"}" * 900, "is nested deeper than 100 levels"),
        (b"[" * 100_000, "is nested deeper than 100 levels"),
        (b'{"a": [-%s]}' % (b"1" * 5000), "holds a number of 5,000 digits"),
    ],
)
def test_a_file_that_is_no_json_object(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "voice.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"voice\.json.* {message}"):
        load_json_object(path)


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json does not exist"):
        load_voice_config(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="is a folder"):
        load_voice_config(tmp_path)
