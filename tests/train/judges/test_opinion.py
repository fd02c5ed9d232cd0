"""Predictors of quality are found by name, and never downloaded."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from piper.errors import ConfigError
from piper.train.judges.opinion import (
    ENTRY_POINT_GROUP,
    _stand_in_for_torchaudio,
    find_quality_predictor,
)

SOURCE = '''
def level(audio, rate):
    """Loudness, as if it were quality."""
    return float(abs(audio).mean()) + rate

class judges:
    strict = staticmethod(level)

number = 3
'''


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


def test_the_stand_in_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package that asks for torchaudio later must not find an empty one."""
    before = sys.modules.get("torchaudio")
    with _stand_in_for_torchaudio():
        assert __import__("torchaudio") is not None
    assert sys.modules.get("torchaudio") is before


@pytest.mark.long
def test_distillmos_prefers_speech_to_noise(speech_dataset: Path) -> None:
    """The real package: `pip install --no-deps distillmos==0.9.1 xls-r-sqa==0.1.0`."""
    import soundfile

    predictor = find_quality_predictor("auto")
    assert predictor is not None
    speech, rate = soundfile.read(sorted(speech_dataset.rglob("*.wav"))[0], dtype="float32")
    noise = np.random.default_rng(1).standard_normal(len(speech)).astype(np.float32)
    clean, spoilt = predictor(speech, rate), predictor(speech + 0.3 * noise, rate)
    assert 1.0 <= spoilt < clean - 0.3
    assert clean <= 5.0
    # Long speech costs no more than 7.7 s of it.
    assert predictor(np.tile(speech, 20), rate) == pytest.approx(
        predictor(np.tile(speech, 40), rate), abs=1e-4
    )
    assert "torchaudio" not in sys.modules
