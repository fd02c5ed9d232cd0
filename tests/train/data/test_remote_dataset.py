"""A dataset in a cloud's storage (a local S3 server): prepared from there, nothing else stays."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from prepared import load, stamps

from piper.errors import ConfigError, DatasetError
from piper.train import prepare_cli, storage
from piper.train.check import cli as check_cli
from piper.train.data.module import VitsDataModule
from piper.train.data.prepare import load_prepared_dataset, prepare_dataset
from piper.train.data.remote_dataset import RemoteRecordings, store_config
from piper.train.data.settings import resolve_settings
from piper.train.excerpts import cli as excerpts_cli
from piper.train.review import cli as review_cli


@pytest.fixture
def dataset(speech_dataset: Path, copy_dataset: Callable[[Path], Path]) -> Path:
    return copy_dataset(speech_dataset)


@pytest.fixture
def address(dataset: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The dataset in a bucket; the working folder is empty."""
    address = f"{bucket}/recordings"
    for path in dataset.rglob("*"):
        if path.is_file():
            put(dataset, path.relative_to(dataset).as_posix(), address)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return address


def put(dataset: Path, name: str, address: str) -> None:
    storage.copy_file(dataset / name, storage.join_address(address, name))


def test_the_same_utterances_as_from_a_folder(dataset: Path, address: str) -> None:
    here = prepare_dataset(resolve_settings(dataset_dir=dataset))
    settings = resolve_settings(dataset_dir=address)
    there = prepare_dataset(settings, num_processes=2)
    assert there.voice == replace(here.voice, extra={**here.voice.extra, "dataset": "recordings"})
    for one, two in zip(here.utterances, there.utterances, strict=True):
        assert one.row.text == two.row.text
        assert load(one).ids.tolist() == load(two).ids.tolist()
        np.testing.assert_array_equal(load(one).samples, load(two).samples)
    assert load_prepared_dataset(settings) == there
    kept = [path for path in Path.cwd().rglob("*") if path.is_file()]
    assert not [path for path in kept if path.suffix == ".wav"]
    assert all(path.is_relative_to(Path.cwd() / ".cache") for path in kept)
    completed = json.loads(storage.read_file(storage.join_address(address, "config.json")))
    assert completed["phoneme_id_map"] == there.voice.phoneme_id_map


def test_the_name_in_the_config_wins(address: str) -> None:
    config = {"dataset": "anna", "espeak": {"voice": "ru"}}
    content = json.dumps(config).encode()
    storage.write_file(f"{address}/config.json", lambda file: file.write(content))
    assert resolve_settings(dataset_dir=address).voice_name == "anna"


def test_only_what_changed_is_read_again(
    dataset: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = prepare_dataset(resolve_settings(dataset_dir=address))
    before = stamps(Path(".cache"))
    capsys.readouterr()
    assert prepare_dataset(resolve_settings(dataset_dir=address)) == first
    assert capsys.readouterr().err == ""
    path = dataset / "wavs/utterance004.wav"
    samples, sample_rate = soundfile.read(path, dtype="float32")
    soundfile.write(path, samples * 0.5, sample_rate)  # of the same size
    put(dataset, "wavs/utterance004.wav", address)
    changed = prepare_dataset(resolve_settings(dataset_dir=address))
    assert len(stamps(Path(".cache")).items() - before.items()) == 1
    np.testing.assert_allclose(
        load(changed.utterances[3]).samples, load(first.utterances[3]).samples * 0.5, atol=1e-4
    )


def test_training_reads_it(address: str) -> None:
    module = VitsDataModule(dataset_dir=address, batch_size=4, num_workers=2)
    module.prepare_data()
    expected = [batch.audio.sum() for batch in module.train_dataloader()]
    assert len(expected) == 4
    module.teardown()  # else whichever test collects the garbage waits for the processes
    for path in Path(".cache").glob("*.pack"):
        path.unlink()
    # Loader processes read the recordings anew, each with a connection of its own.
    again = VitsDataModule(dataset_dir=address, batch_size=4, num_workers=2)
    again._split, again._voice = module.split, module.voice_config()
    assert [batch.audio.sum() for batch in again.train_dataloader()] == expected
    again.teardown()


class Unsearched(dict[str, str]):
    """Refuses to be gone through."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError


def test_a_recording_is_found_without_a_look_at_all_others() -> None:
    """Of 10,000 recordings beside metadata.csv each was sought among all: that took 40 s."""
    for folder in ("", "wavs/"):
        recordings = RemoteRecordings("s3://voices/anna", Unsearched({f"{folder}a.wav": "7 etag"}))
        for name in ("a", "a.wav"):
            found = recordings.find(name)
            assert found == (Path(f"s3://voices/anna/{folder}a.wav"), "7 etag")
        assert recordings.find("b") is None


def test_mistakes_name_the_address(
    dataset: Path,
    address: str,
    bucket: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    storage.write_file(f"{address}/wavs/utterance002.wav", lambda file: file.write(b"x" * 99))
    prepare_dataset(resolve_settings(dataset_dir=address))
    assert f"line 2: {address}/wavs/utterance002.wav cannot be decoded" in caplog.text
    storage.remove_file(f"{address}/wavs/utterance003.wav")
    with pytest.raises(DatasetError, match=f"1 of 16 recordings are not in {address}: "):
        prepare_dataset(resolve_settings(dataset_dir=address))
    with pytest.raises(DatasetError, match=r"nowhere holds no metadata\.csv"):
        resolve_settings(dataset_dir=f"{bucket}/nowhere")
    with pytest.raises(ConfigError, match=r"leave out --data\.csv_path"):
        resolve_settings(dataset_dir=address, audio_dir=dataset)
    assert check_cli.main([address, "--quick"]) == 1
    assert "cannot be checked where it lies" in capsys.readouterr().err
    assert review_cli.main([address]) == 1
    assert "cannot be reviewed where it lies" in capsys.readouterr().err
    assert excerpts_cli.main([address, "--list"]) == 1
    assert "copy it to a folder first" in capsys.readouterr().err


def test_a_config_that_cannot_be_written_back_is_a_warning(
    dataset: Path, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        store_config(f"{bucket}-that-nobody-made/recordings", dataset / "config.json")
    assert f"the complete one is {dataset / 'config.json'}" in caplog.text


def test_the_verb(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare_cli.main([address, "--cache-dir", str(tmp_path / "cache")]) == 0
    assert f"MB in {tmp_path / 'cache'}" in capsys.readouterr().out
    assert list((tmp_path / "cache").glob("*.pack"))
    assert not list(Path.cwd().iterdir())
