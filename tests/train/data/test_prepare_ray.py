"""Preparation on a Ray cluster of two machines, one of which is lost."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_test_dataset import make_test_dataset
from prepared import load, stamps

from piper.errors import DatasetError
from piper.train import prepare_cli
from piper.train.data import prepare
from piper.train.data.prepare import prepare_dataset
from piper.train.data.settings import DataSettings, resolve_settings

CopyDataset = Callable[[Path], Path]


@pytest.mark.long
def test_a_cluster_that_does_not_answer_is_one_sentence(
    speech_dataset: Path, copy_dataset: CopyDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = copy_dataset(speech_dataset)
    assert prepare_cli.main([str(dataset), "--ray", "127.0.0.1:9"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: The Ray cluster at 127.0.0.1:9 does not answer (")
    assert len(said.splitlines()) == 1


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred recordings: 25 tasks."""
    return make_test_dataset(tmp_path_factory.mktemp("large"), sentences=200)


def local(settings: DataSettings, tmp_path: Path) -> DataSettings:
    return replace(settings, cache_dir=tmp_path / "local")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_same_as_here_though_a_machine_is_lost(
    large: Path, cluster: tuple[Any, list[Any]], tmp_path: Path
) -> None:
    head, nodes = cluster
    settings = replace(resolve_settings(dataset_dir=large), cache_dir=tmp_path / "cluster")
    at_loss: list[int] = []

    def lose_a_machine() -> None:
        while len(stamps(settings.cache_dir)) < 16:
            time.sleep(0.01)
        head.remove_node(nodes[0], allow_graceful=False)
        at_loss.append(len(stamps(settings.cache_dir)))

    threading.Thread(target=lose_a_machine, daemon=True).start()
    there = prepare_dataset(settings, ray_address=head.address)
    assert 16 <= at_loss[0] < 200
    here = prepare_dataset(local(settings, tmp_path))
    assert there == here
    for one, two in zip(there.utterances, here.utterances, strict=True):
        assert load(one).ids.tolist() == load(two).ids.tolist()
        np.testing.assert_array_equal(load(one).samples, load(two).samples)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_recording_that_ends_its_process_is_named(
    speech_dataset: Path,
    copy_dataset: CopyDataset,
    cluster: tuple[Any, list[Any]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It was tried again for ever, and its neighbours with it."""
    head, _ = cluster
    dataset = copy_dataset(speech_dataset)

    # Inside a function, so that it travels to the workers as it is.
    class Deadly(prepare.Maker):
        def __call__(self, sent: Any) -> Any:
            if sent[0].audio_path.name == "utterance003.wav":
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(sent)

    monkeypatch.setattr(prepare, "Maker", Deadly)
    settings = resolve_settings(dataset_dir=dataset)
    with caplog.at_level(logging.WARNING):
        assert len(prepare_dataset(settings, ray_address=head.address).utterances) == 15
    assert "utterance003.wav ended 5 processes that read it" in caplog.text
    assert len(stamps(settings.cache_dir)) == 15


@pytest.mark.long
@pytest.mark.timeout(600)
def test_bad_recordings_are_named_as_here(
    speech_dataset: Path, copy_dataset: CopyDataset, cluster: tuple[Any, list[Any]], tmp_path: Path
) -> None:
    dataset = copy_dataset(speech_dataset)
    (dataset / "wavs/utterance002.wav").write_bytes(b"no audio" * 100)
    (dataset / "wavs/utterance003.wav").write_bytes(b"")
    settings = resolve_settings(dataset_dir=dataset)
    with pytest.raises(DatasetError) as there:
        prepare_dataset(settings, ray_address=cluster[0].address)
    assert len(stamps(settings.cache_dir)) == 14
    with pytest.raises(DatasetError) as here:
        prepare_dataset(local(settings, tmp_path))
    assert str(there.value) == str(here.value)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_goes_on(
    large: Path, cluster: tuple[Any, list[Any]], tmp_path: Path, number: signal.Signals
) -> None:
    cache = tmp_path / "cache"
    command = [sys.executable, "-m", "piper.train", "prepare", str(large), f"--cache-dir={cache}"]
    command += ["--ray", cluster[0].address]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not stamps(cache):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    before = stamps(cache)
    assert 0 < len(before) < 200
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert said.splitlines()[-1] == (
            "Stopped; what was prepared is kept, and the same command goes on."
        )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "200 utterances" in done.stdout
    assert stamps(cache).items() > before.items()
