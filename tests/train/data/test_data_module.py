"""The data module with a real Trainer: splits, batches, ranks, resumed epochs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from prepared import flip_byte, stamps

from piper.errors import ConfigError
from piper.train.data.batches import Batch
from piper.train.data.module import VitsDataModule
from piper.train.vits.mel import spectrogram

CopyDataset = Callable[[Path], Path]


@pytest.fixture
def module(dataset: Path) -> VitsDataModule:
    return VitsDataModule(dataset_dir=str(dataset), batch_size=4, num_workers=0)


class Recorder(LightningModule):
    """Keeps the batches it is given; has one weight, so that a Trainer accepts it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.epochs: dict[int, list[list[int]]] = {}
        self.validated: list[list[int]] = []

    def training_step(self, batch: Batch) -> torch.Tensor:
        lengths = batch.audio_lengths.tolist()
        self.epochs.setdefault(self.current_epoch, []).append(lengths)
        return self.weight.sum()

    def validation_step(self, batch: Batch) -> None:
        self.validated.append(batch.audio_lengths.tolist())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def make_trainer(folder: Path, **options: object) -> Trainer:
    quiet = ("enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    return Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        use_distributed_sampler=False,
        **{**dict.fromkeys(quiet, False), **options},
    )


def test_lightning_trains_with_it(module: VitsDataModule, tmp_path: Path) -> None:
    recorder = Recorder()
    make_trainer(tmp_path, max_epochs=2, num_sanity_val_steps=0).fit(recorder, module)
    first, second = recorder.epochs[0], recorder.epochs[1]
    assert len(first) == len(second) == 4  # 14 utterances in batches of 3 or 4
    assert sorted(n for batch in first for n in batch) == sorted(
        n for batch in second for n in batch
    )
    assert first != second  # Lightning told the sampler which epoch it is
    assert recorder.validated[0] == recorder.validated[1]


def test_batches_hold_what_is_on_the_disk(module: VitsDataModule) -> None:
    module.prepare_data()
    batch = next(iter(module.train_dataloader()))
    assert isinstance(batch, Batch)
    assert batch.spectrograms.shape[1] == 513
    assert torch.equal(batch.audio_lengths, batch.spectrogram_lengths * 256)
    longest = int(batch.audio_lengths[0])
    expected = spectrogram(batch.audio[0, :, :longest], 1024, 256, 1024)[0]
    # The recording goes on for less than one more frame, which the last frames can hear.
    torch.testing.assert_close(batch.spectrograms[0, :, : longest // 256 - 3], expected[:, :-3])


def test_spectrogram_settings_are_never_stale(dataset: Path, module: VitsDataModule) -> None:
    """The cache holds audio only, so other settings give other spectrograms at once."""
    module.prepare_data()
    other = VitsDataModule(
        dataset_dir=str(dataset), num_workers=0, filter_length=512, win_length=512
    )
    assert next(iter(other.val_dataloader())).spectrograms.shape[1] == 257


def test_setup_needs_nothing_of_prepare_data(dataset: Path, module: VitsDataModule) -> None:
    module.prepare_data()
    other_rank = VitsDataModule(dataset_dir=str(dataset), batch_size=4, num_workers=0)
    other_rank.setup("fit")
    assert other_rank.split == module.split
    assert other_rank.voice_config() == module.voice_config()


def test_split_is_stable(dataset: Path, module: VitsDataModule) -> None:
    held_out = {u.row.line for u in module.split.validation}
    assert len(held_out) == 2
    assert held_out.isdisjoint(u.row.line for u in module.split.training)
    assert len(module.split.training) == 14
    other = VitsDataModule(dataset_dir=str(dataset), seed=99)
    assert {u.row.line for u in other.split.validation} != held_out


def test_adding_rows_keeps_most_of_the_split(
    speech_dataset: Path, copy_dataset: CopyDataset
) -> None:
    dataset = copy_dataset(speech_dataset)
    path = dataset / "metadata.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-1]), encoding="utf-8")
    options = {"dataset_dir": str(dataset), "validation_split": 0.25}
    before = {u.row.text for u in VitsDataModule(**options).split.validation}
    path.write_text("".join(reversed(lines)), encoding="utf-8")
    after = {u.row.text for u in VitsDataModule(**options).split.validation}
    assert len(before & after) >= 3


def test_listening_examples(module: VitsDataModule) -> None:
    examples = module.listening_examples()
    assert len(examples) == 2
    for example, utterance in zip(examples, module.split.validation, strict=True):
        assert example.text == utterance.row.text
        assert example.speaker_id is None
        assert example.ids[0] == 1
        assert example.audio.shape == (example.spectrogram.shape[1] * 256,)


def write_rows(dataset: Path, count: int) -> None:
    path = dataset / "metadata.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:count]), encoding="utf-8")


@pytest.mark.parametrize(("rows", "training", "validation"), [(1, 1, 1), (2, 1, 1), (3, 2, 1)])
def test_tiny_datasets_train(
    speech_dataset: Path,
    copy_dataset: CopyDataset,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    rows: int,
    training: int,
    validation: int,
) -> None:
    dataset = copy_dataset(speech_dataset)
    write_rows(dataset, rows)
    module = VitsDataModule(dataset_dir=str(dataset), batch_size=32, num_workers=0)
    recorder = Recorder()
    with caplog.at_level(logging.WARNING, logger="piper"):
        make_trainer(tmp_path, max_epochs=1, num_sanity_val_steps=0).fit(recorder, module)
    assert [len(batch) for batch in recorder.epochs[0]] == [training]
    assert [len(batch) for batch in recorder.validated] == [validation]
    assert ("Nothing is held out" in caplog.text) == (rows == 1)
    assert len(module.listening_examples()) == 1


def test_without_a_validation_split(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    module = VitsDataModule(dataset_dir=str(dataset), validation_split=0.0, num_test_examples=3)
    with caplog.at_level(logging.WARNING):
        split = module.split
    assert (len(split.training), len(split.validation)) == (16, 3)
    assert "Nothing is held out for validation (16 utterances" in caplog.text


def test_speakers_reach_the_batch(two_speaker_dataset: Path, copy_dataset: CopyDataset) -> None:
    dataset = copy_dataset(two_speaker_dataset)
    module = VitsDataModule(dataset_dir=str(dataset), batch_size=8, num_workers=0)
    batch = next(iter(module.train_dataloader()))
    assert batch.speaker_ids is not None
    assert set(batch.speaker_ids.tolist()) == {0, 1}
    assert module.voice_config().speaker_id_map == {"speaker1": 0, "speaker2": 1}
    assert module.listening_examples()[0].speaker_id in (0, 1)


def test_loader_processes_give_the_same(dataset: Path, module: VitsDataModule) -> None:
    parallel = VitsDataModule(dataset_dir=str(dataset), batch_size=4, num_workers=2)
    for expected, batch in zip(module.train_dataloader(), parallel.train_dataloader(), strict=True):
        torch.testing.assert_close(batch.audio, expected.audio)
        torch.testing.assert_close(batch.spectrograms, expected.spectrograms)
    parallel.teardown()  # else whichever test collects the garbage waits for the processes


def test_an_entry_damaged_while_training_is_made_anew(module: VitsDataModule) -> None:
    expected = [example.audio for example in module.listening_examples()]
    damaged = module.split.validation[0]
    before = stamps(module.settings.cache_dir)
    flip_byte(damaged.entry)
    for audio, example in zip(expected, module.listening_examples(), strict=True):
        np.testing.assert_array_equal(audio, example.audio)
    assert [key for key, _ in stamps(module.settings.cache_dir).items() - before.items()] == [
        damaged.key
    ]


def test_a_cache_lost_while_training_is_made_anew(module: VitsDataModule) -> None:
    expected = [example.audio for example in module.listening_examples()]
    for path in module.settings.cache_dir.iterdir():
        path.unlink()
    for audio, example in zip(expected, module.listening_examples(), strict=True):
        np.testing.assert_array_equal(audio, example.audio)


def test_mistakes_are_found_before_training(dataset: Path) -> None:
    with pytest.raises(ConfigError, match="sample_rate"):
        VitsDataModule(dataset_dir=str(dataset), sample_rate=16000)


def test_nothing_but_settings_is_pickled(module: VitsDataModule) -> None:
    """Paths in a checkpoint's hyper-parameters made old checkpoints unreadable elsewhere."""
    assert module.hparams == {}
    assert module.state_dict() == {}
