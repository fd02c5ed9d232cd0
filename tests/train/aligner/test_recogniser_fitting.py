"""Learning to hear: it says how long it takes, goes on where it was stopped, and draws no luck."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lessons import create_lessons, stop_at

from piper.errors import DatasetError
from piper.train.aligner import recogniser as fitting
from piper.train.aligner.aligner import load_aligner
from piper.train.aligner.fitting import Lesson
from piper.train.aligner.recogniser import PhonemeRecogniser


@pytest.fixture(autouse=True)
def short_learning(monkeypatch: pytest.MonkeyPatch, aligner_path: Path) -> None:
    """Three passes of two batches, and an aligner that is there already."""
    monkeypatch.setattr(fitting, "fit_aligner", lambda *_: load_aligner(aligner_path))
    monkeypatch.setattr(fitting, "CHANNELS", 16)
    monkeypatch.setattr(fitting, "PASSES", 3)
    monkeypatch.setattr(fitting, "MIN_BATCHES", 1)
    monkeypatch.setattr(fitting, "BATCH_FRAMES", 500)


def assert_equal(left: PhonemeRecogniser, right: PhonemeRecogniser) -> None:
    for name, weights in left.network.state_dict().items():
        assert torch.equal(right.network.state_dict()[name], weights), name


def test_stopped_learning_goes_on_to_the_same_recogniser(
    lessons: list[Lesson], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    some, state_path = lessons[:5], tmp_path / "state"
    with caplog.at_level("INFO"):
        wanted = fitting.fit_recogniser(some, [])
    assert "A recogniser learns on 5 recordings" in caplog.text
    assert "about 0.0 minutes" in caplog.text
    with stop_at(6), pytest.raises(KeyboardInterrupt):
        fitting.fit_recogniser(some, [], state_path)
    assert state_path.is_file()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "fit_aligner", None)  # it is not asked for once more
        found = fitting.fit_recogniser(some, [], state_path)
    assert_equal(wanted, found)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize("spoilt", ["other recordings", "damaged"])
def test_a_state_of_something_else_is_left(
    lessons: list[Lesson], tmp_path: Path, spoilt: str
) -> None:
    state_path = tmp_path / "state"
    fitting.fit_recogniser(lessons[5:9], [], state_path)
    if spoilt == "damaged":
        state_path.write_bytes(state_path.read_bytes()[:500])
    wanted = fitting.fit_recogniser(lessons[:4], [])
    assert_equal(wanted, fitting.fit_recogniser(lessons[:4], [], state_path))


def test_what_is_held_out_is_never_learnt(lessons: list[Lesson]) -> None:
    recogniser = fitting.fit_recogniser(lessons[:5], lessons[3:5])
    assert recogniser.details["recordings"] == "3"
    assert lessons[3].key not in recogniser.learnt
    alone = fitting.fit_recogniser(lessons[:3], [])
    assert alone.floor is None
    assert_equal(alone, recogniser)


def test_it_learns_though_gradients_are_off(lessons: list[Lesson]) -> None:
    """silero-stress turned them off for the whole process."""
    wanted = fitting.fit_recogniser(lessons[:3], [])
    with torch.no_grad():
        assert_equal(wanted, fitting.fit_recogniser(lessons[:3], []))


def test_recordings_that_cannot_be_used_are_left_out(lessons: list[Lesson], tmp_path: Path) -> None:
    (tmp_path / "noise.wav").write_bytes(b"no recording")
    broken = Lesson("broken", tmp_path / "noise.wav", lessons[0].groups)
    crowded = Lesson("crowded", lessons[0].path, lessons[0].groups * 40)
    recogniser = fitting.fit_recogniser([*lessons[:3], broken, crowded], [broken])
    assert recogniser.details["recordings"] == "3"
    assert "noise" not in recogniser.learnt
    with pytest.raises(DatasetError, match="no recording with a text"):
        fitting.fit_recogniser([broken], [])


def test_the_aligner_learns_on_some_recordings_and_on_every_unit(
    spoken_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lessons = create_lessons(spoken_dataset)
    monkeypatch.setattr(fitting, "ALIGNER_UNITS", 200)
    chosen = fitting.choose_for_aligner(lessons)
    assert len(chosen) < len(lessons) / 2
    units = {unit for lesson in lessons for group in lesson.groups for unit in group}
    assert units == {unit for lesson in chosen for group in lesson.groups for unit in group}
