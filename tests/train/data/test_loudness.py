"""Loudness: recordings come to what is asked for, short ones too, and never clip."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from prepared import load

from piper.errors import ConfigError
from piper.train import prepare_cli
from piper.train.data.audio import PEAK, measure_loudness, normalise_loudness
from piper.train.data.module import VitsDataModule
from piper.train.data.prepare import prepare_dataset
from piper.train.data.settings import resolve_settings

RATE = 22050


def tone(seconds: float, level: float) -> np.ndarray:
    times = np.arange(round(seconds * RATE)) / RATE
    return (level * np.sin(2 * np.pi * 997 * times)).astype(np.float32)


def test_a_full_tone_is_what_the_standard_says() -> None:
    assert measure_loudness(tone(2, 1.0), RATE) == pytest.approx(-3.01, abs=0.1)


@pytest.mark.parametrize("seconds", [0.05, 0.2, 0.39, 0.4, 3.0])
@pytest.mark.parametrize("level", [0.003, 0.1, 0.9])
def test_length_and_level_do_not_matter(seconds: float, level: float) -> None:
    result = normalise_loudness(tone(seconds, level), RATE, -23)
    assert result.dtype == np.float32
    assert measure_loudness(result, RATE) == pytest.approx(-23, abs=0.05)
    assert np.sqrt((result**2).mean()) == pytest.approx(10 ** (-23.0 / 20), rel=0.04)


def test_peaks_take_gain_and_do_not_clip() -> None:
    click = tone(2, 0.01)
    click[RATE] = 0.5
    result = normalise_loudness(click, RATE, -10)
    assert np.abs(result).max() == pytest.approx(PEAK)
    np.testing.assert_allclose(result, click * (PEAK / 0.5), rtol=1e-5)


def test_silence_stays_silence() -> None:
    assert not normalise_loudness(np.zeros(RATE, np.float32), RATE, -23).any()
    quiet = tone(1, 1e-4)
    np.testing.assert_array_equal(normalise_loudness(quiet, RATE, -23), quiet)


def test_a_prepared_dataset_is_of_one_loudness(dataset: Path, tmp_path: Path) -> None:
    assert prepare_cli.main([str(dataset), "--loudness=-30"]) == 0
    settings = resolve_settings(dataset_dir=dataset, loudness=-30.0)
    for utterance in prepare_dataset(settings).utterances:
        assert measure_loudness(load(utterance).samples, RATE) == pytest.approx(-30, abs=0.05)
    module = VitsDataModule(dataset_dir=str(dataset), loudness=-30.0)
    assert measure_loudness(module.listening_examples()[0].audio.numpy(), RATE) == pytest.approx(
        -30, abs=0.2
    )


def test_a_loudness_that_cannot_be_is_refused(dataset: Path) -> None:
    with pytest.raises(ConfigError, match="loudness must be between -70 and 0 LUFS"):
        resolve_settings(dataset_dir=dataset, loudness=23.0)


def test_without_the_library_a_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyloudnorm", None)
    with pytest.raises(ConfigError, match="pyloudnorm, which is not installed"):
        measure_loudness(tone(1, 0.1), RATE)
