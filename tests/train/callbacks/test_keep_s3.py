"""Checkpoints and logs in a cloud's storage: a local S3 server, and fsspec's memory."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy_training import Toy, train_toy

from piper.errors import CheckpointError, ConfigError, describe_os_error
from piper.train import storage
from piper.train.callbacks.checkpoints import MAX_KEPT, KeepBest, KeepLast
from piper.train.checkpoints import find_last_checkpoint, load_checkpoint
from trainings import fit_command, succeed


@pytest.fixture(params=["s3", "memory"])
def root(request: pytest.FixtureRequest) -> str:
    """A remote folder of each kind."""
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}/runs"
    return f"{request.getfixturevalue('bucket')}/runs"


def names(root: str, version: int = 0) -> set[str]:
    folder = storage.join_address(root, "lightning_logs", f"version_{version}", "checkpoints")
    return {file.name for file in storage.list_folder(folder)}


def test_files_are_written_listed_read_and_removed(root: str) -> None:
    address = storage.join_address(root, "a", "b.bin")
    assert storage.list_folder(storage.join_address(root, "a")) == []
    storage.write_file(address, lambda file: file.write(b"one"))
    storage.write_file(address, lambda file: file.write(b"three"))
    assert storage.read_file(address) == b"three"
    assert storage.is_file(address)
    (found,) = storage.list_folder(storage.join_address(root, "a"))
    assert (found.name, found.num_bytes, found.is_folder) == ("b.bin", 5, False)
    assert found.modified > 1e9
    assert [entry.is_folder for entry in storage.list_folder(root)] == [True]
    storage.remove_file(address)
    storage.remove_file(address)
    assert not storage.is_file(address)


def test_a_write_that_fails_half_way_leaves_the_old_object(root: str) -> None:
    address = storage.join_address(root, "last.ckpt")
    storage.write_file(address, lambda file: file.write(b"whole"))
    with pytest.raises(Exception, match="pickle"):
        storage.write_file(address, lambda file: torch.save({"a": lambda: None}, file))
    assert storage.read_file(address) == b"whole"


def test_a_training_is_kept_found_and_resumed(root: str) -> None:
    scores = [100.0 - epoch for epoch in range(14)]
    keepers = [KeepBest(3), KeepLast(keep_every_hours=1e-9)]
    train_toy(root, Toy(scores), keepers, epochs=12)
    kept = names(root)
    assert len([name for name in kept if "val_loss" in name]) == 3
    assert len(kept) == 1 + 3 + MAX_KEPT
    last = find_last_checkpoint(root)
    assert last is not None
    assert last.startswith(root)
    assert last.endswith("version_0/checkpoints/last.ckpt")
    keeper = KeepBest(3)
    train_toy(root, Toy(scores), [keeper, KeepLast()], epochs=14, resume=last)
    assert names(root) == kept
    assert load_checkpoint(storage.join_address(root, *last_parts(1)))["global_step"] == 56
    assert sorted(keeper.scores.values()) == [87.0, 88.0, 89.0]


def last_parts(version: int) -> tuple[str, ...]:
    return ("lightning_logs", f"version_{version}", "checkpoints", "last.ckpt")


def test_the_log_is_one_that_tensorboard_reads(root: str, tmp_path: Path) -> None:
    train_toy(root, Toy([1.0, 2.0]), [KeepBest(0), KeepLast()], epochs=2)
    folder = storage.join_address(root, "lightning_logs", "version_0")
    files = [file.name for file in storage.list_folder(folder) if not file.is_folder]
    assert "hparams.yaml" in files
    for name in files:
        (tmp_path / name).write_bytes(storage.read_file(storage.join_address(folder, name)))
    log = EventAccumulator(str(tmp_path))
    log.Reload()
    assert len(log.Scalars("train_loss")) == 4
    assert [event.value for event in log.Scalars("val_loss")] == [1.0, 2.0]


def test_an_upload_that_fails_is_a_line_and_is_tried_again(
    bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A network that is gone for an hour must not cost a day's training."""
    import s3fs

    moved = f"{bucket}-other".removeprefix("s3://")
    root = f"s3://{moved}/runs"
    filesystem = s3fs.S3FileSystem()
    filesystem.mkdir(moved)

    def outage(batches: int) -> None:
        if batches == 2:
            filesystem.rm(moved, recursive=True)
        if batches == 4:
            s3fs.S3FileSystem.clear_instance_cache()
            s3fs.S3FileSystem().mkdir(moved)

    train_toy(root, Toy([1.0] * 3, outage), [KeepBest(0), KeepLast()], epochs=3)
    lines = [
        record.message for record in caplog.records if "could not be written" in record.message
    ]
    assert len(lines) == 1
    assert "training goes on" in lines[0]
    assert load_checkpoint(storage.join_address(root, *last_parts(0)))["global_step"] == 12


def test_a_bucket_that_is_not_there_is_refused_at_once(bucket: str) -> None:
    with pytest.raises(ConfigError, match="Nothing can be written to s3://"):
        storage.check_writable(f"{bucket}-that-nobody-made/runs")
    storage.check_writable(f"{bucket}/runs")


def test_a_server_that_does_not_answer_is_one_sentence(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(OSError, match=r"127\.0\.0\.1:9") as caught:
        load_checkpoint(f"{bucket}/last.ckpt")
    assert len(describe_os_error(caught.value).splitlines()) == 1
    with pytest.raises(ConfigError, match="Nothing can be written to s3://"):
        storage.check_writable(bucket)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("gs://bucket/runs", "pip install gcsfs"),
        ("az://box/runs", "pip install adlfs"),
        ("nosuch://box/runs", "no kind of storage"),
    ],
)
def test_a_missing_backend_names_its_package(address: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        storage.check_writable(address)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ConfigError, match=said):
        load_checkpoint(f"{address}/last.ckpt")


def test_a_missing_object_is_a_checkpoint_that_does_not_exist(root: str) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(storage.join_address(root, "last.ckpt"))


def test_a_path_object_of_an_address_is_mended(bucket: str) -> None:
    """pathlib makes s3:/bucket of s3://bucket; flags that are paths come so."""
    assert storage.plain_address(Path(f"{bucket}/last.ckpt")) == f"{bucket}/last.ckpt"
    assert storage.plain_address("file:///data/runs") == "/data/runs"
    assert not storage.is_remote("file:///data/runs")
    assert not storage.is_remote(Path("runs"))


@pytest.mark.long
def test_the_commands_train_resume_and_export_there(
    bucket: str, dataset: Path, tmp_path: Path
) -> None:
    root = f"{bucket}/voices/anna"
    for epochs in (1, 2):
        flags = (f"--trainer.max_epochs={epochs}", "--ckpt_path=last")
        said = succeed(fit_command(dataset, root, *flags))  # type: ignore[arg-type]
        assert "Traceback" not in said
        assert "could not be written" not in said
    last = storage.join_address(root, *last_parts(0))
    assert load_checkpoint(last)["global_step"] == 2 * 2 * 7
    assert "config.yaml" in {
        file.name
        for file in storage.list_folder(storage.join_address(root, "lightning_logs", "version_0"))
    }
    export = [sys.executable, "-m", "piper.train.export_onnx", "--checkpoint", last]
    succeed([*export, "--output-file", tmp_path / "anna.onnx"])
    assert (tmp_path / "anna.onnx").stat().st_size > 0
