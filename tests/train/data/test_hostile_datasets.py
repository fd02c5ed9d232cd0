"""Whatever lies in a dataset, its answer is a training set, issues, or one of our own errors."""

from __future__ import annotations

import io
import json
import logging
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from piper.errors import PiperError
from piper.train.check.measuring import measure_recording
from piper.train.check.rules_set import read_structure
from piper.train.data.audio import TrimSettings, load_recording
from piper.train.data.dataset_config import create_voice_config
from piper.train.data.metadata import load_metadata
from piper.train.data.settings import resolve_settings
from piper.train.formats.convert import ImportOptions, import_dataset
from piper.train.formats.readers import find_format
from piper.train.formats.recordings import RecordingJob, write_recording

# The folder of a test serves all its examples: each writes the files that it reads.
few = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def create_wav(subtype: str) -> bytes:
    file = io.BytesIO()
    samples = 0.3 * np.sin(np.arange(4000) * 0.05) * np.hanning(4000)
    soundfile.write(file, samples, 16000, format="WAV", subtype=subtype)
    return file.getvalue()


WAVS = {subtype: create_wav(subtype) for subtype in ("PCM_16", "FLOAT", "PCM_24")}
WORDS = (0, 1, 2, 3, 16, 0xFFFF, 65536, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@st.composite
def damaged_wavs(draw: Callable[..., Any]) -> bytes:
    data = bytearray(WAVS[draw(st.sampled_from(sorted(WAVS)))])
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.sampled_from((4, 16, 20, 22, 24, 28, 32, 34, 36, 40)))
        struct.pack_into("<I", data, at, draw(st.sampled_from(WORDS)))
    if draw(st.booleans()):
        at = draw(st.integers(44, len(data) - 4))
        struct.pack_into("<I", data, at, draw(st.sampled_from(WORDS)))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@few
@given(content=damaged_wavs())
@example(content=WAVS["FLOAT"][:-400] + struct.pack("<100f", *[3e38] * 100))
def test_a_damaged_wav_is_read_or_refused(content: bytes, tmp_path: Path) -> None:
    """A rate of 1 Hz once took 18 seconds and gigabytes: resampling made 22,050 of each sample."""
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    jobs: list[Callable[[], object]] = [
        lambda: measure_recording(path),
        lambda: load_recording(path, 22050, TrimSettings()),
        lambda: write_recording(RecordingJob(path, None, tmp_path / "b.wav")),
    ]
    for work in jobs:
        try:
            work()
        except PiperError as error:
            assert "\n" not in str(error)


NAMES = st.sampled_from(("a", "b.wav", "c", "", "../a", "/a", "C:\\x\\a.wav", "a\0", "x" * 5000))
CELLS = st.one_of(
    NAMES,
    st.text(max_size=20),
    st.sampled_from(
        ("Да.", "Он ушёл домой.", "1 0 14 2", "9" * 5000, "-1", "50", "anna", '"', "|")
    ),
)
LINES = st.lists(CELLS, min_size=1, max_size=5).map("|".join)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.wav").write_bytes(WAVS["PCM_16"])
    return tmp_path


@few
@given(
    content=st.one_of(
        st.lists(LINES, max_size=6).map(lambda lines: "\n".join(lines).encode("utf-8", "replace")),
        st.binary(max_size=200),
    ),
    num_speakers=st.sampled_from((1, 2, 3)),
    dataset_type=st.sampled_from(("text", "phoneme_ids")),
)
def test_any_list_is_rows_or_an_error(
    content: bytes, num_speakers: int, dataset_type: str, recordings: Path
) -> None:
    path = recordings / "metadata.csv"
    path.write_bytes(content)
    try:
        rows = load_metadata(path, recordings, num_speakers=num_speakers, dataset_type=dataset_type)
    except PiperError as error:
        assert len(str(error)) < 2000 + 5 * 5000, "a few names of the file, no more"
    else:
        assert all(row.text or row.ids for row in rows)
    try:
        read_structure(path, recordings)
    except PiperError as error:
        assert "is empty; write one line" in str(error)


@few
@given(
    content=st.lists(LINES, max_size=6).map(
        lambda lines: "\n".join(lines).encode("utf-8", "replace")
    )
)
def test_any_list_can_be_asked_to_be_imported(content: bytes, recordings: Path) -> None:
    (recordings / "metadata.csv").write_bytes(content)
    try:
        found = find_format(recordings)
        source = found.load(recordings, ImportOptions().read)
    except PiperError:
        return
    assert all(isinstance(row.text, str) for row in source.rows)


JSON = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.text(max_size=5), st.floats(), st.integers()),
        st.sampled_from(("ru", "en-us", "text", "../x", 22050, 10**30, -1, 0)),
    ),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
KEYS = (
    *("audio", "espeak", "phoneme_type", "phoneme_id_map", "speaker_id_map", "num_speakers"),
    *(
        "num_symbols",
        "hop_length",
        "text_options",
        "inference",
        "language",
        "dataset",
        "phonemizer",
    ),
)
INNER_KEYS = (
    "voice",
    "sample_rate",
    "quality",
    "code",
    "write_numbers",
    "stress",
    "_",
    "a",
    "name",
)


@few
@given(
    config=st.dictionaries(
        st.sampled_from(KEYS),
        JSON | st.dictionaries(st.sampled_from(INNER_KEYS), JSON, max_size=3),
        max_size=4,
    ),
    has_voice=st.booleans(),
)
@example(config={"num_symbols": 10**12}, has_voice=True)
def test_any_config_is_settings_or_an_error(
    config: dict[str, Any], has_voice: bool, recordings: Path
) -> None:
    (recordings / "metadata.csv").write_text("a|Да.\nb|Нет.\n", encoding="utf-8")
    if has_voice:
        config = {**config, "espeak": {"voice": "ru"}, "phoneme_type": "espeak"}
    (recordings / "config.json").write_text(json.dumps(config), encoding="utf-8")
    try:
        found = resolve_settings(dataset_dir=recordings)
        rows = load_metadata(found.csv_path, found.audio_dir, num_speakers=found.num_speakers)
        create_voice_config(found, rows)
    except PiperError as error:
        assert "\n" not in str(error)


def test_a_line_that_names_no_file_ends_no_import(
    recordings: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = ["a|Раз.", f"{'x' * 5000}|Два.", "b\0|Три.", "../../etc/passwd|Четыре."]
    (recordings / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        report = import_dataset(recordings, tmp_path.parent / "made", ImportOptions(language="ru"))
    assert report.num_recordings == 1
    assert len(report.left_out) == 3
