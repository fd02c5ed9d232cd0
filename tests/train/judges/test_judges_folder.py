"""Judges are found where `make judges` puts them, and a missing one says how it is had."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from piper.train.judges import (
    DISTILLMOS,
    JUDGES,
    RESEMBLYZER,
    explain_missing_judge,
    find_judges_folder,
    find_quality_predictor,
    is_judge_here,
    list_missing_judges,
    load_speaker_encoder,
    stand_in_for,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of judges, which is on the path for the test only."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PIPER_JUDGES_DIR", str(tmp_path))
    return tmp_path


def test_the_folder_is_the_environment_s_another_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert find_judges_folder() is None  # the tests' own setting: none
    monkeypatch.delenv("PIPER_JUDGES_DIR")
    assert find_judges_folder() is None
    (tmp_path / "judges").mkdir()
    assert find_judges_folder() == tmp_path / "judges"
    monkeypatch.setenv("PIPER_JUDGES_DIR", str(tmp_path))
    assert find_judges_folder() == tmp_path


def test_each_missing_judge_is_a_sentence_that_says_how_to_get_it(folder: Path) -> None:
    sentences = list_missing_judges()
    assert sentences == [explain_missing_judge(judge) for judge in JUDGES]
    assert sentences[1] == (
        "Resemblyzer is not installed, so there is no speaker's similarity; get it by `make "
        "judges`, or by `pip install --no-deps Resemblyzer==0.1.4 "
        "webrtcvad-wheels==2.0.14.post1`."
    )
    assert load_speaker_encoder() is None


def test_a_judge_is_here_when_all_its_modules_are(folder: Path) -> None:
    (folder / "resemblyzer.py").write_text("")
    assert not is_judge_here(RESEMBLYZER)
    (folder / "webrtcvad.py").write_text("")
    assert is_judge_here(RESEMBLYZER)
    assert list_missing_judges() == [explain_missing_judge(DISTILLMOS)]
    # At the end of the path, once: nothing else is hidden by it.
    assert sys.path[-1] == str(folder)
    assert sys.path.count(str(folder)) == 1


def test_a_broken_judge_is_left_out_with_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (*DISTILLMOS.modules, *RESEMBLYZER.modules):
        (folder / f"{module}.py").write_text("raise ImportError('wrong version')")
    assert find_quality_predictor("auto") is None
    assert load_speaker_encoder() is None
    said = [record.getMessage() for record in caplog.records]
    assert [message.split(" is installed")[0] for message in said] == ["DistillMOS", "Resemblyzer"]
    assert all("(wrong version)" in message and "`make judges`" in message for message in said)


def test_the_stand_in_leaves_nothing_behind() -> None:
    """Another package that asks for torchaudio later must not find an empty one."""
    before = sys.modules.get("torchaudio")
    with stand_in_for("torchaudio"):
        assert __import__("torchaudio") is not None
    assert sys.modules.get("torchaudio") is before
    with stand_in_for("json"):
        assert __import__("json").loads("1") == 1
