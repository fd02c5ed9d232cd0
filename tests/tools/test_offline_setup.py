"""What travels to a machine without a network sets itself up there, and trains."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "voices"))

from carrying import join_parts, pack_dataset
from offline_setup import write_setup

from piper.errors import PiperError
from piper.train.checkpoints import load_checkpoint
from trainings import SMALL

pytestmark = pytest.mark.long


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
