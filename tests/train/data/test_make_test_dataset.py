"""The test dataset is real speech, in the documented structure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile
from make_test_dataset import SENTENCES, make_test_dataset

from piper.train.data.audio import find_speech, measure_levels, smooth_levels


def test_structure(speech_dataset: Path) -> None:
    lines = (speech_dataset / "metadata.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "utterance001.wav|Привет, это тест."
    assert len(lines) == 16
    config = json.loads((speech_dataset / "config.json").read_text(encoding="utf-8"))
    assert config["audio"]["sample_rate"] == 22050
    assert config["espeak"]["voice"] == "ru"
    names = sorted(path.name for path in (speech_dataset / "wavs").iterdir())
    assert names == [line.split("|")[0] for line in lines]


def test_sentences_are_varied() -> None:
    assert len(set(SENTENCES)) == len(SENTENCES) >= 36
    letters = set("".join(SENTENCES).lower())
    assert set("абвгдежзийклмнопрстуфхцчшщыьэюяё") <= letters


def test_every_recording_speaks(speech_dataset: Path) -> None:
    """The script that this replaces made silence, on which nothing can be learnt."""
    lengths = []
    for path in sorted((speech_dataset / "wavs").iterdir()):
        samples, sample_rate = soundfile.read(path, dtype="float32")
        start, end = find_speech(samples, sample_rate)
        assert sample_rate == 22050
        assert smooth_levels(measure_levels(samples, sample_rate)).max() > -25
        assert np.abs(samples).max() < 1.0
        lengths.append((end - start) / sample_rate)
    assert min(lengths) < 0.6  # «Да.»
    assert max(lengths) > 2.0


def test_second_run_changes_nothing(tmp_path: Path) -> None:
    make_test_dataset(tmp_path, sentences=2)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    make_test_dataset(tmp_path, sentences=2)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    (tmp_path / "wavs/utterance002.wav").unlink()
    make_test_dataset(tmp_path, sentences=2)
    assert (tmp_path / "wavs/utterance002.wav").is_file()


def test_speakers_take_turns_and_differ(two_speaker_dataset: Path) -> None:
    lines = (two_speaker_dataset / "metadata.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split("|")[1] for line in lines[:3]] == ["speaker1", "speaker2", "speaker1"]
    assert soundfile.info(two_speaker_dataset / "wavs/utterance001.wav").samplerate == 16000
