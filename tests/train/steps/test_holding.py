"""A decoder that a voice brought stays as it is until what is new has learnt something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import trainings
from piper.train.checkpoints import load_checkpoint
from piper.train.steps.update import Hold
from trainings import last_checkpoint

FLAGS = ("--data.batch_size=5", "--validation_quality=off")


def test_gradients_go_through_what_is_held() -> None:
    before, held = nn.Linear(3, 3), nn.Linear(3, 1)
    hold = Hold(held, "decoder", 2)
    held_on, learns_now = "The decoder is held until update 2.", "The decoder learns from now on."
    changes = {0: held_on, 2: learns_now}
    for update, learns in ((0, False), (1, False), (2, True), (3, True)):
        assert hold.apply(update) == changes.get(update)
        held(before(torch.ones(2, 3))).sum().backward()
        assert (held.weight.grad is not None) == learns
        assert before.weight.grad is not None and before.weight.grad.abs().sum() > 0


def train(dataset: Path, root: Path, updates: int, *flags: str) -> dict[str, Any]:
    assert trainings.train(dataset, root, *FLAGS, f"--trainer.max_steps={updates}", *flags) == 0
    return load_checkpoint(last_checkpoint(root))


def find_changed(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    """Return the parts of the generator whose weights differ in two checkpoints."""
    weights: list[dict[str, Tensor]] = [one["state_dict"], other["state_dict"]]
    names = [name for name in weights[0] if name.startswith("model_g.")]
    return {name.split(".")[1] for name in names if not torch.equal(*(w[name] for w in weights))}


def test_a_held_decoder_is_held_on_when_training_goes_on_and_learns_later(
    dataset: Path, tmp_path: Path
) -> None:
    """What discriminators that know nothing yet say is of no use to a decoder that speaks."""
    train(dataset, tmp_path / "source", 1)
    source = f"--model.warmstart={last_checkpoint(tmp_path / 'source')}"
    flags = (source, "--model.hold_decoder=2", "--ckpt_path=last", "--model.ema_decay=0")
    root = tmp_path / "held"
    one = train(dataset, root, 1, *flags)
    two = train(dataset, root, 2, *flags)
    assert find_changed(one, two) == {"dp", "enc_p", "enc_q", "flow"}
    three = train(dataset, root, 3, *flags)
    assert "dec" in find_changed(two, three)


def test_a_decoder_that_knows_nothing_is_not_held(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trainings.train(dataset, tmp_path, *FLAGS, "--model.hold_decoder=2") != 0
    assert "give the voice to start from with --model.warmstart" in capsys.readouterr().err
