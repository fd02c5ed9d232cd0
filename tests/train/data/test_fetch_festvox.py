"""Fetching festvox-ru, as far as it goes without the network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
from fetch_festvox_ru import fetch_festvox_ru

from piper.errors import DatasetError
from piper.train.data.metadata import load_metadata


@pytest.fixture
def unpacked(speech_dataset: Path, tmp_path: Path) -> Path:
    """What an earlier run leaves: recordings and transcripts, in the package's layout."""
    (tmp_path / "wavs").mkdir()
    transcripts = []
    for number in (1, 2, 3):
        name = f"ru_{number:04}"
        source = speech_dataset / f"wavs/utterance{number:03}.wav"
        (tmp_path / "wavs" / f"{name}.wav").write_bytes(source.read_bytes())
        transcripts.append(f'( {name} "Т+екст номер {number}." )\n')
    (tmp_path / "transcripts.txt").write_text("".join(transcripts), encoding="utf-8")
    return tmp_path


def test_dataset_of_unpacked_recordings(unpacked: Path) -> None:
    assert fetch_festvox_ru(unpacked) == 3
    assert (unpacked / "metadata.csv").read_text(encoding="utf-8").splitlines()[1] == (
        "ru_0002.wav|Т+екст номер 2."
    )
    config = json.loads((unpacked / "config.json").read_text(encoding="utf-8"))
    assert config["audio"]["sample_rate"] == 22050  # that of the WAVs
    rows = load_metadata(unpacked / "metadata.csv", unpacked / "wavs")
    assert rows[2].text == "Текст номер 3."


def test_choosing_anew_downloads_nothing(unpacked: Path) -> None:
    durations = [soundfile.info(path).duration for path in sorted((unpacked / "wavs").iterdir())]
    assert fetch_festvox_ru(unpacked, limit=1) == 1
    assert fetch_festvox_ru(unpacked, max_seconds=sorted(durations)[1]) == 2
    with pytest.raises(DatasetError, match="No utterance is left"):
        fetch_festvox_ru(unpacked, max_seconds=0.1)


def test_without_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DatasetError, match=r"apt-get, apt-cache, dpkg-deb is .*make_test_dataset"):
        fetch_festvox_ru(tmp_path / "dataset")
