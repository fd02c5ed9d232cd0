"""What travels to a rented machine is small, trains there, and comes back as the same voice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "voices"))

from carrying import (
    join_parts,
    pack_dataset,
    pack_start,
    speak_checkpoint,
    write_parts,
    write_setup,
)

from piper.errors import PiperError
from piper.train import cli
from piper.train.checkpoints import load_checkpoint
from piper.train.export import export_voice
from trainings import SMALL

pytestmark = pytest.mark.long

FLAGS = (*SMALL, "--validation_quality=off", "--data.batch_size=4")


@pytest.fixture(scope="module")
def packed(speech_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, packed, and a checkpoint of one update on it, in `run`."""
    folder = tmp_path_factory.mktemp("packed")
    shutil.copytree(speech_dataset, folder / "plain")
    pack_dataset(folder / "plain", folder / "packed")
    flags = [f"--data.dataset_dir={folder / 'packed'}", "--data.dataset_type=phoneme_ids"]
    flags += [f"--trainer.default_root_dir={folder / 'run'}", "--trainer.max_steps=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["piper.train"])
        assert cli.main(["fit", *FLAGS, *flags]) == 0
    return folder


def find_last(folder: Path) -> Path:
    return next((folder / "run").glob("lightning_logs/*/checkpoints/last.ckpt"))


def test_a_packed_dataset_is_a_tenth_and_has_the_same_phonemes(packed: Path) -> None:
    sizes = [
        sum(path.stat().st_size for path in (packed / name / "wavs").iterdir())
        for name in ("plain", "packed")
    ]
    assert sizes[1] < 0.2 * sizes[0]
    lines = (packed / "packed/metadata.csv").read_text(encoding="utf-8").splitlines()
    plain = (packed / "plain/metadata.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split("|")[1] for line in lines] == [line.split("|")[1] for line in plain]
    assert all(len(line.split("|")[2].split()) > 10 for line in lines)


def test_frames_and_speakers_are_packed_too(packed: Path, tmp_path: Path) -> None:
    """What a voice spoke has both; an aligner would only guess the frames."""
    shutil.copytree(packed / "packed", tmp_path / "spoken")
    metadata = tmp_path / "spoken/metadata.csv"
    columns = [line.split("|") for line in metadata.read_text(encoding="utf-8").splitlines()]
    lines = [
        f"{name}|{'ab'[number % 2]}|{text}|{' '.join(f'{one}:2' for one in ids.split())}"
        for number, (name, text, ids) in enumerate(columns)
    ]
    metadata.write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = json.loads((tmp_path / "spoken/config.json").read_text(encoding="utf-8"))
    config |= {"num_speakers": 2, "speaker_id_map": {"a": 0, "b": 1}}
    (tmp_path / "spoken/config.json").write_text(json.dumps(config), encoding="utf-8")
    pack_dataset(tmp_path / "spoken", tmp_path / "packed", "phoneme_ids")
    assert (tmp_path / "packed/metadata.csv").read_text(encoding="utf-8") == metadata.read_text(
        encoding="utf-8"
    )


def test_the_voice_that_comes_back_is_the_one_that_was_trained(
    packed: Path, tmp_path: Path
) -> None:
    """Half precision keeps eleven bits; what training alone needs stays where it was."""
    checkpoint = find_last(packed)
    parts = write_parts(checkpoint, tmp_path / "parts", part_bytes=50_000)
    assert len(parts) > 1 and all(part.stat().st_size <= 50_000 for part in parts)
    joined = join_parts(tmp_path / "parts", tmp_path / "voice.ckpt")
    size = sum(part.stat().st_size for part in parts)
    assert size < 0.2 * checkpoint.stat().st_size
    assert not any("enc_q" in name for name in load_checkpoint(joined)["state_dict"])
    paths = [tmp_path / "whole.onnx", tmp_path / "carried.onnx"]
    for source, path in zip((checkpoint, joined), paths, strict=True):
        export_voice(source, path)
    whole, carried = (
        {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}
        for path in paths
    )
    assert whole.keys() == carried.keys()
    for name, value in whole.items():
        np.testing.assert_allclose(carried[name], value, rtol=2e-3, atol=1e-4, err_msg=name)


def test_a_torn_part_is_found_before_it_replaces_a_voice(packed: Path, tmp_path: Path) -> None:
    write_parts(find_last(packed), tmp_path / "parts", part_bytes=50_000)
    target = join_parts(tmp_path / "parts", tmp_path / "voice.ckpt")
    before = target.read_bytes()
    last = max((tmp_path / "parts").iterdir())
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(PiperError):
        join_parts(tmp_path / "parts", target)
    assert target.read_bytes() == before
    with pytest.raises(PiperError, match=r"has no voice\.part00"):
        join_parts(tmp_path / "nothing", target)


def test_training_starts_from_carried_weights(
    packed: Path, tiny_voice: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start = tmp_path / "start.ckpt"
    assert pack_start(tiny_voice, start) < 0.62 * tiny_voice.stat().st_size
    weights = torch.load(start, weights_only=True)["state_dict"]
    for name, value in weights.items():  # vectors are small, and some are statistics
        assert value.dtype is (torch.float16 if value.dim() > 1 else torch.float32), name
    flags = [f"--data.dataset_dir={packed / 'packed'}", "--data.dataset_type=phoneme_ids"]
    flags += [f"--trainer.default_root_dir={tmp_path}", "--trainer.max_steps=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["piper.train"])
        assert cli.main(["fit", *FLAGS, *flags, f"--model.warmstart={start}"]) == 0
    assert f"Started from {start}" in caplog.text
    assert "text encoder            20      0" in caplog.text


def test_sentences_are_spoken_where_there_is_no_espeak(packed: Path, tmp_path: Path) -> None:
    """By their ids; the same ones as from the texts."""
    checkpoint = find_last(packed)
    for kind, name in (("phoneme_ids", "packed"), ("text", "plain")):
        speak_checkpoint(checkpoint, packed / name, kind, tmp_path / name, as_opus=name == "packed")
    ours, theirs = (
        sorted(path.stem for path in (tmp_path / n).iterdir()) for n in ("packed", "plain")
    )
    assert ours == theirs and len(ours) == 16
    assert {path.suffix for path in (tmp_path / "packed").iterdir()} == {".opus"}


def test_it_trains_without_a_network_and_without_espeak(
    speech_dataset: Path, tmp_path: Path
) -> None:
    shutil.copytree(speech_dataset, tmp_path / "plain")
    there = tmp_path / "rented machine"
    for name in ("training", "held_out"):
        pack_dataset(tmp_path / "plain", there / "packed" / name)
    write_setup(there / "packed")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (bin_folder / "python3").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "PIPER_ESPEAK_LIBRARY": str(tmp_path / "nothing.so"),
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
    }
    flags = ("--quality=tiny", "--start=none", "--minutes=0.3", "--piece-minutes=0.3")
    command = ["sh", str(there / "packed/train.sh"), *flags, "--batch-size=2", "--", *SMALL]
    subprocess.run(command, env=environment, check=True, timeout=600)
    assert (there / "packed/site/soundfile.py").is_file()
    assert len(list((there / "run/curve/000018").glob("*.opus"))) == 16
    voice = load_checkpoint(join_parts(there / "run/parts", tmp_path / "voice.ckpt"))
    assert voice["global_step"] > 0

    # Set up once, and at the end of its time: the same command does nothing more.
    begun = (there / "packed/site").stat().st_mtime_ns
    subprocess.run(command, env=environment, check=True, timeout=600)
    assert (there / "packed/site").stat().st_mtime_ns == begun
    assert load_checkpoint(join_parts(there / "run/parts", tmp_path / "voice.ckpt")) is not None


def test_packages_that_cannot_be_had_are_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(PiperError, match=r"The packages for Python 3\.12 cannot be had"):
        write_setup(tmp_path, "3.12")
