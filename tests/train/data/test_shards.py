"""Shards: the same batches as from the recordings, elsewhere; whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prepared import flip_byte

from piper.errors import ConfigError, DatasetError, PiperError
from piper.train import cli, prepare_cli, storage
from piper.train.data.batches import Batch
from piper.train.data.module import VitsDataModule
from piper.train.data.prepare import prepare_dataset
from piper.train.data.settings import resolve_settings
from piper.train.data.shards import PACK, PACKING_NAME, ROWS, ShardFile, fetch_file, write_shards
from trainings import SMALL as SMALL_NETWORK

SHARD_BYTES = 500_000
"""A shard of the test's utterances: five of them."""


@pytest.fixture(params=["folder", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where shards go."""
    if request.param == "folder":
        return str(tmp_path / "shards")
    return f"{request.getfixturevalue('bucket')}/voices/anna"


@pytest.fixture
def remote(bucket: str) -> str:
    """An address that is not of this machine."""
    return f"{bucket}/shards"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a machine that has no recordings."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def pack(dataset: Path, address: str, **flags: object) -> list[str]:
    resolved = resolve_settings(dataset_dir=dataset, **flags)
    prepared = prepare_dataset(resolved)
    header = write_shards(prepared, vars(resolved), address, resolved.cache_dir, SHARD_BYTES)
    return [shard.name for shard in header.shards]


def epoch(**flags: object) -> Iterator[Batch]:
    module = VitsDataModule(batch_size=4, num_workers=0, **flags)
    module.prepare_data()
    yield from module.train_dataloader()
    yield from module.val_dataloader()


def assert_equal(one: Iterator[Batch], two: Iterator[Batch]) -> None:
    for left, right in zip(one, two, strict=True):
        for name, value in vars(left).items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, getattr(right, name)), name


def test_batches_equal_those_of_the_recordings(
    two_speaker_dataset: Path, copy_dataset: Callable[[Path], Path], address: str, elsewhere: Path
) -> None:
    dataset = copy_dataset(two_speaker_dataset)
    names = pack(dataset, address, loudness=-25.0)
    assert len(names) > 1
    expected = list(epoch(dataset_dir=str(dataset), loudness=-25.0))
    voice = VitsDataModule(dataset_dir=str(dataset), loudness=-25.0).voice_config()
    for path in sorted(dataset.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    assert_equal(iter(expected), epoch(shards=address))
    module = VitsDataModule(shards=address)
    assert module.voice_config() == voice
    assert module.settings.loudness == -25.0
    is_remote = storage.is_remote(address)
    assert (elsewhere / ".cache").exists() == is_remote


def test_an_unchanged_shard_is_not_written_again(dataset: Path, address: str) -> None:
    names = pack(dataset, address)
    before = {file.name: file.modified for file in storage.list_folder(address)}
    storage.remove_file(storage.join_address(address, names[1]))
    assert pack(dataset, address) == names
    after = {file.name: file.modified for file in storage.list_folder(address)}
    assert set(after) == set(before)
    for name in (names[0], *names[2:]):
        assert after[name] == before[name]


def test_fetching_goes_on_with_what_is_missing(dataset: Path, remote: str, elsewhere: Path) -> None:
    names = pack(dataset, remote)
    expected = list(epoch(dataset_dir=str(dataset)))
    lost = storage.join_address(remote, names[-1])
    content = storage.read_file(lost)
    storage.remove_file(lost)
    with pytest.raises(DatasetError, match="cannot be brought here"):
        list(epoch(shards=remote))
    [folder] = (elsewhere / ".cache").iterdir()
    times = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.pack")}
    assert set(times) == set(names[:-1])
    storage.write_file(lost, lambda file: file.write(content))
    assert_equal(iter(expected), epoch(shards=remote))
    now = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.pack")}
    assert now.items() >= times.items()
    assert not list(folder.glob("*.fetched"))


def test_a_shard_damaged_on_its_way_is_refused(dataset: Path, remote: str, elsewhere: Path) -> None:
    names = pack(dataset, remote)
    damaged = storage.join_address(remote, names[0])
    content = bytearray(storage.read_file(damaged))
    content[100] ^= 1
    storage.write_file(damaged, lambda file: file.write(bytes(content)))
    with pytest.raises(DatasetError, match="damaged: its digest is not the one in"):
        list(epoch(shards=remote))
    storage.remove_file(damaged)  # as the message advises
    pack(dataset, remote)
    assert list(epoch(shards=remote))


def test_a_fetched_shard_that_is_damaged_here_is_fetched_again(
    dataset: Path, remote: str, elsewhere: Path
) -> None:
    pack(dataset, remote)
    expected = list(epoch(shards=remote))
    flip_byte(VitsDataModule(shards=remote).split.training[3].entry)
    assert_equal(iter(expected), epoch(shards=remote))


def test_a_damaged_shard_of_shards_that_were_replaced_is_one_sentence(
    dataset: Path, remote: str, elsewhere: Path
) -> None:
    """Another training has fetched the new dataset.json, which does not name this one's shards."""
    pack(dataset, remote)
    module = VitsDataModule(shards=remote, num_workers=0)
    flip_byte(module.split.training[3].entry)
    pack(dataset, remote, loudness=-25.0)
    VitsDataModule(shards=remote)
    with pytest.raises(DatasetError, match="has others by now; start the training again"):
        list(module.train_dataloader())


def test_a_damaged_shard_of_a_folder_is_named(dataset: Path, tmp_path: Path) -> None:
    names = pack(dataset, str(tmp_path / "shards"))
    module = VitsDataModule(shards=str(tmp_path / "shards"), num_workers=0)
    flip_byte(module.split.training[0].entry)
    with pytest.raises(DatasetError, match=f"A shard is damaged .*{names[0][:14]}"):
        list(module.train_dataloader())
    assert pack(dataset, str(tmp_path / "shards")) == names  # as the message advises
    assert list(module.train_dataloader())
    (tmp_path / "shards" / names[1]).unlink()
    with pytest.raises(DatasetError, match=f"{names[1]} is missing or of another size"):
        VitsDataModule(shards=str(tmp_path / "shards")).prepare_data()


def test_a_damaged_cache_is_not_packed(dataset: Path, tmp_path: Path) -> None:
    flip_byte(prepare_dataset(resolve_settings(dataset_dir=dataset)).utterances[2].entry)
    arguments = [str(dataset), "--shards", str(tmp_path / "shards")]
    assert prepare_cli.main(arguments) == 1
    assert not (tmp_path / "shards/dataset.json").exists()
    assert prepare_cli.main([*arguments, "--verify"]) == 0
    assert (tmp_path / "shards/dataset.json").exists()


def test_a_cache_is_packed_and_compacted_at_once(dataset: Path, tmp_path: Path) -> None:
    """Compacting moves utterances to other packs: it must not do so before they are packed."""
    prepare_dataset(resolve_settings(dataset_dir=dataset))
    csv = dataset / "metadata.csv"
    csv.write_text("".join(csv.read_text().splitlines(keepends=True)[2:]))
    assert prepare_cli.main([str(dataset), "--compact", "--shards", str(tmp_path / "shards")]) == 0
    assert_equal(epoch(dataset_dir=str(dataset)), epoch(shards=str(tmp_path / "shards")))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"trim_silence": False}, r"--data\.trim_silence is False, but the shards were made"),
        ({"loudness": -20.0}, r"--data\.loudness is -20\.0, but the shards were made with None"),
        ({"sample_rate": 16000}, "sample_rate"),
        ({"dataset_dir": "recordings"}, r"leave out --data\.dataset_dir"),
    ],
)
def test_flags_that_contradict_the_shards(
    dataset: Path, tmp_path: Path, flags: dict[str, object], said: str
) -> None:
    pack(dataset, str(tmp_path))
    with pytest.raises(ConfigError, match=said):
        VitsDataModule(shards=str(tmp_path), **flags)


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"format": 9}', '{"format": 1}'])
def test_what_is_no_dataset_is_one_sentence(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(PiperError, match=r"dataset\.json") as caught:
        VitsDataModule(shards=str(tmp_path))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["../../evil", "{}/evil", "evil"])
def test_a_name_from_elsewhere_is_no_path(
    dataset: Path, remote: str, elsewhere: Path, tmp_path: Path, name: str
) -> None:
    """A shard with such a name was written there, over whatever there was, before its digest was
    looked at: shards of others could replace any file."""
    [shard, *_] = pack(dataset, remote)
    header_address = storage.join_address(remote, "dataset.json")
    header = json.loads(storage.read_file(header_address))
    header["shards"][0]["name"] = name.format(tmp_path)
    content = storage.read_file(storage.join_address(remote, shard))
    evil = name.format(tmp_path)
    if evil.startswith("/"):
        Path(evil).write_bytes(b"the user's")
    storage.write_file(storage.join_address(remote, evil), lambda file: file.write(content))
    storage.write_file(header_address, lambda file: file.write(json.dumps(header).encode()))
    with pytest.raises(DatasetError, match=r"dataset\.json .*'.*' should be utterances-1-"):
        list(epoch(shards=remote))
    for path in tmp_path.rglob("evil"):
        assert path.read_bytes() == b"the user's"


def test_a_file_that_does_not_end_is_given_up(elsewhere: Path) -> None:
    """A web server may send for ever: no more is taken than dataset.json says."""
    import fsspec

    file = ShardFile.create(PACK, 1000, "0" * 64)
    fsspec.filesystem("memory").pipe_file(f"/endless/{file.name}", bytes(50_000_000))
    with pytest.raises(OSError, match="more than 1,000 bytes came"):
        fetch_file(file, "memory://endless", elsewhere)
    assert list(elsewhere.iterdir()) == []


@pytest.fixture(scope="module")
def packed(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards in a folder; a test that changes them puts them back."""
    folder = tmp_path_factory.mktemp("packed")
    pack(dataset, str(folder))
    return folder


def _mutate(data: Any, draw: st.DrawFn) -> Any:
    """Put something else in one place of a JSON value."""
    if isinstance(data, dict | list) and data and draw(st.integers(0, 5)):
        key = draw(st.sampled_from(sorted(data) if isinstance(data, dict) else range(len(data))))
        if not draw(st.integers(0, 9)):
            del data[key]
        else:
            data[key] = _mutate(data[key], draw)
        return data
    odd = [None, True, -1, 2**63, 1e308, "", "../x", "/x", [], {}, [[]], "a" * 64, float("nan")]
    return draw(st.sampled_from(odd))


@given(st.data())
@settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
def test_what_others_wrote_is_trained_on_or_refused(packed: Path, data: st.DataObject) -> None:
    """Whatever stands in dataset.json and in the list: batches, or one sentence."""
    header = json.loads((packed / "dataset.json").read_text())
    rows = packed / header["rows"]["name"]
    files = {path: path.read_bytes() for path in (packed / "dataset.json", rows)}
    draw = data.draw
    if draw(st.booleans()):
        header = _mutate(header, draw)
    else:
        lines = rows.read_text().splitlines()
        lines[1] = json.dumps(_mutate(json.loads(lines[1]), draw))
        content = "\n".join(lines).encode()
        listed = ShardFile.create(ROWS, len(content), hashlib.sha256(content).hexdigest())
        header["rows"] = vars(listed)
        rows = packed / listed.name
        files[rows] = b""
        rows.write_bytes(content)
    (packed / "dataset.json").write_text(json.dumps(header))
    try:
        list(epoch(shards=str(packed)))
    except PiperError as error:
        assert len(str(error).splitlines()) == 1
    finally:
        for path, content in files.items():
            path.write_bytes(content) if content else path.unlink()


def test_the_commands(
    dataset: Path, bucket: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `prepare` packs, `fit` trains on, without a recording on this machine."""
    address = f"{bucket}/voices/anna"
    assert prepare_cli.main([str(dataset), "--shards", address]) == 0
    assert f"1 shard, 2 MB at {address}; train with --data.shards={address}" in (
        capsys.readouterr().out
    )
    flags = [
        *SMALL_NETWORK,
        f"--data.shards={address}",
        "--data.batch_size=4",
        "--trainer.max_steps=1",
    ]
    assert cli.main(["fit", *flags]) == 0
    checkpoints = elsewhere / "lightning_logs/version_0/checkpoints"
    assert (checkpoints / "last.ckpt").is_file()
    [header] = elsewhere.rglob("dataset.json")
    assert set(json.loads(header.read_text())) == {"format", "voice", "rows", "shards", "settings"}
    assert os.fspath(header.parent.parent) == str(elsewhere / ".cache")


def test_a_killed_packing_goes_on_and_leaves_nothing(dataset: Path, tmp_path: Path) -> None:
    pack(dataset, str(tmp_path / "whole"))
    (dataset / ".cache" / PACKING_NAME).mkdir()
    (dataset / ".cache" / PACKING_NAME / "made").write_bytes(b"half of a shard")
    names = pack(dataset, str(tmp_path / "shards"))
    assert set(names) < {path.name for path in (tmp_path / "shards").iterdir()}
    assert not (dataset / ".cache" / PACKING_NAME).exists()


def test_shards_do_not_go_to_the_cache(dataset: Path) -> None:
    """Their packs would be taken for the cache's: added to, or removed when it is compacted."""
    with pytest.raises(ConfigError, match="is the cache; name another folder"):
        pack(dataset, str(dataset / "wavs" / ".." / ".cache"))
