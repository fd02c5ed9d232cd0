"""Warm starts and qualities on the trainer's command line, under their old names too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from piper.train import cli
from piper.train.checkpoints import load_checkpoint
from trainings import SMALL, last_checkpoint

FLAGS = (
    *("--data.batch_size=5", "--trainer.max_steps=1", "--validation_quality=off"),
    # Qualities are what some tests are about.
    *(flag for flag in SMALL if not flag.startswith("--model.quality")),
)


def train(dataset: Path, root: Path, *flags: str) -> dict[str, Any]:
    """Train for an update; return the checkpoint."""
    arguments = [f"--data.dataset_dir={dataset}", f"--trainer.default_root_dir={root}"]
    assert cli.main(["fit", *FLAGS, *arguments, *flags]) == 0
    found = sorted(root.glob("lightning_logs/version_*/checkpoints/last.ckpt"))
    return load_checkpoint(found[-1])


@pytest.fixture(scope="module")
def source(speech_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dataset, and the checkpoint of a training on it."""
    folder = tmp_path_factory.mktemp("source")
    dataset = Path(shutil.copytree(speech_dataset, folder / "dataset"))
    train(dataset, folder, "--model.quality=tiny")
    return dataset, last_checkpoint(folder)


def test_a_training_starts_from_another_and_goes_on_as_itself(
    source: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The old name serves; the optimizers and the epoch are new; a resumed one starts from itself.

    The same command is the one that a container runs again after each stop.
    """
    dataset, path = source
    # Without a learning rate the weights stay what they started as.
    still = ("--model.learning_rate=0", "--model.learning_rate_d=0")
    flags = (f"--model.warmstart_ckpt={path}", "--model.preset=tiny", *still, "--ckpt_path=last")
    saved = train(dataset, tmp_path, *flags)
    source_data = load_checkpoint(path)
    averages = {f"model_g.{k}": v for k, v in source_data["averages"]["weights"].items()}
    weights, old = saved["state_dict"], {**source_data["state_dict"], **averages}
    # AdamW's decay is a share of the learning rate.
    assert all(torch.equal(weights[name], old[name]) for name in old)
    assert saved["global_step"] == 2  # two optimizers, one update
    assert f"Started from {path}, a checkpoint" in caplog.text
    assert "166 symbols by name" in caplog.text

    caplog.clear()
    changed = last_checkpoint(tmp_path)
    name = "model_g.enc_p.emb.weight"
    data = torch.load(changed, weights_only=False)
    data["state_dict"][name] += 1
    torch.save(data, changed)
    again = train(dataset, tmp_path, *flags, "--trainer.max_steps=2")
    assert torch.equal(again["state_dict"][name], old[name] + 1)
    assert "--model.warmstart is left out: training goes on from the checkpoint" in caplog.text
    assert "Started from" not in caplog.text


def test_a_voice_starts_a_training(
    source: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from piper.train.export import export_voice

    dataset, path = source
    voice = export_voice(path, tmp_path / "voice.onnx").model_path
    train(dataset, tmp_path, "--model.quality=tiny", f"--model.warmstart={voice}")
    assert f"Started from {voice}, a voice of quality tiny" in caplog.text


def test_a_config_of_an_earlier_training_goes_on_working(
    source: tuple[Path, Path], tmp_path: Path
) -> None:
    dataset, path = source
    written = path.parents[1] / "config.yaml"
    config = yaml.safe_load(written.read_text(encoding="utf-8"))
    model = config["model"]
    model["preset"], model["mos_metric"] = model.pop("quality"), "utmos"
    model["warmstart_ckpt"] = model.pop("warmstart")
    config["trainer"]["default_root_dir"] = str(tmp_path)
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    saved = train(dataset, tmp_path, f"--config={tmp_path / 'old.yaml'}")
    assert saved["hyper_parameters"]["hidden_channels"] == 16


def test_a_speaker_is_added_and_the_others_keep_their_names_and_voices(
    two_speaker_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A dataset of the new speaker alone: the others were nameless, and faded."""
    old, new = (Path(shutil.copytree(two_speaker_dataset, tmp_path / n)) for n in ("old", "new"))
    first = train(old, tmp_path / "a", "--model.quality=tiny", "--model.num_speakers=2")
    names = first["voice_config"]["speaker_id_map"]
    rows = [row.split("|") for row in (new / "metadata.csv").read_text("utf-8").splitlines()]
    text = "".join(f"{name}|clara|{said}\n" for name, _, said in rows)
    (new / "metadata.csv").write_text(text, encoding="utf-8")
    config = json.loads((new / "config.json").read_text(encoding="utf-8"))
    for key in ("speaker_id_map", "num_speakers"):
        config.pop(key, None)
    (new / "config.json").write_text(json.dumps(config), encoding="utf-8")

    saved = last_checkpoint(tmp_path / "a")
    flags = ("--model.quality=tiny", "--model.num_speakers=3", "--model.learning_rate=1e-2")
    added = train(new, tmp_path / "b", *flags, f"--model.warmstart={saved}")
    ids = added["voice_config"]["speaker_id_map"]
    assert set(ids) == {*names, "clara"}
    assert "The dataset has no recordings of 2 speakers of the voice" in caplog.text

    caplog.clear()
    only = ("--model.new_speakers_only=true", "--model.ema_decay=0")
    kept = train(new, tmp_path / "c", *flags, *only, f"--model.warmstart={saved}")
    assert "no recordings" not in caplog.text
    table = kept["state_dict"]["model_g.emb_g.weight"]
    taken = first["averages"]["weights"]
    for name, row in names.items():
        assert torch.equal(table[ids[name]], taken["emb_g.weight"][row])
    assert not torch.equal(table[ids["clara"]], taken["emb_g.weight"].mean(0))
    voice = [name for name in taken if name != "emb_g.weight"]
    assert all(torch.equal(kept["state_dict"][f"model_g.{n}"], taken[n]) for n in voice)

    # And where it goes on, also on a machine whose config.json knows nothing of the others.
    config |= {"speaker_id_map": {"clara": ids["clara"]}, "num_speakers": 3}
    (new / "config.json").write_text(json.dumps(config), encoding="utf-8")
    more = (f"--ckpt_path={tmp_path}/c/lightning_logs/version_0", "--trainer.max_steps=2")
    again = train(new, tmp_path / "d", "--model.quality=tiny", "--model.num_speakers=3", *more)
    assert again["voice_config"]["speaker_id_map"] == ids
    assert not torch.equal(again["state_dict"]["model_g.emb_g.weight"], table)


@pytest.mark.long
def test_discriminators_of_spectrograms_are_trained_and_can_be_left_out(
    source: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset, path = source
    flags = ("--model.quality=tiny", "--model.use_mrd=true", "--data.batch_size=2")
    first = train(dataset, tmp_path / "a", *flags, f"--model.warmstart={path}")
    assert "spectrogram discriminators     0     54  54 not in the file" in caplog.text
    assert first["hyper_parameters"]["use_mrd"] is True
    saved = last_checkpoint(tmp_path / "a")

    more = ("--trainer.max_steps=2", f"--ckpt_path={saved}")
    again = train(dataset, tmp_path / "b", *flags, *more)
    names = [name for name in first["state_dict"] if name.startswith("model_mrd.")]
    assert len(names) == 54
    for name in names:
        assert not torch.equal(again["state_dict"][name], first["state_dict"][name]), name

    more += ("--model.quality=tiny", "--data.batch_size=2")
    kept = train(dataset, tmp_path / "c", *more)
    assert set(kept["state_dict"]) == set(first["state_dict"])

    without = train(dataset, tmp_path / "d", *more, "--model.use_mrd=false")
    assert not any(name.startswith("model_mrd.") for name in without["state_dict"])
    assert "--model.use_mrd=true would go on with model_mrd." in caplog.text


# -- qualities


def set_quality(dataset: Path, quality: str) -> None:
    path = dataset / "config.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["audio"]["quality"] = quality
    path.write_text(json.dumps(data), encoding="utf-8")


def test_a_flag_that_disagrees_with_config_json_wins_with_a_warning(
    speech_dataset: Path,
    copy_dataset: Callable[[Path], Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The voice says what was trained; the dataset's own file stays as its owner wrote it."""
    dataset = copy_dataset(speech_dataset)
    set_quality(dataset, "high")
    saved = train(dataset, tmp_path / "root", "--model.quality=tiny")
    config = dataset / "config.json"
    expected = f'{config} says "quality": "high", but --model.quality=tiny was given: tiny is'
    assert caplog.text.count(expected) == 1
    assert saved["voice_config"]["audio"]["quality"] == "tiny"
    assert json.loads(config.read_text(encoding="utf-8"))["audio"]["quality"] == "high"


def test_a_dash_and_an_underscore_are_the_same_quality(
    two_speaker_dataset: Path,
    copy_dataset: Callable[[Path], Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    dataset = copy_dataset(two_speaker_dataset)
    set_quality(dataset, "x_low")
    flags = ("--model.quality=x-low", "--model.num_speakers=2", "--model.gin_channels=8")
    saved = train(dataset, tmp_path / "root", *flags)
    assert "says" not in caplog.text
    assert saved["hyper_parameters"]["sample_rate"] == 16000
    assert saved["voice_config"]["audio"] == {"sample_rate": 16000, "quality": "x_low"}


def test_a_quality_at_another_rate_is_said(
    two_speaker_dataset: Path,
    copy_dataset: Callable[[Path], Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    dataset = copy_dataset(two_speaker_dataset)
    flags = ("--model.num_speakers=2", "--model.gin_channels=8", "--model.quality=medium")
    train(dataset, tmp_path / "root", *flags)
    expected = (
        "The sample rate is 16000 Hz, but voices of quality medium have 22050 Hz; "
        "--model.quality=low is this network's name."
    )
    assert expected in caplog.text
