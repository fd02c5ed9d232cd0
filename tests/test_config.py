"""The border for JSON that others wrote."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from piper.config import (
    PhonemeType,
    Phonemizer,
    VoiceConfig,
    load_json_object,
    load_voice_config,
)
from piper.errors import ConfigError

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


def test_extra_keys_are_tolerated_and_kept() -> None:
    config = VoiceConfig.from_dict({**SMALLEST, "dataset": "joe", "audio_format": {"x": 1}})
    assert config.extra == {"dataset": "joe", "audio_format": {"x": 1}}
    assert config.to_dict()["dataset"] == "joe"


@pytest.mark.parametrize(
    "key", ["num_symbols", "num_speakers", "audio.sample_rate", "espeak.voice", "phoneme_id_map"]
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
        ("num_symbols", "256", "a whole number"),
        ("num_symbols", True, "a whole number"),
        ("num_speakers", 1.5, "a whole number"),
        ("audio.sample_rate", [22050], "a whole number"),
        ("espeak.voice", 7, "a string"),
        ("inference.noise_w", "much", "a number"),
        ("phoneme_id_map", [1, 2], "an object"),
        ("speaker_id_map", ["anna"], "an object"),
    ],
)
def test_a_wrong_type_is_named_with_its_file_and_key(key: str, value: Any, wanted: str) -> None:
    with pytest.raises(ConfigError, match=rf'my\.json: the key "{key}" holds .* {wanted} is wante'):
        VoiceConfig.from_dict(change(key, value), "my.json")


def test_a_wrong_id_is_named_with_its_symbol() -> None:
    with pytest.raises(ConfigError, match=r"my\.json: .* \['x'\] for 'a'"):
        VoiceConfig.from_dict(change("phoneme_id_map", {"a": ["x"]}), "my.json")


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
