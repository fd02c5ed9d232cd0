"""Recordings of real formats, and imports that are read back by the project's own reader."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from piper.train.data.metadata import Row, load_metadata
from piper.train.formats.convert import ImportOptions, ImportReport, import_dataset


@dataclass(frozen=True)
class Imported:
    """What an import made, as training reads it."""

    folder: Path
    rows: list[Row]
    report: ImportReport
    config: dict
    journal: dict

    @property
    def texts(self) -> list[str]:
        return [row.text for row in self.rows]

    @property
    def names(self) -> list[str]:
        return [row.audio_path.name for row in self.rows]

    @property
    def speakers(self) -> list[str | None]:
        return [row.speaker for row in self.rows]

    @property
    def rates(self) -> list[int]:
        return [soundfile.info(row.audio_path).samplerate for row in self.rows]

    @property
    def reasons(self) -> list[str]:
        return [one["reason"] for one in self.journal["left_out"]]


@pytest.fixture(scope="session")
def recordings(speech_dataset: Path) -> Sequence[Path]:
    """Sixteen recordings, 22,050 Hz, 16 bits, one channel; not to be changed."""
    return sorted((speech_dataset / "wavs").glob("*.wav"))


@pytest.fixture
def write_audio(recordings: Sequence[Path]) -> Callable[..., Path]:
    """Write the first 0.6 s of speech of a recording in the format of the path's ending."""

    def write(path: Path, index: int = 0, rate: int | None = None, **options: object) -> Path:
        samples, source_rate = soundfile.read(recordings[index], dtype="float32")
        samples = samples[source_rate // 2 :][: source_rate * 6 // 10]
        if rate is not None and rate != source_rate:
            import soxr

            samples = soxr.resample(samples, source_rate, rate)
        if options.pop("channels", 1) == 2:
            samples = np.stack([samples, samples * 0.5], axis=1)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate or source_rate, **options)
        return path

    return write


@pytest.fixture
def import_source(tmp_path: Path) -> Callable[..., Imported]:
    """Import a source as Russian and read the dataset as training does."""

    def run(source: Path, folder: Path = tmp_path / "dataset", **options: object) -> Imported:
        options.setdefault("language", "ru")
        report = import_dataset(source, folder, ImportOptions(**options))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        rows = load_metadata(
            folder / "metadata.csv",
            folder / "wavs",
            num_speakers=config.get("num_speakers", 1),
            has_stress_marks=True,
        )
        journal = json.loads((folder / "import.json").read_text(encoding="utf-8"))
        assert journal["is_complete"]
        assert len(rows) == report.num_recordings
        for row in rows:
            info = soundfile.info(row.audio_path)
            assert (info.format, info.subtype, info.channels) == ("WAV", "PCM_16", 1)
        return Imported(folder, rows, report, config, journal)

    return run
