"""Learning to hear: it says how long it takes, goes on where it was stopped, and draws no luck."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_examples import create_examples, stop_at

from piper.errors import DatasetError
from piper.train.aligner import recogniser as fitting
from piper.train.aligner.aligner import load_aligner
from piper.train.aligner.fitting import TrainingExample
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
    examples: list[TrainingExample], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    some, state_path = examples[:5], tmp_path / "state"
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
    examples: list[TrainingExample], tmp_path: Path, spoilt: str
) -> None:
    state_path = tmp_path / "state"
    fitting.fit_recogniser(examples[5:9], [], state_path)
    if spoilt == "damaged":
        state_path.write_bytes(state_path.read_bytes()[:500])
    wanted = fitting.fit_recogniser(examples[:4], [])
    assert_equal(wanted, fitting.fit_recogniser(examples[:4], [], state_path))


def test_what_is_held_out_is_never_learnt(examples: list[TrainingExample]) -> None:
    recogniser = fitting.fit_recogniser(examples[:5], examples[3:5])
    assert recogniser.details["recordings"] == "3"
    assert examples[3].key not in recogniser.seen
    alone = fitting.fit_recogniser(examples[:3], [])
    assert alone.floor is None
    assert_equal(alone, recogniser)


def test_it_learns_though_gradients_are_off(examples: list[TrainingExample]) -> None:
    """silero-stress turned them off for the whole process."""
    wanted = fitting.fit_recogniser(examples[:3], [])
    with torch.no_grad():
        assert_equal(wanted, fitting.fit_recogniser(examples[:3], []))


def test_recordings_that_cannot_be_used_are_left_out(
    examples: list[TrainingExample], tmp_path: Path
) -> None:
    (tmp_path / "noise.wav").write_bytes(b"no recording")
    broken = TrainingExample("broken", tmp_path / "noise.wav", examples[0].groups)
    crowded = TrainingExample("crowded", examples[0].path, examples[0].groups * 40)
    recogniser = fitting.fit_recogniser([*examples[:3], broken, crowded], [broken])
    assert recogniser.details["recordings"] == "3"
    assert "noise" not in recogniser.seen
    with pytest.raises(DatasetError, match="no recording with a text"):
        fitting.fit_recogniser([broken], [])


def test_the_aligner_learns_on_some_recordings_and_on_every_unit(
    spoken_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = create_examples(spoken_dataset)
    monkeypatch.setattr(fitting, "ALIGNER_UNITS", 200)
    chosen = fitting.choose_for_aligner(examples)
    assert len(chosen) < len(examples) / 2
    units = {unit for example in examples for group in example.groups for unit in group}
    assert units == {unit for example in chosen for group in example.groups for unit in group}
