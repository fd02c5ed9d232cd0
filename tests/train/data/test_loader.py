"""An epoch goes on where a checkpoint stopped it, with the same or with other batches."""

from __future__ import annotations

import logging
import multiprocessing
from pathlib import Path

import pytest
from lightning.pytorch import Callback, LightningModule, Trainer
from test_data_module import Recorder, make_trainer

from piper.train.callbacks.batches import Batches
from piper.train.data.batches import UtteranceItem
from piper.train.data.dataset import UtteranceDataset
from piper.train.data.loader import ResumableLoader
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
    trainer = make_trainer(folder, max_epochs=epochs, callbacks=[Batches(), *callbacks])
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
