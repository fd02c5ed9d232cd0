"""Predictors of quality are found by name, and never downloaded."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

from piper.errors import ConfigError
from piper.train.judges import ENTRY_POINT_GROUP, _Distillmos, find_quality_predictor

SOURCE = '''
def level(audio, rate):
    """Loudness, as if it were quality."""
    return float(abs(audio).mean()) + rate

class judges:
    strict = staticmethod(level)

number = 3
'''


def read(path: Path) -> tuple[np.ndarray, int]:
    samples, rate = soundfile.read(path, dtype="float32")
    return samples, rate


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with a predictor, installed as far as Python can see."""
    (tmp_path / "my_judges.py").write_text(SOURCE, encoding="utf-8")
    info = tmp_path / "my_judges-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-judges\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\nlevel = my_judges:level\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "my_judges"


def test_off_and_an_absent_package_score_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_quality_predictor("off") is None
    # As where it is not installed.
    monkeypatch.setitem(sys.modules, "distillmos", None)
    assert find_quality_predictor("auto") is None


@pytest.mark.parametrize("name", ["my_judges:level", "my_judges:judges.strict", "level"])
def test_another_predictor_is_found_by_its_name(name: str, package: str) -> None:
    predictor = find_quality_predictor(name)
    assert predictor is not None
    assert predictor(np.full(10, 0.5, dtype=np.float32), 16000) == 16000.5


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mos", 'there is no predictor "mos"; give auto, off, package.module:function, or one of'),
        ("my_judges:nothing", "cannot be imported"),
        ("no_such_module:level", "check the name, and that its package is installed"),
        ("my_judges:number", "is no function"),
    ],
)
def test_a_wrong_name_is_one_sentence(name: str, said: str, package: str) -> None:
    with pytest.raises(ConfigError, match="--validation_quality") as error:
        find_quality_predictor(name)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.long
@pytest.mark.usefixtures("judges")
def test_distillmos_prefers_recordings_to_espeak_to_noise_and_to_clipping(
    prompts: dict[str, list[Path]], speech_dataset: Path
) -> None:
    """The real package, as `make judges` brings it, and real recordings."""
    predictor = find_quality_predictor("auto")
    assert predictor is not None
    machine = [predictor(*read(path)) for path in sorted(speech_dataset.rglob("*.wav"))[:6]]
    random = np.random.default_rng(1)
    for paths in prompts.values():
        scores = []
        for path in paths:
            speech, rate = read(path)
            peak = float(np.abs(speech).max())
            noise = random.standard_normal(len(speech), dtype=np.float32)
            noisy = speech + 0.2 * float(speech.std()) * noise
            clipped = (8 * speech).clip(-peak, peak)
            scores.append([predictor(audio, rate) for audio in (speech, noisy, clipped)])
        clean, noisy_mean, clipped_mean = np.mean(scores, axis=0)
        # Measured: 4.1 and 4.3, beside 2.1 of espeak-ng, 2.4 with noise, 2.6 and 2.9 clipped.
        assert 3.8 < clean <= 5.0
        assert 1.0 <= np.mean(machine) < clean - 1.0
        assert 1.0 <= noisy_mean < clean - 0.8
        assert 1.0 <= clipped_mean < clean - 0.8
    assert "torchaudio" not in sys.modules


@pytest.mark.long
@pytest.mark.usefixtures("judges")
def test_distillmos_is_the_package_s_own_up_to_a_window_and_near_it_beyond(
    speech_dataset: Path,
) -> None:
    predictor = find_quality_predictor("auto")
    assert isinstance(predictor, _Distillmos)
    package = importlib.import_module("distillmos")
    network = package.ConvTransformerSQAModel().eval()
    paths = sorted(speech_dataset.rglob("*.wav"))
    speech = np.concatenate([soundfile.read(path, dtype="float32")[0] for path in paths])
    speech = soxr.resample(speech, 22050, 16000)
    for seconds, tolerance in ((0.2, 1e-4), (3.0, 1e-4), (7.3, 1e-4), (7.68, 1e-4), (18.0, 0.3)):
        piece = np.ascontiguousarray(speech[: round(seconds * 16000)])
        with torch.inference_mode():
            expected = float(network(torch.from_numpy(piece)[None]))
        assert predictor(piece, 16000) == pytest.approx(expected, abs=tolerance), seconds
    # Of very long speech the first half minute is judged.
    assert predictor(np.tile(speech, 2)[: 40 * 16000], 16000) == pytest.approx(
        predictor(np.tile(speech, 2)[: 50 * 16000], 16000), abs=1e-4
    )
