"""An epoch goes on where a checkpoint stopped it, with the same or with other batches.

Also where the processes that load them are killed, hang or have no memory to share.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from lightning.pytorch import Callback, LightningModule, Trainer
from test_data_module import Recorder, make_trainer

from piper.errors import DatasetError
from piper.train.callbacks.batches import BatchSizeFinder
from piper.train.callbacks.checkpoints import KeepLast
from piper.train.callbacks.stopping import TrainingStopped
from piper.train.data import loader as loaders
from piper.train.data.batches import UtteranceItem
from piper.train.data.loader import ResumableLoader, UtteranceDataset
from piper.train.data.module import VitsDataModule
from trainings import wait_until


def make_module(dataset: Path, batch_size: int = 4) -> VitsDataModule:
    module = VitsDataModule(dataset_dir=str(dataset), batch_size=batch_size, num_workers=0)
    module.prepare_data()
    return module


class SaveAt(Callback):
    """Saves after so many batches of a training."""

    def __init__(self, path: Path, batches: int) -> None:
        self.path, self.batches = path, batches

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: object
    ) -> None:
        if trainer.global_step == self.batches:
            trainer.save_checkpoint(self.path)


def train(
    dataset: Path, folder: Path, epochs: int, *callbacks: Callback, **options: int
) -> tuple[list[list[list[int]]], Trainer]:
    """Return what was heard, by epochs, and the Trainer."""
    recorder = Recorder()
    checkpoint = str(folder / "at.ckpt") if options.pop("resumes", 0) else None
    trainer = make_trainer(folder, max_epochs=epochs, callbacks=[BatchSizeFinder(), *callbacks])
    trainer.fit(recorder, make_module(dataset, **options), ckpt_path=checkpoint)
    return [batches for _, batches in sorted(recorder.epochs.items())], trainer


def test_the_same_batches(dataset: Path, tmp_path: Path) -> None:
    whole, _ = train(dataset, tmp_path, 3, SaveAt(tmp_path / "at.ckpt", 6))
    rest, _ = train(dataset, tmp_path, 3, resumes=1)
    assert rest == [whole[1][2:], whole[2]]


@pytest.mark.parametrize("batches", [4, 8])
def test_between_two_epochs(batches: int, dataset: Path, tmp_path: Path) -> None:
    """Lightning gives no state back here, and the order once began with that of epoch 0 again."""
    whole, _ = train(dataset, tmp_path, 3)
    _, trainer = train(dataset, tmp_path, batches // 4)
    trainer.save_checkpoint(tmp_path / "at.ckpt")
    rest, _ = train(dataset, tmp_path, 3, resumes=1)
    assert rest == whole[batches // 4 :]


@pytest.mark.parametrize(("done", "expected"), [(6, [4, 7]), (4, [7, 7]), (7, [2, 7])])
def test_other_batches(
    done: int,
    expected: list[int],
    dataset: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Four batches an epoch become seven; the share of the epoch that was done is kept."""
    train(dataset, tmp_path, 2, SaveAt(tmp_path / "at.ckpt", done))
    with caplog.at_level(logging.WARNING, logger="piper"):
        rest, trainer = train(dataset, tmp_path, 3, resumes=1, batch_size=2)
    assert [len(batches) for batches in rest] == expected
    assert trainer.current_epoch == 3
    heard = "in this epoch some utterances come twice or not at all" in caplog.text
    assert heard == bool(done % 4)


def test_other_ranks_with_the_same_batches(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    loader = make_module(dataset).train_dataloader()
    assert isinstance(loader, ResumableLoader)
    caplog.clear()  # of what is said of the training set, where a test before lets it be heard
    with caplog.at_level(logging.WARNING, logger="piper"):
        loader.load_state_dict({"epoch": 5, "given": 3, "batches": 4, "ranks": 1})
        assert caplog.text == ""
        loader.load_state_dict({"epoch": 5, "given": 3, "batches": 4, "ranks": 2})
    assert (
        "The checkpoint's epoch had 4 batches for 2 processes, now it has 4 for 1: it goes on "
        "after batch 3 with the same utterances."
    ) in caplog.text
    assert (loader.epoch, loader.given) == (5, 3)
    # Checkpoints of before knew neither.
    loader.load_state_dict({"epoch": 6, "given": 2})
    assert (loader.epoch, loader.given) == (6, 2)


def test_the_next_epoch_is_loaded_ahead(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU waited for the first batch of an epoch as long as it worked on all ten of them."""
    loaded = multiprocessing.Value("i", 0)
    load = UtteranceDataset.__getitem__

    def count(self: UtteranceDataset, index: int) -> UtteranceItem:
        with loaded.get_lock():
            loaded.value += 1
        return load(self, index)

    monkeypatch.setattr(UtteranceDataset, "__getitem__", count)
    module = VitsDataModule(dataset_dir=str(dataset), batch_size=4, num_workers=1)
    module.prepare_data()
    loader, plain = module.train_dataloader(), make_module(dataset).train_dataloader()
    epochs = [[batch.names for batch in loader]]
    utterances = len({name for names in epochs[0] for name in names})
    wait_until(lambda: loaded.value > utterances)
    epochs.append([batch.names for batch in loader])
    assert epochs == [[batch.names for batch in plain] for _ in range(2)]
    module.teardown()


def fail_in_workers(
    monkeypatch: pytest.MonkeyPatch, fail: Callable[[], object], first: int, last: int = 10**9
) -> Sequence[int]:
    """Let something happen to a process that loads, before some of the batches of all of them.

    Returns:
        The processes' ids, and zeros.
    """
    parent, batches = os.getpid(), multiprocessing.Value("i", 0)
    processes = multiprocessing.Array("i", 100)
    load = UtteranceDataset.__getitems__

    def load_or_fail(self: UtteranceDataset, indices: Sequence[int]) -> Any:
        if os.getpid() != parent:
            with batches.get_lock():
                batches.value += 1
                number = batches.value
            processes[number % 100] = os.getpid()
            if first <= number <= last:
                fail()
        return load(self, indices)

    monkeypatch.setattr(UtteranceDataset, "__getitems__", load_or_fail)
    return cast(Sequence[int], processes)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def leave_no_shared_memory() -> None:
    """Let the system refuse what torch asks for, as it does where /dev/shm is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


@pytest.mark.parametrize(
    ("fail", "last", "said", "remaining"),
    [
        (
            kill,
            6,
            "killed (SIGKILL), as the system does where memory is short: started again",
            None,
        ),
        (kill, 99, "from here on the training process loads the data itself", 0),
        (stop, 6, "do not work (no batch came for 2 s): started again", None),
        (leave_no_shared_memory, 99, "memory that processes share is too small (/dev/shm", 0),
    ],
)
def test_what_happens_to_processes_that_load_costs_no_batch(
    fail: Callable[[], object],
    last: int,
    said: str,
    remaining: int | None,
    dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A killed one ended the training unsaved, one without memory let it wait for ever."""
    plain = make_module(dataset).train_dataloader()
    expected = [[batch.names for batch in plain] for _ in range(2)]
    monkeypatch.setattr(loaders, "MAX_LOOKS", 10 if fail is stop else 300)
    monkeypatch.setattr(loaders, "KILLED_SECONDS", 0.5 if fail is stop else 5.0)
    monkeypatch.setattr(loaders, "LOOK_SECONDS", 0.2)
    processes = fail_in_workers(monkeypatch, fail, 6, last)
    module = VitsDataModule(dataset_dir=str(dataset), batch_size=4, num_workers=1)
    module.prepare_data()
    loader = module.train_dataloader()
    caplog.clear()
    assert [[batch.names for batch in loader] for _ in range(2)] == expected
    assert said in caplog.text
    assert remaining in (None, loader.num_workers)
    module.teardown()
    assert loader._processes == ()
    left = [path.name.split("_") for path in Path("/dev/shm").glob("torch_*_*")]
    assert not {int(process) for _, process, *_ in left} & set(processes)


def test_an_error_of_the_data_is_told_as_it_is(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch makes a traceback of what comes from another process, and puts it into the message."""

    def load(self: UtteranceDataset, index: int) -> UtteranceItem:
        raise DatasetError("u01.wav is gone.")

    monkeypatch.setattr(UtteranceDataset, "__getitem__", load)
    module = VitsDataModule(dataset_dir=str(dataset), batch_size=4, num_workers=1)
    module.prepare_data()
    with pytest.raises(DatasetError, match=r"^u01.wav is gone.$"):
        next(iter(module.train_dataloader()))
    module.teardown()


@pytest.mark.parametrize("batches", [6, 4])
def test_a_signal_ends_a_training_that_waits_for_data(
    batches: int, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stood still until it was killed; it saves, and goes on with the batch it waited for."""
    expected, _ = train(dataset, tmp_path, 3)
    monkeypatch.setattr(loaders, "LOOK_SECONDS", 0.2)
    heard = multiprocessing.Value("i", 0)

    def stop_when_all_is_heard() -> None:  # a thread of this process sends it
        wait_until(lambda: heard.value == batches)
        stop()

    with monkeypatch.context() as patch:
        fail_in_workers(patch, stop_when_all_is_heard, batches + 1)
        module = VitsDataModule(dataset_dir=str(dataset), batch_size=4, num_workers=1)
        module.prepare_data()
        recorder, keeper = Recorder(), KeepLast()
        options = {"enable_checkpointing": True, "limit_val_batches": 0}
        trainer = make_trainer(
            tmp_path, max_epochs=3, callbacks=[BatchSizeFinder(), keeper], **options
        )

        def end() -> None:
            wait_until(lambda: sum(map(len, recorder.epochs.values())) == batches)
            heard.value = batches
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=end).start()
        with pytest.raises(TrainingStopped) as stopped:
            trainer.fit(recorder, module)
    assert stopped.value.checkpoint is not None
    Path(stopped.value.checkpoint).rename(tmp_path / "at.ckpt")
    given = [batches for _, batches in sorted(recorder.epochs.items())]
    rest, _ = train(dataset, tmp_path, 3, resumes=1)
    joined = [batch for epoch in [*given, *rest] for batch in epoch]
    assert joined == [batch for epoch in expected for batch in epoch]
