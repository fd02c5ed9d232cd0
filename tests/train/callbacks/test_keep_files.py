"""What is kept of a training is bounded, and never less than it was."""

from __future__ import annotations

import math
import os
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from toy_training import Toy, train_toy

from piper.errors import CheckpointError, ConfigError
from piper.train import storage
from piper.train.callbacks.checkpoints import MAX_KEPT, KeepBest, KeepLast, choose_superfluous
from piper.train.callbacks.stopping import TrainingStopped
from piper.train.checkpoints import load_checkpoint
from trainings import last_checkpoint


def names(root: Path, version: int = 0) -> set[str]:
    return {path.name for path in last_checkpoint(root, version).parent.iterdir()}


def score(name: str) -> float:
    return float(name.removesuffix(".ckpt").rpartition("=")[2])


class Sizes(Callback):
    """Notes files and bytes after each epoch, and whether a whole checkpoint was always there."""

    def __init__(self, root: Path) -> None:
        self._folder = last_checkpoint(root).parent
        self.noted: list[tuple[int, int]] = []

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        if trainer.current_epoch:
            files = list(self._folder.iterdir())
            self.noted.append((len(files), sum(path.stat().st_size for path in files)))


def test_files_and_bytes_stay_level_over_many_saves(tmp_path: Path) -> None:
    """Disks of rented machines are small: what is kept must not grow with the training."""
    scores = [100.0 - epoch for epoch in range(40)]  # each better than all before: the worst case
    sizes = Sizes(tmp_path)
    keepers = [KeepBest(3), KeepLast(keep_every_hours=1e-9)]
    train_toy(tmp_path, Toy(scores), [*keepers, sizes], epochs=40)
    most = 1 + 3 + MAX_KEPT
    assert max(files for files, _ in sizes.noted) == most
    late = [num_bytes for _, num_bytes in sizes.noted[20:]]
    assert max(late) < 1.01 * min(late)
    kept = names(tmp_path)
    assert sorted(score(name) for name in kept if "val_loss" in name) == [61.0, 62.0, 63.0]
    assert "last.ckpt" in kept
    assert len(kept) == most


def test_only_last_holds_the_optimizers(tmp_path: Path) -> None:
    train_toy(tmp_path, Toy([3.0, 2.0]), [KeepBest(), KeepLast(keep_every_hours=1e-9)], epochs=2)
    for path in last_checkpoint(tmp_path).parent.iterdir():
        saved = load_checkpoint(path)
        is_full = path.name == "last.ckpt"
        assert ("optimizer_states" in saved) == is_full
        assert {"state_dict", "epoch", "global_step", "loops", "callbacks"} <= set(saved)
    sizes = {path.name: path.stat().st_size for path in last_checkpoint(tmp_path).parent.iterdir()}
    others = [size for name, size in sizes.items() if name != "last.ckpt"]
    # The toy's one layer has two optimizers, so five numbers a weight; a voice has three.
    assert max(others) < 0.3 * sizes["last.ckpt"]


def test_a_validation_without_a_number_is_none_of_the_best(tmp_path: Path) -> None:
    train_toy(tmp_path, Toy([math.nan, 5.0, math.inf]), [KeepBest(), KeepLast()], epochs=3)
    assert {name for name in names(tmp_path) if "val_loss" in name} == {
        "epoch=1-step=8-val_loss=5.0000.ckpt"
    }


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 1), (-1, 4)])
def test_keep_best_counts(count: int, expected: int, tmp_path: Path) -> None:
    train_toy(tmp_path, Toy([4.0, 3.0, 5.0, 6.0]), [KeepBest(count), KeepLast()], epochs=4)
    assert len([name for name in names(tmp_path) if "val_loss" in name]) == expected


def test_a_count_that_means_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--keep_best=-2"):
        KeepBest(-2)


def test_the_best_go_on_in_a_resumed_training(tmp_path: Path) -> None:
    """The list goes on in another folder; what lies in the old one is not removed."""
    train_toy(tmp_path, Toy([5.0, 3.0]), [KeepBest(2), KeepLast()], epochs=2)
    old = names(tmp_path)
    scores = [5.0, 3.0, 4.0, 9.0, 2.0]
    keeper = KeepBest(2)
    resume = str(last_checkpoint(tmp_path))
    trainer = train_toy(tmp_path, Toy(scores), [keeper, KeepLast()], epochs=5, resume=resume)
    assert names(tmp_path) == old
    # 9.0 is worse than what the first run had; 4.0 was, until 2.0 came.
    new = {score(name) for name in names(tmp_path, 1) if "val_loss" in name}
    assert new == {2.0}
    assert sorted(keeper.scores.values()) == [2.0, 3.0]
    assert trainer.checkpoint_callback is keeper
    assert Path(keeper.best_model_path).is_file()


def test_a_file_that_is_gone_is_no_longer_among_the_best(tmp_path: Path) -> None:
    train_toy(tmp_path, Toy([5.0, 3.0]), [KeepBest(2), KeepLast()], epochs=2)
    for path in last_checkpoint(tmp_path).parent.glob("*val_loss=3.0000.ckpt"):
        path.unlink()
    keeper = KeepBest(2)
    resume = str(last_checkpoint(tmp_path))
    train_toy(tmp_path, Toy([5.0, 3.0, 4.0]), [keeper, KeepLast()], epochs=3, resume=resume)
    assert sorted(keeper.scores.values()) == [4.0, 5.0]


def test_the_state_of_lightning_s_own_keeper_is_read() -> None:
    """Earlier checkpoints of this trainer carry it, with tensors for scores."""
    keeper = KeepBest()
    state = {"best_k_models": {"a.ckpt": torch.tensor(2.5)}, "best_model_path": "a.ckpt"}
    keeper.load_state_dict(state)
    assert keeper.scores == {"a.ckpt": 2.5}
    assert keeper.state_key.startswith("KeepBest{'monitor': 'val_loss', 'mode': 'min'")


@pytest.mark.parametrize("most", [2, 3, 8])
def test_thinning_keeps_the_ends_and_spreads_the_rest(most: int) -> None:
    kept: list[int] = []
    for step in range(0, 6400, 100):
        kept.append(step)
        gone = choose_superfluous(kept, most)
        kept = [step for step in kept if step not in gone]
        assert len(kept) <= most
        assert kept[0] == 0
        assert kept[-1] == step
    if most > 3:
        gaps = [after - before for before, after in pairwise(kept)]
        assert max(gaps) <= 3 * 6300 / (most - 1)


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ConfigError, match=r"--trainer\.default_root_dir") as caught:
        storage.check_writable(tmp_path / "file" / "runs")
    assert len(str(caught.value).splitlines()) == 1
    storage.check_writable(tmp_path / "new" / "runs")
    assert list((tmp_path / "new" / "runs").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP])
def test_what_clusters_and_terminals_send_saves_and_stops(
    number: signal.Signals, tmp_path: Path
) -> None:
    def stop(batches: int) -> None:
        if batches == 2:
            os.kill(os.getpid(), number)

    with pytest.raises(TrainingStopped) as stopped:
        train_toy(tmp_path, Toy([1.0] * 9, stop), [KeepBest(0), KeepLast()], epochs=9)
    assert stopped.value.signal_number == number
    assert stopped.value.checkpoint == str(last_checkpoint(tmp_path))
    assert load_checkpoint(last_checkpoint(tmp_path))["global_step"] == 6


def test_an_end_that_cannot_be_saved_says_what_there_is(tmp_path: Path) -> None:
    blocked = last_checkpoint(tmp_path)

    def block(batches: int) -> None:
        if batches == 2:
            blocked.unlink()
            blocked.mkdir()
            (blocked / "in-the-way").touch()

    with pytest.raises(CheckpointError, match=r"Training is at its end, but .* could not be"):
        train_toy(tmp_path, Toy([1.0, 1.0], block), [KeepBest(0), KeepLast()], epochs=2)
