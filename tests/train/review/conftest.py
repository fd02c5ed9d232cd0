"""A dataset with doubts, one cut from a long recording, and reviews of them on loopback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from reviews import LEAD_SECONDS, RATE, RunningReview, make_noise, serve

from piper.files import digest_file
from piper.train.check import cli as check_cli


@pytest.fixture(scope="session")
def checked_dataset(speech_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Line 1: silence before the speech; 1, 2: two alphabets in a word; 3: no recording."""
    folder = Path(shutil.copytree(speech_dataset, tmp_path_factory.mktemp("doubted") / "dataset"))
    wavs = sorted((folder / "wavs").iterdir())
    samples, _ = soundfile.read(wavs[0])
    soundfile.write(wavs[0], np.concatenate([make_noise(2.0), samples]), RATE, "PCM_16")
    wavs[2].unlink()
    csv = folder / "metadata.csv"
    lines = csv.read_text(encoding="utf-8").splitlines()
    lines[:2] = (line.replace("о", "o", 1) for line in lines[:2])
    csv.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert check_cli.main([str(folder), "--quick", "--ignore=few-recordings,little-speech"]) == 0
    return folder


@pytest.fixture
def doubted(checked_dataset: Path, tmp_path: Path) -> Path:
    """A copy of the checked dataset for a test that changes it."""
    return Path(shutil.copytree(checked_dataset, tmp_path / "dataset"))


@pytest.fixture
def cut(speech_dataset: Path, tmp_path: Path) -> Path:
    """Four recordings in a row, cut again: two pieces in the CSV, two doubted; two speakers."""
    folder = tmp_path / "cut"
    (folder / "wavs").mkdir(parents=True)
    shutil.copy(speech_dataset / "config.json", folder / "config.json")
    rows = [line.split("|") for line in (speech_dataset / "metadata.csv").read_text().splitlines()]
    parts, pieces, lines, seconds = [], [], [], 0.0
    for number, (name, text) in enumerate(rows[:4], start=1):
        samples, _ = soundfile.read(speech_dataset / "wavs" / name)
        start = seconds + LEAD_SECONDS
        seconds = start + len(samples) / RATE
        parts += [make_noise(LEAD_SECONDS), samples]
        piece = {"name": f"long-000{number}", "start": start, "end": seconds, "text": text}
        pieces.append(
            {**piece, "score": -0.5, "doubt": "Words are missing." if number > 2 else None}
        )
        if number <= 2:
            soundfile.write(folder / "wavs" / f"long-000{number}.wav", samples, RATE, "PCM_16")
            lines.append(f"long-000{number}.wav|anna|{text}\n")
    soundfile.write(tmp_path / "long.flac", np.concatenate(parts), RATE, "PCM_16")
    long = tmp_path / "long.flac"
    split = {"source": str(long), "sha256": digest_file(long), "pieces": pieces}
    (folder / "split.json").write_text(json.dumps(split), encoding="utf-8")
    shutil.copy(folder / "wavs" / "long-0001.wav", folder / "wavs" / "other.wav")
    lines.append("other.wav|boris|Совсем другое предложение.\n")
    (folder / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def running(doubted: Path, tmp_path: Path) -> Iterator[RunningReview]:
    """A review of the doubted dataset."""
    yield from serve(doubted, tmp_path / "media")


@pytest.fixture
def running_cut(cut: Path, tmp_path: Path) -> Iterator[RunningReview]:
    """A review of the pieces."""
    yield from serve(cut, tmp_path / "media")
