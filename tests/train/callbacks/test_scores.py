"""Judges hear validations in a process of their own; training waits for none of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import trainings
from piper.train import storage
from piper.train.callbacks import scores as scores_module
from piper.train.callbacks.scores import Scorer, Scores
from piper.train.checkpoints import load_checkpoint
from piper.train.judges import MetricSettings, Reference
from trainings import add_module, fit_command, last_checkpoint, read_scalars, succeed

FLAGS = ("--data.batch_size=5", "--data.num_test_examples=1", "--keep_best=2")

PREDICTORS = """
import os
import signal
import time
from pathlib import Path

calls = []

def level(audio, rate):
    return 1.0 + float(abs(audio).mean())

def falling(audio, rate):
    calls.append(len(audio))
    return 10.0 - len(calls)

def slow(audio, rate):
    calls.append(len(audio))
    if len(calls) > int(os.environ.get("QUICK_CALLS", 0)):
        time.sleep(float(os.environ["NAP_SECONDS"]))
    return 5.0

def mortal(audio, rate):
    marks = Path(os.environ["DEATHS"])
    marks.write_text(marks.read_text() + "x" if marks.exists() else "x")
    if len(marks.read_text()) in map(int, os.environ["DEADLY_CALLS"].split()):
        os.kill(os.getpid(), signal.SIGKILL)
    return 5.0

def broken(audio, rate):
    raise ZeroDivisionError("no such luck")
"""


@pytest.fixture
def predictors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of predictors, which processes of the tests can import as well."""
    monkeypatch.setenv("DEATHS", str(tmp_path / "deaths"))
    return add_module(tmp_path / "predictors", "opinions", PREDICTORS, monkeypatch)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each validation wait for the one before: which ones have scores is no chance then."""
    monkeypatch.setattr(
        scores_module, "Scores", partial(Scores, wait_seconds=250.0, last_seconds=250.0)
    )


def train(dataset: Path, root: Path, *flags: str) -> int:
    return trainings.train(dataset, root, *FLAGS, *flags)


def names(root: Path) -> set[str]:
    return {path.name for path in last_checkpoint(root).parent.iterdir()}


@pytest.mark.usefixtures("predictors", "patient")
def test_figures_stand_where_their_weights_do_and_the_first_chooses_the_best(
    dataset: Path, root: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first score falls while val_loss improves, and higher is better.

    What --validation_quality asks for beside them is scored as well, and chooses nothing.
    """
    caplog.set_level("INFO", logger="piper")
    flags = ("--model.scores=opinions:falling,opinions:level,opinions:broken", "--patience=2")
    flags = (*flags, "--validation_quality=opinions:level", "--trainer.max_epochs=9")
    assert train(dataset, root, *flags) == 0

    beside = read_scalars(root, "val_level")
    assert sorted(beside) == sorted(read_scalars(root, "val_loss"))
    assert read_scalars(root, "val_quality") == beside
    recordings = read_scalars(root, "val_level_recordings")
    assert recordings == read_scalars(root, "val_quality_recordings")

    # The first call was for the recordings, the second for what training began with.
    found = {name: re.search(r"-val_falling=(.*)\.ckpt", name) for name in names(root)}
    best = {name: float(match[1]) for name, match in found.items() if match}
    assert sorted(best.values()) == [6.0, 7.0]
    assert names(root) == {*best, "last.ckpt"}
    updates = sorted(beside)
    steps = [load_checkpoint(last_checkpoint(root).with_name(name))["global_step"] for name in best]
    assert sorted(steps) == [2 * (update + 1) for update in updates[1:3]]

    assert "The best checkpoint (val_falling 7.0000) becomes a voice" in caplog.text
    assert "no gain in val_falling for 2 validations (--patience)" in caplog.text
    assert caplog.text.count("no val_broken: its predictor failed (no such luck)") == 1
    said = capsys.readouterr().err
    assert re.search(r"step 3 · falling 7\.00 \(recordings 9\.00\) · level 1\.\d\d \(rec", said)
    assert " · best 7.0000 at step 3, " in said


@pytest.mark.usefixtures("predictors", "patient")
def test_a_quality_alone_leaves_the_choice_to_the_loss(
    dataset: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One more figure in the log; `validate` has it in its table, and waits for it."""
    flags = ("--validation_quality=opinions:level", "--trainer.max_epochs=1")
    assert train(dataset, root, *flags) == 0
    figures = read_scalars(root, "val_quality")
    assert sorted(figures) == sorted(read_scalars(root, "val_loss"))
    assert list(read_scalars(root, "val_quality_recordings")) == [0]
    assert any("-val_loss=" in name for name in names(root))
    assert re.search(r"step \d+ · quality 1\.\d\d \(rec", capsys.readouterr().err)
    checked = (*FLAGS[:-1], flags[0], f"--ckpt_path={last_checkpoint(root)}")
    assert trainings.train(dataset, root, *checked, verb="validate") == 0
    assert "val_quality_recordings" in capsys.readouterr().out


@pytest.mark.usefixtures("predictors")
def test_no_validation_waits_for_a_slow_judge(
    dataset: Path, root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In line it would take ten minutes a sentence."""
    monkeypatch.setattr(scores_module, "Scores", partial(Scores, last_seconds=0.5))
    monkeypatch.setenv("NAP_SECONDS", "600")
    flags = ("--model.scores=opinions:slow",)
    begin = time.monotonic()
    assert train(dataset, root, *flags, "--trainer.max_epochs=3") == 0
    assert time.monotonic() - begin < 300.0
    assert len(read_scalars(root, "val_loss")) == 4
    assert read_scalars(root, "val_slow") == {}
    assert caplog.text.count("Scores take longer than the time between two validations") == 1
    assert "The scores of step 0 have not come." in caplog.text


@pytest.mark.usefixtures("predictors")
def test_a_killed_judge_is_started_once_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is killed at its second call, which is made once more, and at the fourth and fifth."""
    monkeypatch.setenv("DEADLY_CALLS", "2 4")
    sentence = np.zeros(1600, dtype=np.float32)
    settings = MetricSettings({"mortal": "opinions:mortal"}, 16000)
    scorer = Scorer(settings, [Reference(sentence, ())])
    try:
        for _ in range(2):
            scorer.submit([sentence])
            answer = scorer.take(250.0)
            assert answer is not None
            assert answer[0].scores == {"mortal": 5.0}
        assert caplog.text.count("scores speech has ended (SIGKILL); it starts anew") == 1
        scorer.submit([sentence])
        assert scorer.take(250.0) is None
        assert scorer.is_over
        assert caplog.text.count("has ended again (SIGKILL): training goes on without") == 1
    finally:
        scorer.close()


@pytest.mark.long
@pytest.mark.usefixtures("predictors", "patient")
def test_a_judge_that_is_killed_again_ends_no_training(
    dataset: Path, root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DEADLY_CALLS", "3 4")
    assert train(dataset, root, "--model.scores=opinions:mortal", "--trainer.max_epochs=2") == 0
    assert list(read_scalars(root, "val_mortal")) == [0]
    assert caplog.text.count("has ended again (SIGKILL): training goes on without scores") == 1
    # No candidate stays behind.
    assert names(root) == {"last.ckpt"}


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_open_scores_outlive_an_interruption(
    number: signal.Signals,
    dataset: Path,
    root: Path,
    predictors: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The resumed training scores what was spoken before, and the candidate gets its name."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(predictors), *sys.path]))
    # Recordings and first weights are heard at once, the next ones for ever.
    monkeypatch.setenv("QUICK_CALLS", "2")
    monkeypatch.setenv("NAP_SECONDS", "600")
    flags = ("--model.scores=opinions:slow", "--data.num_test_examples=1")
    command = fit_command(dataset, root, *flags, "--trainer.max_epochs=100000")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            candidate = wait_for_candidate(root, process)
            scorers = find_children(process.pid)
        finally:
            process.send_signal(number)
        process.communicate()
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert len(scorers) == 1
    end = time.monotonic() + 120
    while Path(f"/proc/{scorers[0]}").exists():
        assert time.monotonic() < end, "the scoring process outlives the training"
        time.sleep(0.05)
    saved = load_checkpoint(last_checkpoint(root))
    job = saved["callbacks"]["Scores"]["open"]
    assert candidate.name == f"epoch={job['epoch']}-step={job['step']}-candidate.ckpt"

    monkeypatch.setattr(
        scores_module, "Scores", partial(Scores, wait_seconds=250.0, last_seconds=250.0)
    )
    monkeypatch.setenv("NAP_SECONDS", "0")
    stray = candidate.with_name("epoch=0-step=2-candidate.ckpt")
    stray.write_bytes(b"a kill left it")
    flags = (*flags, "--ckpt_path=last", "--data.batch_size=2", "--keep_best=-1")
    assert train(dataset, root, *flags, f"--trainer.max_epochs={saved['epoch'] + 2}") == 0
    assert job["log_step"] in read_scalars(root, "val_slow")
    assert candidate.name.replace("candidate", "val_slow=5.0000") in names(root)
    assert not [name for name in names(root) if "candidate" in name]


def wait_for_candidate(root: Path, process: subprocess.Popen[str]) -> Path:
    """Wait until last.ckpt was written after a candidate."""
    end = time.monotonic() + 120.0
    while True:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "no candidate was written"
        time.sleep(0.05)
        last = last_checkpoint(root)
        for path in last.parent.glob("epoch=*-candidate.ckpt"):
            if last.exists() and last.stat().st_mtime_ns > path.stat().st_mtime_ns:
                return path


def find_children(process: int) -> list[int]:
    """Return the processes that a process has started for scores."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    children = [number for task in tasks for number in (task / "children").read_text().split()]
    commands = {n: Path(f"/proc/{n}/cmdline").read_text() for n in children}
    return [int(n) for n, command in commands.items() if "spawn_main" in command]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--validation_quality=utmos"], '--validation_quality: there is no predictor "utmos"'),
        (["--model.scores=utmos"], '--model.scores: there is no predictor "utmos"'),
        (["--model.scores=clicks"], '--model.scores: "clicks" is no score of a training; give'),
        (["--model.scores=similarity"], "--model.scores=similarity: Resemblyzer is not installed"),
        (["--model.scores=per"], "--model.scores=per needs a phoneme recogniser: make one with"),
        (["--model.phoneme_recogniser=r.pt"], "serves the score per alone; add --model.scores=per"),
        (["--model.scores=per,per"], "names a score twice"),
        (
            ["--model.scores=per", "--model.phoneme_recogniser=missing.pt"],
            "--model.phoneme_recogniser: missing.pt does not exist",
        ),
    ],
)
def test_what_is_missing_is_said_before_training(
    flags: list[str],
    said: str,
    dataset: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PIPER_JUDGES_DIR", "")
    assert train(dataset, root, "--trainer.max_epochs=1", *flags) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert "Traceback" not in error
    assert not last_checkpoint(root).exists()


@pytest.mark.usefixtures("predictors")
def test_without_sentences_there_is_nothing_to_hear(
    dataset: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--model.scores=opinions:level", "--data.num_test_examples=0")
    assert train(dataset, root, *flags, "--trainer.max_epochs=1") == 1
    assert "--model.scores speaks held-out sentences, and there are none" in capsys.readouterr().err


def find_scored(folder: str) -> tuple[set[str], list[float]]:
    """Return the checkpoints' names, and the scores in them."""
    names = {file.name for file in storage.list_folder(folder)}
    found = [re.search(r"-val_falling=(.*)\.ckpt", name) for name in names]
    return names, sorted(float(match[1]) for match in found if match)


@pytest.mark.long
@pytest.mark.usefixtures("predictors", "patient")
def test_the_best_are_kept_by_their_score_in_a_storage(
    dataset: Path, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="piper")
    root = f"{bucket}/runs"
    flags = (*FLAGS, "--model.scores=opinions:falling", "--trainer.max_epochs=5")
    assert trainings.train(dataset, root, *flags) == 0
    kept, scores = find_scored(f"{root}/lightning_logs/version_0/checkpoints")
    # The first call was for the recordings, the second for what training began with.
    assert scores == [6.0, 7.0]
    assert len(kept) == 3 and "last.ckpt" in kept
    assert f"--checkpoint {root}/" in caplog.text
    assert "The best checkpoint (val_falling 7.0000) becomes a voice" in caplog.text


@pytest.mark.long
def test_one_of_two_processes_judges(dataset: Path, predictors: Path, root: Path) -> None:
    flags = (*FLAGS[1:], "--model.scores=opinions:falling", "--trainer.max_epochs=4")
    flags = (*flags, "--trainer.devices=2", "--trainer.strategy=ddp")
    path = os.pathsep.join([str(predictors), *sys.path])
    succeed(fit_command(dataset, root, *flags), PYTHONPATH=path)
    kept, scores = find_scored(str(last_checkpoint(root).parent))
    assert 1 <= len(scores) <= 2
    assert not [name for name in kept if "candidate" in name]
    heard = [*read_scalars(root, "val_falling").values()]
    # Each validation that was heard was heard once: a second judge would have repeated a score.
    assert len(set(heard)) == len(heard) >= 2
    assert set(scores) <= set(heard)
