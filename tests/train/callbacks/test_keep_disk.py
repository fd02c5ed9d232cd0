"""A full disk costs a line, and no work that was saved before."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from piper import files
from piper.files import replace_on_success
from piper.train import cli, storage
from piper.train.checkpoints import load_checkpoint
from piper.train.event_log import EventFile
from trainings import fit_command, last_checkpoint, wait_for

SMALL_BYTES = 2_000_000
"""A slim checkpoint of the small network takes 1.0 MB, a full one 3.1."""


def limit_file_size(process: int, num_bytes: int) -> None:
    """Let a process write no file beyond a size: what it is answered is what a full disk says."""
    hard = resource.prlimit(process, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(process, resource.RLIMIT_FSIZE, (num_bytes, hard))


def wait_for_line(path: Path, text: str, count: int = 1, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while path.read_text().count(text) < count:
        assert time.monotonic() < end, path.read_text()
        time.sleep(0.05)


def wait_for_change(path: Path, seconds: float = 120) -> None:
    """Wait until a file was written once more."""
    before, end = path.stat().st_mtime_ns, time.monotonic() + seconds
    while path.stat().st_mtime_ns == before:
        assert time.monotonic() < end, f"{path} was not written again"
        time.sleep(0.05)


def parts(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".part")]


def test_a_full_disk_is_outlived_and_at_the_end_one_sentence(dataset: Path, tmp_path: Path) -> None:
    last, said = last_checkpoint(tmp_path), tmp_path / "said"
    command = fit_command(dataset, tmp_path, "--trainer.max_epochs=500", "--save_minutes=0.001")
    with said.open("w") as file, subprocess.Popen(command, stderr=file, text=True) as process:
        wait_for(last, process)
        limit_file_size(process.pid, SMALL_BYTES)
        wait_for_line(said, "last.ckpt could not be written")
        before = load_checkpoint(last)["global_step"]
        wait_for_line(said, "last.ckpt could not be written", 3)
        assert load_checkpoint(last)["global_step"] == before
        assert "File too large" in said.read_text()
        assert "training goes on" in said.read_text()

        limit_file_size(process.pid, resource.RLIM_INFINITY)
        wait_for_change(last)
        after = load_checkpoint(last)["global_step"]
        assert after > before
        limit_file_size(process.pid, SMALL_BYTES)
        wait_for_line(said, "last.ckpt could not be written", said.read_text().count("could") + 1)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=120)
    lines = said.read_text().splitlines()
    assert process.returncode == 1, lines
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1
    assert f"the last complete checkpoint is {last}" in errors[0]
    assert not any("Traceback" in line for line in lines)
    assert load_checkpoint(last)["global_step"] >= after
    assert parts(last.parent) == []


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
        wait_for_change(last)
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
    import torch

    path = tmp_path / "last.ckpt"
    storage.write_file(path, lambda file: torch.save({"state_dict": {}}, file))
    before = path.read_bytes()
    data = {"state_dict": {"a": torch.ones(100_000)}}
    limit_file_size(0, size)
    try:
        with pytest.raises(OSError, match="File too large"):
            storage.write_file(path, lambda file: torch.save(data, file))
    finally:
        limit_file_size(0, resource.RLIM_INFINITY)
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
    limit_file_size(0, path.stat().st_size + 20)
    try:
        for step in range(5, 10):
            add_scalar(log, step)
    finally:
        limit_file_size(0, resource.RLIM_INFINITY)
    add_scalar(log, 10)
    log.flush()
    log.close()
    assert len([r for r in caplog.records if "cannot be written for now" in r.message]) == 1
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(11))


def test_a_folder_that_cannot_be_written_ends_before_training(
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").write_text("")
    command = fit_command(dataset, tmp_path / "file" / "runs")
    assert cli.main(command[3:]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len([line for line in said if "error: Nothing can be written" in line]) == 1
    assert not any(line.startswith("epoch") for line in said)


def test_half_files_of_killed_trainings_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is as large as a checkpoint, and each restart of a machine would add one."""
    from piper.train.checkpoints import remove_stale_parts

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
