"""Flags and config.json are put together; contradictions and mistakes are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from piper.config import PhonemeType
from piper.errors import ConfigError, DatasetError, PiperError
from piper.train.data.settings import resolve_settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "wavs").mkdir()
    (tmp_path / "metadata.csv").write_text("a|Text.\n")
    write_config(tmp_path, {"audio": {"sample_rate": 16000}, "espeak": {"voice": "ru"}})
    return tmp_path


def write_config(folder: Path, data: object) -> None:
    (folder / "config.json").write_text(json.dumps(data))


def resolve_error(kind: type[PiperError] = ConfigError, **flags: object) -> str:
    with pytest.raises(kind) as caught:
        resolve_settings(**flags)
    return str(caught.value)


def test_everything_follows_from_the_folder(folder: Path) -> None:
    settings = resolve_settings(dataset_dir=folder)
    assert settings.csv_path == folder / "metadata.csv"
    assert settings.audio_dir == folder / "wavs"
    assert settings.cache_dir == folder / ".cache"
    assert settings.config_path == folder / "config.json"
    assert settings.voice_name == folder.name
    assert (settings.sample_rate, settings.espeak_voice) == (16000, "ru")
    assert settings.num_speakers == 1


def test_explicit_paths_win(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    settings = resolve_settings(dataset_dir=folder, audio_dir=other, cache_dir=other / "cache")
    assert settings.audio_dir == other
    assert settings.cache_dir == other / "cache"
    assert settings.csv_path == folder / "metadata.csv"


def test_without_a_folder_audio_lies_beside_the_csv(folder: Path) -> None:
    settings = resolve_settings(csv_path=folder / "metadata.csv")
    assert settings.audio_dir == folder


def test_flags_equal_to_the_file_are_no_contradiction(folder: Path) -> None:
    settings = resolve_settings(dataset_dir=folder, sample_rate=16000, espeak_voice="ru")
    assert settings.sample_rate == 16000


def test_a_dataset_without_config(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("a|Text.\n")
    settings = resolve_settings(dataset_dir=tmp_path, espeak_voice="ru")
    assert (settings.sample_rate, settings.audio_dir) == (22050, tmp_path)
    assert "--data.espeak_voice" in resolve_error(dataset_dir=tmp_path)


@pytest.mark.parametrize(
    ("config", "flags", "expected"),
    [
        (
            {"audio": {"sample_rate": 16000}},
            {"sample_rate": 22050},
            '"audio.sample_rate": 16000, but --model.sample_rate is 22050',
        ),
        (
            {"espeak": {"voice": "ru"}},
            {"espeak_voice": "en-us"},
            "\"espeak.voice\": 'ru', but --data.espeak_voice is 'en-us'",
        ),
        ({"num_speakers": 2}, {"num_speakers": 3}, '"num_speakers": 2, but --model.num_speakers'),
        ({"num_symbols": 256}, {"num_symbols": 180}, '"num_symbols": 256, but --data.num_symbols'),
        ({"hop_length": 200}, {}, '"hop_length": 200, but --model.hop_length is 256'),
    ],
)
def test_contradictions(
    folder: Path, config: dict[str, object], flags: dict[str, object], expected: str
) -> None:
    write_config(folder, config)
    message = resolve_error(**{"dataset_dir": folder, "espeak_voice": "ru", **flags})
    assert message.startswith(f"{folder / 'config.json'} says ")
    assert expected in message
    assert "leave out the flag, or change the file" in message


def test_a_flag_s_quality_counts_more_than_the_file_s(folder: Path) -> None:
    """The recordings are the same in each; the trainer warns."""
    write_config(folder, {"audio": {"quality": "high"}, "espeak": {"voice": "ru"}})
    assert resolve_settings(dataset_dir=folder, quality="medium").quality == "medium"
    assert resolve_settings(dataset_dir=folder).quality == "high"


def test_wrong_type_in_the_file(folder: Path) -> None:
    write_config(folder, {"audio": {"sample_rate": "16k"}, "espeak": {"voice": "ru"}})
    assert "\"audio.sample_rate\" holds '16k', but int is wanted" in resolve_error(
        dataset_dir=folder
    )


def test_config_that_is_no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    assert "is not valid JSON (line 1" in resolve_error(dataset_dir=folder)


def test_nothing_named() -> None:
    assert "--data.dataset_dir=DIR" in resolve_error(DatasetError)


def test_missing_folders(folder: Path) -> None:
    gone = folder / "gone"
    assert f"{gone} does not exist" in resolve_error(DatasetError, dataset_dir=gone)
    message = resolve_error(DatasetError, dataset_dir=folder, audio_dir=gone)
    assert f"{gone} does not exist; pass it with --data.audio_dir" in message


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"batch_size": 0}, "--data.batch_size must be 1 or more, or auto; it is 0"),
        ({"max_batch_frames": 0}, "--data.max_batch_frames must be 1 or more; it is 0"),
        ({"max_seconds": 0.0}, "--data.max_seconds must be above 0; it is 0.0"),
        ({"num_workers": -1}, "--data.num_workers must not be < 0"),
        ({"validation_split": 1.0}, "--data.validation_split must be from 0 to below 1"),
        ({"open_ends": 1.5}, "--data.open_ends must be from 0 to 1; it is 1.5"),
        ({"keep_seconds_after_silence": -1.0}, "must not be negative"),
        ({"dataset_type": "words"}, "--data.dataset_type must be text or phoneme_ids"),
        ({"num_symbols": 100}, "--data.num_symbols must be above the largest phoneme id, 165"),
        ({"num_speakers": 0}, "--model.num_speakers is 0; give 1 or more"),
        (
            {"phoneme_type": "hebrew"},
            'The phoneme type "hebrew" cannot be trained here; choose one of espeak, text, pinyin',
        ),
        ({"segment_size": 8000}, "--model.segment_size=8000 is no multiple of"),
    ],
)
def test_values_that_cannot_be_used(folder: Path, flags: dict[str, object], expected: str) -> None:
    assert expected in resolve_error(dataset_dir=folder, **flags)


def test_phonemes_path(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "phonemes.json"
    path.write_text(json.dumps({"_": [0], "^": 1, "$": [2], "a": [3]}))
    settings = resolve_settings(dataset_dir=folder, phonemes_path=path)
    assert settings.phoneme_id_map == {"_": [0], "^": [1], "$": [2], "a": [3]}
    write_config(folder, {"espeak": {"voice": "ru"}, "phoneme_id_map": {"_": [0], "^": [1]}})
    message = resolve_error(dataset_dir=folder, phonemes_path=path)
    assert "--data.phonemes_path" in message
    path.write_text(json.dumps({"a": ["x"]}))
    assert "gives ['x'] for the phoneme 'a'" in resolve_error(
        dataset_dir=folder, phonemes_path=path
    )


def test_text_takes_its_symbols_from_the_texts(folder: Path) -> None:
    settings = resolve_settings(dataset_dir=folder, phoneme_type="text")
    assert settings.phoneme_type is PhonemeType.TEXT
    assert settings.phoneme_id_map is None


def test_text_options_by_flag_and_by_file(folder: Path) -> None:
    options = resolve_settings(dataset_dir=folder).text_options
    defaults = {"write_numbers": False, "stress": "marks"}
    assert options.to_dict() == {**defaults, "abbreviations": True}
    options = resolve_settings(dataset_dir=folder, write_numbers=True, stress="off").text_options
    assert options.to_dict() == {"write_numbers": True, "stress": "off", "abbreviations": True}
    config = {"espeak": {"voice": "ru"}, "text_options": {"write_numbers": True}}
    write_config(folder, config)
    assert resolve_settings(dataset_dir=folder).text_options.write_numbers
    # A dataset that was trained on before there was such a choice stays as it was.
    assert not resolve_settings(dataset_dir=folder).text_options.abbreviations
    assert resolve_settings(dataset_dir=folder, abbreviations=True).text_options.abbreviations
    error = resolve_error(dataset_dir=folder, write_numbers=False)
    assert 'says "text_options.write_numbers": True, but --data.write_numbers is False' in error
    assert "choose one of" in resolve_error(dataset_dir=folder, stress="loud")


@pytest.mark.parametrize(
    ("flags", "is_honoured"),
    [
        ({}, True),
        ({"stress": "off"}, False),
        ({"phoneme_type": "text"}, False),
    ],
)
def test_where_stress_marks_are_honoured(
    folder: Path, flags: dict[str, str], is_honoured: bool
) -> None:
    assert resolve_settings(dataset_dir=folder, **flags).has_stress_marks is is_honoured


def test_stress_marks_of_another_language_are_not_honoured(folder: Path) -> None:
    write_config(folder, {"espeak": {"voice": "uk"}})
    assert not resolve_settings(dataset_dir=folder).has_stress_marks
