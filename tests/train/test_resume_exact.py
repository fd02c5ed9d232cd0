"""Ten updates are bit for bit five, a checkpoint, and five more."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import trainings
from piper.train.checkpoints import load_checkpoint
from trainings import StopAfter, add_callback, find_differences, last_checkpoint

FLAGS = (
    # Four batches an epoch: the fifth update lies inside the second, the tenth inside the third.
    *("--data.batch_size=4", "--trainer.max_epochs=10"),
    # What would hide where rates did not go on, or dropout was off.
    *("--model.lr_decay=0.9", "--model.lr_decay_d=0.8", "--model.p_dropout=0.3"),
)


def train(
    dataset: Path, root: Path, batches: int, monkeypatch: pytest.MonkeyPatch, *flags: str
) -> dict[str, Any]:
    """Train so many batches; return the checkpoint that the signal leaves."""
    torch.manual_seed(batches)  # what a process happens to begin with is not to matter
    with monkeypatch.context() as patch:
        add_callback(StopAfter(batches), patch)
        code = trainings.train(dataset, root, *FLAGS, *flags)
    assert code == 128 + signal.SIGTERM
    return load_checkpoint(last_checkpoint(root))


BF16 = ("--trainer.precision=bf16-mixed",)
OPEN_ENDS = ("--data.open_ends=0.1",)  # 14 utterances become 15: four batches as before


@pytest.mark.parametrize("extra", [OPEN_ENDS, pytest.param(BF16, marks=pytest.mark.long)])
def test_ten_updates_are_five_and_five(
    extra: tuple[str, ...], dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, averages, optimizers, rates, position in the epoch, scores: all of the file."""
    whole = train(dataset, tmp_path / "whole", 10, monkeypatch, *extra)
    train(dataset, tmp_path / "first", 5, monkeypatch, *extra)
    flags = (*extra, f"--ckpt_path={last_checkpoint(tmp_path / 'first')}")
    resumed = train(dataset, tmp_path / "second", 5, monkeypatch, *flags)
    assert whole["global_step"] == 20
    assert whole["averages"]["updates"] == 10
    assert list(find_differences(whole, resumed)) == []
    scores = [
        sorted(saved["callbacks"][key]["best_k_models"].values())
        for saved in (whole, resumed)
        for key in saved["callbacks"]
        if key.startswith("KeepBest")
    ]
    assert len(scores[0]) == 2
    assert scores[0] == scores[1]


def test_one_of_the_best_goes_on_with_its_rate_and_new_optimizers(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Slim checkpoints are for listening, but where nothing else is left they serve."""
    train(dataset, tmp_path / "first", 5, monkeypatch)
    (best,) = last_checkpoint(tmp_path / "first").parent.glob("*val_loss*.ckpt")
    slim = load_checkpoint(best)
    assert "optimizer_states" not in slim
    assert slim["averages"]["updates"] == 4
    after = train(dataset, tmp_path / "second", 1, monkeypatch, f"--ckpt_path={best}")
    assert "it holds no optimizer states, so they start anew" in caplog.text
    assert after["global_step"] == 2 * 5
    # The checkpoint was written in the validation before the epoch's end, which lets rates decay.
    rates = [state["param_groups"][0]["lr"] for state in after["optimizer_states"]]
    assert rates == pytest.approx([2e-4 * 0.9, 1e-4 * 0.8])
    steps = {float(item["step"]) for item in after["optimizer_states"][0]["state"].values()}
    assert steps == {1.0}
