"""An aligner learns on real synthetic speech where sounds lie, and tells right texts from wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from training_examples import create_examples, hasty_aligner, read_rows, stop_at, text_to_groups

from piper.errors import DatasetError
from piper.train.aligner import fitting
from piper.train.aligner.aligner import NETWORK, load_aligner
from piper.train.aligner.features import (
    SAMPLE_RATE,
    AcousticNetwork,
    extract_features,
    load_samples,
)
from piper.train.aligner.trainer import SEED
from piper.train.data.audio import find_speech


@pytest.fixture(scope="module")
def rows(spoken_dataset: Path) -> list[tuple[Path, str]]:
    return read_rows(spoken_dataset)


def test_right_texts_fit_and_others_do_not(
    aligner_path: Path, rows: list[tuple[Path, str]]
) -> None:
    aligner = load_aligner(aligner_path)
    # Of about equal length: by their pace they could not be told apart.
    by_length = sorted(rows[1::2], key=lambda row: row[0].stat().st_size)[4:14]
    right, wrong = [], []
    for (path, text), (_, other) in zip(by_length, by_length[1:] + by_length[:1], strict=True):
        frames = aligner.score_frames(load_samples(path))
        right.append(aligner.align(frames, text_to_groups(text)).score)
        wrong.append(aligner.align(frames, text_to_groups(other)).score)
    assert min(right) > -0.7
    assert max(wrong) < -1.4


def test_joined_sentences_part_where_they_were_joined(
    aligner_path: Path, rows: list[tuple[Path, str]]
) -> None:
    aligner = load_aligner(aligner_path)
    parts = [load_samples(path) for path, _ in rows[:6]]
    groups = [text_to_groups(text) for _, text in rows[:6]]
    alignment = aligner.align(
        aligner.score_frames(np.concatenate(parts)),
        tuple(group for some in groups for group in some),
    )
    spans = alignment.find_spans()
    start, place = 0.0, 0
    for samples, some in zip(parts, groups, strict=True):
        first, last = spans[place], spans[place + len(some) - 1]
        begin, end = (start + sample / SAMPLE_RATE for sample in find_speech(samples, SAMPLE_RATE))
        assert first is not None
        assert last is not None
        assert abs(first.start_seconds - begin) < 0.1
        assert abs(last.end_seconds - end) < 0.15
        start, place = start + len(samples) / SAMPLE_RATE, place + len(some)


def test_missing_words_are_where_it_fits_worst(
    aligner_path: Path, rows: list[tuple[Path, str]]
) -> None:
    aligner = load_aligner(aligner_path)
    path, text = next(row for row in rows if "взорвался" in row[1])
    frames = aligner.score_frames(load_samples(path))
    whole = aligner.align(frames, text_to_groups(text))
    word = whole.find_spans()[4]  # `взорвался`, beside `аплодисментами`
    assert word is not None
    score, start, end = aligner.align(
        frames, text_to_groups(text.replace(" взорвался аплодисментами", ""))
    ).find_worst()
    assert score < 2 * whole.find_worst()[0] - 1
    assert start < word.end_seconds + 0.7
    assert end > word.start_seconds - 0.3


def test_a_saved_aligner_is_the_same_and_a_damaged_one_is_named(
    aligner_path: Path, rows: list[tuple[Path, str]], tmp_path: Path
) -> None:
    aligner = load_aligner(aligner_path)
    aligner.save(tmp_path / "copy.pt")
    samples = load_samples(rows[2][0])
    heard = load_aligner(tmp_path / "copy.pt").score_frames(samples).log_probabilities
    np.testing.assert_array_equal(heard, aligner.score_frames(samples).log_probabilities)
    data = aligner_path.read_bytes()
    (tmp_path / "cut.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(DatasetError, match=r"cut\.pt is no aligner"):
        load_aligner(tmp_path / "cut.pt")
    with pytest.raises(DatasetError, match=r"gone\.pt does not exist"):
        load_aligner(tmp_path / "gone.pt")


def test_a_long_recording_is_heard_as_its_parts_are(
    aligner_path: Path, rows: list[tuple[Path, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces of a minute are heard with a second around them: nothing shows where they meet."""
    from piper.train.aligner import features as module

    aligner = load_aligner(aligner_path)
    samples = np.concatenate([load_samples(path) for path, _ in rows[:8]])
    groups = text_to_groups(" ".join(text for _, text in rows[:8]))
    whole = aligner.align(aligner.score_frames(samples), groups).find_spans()
    monkeypatch.setattr(module, "STRETCH_SECONDS", 5.0)
    parts = aligner.align(aligner.score_frames(samples), groups).find_spans()
    for left, right in zip(whole, parts, strict=True):
        assert left is not None
        assert right is not None
        assert abs(left.start_seconds - right.start_seconds) <= 0.06


@pytest.fixture
def few_batches() -> Iterator[None]:
    """Three passes through what is learnt on."""
    with hasty_aligner(3):
        yield


@pytest.mark.usefixtures("few_batches")
def test_stopped_learning_goes_on_to_the_same_aligner(
    spoken_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    examples = create_examples(spoken_dataset)[:6]
    with caplog.at_level("INFO"):
        wanted = fitting.fit_aligner(examples)
    assert "An aligner learns on 6 recordings" in caplog.text
    assert "about 0.0 minutes" in caplog.text
    with stop_at(3), pytest.raises(KeyboardInterrupt):
        fitting.fit_aligner(examples, tmp_path / "state")
    found = fitting.fit_aligner(examples, tmp_path / "state")
    for name, weights in wanted.network.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], weights), name


@pytest.mark.parametrize(
    ("recordings", "passes"),
    [
        (8, 100),  # 100 batches of what is least
        (66, 40),  # ten minutes: 200 batches; after 100 too little was learnt
        (126, 25),
        (590, 10),
    ],
)
def test_a_small_set_is_gone_through_more_often(recordings: int, passes: int) -> None:
    item: fitting._Item = None  # type: ignore[assignment]
    assert fitting._AlignerTrainer(["a"], [item] * recordings, []).passes == passes


@pytest.mark.usefixtures("few_batches")
def test_it_learns_though_gradients_are_off(spoken_dataset: Path) -> None:
    """silero-stress turned them off for the whole process, and `check --stress` loads it first."""
    with torch.no_grad():
        aligner = fitting.fit_aligner(create_examples(spoken_dataset)[:4])
    torch.manual_seed(SEED)
    fresh = AcousticNetwork(NETWORK, len(aligner.inventory))
    assert not torch.equal(aligner.network.exit.weight, fresh.exit.weight)


def test_nothing_to_learn_from_is_a_sentence() -> None:
    with pytest.raises(DatasetError, match="no recording with a text"):
        fitting.fit_aligner([])


@pytest.mark.parametrize("count", [0, 1, 319, 320, 321, 16000])
def test_features_have_two_rows_a_frame(count: int) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, count).astype(np.float32)
    features = extract_features(samples)
    assert len(features) == 2 * max(1, -(-count // 320))
    assert torch.isfinite(features).all()
