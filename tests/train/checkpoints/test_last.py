"""`--ckpt_path=last` finds the newest checkpoint that is whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from piper.errors import CheckpointError
from piper.train.checkpoints import FULL_IS_BETTER_SECONDS, find_checkpoint, find_last_checkpoint

BEST = "epoch=3-step=84-val_loss=12.3456.ckpt"


def write(root: Path, version: int, name: str, age_seconds: float) -> Path:
    """Write a small checkpoint that is so old."""
    path = root / f"lightning_logs/version_{version}/checkpoints" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {"a": torch.ones(1000)}, "global_step": 7}, path)
    set_age(path, age_seconds)
    return path


def set_age(path: Path, age_seconds: float) -> None:
    moment = 1_700_000_000 - age_seconds
    os.utime(path, (moment, moment))


def damage(path: Path) -> None:
    """Change a byte of a weight, which torch.load does not notice."""
    age = 1_700_000_000 - path.stat().st_mtime
    data = bytearray(path.read_bytes())
    position = data.find(torch.ones(10).numpy().tobytes())
    data[position] ^= 0xFF
    path.write_bytes(bytes(data))
    set_age(path, age)


def test_the_newest_folder_wins(tmp_path: Path) -> None:
    write(tmp_path, 0, "last.ckpt", 100)
    newest = write(tmp_path, 10, "last.ckpt", 10)
    write(tmp_path, 9, "last.ckpt", 50)
    assert find_last_checkpoint(str(tmp_path)) == str(newest)


def test_one_of_the_best_serves_where_there_is_no_last(tmp_path: Path) -> None:
    best = write(tmp_path, 0, BEST, 5)
    write(tmp_path, 0, "epoch=1-step=42.ckpt", 50)
    assert find_last_checkpoint(str(tmp_path)) == str(best)


def test_last_is_preferred_to_a_slim_one_a_little_newer(tmp_path: Path) -> None:
    """It holds the optimizers; one that could not be written for hours does not help, though."""
    last = write(tmp_path, 0, "last.ckpt", 600)
    best = write(tmp_path, 0, BEST, 5)
    assert find_last_checkpoint(str(tmp_path)) == str(last)
    set_age(last, FULL_IS_BETTER_SECONDS + 10)
    assert find_last_checkpoint(str(tmp_path)) == str(best)


@pytest.mark.parametrize("kind", ["cut", "empty", "text", "changed"])
def test_a_damaged_file_is_named_and_passed_over(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older = write(tmp_path, 0, "last.ckpt", 100)
    broken = write(tmp_path, 1, "last.ckpt", 10)
    if kind == "changed":
        damage(broken)
    else:
        data = broken.read_bytes()
        content = {"cut": data[: len(data) // 2], "empty": b"", "text": b"no checkpoint"}
        broken.write_bytes(content[kind])
        set_age(broken, 10)
    assert find_last_checkpoint(str(tmp_path)) == str(older)
    lines = [r.message for r in caplog.records if "Passed over" in r.message]
    assert len(lines) == 1
    assert str(broken) in lines[0]


def test_only_damaged_ones_are_no_reason_to_begin_anew(tmp_path: Path) -> None:
    """Beginning anew would bury what a person may still save by hand."""
    damage(write(tmp_path, 0, "last.ckpt", 10))
    with pytest.raises(CheckpointError, match="None of the 1 checkpoints"):
        find_last_checkpoint(str(tmp_path))


def test_none_means_a_new_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "lightning_logs" / "version_0" / "checkpoints").mkdir(parents=True)
    (tmp_path / "lightning_logs" / "version_0" / "checkpoints" / ".last.ckpt.1.2.part").touch()
    assert find_last_checkpoint(str(tmp_path)) is None
    assert find_last_checkpoint(str(tmp_path / "missing")) is None
    assert "training begins anew" in caplog.text


@pytest.mark.parametrize("folder", ["", "lightning_logs", "lightning_logs/version_3"])
def test_a_run_s_folder_means_its_newest_checkpoint(folder: str, tmp_path: Path) -> None:
    write(tmp_path, 2, "last.ckpt", 90)
    newest = write(tmp_path, 3, "last.ckpt", 10)
    for place in (tmp_path / folder, newest.parent, newest):
        assert find_checkpoint(place) == str(newest)


def test_last_means_the_newest_below_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = write(tmp_path, 3, "last.ckpt", 10)
    monkeypatch.chdir(tmp_path)
    assert Path(find_checkpoint("last")).absolute() == newest
    monkeypatch.chdir(newest.parents[1])
    newest.unlink()
    with pytest.raises(CheckpointError, match="There is no checkpoint in"):
        find_checkpoint("last")
