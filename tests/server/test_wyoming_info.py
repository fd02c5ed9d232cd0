"""What a Wyoming server says of voices, whatever stands in their JSON."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from servers import copy_voice

from piper.config import load_voice_config
from piper.server.store import VoiceStore
from piper.server.wyoming import create_info, find_language, find_voice_of
from piper.voices import find_voice


@pytest.mark.parametrize(
    ("language", "espeak_voice", "expected"),
    [
        ({"code": "de_AT"}, "de", "de_AT"),
        ({"code": ""}, "ru", "ru_RU"),
        ({"code": "en-us"}, "en-us", "en_US"),
        ({"code": "PT-br"}, "pt-br", "pt_BR"),
        ({"code": 3}, "en-us", "en_US"),
        ({}, "en-gb-scotland", "en_GB"),
        ({}, "es-419", "es_MX"),
        ({}, "fr-fr", "fr_FR"),
    ],
)
def test_a_voice_s_language(
    tiny_voice: Path, language: dict[str, Any], espeak_voice: str, expected: str
) -> None:
    config = load_voice_config(Path(f"{tiny_voice}.json"))
    config = replace(config, language=language, espeak_voice=espeak_voice)
    assert find_language(config) == expected


@pytest.fixture
def store(tiny_voice: Path, tmp_path: Path) -> VoiceStore:
    """The default voice `m` (American English), `a` (British), `many` speakers, a broken one."""
    for name, changes in {
        "m": {"dataset": "mine"},
        "a": {"language": {"code": "en_GB"}},
        "many": {"num_speakers": 10, "speaker_id_map": {}, "language": {"code": "nl_BE"}},
        "broken": {"num_speakers": "ten"},
    }.items():
        copy_voice(tiny_voice, tmp_path / f"{name}.onnx", **changes)
    return VoiceStore(find_voice(tmp_path / "m.onnx"), data_dirs=[tmp_path])


def test_voices_that_can_be_read_are_listed(
    store: VoiceStore, caplog: pytest.LogCaptureFixture
) -> None:
    [program] = create_info(store, is_streaming=False).tts
    assert [voice.name for voice in program.voices] == ["m", "a", "many"]
    assert program.voices[0].attribution.name == "mine"
    assert [speaker.name for speaker in program.voices[2].speakers or ()] == list("0123456789")
    assert "'broken' is not listed" in caplog.text


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", "m"),
        ("en-GB", "a"),
        ("en_AU", "m"),
        ("EN_us", "m"),
        ("nl", "many"),
        ("nl_NL", "many"),
    ],
)
def test_the_voice_of_a_language(store: VoiceStore, language: str, expected: str) -> None:
    assert find_voice_of(store, language) == expected
