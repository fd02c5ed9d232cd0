"""What quick voices learn from is prepared ahead: aligned, kept, verified, tidied, in shards."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from piper.train import cli, prepare_cli
from piper.train.checkpoints import load_checkpoint
from piper.train.data.cache import PackWriter, load_entries
from piper.train.data.prepare import prepare_dataset
from piper.train.data.settings import resolve_settings
from piper.train.quick.data import QuickDataModule
from piper.train.quick.features import find_aligner_path, find_used_keys
from trainings import QUICK, last_checkpoint, wait_until


@pytest.fixture
def dataset(aligned_dataset: Path, tmp_path: Path) -> Path:
    """Prepared where it lies, with the aligner that came along."""
    folder = Path(shutil.copytree(aligned_dataset, tmp_path / "dataset"))
    assert prepare_cli.main([str(folder), "--quality=quick", "--compact"]) == 0
    return folder


def test_prepare_makes_mends_and_tidies_what_a_quick_voice_needs(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = dataset / ".cache/quick"
    settings = resolve_settings(dataset_dir=dataset)
    utterances = prepare_dataset(settings).utterances
    used = find_used_keys(settings, utterances)
    assert set(load_entries(folder)) == used
    lost, damaged = list(load_entries(folder).items())[:2]
    writer = PackWriter(folder)
    writer.append("stale", [1, 1, 1], b"x" * 9_000_000)
    writer.close()
    # Another voice's quality removes nothing that a quick voice of these recordings uses.
    assert prepare_cli.main([str(dataset), "--quality=medium", "--compact"]) == 0
    assert set(load_entries(folder)) == used
    assert "aligned" not in capsys.readouterr().out
    entry = load_entries(folder)[damaged[0]]
    with entry.pack.open("r+b") as file:
        file.seek(entry.offset)
        byte = file.read(1)[0]
        file.seek(entry.offset)
        file.write(bytes([byte ^ 1]))
    module = QuickDataModule(dataset_dir=str(dataset), num_workers=0)
    with pytest.raises(cli.PiperError, match="prepare DIR --quality quick --verify"):
        [*module.train_dataloader(), *module.val_dataloader()]
    assert prepare_cli.main([str(dataset), "--model.quality=quick", "--verify"]) == 0
    assert f"hours, {len(utterances)} of them aligned, " in capsys.readouterr().out
    assert load_entries(folder)[damaged[0]].digest == damaged[1].digest
    assert load_entries(folder)[lost[0]].digest == lost[1].digest
    assert [*module.train_dataloader(), *module.val_dataloader()]
    # Of samples that are damaged nothing is kept that would leave them out for ever.
    shutil.rmtree(folder, ignore_errors=True)
    lost_entry = next(iter(load_entries(folder.parent).values()))
    with lost_entry.pack.open("r+b") as file:
        file.seek(lost_entry.offset)
        file.write(b"damaged!")
    with pytest.raises(cli.PiperError, match=r"make it anew with .*prepare DIR --verify"):
        QuickDataModule(dataset_dir=str(dataset), num_workers=0).prepare_data()
    assert prepare_cli.main([str(dataset), "--quality=quik"]) == 1
    assert "quick" in capsys.readouterr().err


@pytest.mark.long
def test_a_killed_preparation_goes_on(speech_dataset: Path, tmp_path: Path) -> None:
    """Passes of the aligner and features of recordings stay; the end is that of a run alone."""
    dataset = Path(shutil.copytree(speech_dataset, tmp_path / "dataset"))
    folder = dataset / ".cache/quick"
    command = [sys.executable, "-m", "piper.train", "prepare", str(dataset), "--quality=quick"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as first:
        wait_until((folder / "aligner-state.pt").exists)
        first.kill()
    assert not (folder / "aligner.pt").exists()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as second:
        wait_until((folder / "aligner.pt").exists)
        wait_until(lambda: len(load_entries(folder)) > 1)
        second.send_signal(signal.SIGINT)
        _, said = second.communicate()
    kept = load_entries(folder)
    if second.returncode:  # unless it was faster than the signal
        assert "Stopped; what was prepared is kept, and the same command goes on." in said
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Learning where words lie" not in result.stderr
    assert "16 of them aligned" in result.stdout
    now = load_entries(folder)
    assert {key: now[key] for key in kept} == kept


def test_shards_train_a_quick_voice_elsewhere(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known of the samples is made from those of the shards, where training is."""
    shards, folder = tmp_path / "shards", Path(".cache/quick")
    assert prepare_cli.main([str(dataset), "--quality=quick", f"--shards={shards}"]) == 0
    monkeypatch.chdir(tmp_path)
    # The cache may be shared, so that the aligner has the dataset's name; fitting it takes seconds.
    aligner = find_aligner_path(resolve_settings(shards=str(shards)))
    assert aligner.parent == folder
    assert aligner.name != "aligner.pt"
    folder.mkdir(parents=True)
    shutil.move(dataset / ".cache/quick/aligner.pt", aligner)
    shutil.rmtree(dataset)
    # That the voice is quick, the shards say.
    flags = (*QUICK[1:], "--trainer.max_steps=2", f"--data.shards={shards}")
    assert cli.main(["fit", *flags, f"--trainer.default_root_dir={tmp_path}"]) == 0
    assert load_checkpoint(last_checkpoint(tmp_path))["global_step"] == 4
    assert len(load_entries(folder)) == 16
