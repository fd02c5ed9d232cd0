"""Real judges hear what is wrong with speech, and give their figures to a real training."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from training_examples import create_examples, read_rows, text_to_groups

from piper.train.aligner import recogniser as fitting
from piper.train.aligner.aligner import load_aligner
from piper.train.callbacks import scores as scores_module
from piper.train.callbacks.scores import Scores, WantedScores
from piper.train.judges import FloatArray, Metrics, MetricSettings, Reference, score_title
from trainings import read_log, train

NAMES = ("per", "distillmos", "similarity")


@pytest.fixture(scope="module")
def recogniser(
    spoken_dataset: Path, aligner_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A small recogniser that learnt on all but the last six recordings."""
    path = tmp_path_factory.mktemp("recogniser") / "recogniser.pt"
    examples = create_examples(spoken_dataset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "fit_aligner", lambda *_: load_aligner(aligner_path))
        patch.setattr(fitting, "CHANNELS", 64)
        patch.setattr(fitting, "BATCH_FRAMES", 1000)
        patch.setattr(fitting, "MIN_BATCHES", 120)
        patch.setattr(fitting, "LEARNING_RATE", 4e-3)
        fitting.fit_recogniser(examples[:-6], examples[-6:]).save(path)
    return path


def read_references(dataset: Path) -> list[Reference]:
    """Return the last six recordings with their units."""
    references = []
    for path, text in read_rows(dataset)[-6:]:
        samples, _ = soundfile.read(path, dtype="float32")
        units = tuple(unit for group in text_to_groups(text) for unit in group)
        references.append(Reference(samples, units))
    return references


def drown(samples: FloatArray) -> FloatArray:
    """Return speech in noise of its own level."""
    noise = np.random.default_rng(1).normal(0.0, samples.std(), len(samples))
    return np.asarray(samples + noise, dtype=np.float32)


@pytest.mark.long
@pytest.mark.usefixtures("judges")
def test_noise_and_swapped_texts_are_heard(spoken_dataset: Path, recogniser: Path) -> None:
    references = read_references(spoken_dataset)
    metrics = Metrics(
        MetricSettings(dict(zip(NAMES, NAMES, strict=True)), 16000, recogniser), references
    )
    recorded = metrics.score_recordings()
    noisy = metrics.score([drown(reference.recording) for reference in references])
    assert recorded.issues == noisy.issues == {}
    assert recorded.scores["per"] < 0.6
    assert noisy.scores["per"] > recorded.scores["per"] + 0.1
    # Synthetic speech is bad already, noise or not.
    assert all(1.0 < opinion.scores["distillmos"] < 3.0 for opinion in (recorded, noisy))
    assert recorded.scores["similarity"] > 0.8
    assert noisy.scores["similarity"] < recorded.scores["similarity"] - 0.1
    # Texts that belong to other recordings.
    swapped = [Reference(r.recording, references[i - 1].units) for i, r in enumerate(references)]
    wrong = Metrics(MetricSettings({"per": "per"}, 16000, recogniser), swapped).score_recordings()
    assert wrong.scores["per"] > recorded.scores["per"] + 0.2


@pytest.mark.long
@pytest.mark.usefixtures("judges")
def test_all_judges_hear_a_training(
    spoken_dataset: Path,
    copy_dataset: Callable[[Path], Path],
    recogniser: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scores_module, "Scores", partial(Scores, wait_seconds=120.0))
    flags = ("--data.batch_size=16", "--data.num_test_examples=2", "--trainer.max_epochs=1")
    flags = (*flags, f"--model.scores={','.join(NAMES)}")
    flags = (*flags, f"--model.phoneme_recogniser={recogniser}")
    assert train(copy_dataset(spoken_dataset), tmp_path, *flags) == 0
    folder = tmp_path / "lightning_logs/version_0"
    log = read_log(tmp_path)
    steps = [event.step for event in log.Scalars("val_loss")]
    for name in NAMES:
        assert [event.step for event in log.Scalars(f"val_{name}")] == steps
        assert [event.step for event in log.Scalars(f"val_{name}_recordings")] == [0]
    # A network that knows nothing says hardly a phoneme right.
    assert log.Scalars("val_per")[0].value > log.Scalars("val_per_recordings")[0].value + 0.2
    (best,) = folder.glob("checkpoints/*val_per=*.ckpt")
    assert float(best.stem.rpartition("=")[2]) == pytest.approx(
        log.Scalars("val_per")[-1].value, abs=1e-4
    )


@pytest.mark.parametrize(
    ("name", "mode", "tag"),
    [
        ("per", "min", "val_per"),
        ("distillmos", "max", "val_distillmos"),
        ("my.judges:strict.one", "max", "val_strict_one"),
    ],
)
def test_which_end_of_a_score_is_better(name: str, mode: str, tag: str) -> None:
    wanted = WantedScores((name, "similarity"))
    assert (wanted.mode, wanted.monitor) == (mode, tag)
    assert score_title(name) == tag.removeprefix("val_")


def test_a_judge_that_fails_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing or fails is said by its name; no number is no score."""
    source = "def good(s, r): return 4.0\ndef bad(s, r): return 1 / 0\n"
    source += "def nothing(s, r): return float('nan')\n"
    (tmp_path / "some_opinions.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    sentence = np.zeros(160, dtype=np.float32)
    names = {name: f"some_opinions:{name}" for name in ("good", "bad", "nothing", "missing")}
    settings = MetricSettings({**names, "distillmos": "distillmos"}, 16000)
    metrics = Metrics(settings, [Reference(sentence, ())])
    opinion = metrics.score([sentence])
    assert opinion.scores == {"good": 4.0}
    assert opinion.issues.keys() == {"bad", "missing", "distillmos"}
    assert opinion.issues["bad"] == "division by zero"
    assert opinion.issues["distillmos"] == "it is not installed"
