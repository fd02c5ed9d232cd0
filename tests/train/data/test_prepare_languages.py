"""Preparation in Chinese, Japanese and Arabic: what is trained is what will be said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prepared import load

from piper.config import load_voice_config
from piper.text.frontend import create_frontend
from piper.train.data.prepare import prepare_dataset
from piper.train.data.settings import resolve_settings


@pytest.fixture
def dataset(speech_dataset: Path, tmp_path: Path) -> Path:
    """Folder with two recordings of another dataset; the texts are the tests' own."""
    folder = tmp_path / "dataset"
    (folder / "wavs").mkdir(parents=True)
    for number, source in enumerate(sorted((speech_dataset / "wavs").glob("*.wav"))[1:3], 1):
        (folder / "wavs" / f"{number}.wav").symlink_to(source)
    return folder


@pytest.mark.parametrize(
    ("flags", "texts", "language", "program", "first_ids"),
    [
        (
            {"phoneme_type": "pinyin"},
            ["你好，世界。", "我有3个。好！"],
            "zh",
            "pypinyin",
            [1, 10, 39, 66, 0, 14, 32, 66, 0, 72, 0],
        ),
        (
            {"phoneme_type": "japanese"},
            ["こんにちは、世界。", "はい。そうです。"],
            "ja",
            "pyopenjtalk-plus",
            [1, 0, 23, 0, 27, 0, 151, 0],
        ),
        (
            {"espeak_voice": "ar"},
            ["ذهب الولد.", "كيف حالك؟"],
            "ar",
            "espeak-ng",
            [1, 0, 41, 0, 120, 0, 14, 0],
        ),
    ],
)
def test_two_texts(
    dataset: Path,
    flags: dict[str, str],
    texts: list[str],
    language: str,
    program: str,
    first_ids: list[int],
) -> None:
    lines = "".join(f"{number}.wav|{text}\n" for number, text in enumerate(texts, 1))
    (dataset / "metadata.csv").write_text(lines, encoding="utf-8")
    settings = resolve_settings(dataset_dir=dataset, **flags)
    prepared = prepare_dataset(settings)
    voice = load_voice_config(settings.config_path)
    assert voice.espeak_voice == language
    assert voice.phonemizer is not None
    assert voice.phonemizer.name == program
    frontend = create_frontend(voice)
    assert frontend.phonemizer == voice.phonemizer
    for utterance, text in zip(prepared.utterances, texts, strict=True):
        ids = load(utterance).ids.tolist()
        sentences = frontend.text_to_sentences(text)
        assert ids == [phoneme_id for sentence in sentences for phoneme_id in sentence.ids]
        assert utterance.missing == ""
    first = load(prepared.utterances[0]).ids.tolist()
    assert first[: len(first_ids)] == first_ids
    # A second run reads what the first one wrote, config.json included.
    assert prepare_dataset(resolve_settings(dataset_dir=dataset)).voice == prepared.voice
    assert json.loads(settings.config_path.read_text(encoding="utf-8"))["phoneme_id_map"]
