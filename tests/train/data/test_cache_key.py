"""The cache's key covers everything that a cached utterance depends on."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from piper.config import Phonemizer, VoiceConfig
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.train.data.metadata import Row
from piper.train.data.prepare import create_cache_keys
from piper.train.data.settings import DataSettings, resolve_settings


@pytest.fixture
def settings(speech_dataset: Path) -> DataSettings:
    return resolve_settings(dataset_dir=speech_dataset)


@pytest.fixture
def voice() -> VoiceConfig:
    phonemizer = Phonemizer("espeak-ng", "1.52.0")
    id_map = dict(DEFAULT_PHONEME_ID_MAP)
    return VoiceConfig(256, 1, 22050, "ru", id_map, phonemizer=phonemizer)


@pytest.fixture
def row(speech_dataset: Path, tmp_path: Path) -> Row:
    path = tmp_path / "clip.wav"
    shutil.copyfile(speech_dataset / "wavs/utterance001.wav", path)
    return Row(1, path, "Привет.", None, None)


def key(row: Row, settings: DataSettings, voice: VoiceConfig) -> str:
    return create_cache_keys([row], settings, voice)[0]


def test_same_key_for_the_same_utterance(
    row: Row, settings: DataSettings, voice: VoiceConfig
) -> None:
    assert key(row, settings, voice) == key(replace(row, line=9), settings, replace(voice))


@pytest.mark.parametrize(
    "change",
    [
        {"sample_rate": 16000},
        {"trim_silence": False},
        {"keep_seconds_before_silence": 0.1},
        {"keep_seconds_after_silence": 0.1},
        {"loudness": -23.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_settings_of_audio(
    row: Row, settings: DataSettings, voice: VoiceConfig, change: dict[str, int]
) -> None:
    assert key(row, settings, voice) != key(row, replace(settings, **change), voice)


@pytest.mark.parametrize(
    "change",
    [
        {"espeak_voice": "en-us"},
        {"phonemizer": Phonemizer("espeak-ng", "1.53")},
        {"phonemizer": Phonemizer("other", "1.52.0")},
        {"phoneme_id_map": {**DEFAULT_PHONEME_ID_MAP, "a": [200]}},
        {"phoneme_map": {"a": ["b"]}},
    ],
    ids=["espeak_voice", "version", "phonemizer", "phoneme_id_map", "phoneme_map"],
)
def test_settings_of_phonemes(
    row: Row, settings: DataSettings, voice: VoiceConfig, change: dict[str, object]
) -> None:
    assert key(row, settings, voice) != key(row, settings, replace(voice, **change))


def test_text_and_ids(row: Row, settings: DataSettings, voice: VoiceConfig) -> None:
    """Another ending than the first 50 characters counts, too."""
    long = replace(row, text="Слово " * 30 + "конец.")
    keys = {
        key(changed, settings, voice)
        for changed in (row, long, replace(long, text=long.text + "!"), replace(row, ids=[1, 0, 2]))
    }
    assert len(keys) == 4


def test_recording(row: Row, settings: DataSettings, voice: VoiceConfig, tmp_path: Path) -> None:
    before = key(row, settings, voice)
    stat = row.audio_path.stat()
    os.utime(row.audio_path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    touched = key(row, settings, voice)
    with row.audio_path.open("ab") as file:
        file.write(b"\0\0")
    os.utime(row.audio_path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    longer = key(row, settings, voice)
    other = tmp_path / "other.wav"
    row.audio_path.rename(other)
    renamed = key(replace(row, audio_path=other), settings, voice)
    assert len({before, touched, longer, renamed}) == 4


def test_text_options(row: Row, settings: DataSettings, voice: VoiceConfig) -> None:
    """Numbers in words are other phonemes of the same text."""
    changed = replace(voice, extra={"text_options": {"write_numbers": True, "stress": "marks"}})
    assert key(row, settings, voice) != key(row, settings, changed)
