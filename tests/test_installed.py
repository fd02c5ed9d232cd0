"""The voices of a folder beside the catalogue: whole, damaged, unfinished, one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from piper.download import TransferOptions, download_voice, load_catalogue
from piper.download_voices import main
from piper.errors import PiperError
from publishing import NAME, Hub


@pytest.fixture
def folder(hub: Hub, tmp_path: Path) -> Path:
    """A folder with the published voice, and one of the user's."""
    download_voice(load_catalogue(hub.url)[NAME], tmp_path / "voices")
    for ending in (".onnx", ".onnx.json"):
        (tmp_path / "voices" / f"own{ending}").touch()
    return tmp_path / "voices"


def inspect(hub: Hub, folder: Path, *names: str) -> int:
    where = ["--data-dir", str(folder), "--catalogue-url", hub.url]
    return main(["--installed", *names, *where])


def test_whole_voices_and_one_s_own(
    hub: Hub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspect(hub, folder) == 0
    assert capsys.readouterr().out == f"own                not in the catalogue\n{NAME}  whole\n"
    assert inspect(hub, folder, "ru-test") == 0
    assert capsys.readouterr().out == f"{NAME}  whole\n"


@pytest.mark.parametrize("ending", [".onnx", ".onnx.json"])
def test_one_wrong_byte(
    hub: Hub, folder: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / f"{NAME}{ending}"
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)
    assert inspect(hub, folder) == 1
    said = capsys.readouterr()
    assert f"{NAME}  damaged or changed: {path.name}\n" in said.out
    assert f"error: 1 of 2 voices cannot be relied on ({NAME}); download them" in said.err


def test_what_is_missing(hub: Hub, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / f"{NAME}.onnx").unlink()
    (folder / "own.onnx.json").unlink()
    assert inspect(hub, folder) == 1
    assert capsys.readouterr().out == (
        "own                not in the catalogue, and own.onnx.json is missing\n"
        f"{NAME}  unfinished: 0.0 kB of 1.9 MB are there\n"
    )
    (folder / f"{NAME}.onnx.json").unlink()
    assert inspect(hub, folder, NAME) == 1
    assert capsys.readouterr().out == f"{NAME}  missing\n"


def test_a_download_that_broke(hub: Hub, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.cuts = [1_000_000]
    new = folder.with_name("new")
    with pytest.raises(PiperError):
        download_voice(
            load_catalogue(hub.url)[NAME], new, options=TransferOptions(waits_seconds=())
        )
    assert inspect(hub, new) == 1
    assert capsys.readouterr().out == f"{NAME}  unfinished: 1.0 MB of 1.9 MB are there\n"


def test_a_folder_without_voices(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspect(hub, tmp_path / "none") == 1
    assert f"There are no voices in {tmp_path / 'none'}; name their" in capsys.readouterr().err
