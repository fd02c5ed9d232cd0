"""A full disk costs a line, and no work that was saved before."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from toy_training import Toy, train_toy

from piper import files
from piper.errors import CheckpointError
from piper.files import replace_on_success
from piper.train import storage
from piper.train.callbacks.checkpoints import KeepBest, KeepLast
from piper.train.checkpoints import load_checkpoint, remove_stale_parts
from piper.train.event_log import EventFile
from trainings import fit_command, last_checkpoint, wait_for, wait_until

SMALL_BYTES = 2_000_000
"""A slim checkpoint of the small network takes 1.0 MB, a full one 3.1."""
TOY_BYTES = 30_000
"""Both of a toy take more."""


def limit_file_size(process: int, num_bytes: int) -> None:
    """Let a process write no file beyond a size: what it is answered is what a full disk says."""
    hard = resource.prlimit(process, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(process, resource.RLIMIT_FSIZE, (num_bytes, hard))


@contextmanager
def limited_file_size(num_bytes: int) -> Iterator[None]:
    limit_file_size(0, num_bytes)
    try:
        yield
    finally:
        limit_file_size(0, resource.RLIM_INFINITY)


def parts(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".part")]


def test_a_full_disk_is_outlived_and_at_the_end_one_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last = last_checkpoint(tmp_path)

    def step(batches: int) -> None:  # two an epoch, each of them four steps of Lightning
        if batches in (2, 6):
            limit_file_size(0, TOY_BYTES)
        if batches == 4:
            assert load_checkpoint(last)["global_step"] == 4
            limit_file_size(0, resource.RLIM_INFINITY)
        if batches == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    said = (
        rf"SIGTERM came, but {last} could not be written \(File too large\): the last complete "
        rf"checkpoint is {last}; make room there, .*\n.*--ckpt_path={last}"
    )
    with limited_file_size(resource.RLIM_INFINITY), pytest.raises(CheckpointError, match=said):
        train_toy(tmp_path, Toy([1.0] * 5, step), [KeepBest(0), KeepLast()], epochs=5)
    lines = [record.message for record in caplog.records if "last.ckpt could" in record.message]
    assert len(lines) == 1
    assert "(File too large): training goes on, " in lines[0]
    assert load_checkpoint(last)["global_step"] == 12
    assert parts(last.parent) == []


def wait_for_line(path: Path, text: str, count: int) -> None:
    wait_until(lambda: path.read_text().count(text) >= count)


@pytest.mark.long
def test_two_processes_outlive_a_full_disk_together(dataset: Path, tmp_path: Path) -> None:
    """Only the first one writes; the second must neither wait for it for ever nor go on alone."""
    last, said = last_checkpoint(tmp_path), tmp_path / "said"
    flags = ("--trainer.max_epochs=500", "--save_minutes=0.001", "--trainer.devices=2")
    command = fit_command(dataset, tmp_path, *flags)
    with said.open("w") as file, subprocess.Popen(command, stderr=file, text=True) as process:
        wait_for(last, process)
        limit_file_size(process.pid, SMALL_BYTES)
        wait_for_line(said, "last.ckpt could not be written", 2)
        limit_file_size(process.pid, resource.RLIM_INFINITY)
        before = last.stat().st_mtime_ns
        wait_until(lambda: last.stat().st_mtime_ns != before)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, said.read_text()
    assert said.read_text().count("stopped and saved") == 1
    assert parts(last.parent) == []


@pytest.mark.parametrize("size", [0, 10, 100_000])
def test_a_write_that_is_refused_leaves_the_old_file_and_no_other(
    size: int, tmp_path: Path
) -> None:
    """torch.save answers with an error about positions, which says nothing to anybody."""
    path = tmp_path / "last.ckpt"
    storage.write_file(path, lambda file: torch.save({"state_dict": {}}, file))
    before = path.read_bytes()
    data = {"state_dict": {"a": torch.ones(100_000)}}
    with limited_file_size(size), pytest.raises(OSError, match="File too large"):
        storage.write_file(path, lambda file: torch.save(data, file))
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["last.ckpt"]


def add_scalar(log: EventFile, step: int) -> None:
    value = Summary.Value(tag="loss", simple_value=float(step))
    log.add_event(Event(step=step, wall_time=float(step), summary=Summary(value=[value])))


def test_a_log_on_a_full_disk_goes_on_when_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """torch's writer lets its thread die, and training with it at the next line."""
    log = EventFile(str(tmp_path))
    for step in range(5):
        add_scalar(log, step)
    (path,) = tmp_path.iterdir()
    with limited_file_size(path.stat().st_size + 20):
        for step in range(5, 10):
            add_scalar(log, step)
    add_scalar(log, 10)
    log.flush()
    log.close()
    assert len([r for r in caplog.records if "cannot be written for now" in r.message]) == 1
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(11))


def test_half_files_of_killed_trainings_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is as large as a checkpoint, and each restart of a machine would add one."""
    folder = last_checkpoint(tmp_path).parent
    folder.mkdir(parents=True)
    (folder / "last.ckpt").write_bytes(b"whole")
    with replace_on_success(folder / "best.ckpt") as being_written:
        # A container gives its processes the same numbers again.
        for process in (1, os.getpid()):
            (folder / f".last.ckpt.{process}.140001.part").write_bytes(b"half")
        monkeypatch.setattr(files, "_cleaned", set())  # as in a process that starts
        remove_stale_parts(tmp_path)
        assert {path.name for path in folder.iterdir()} == {"last.ckpt", being_written.name}
