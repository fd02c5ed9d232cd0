"""Voices on disk: by path, by name, and all of a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from piper.errors import VoiceNotFoundError
from piper.voices import VoiceFiles, find_voice, list_voices


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a voice in `voices`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "anna.onnx").write_bytes(b"onnx")
    (tmp_path / "voices" / "anna.onnx.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("model", ["voices/anna.onnx", Path("voices/anna.onnx")])
def test_a_voice_by_path(folder: Path, model: str | Path) -> None:
    files = find_voice(model)
    assert (files.model, files.config) == (Path(model), Path("voices/anna.onnx.json"))


@pytest.mark.parametrize("name", ["anna", "anna.onnx"])
def test_a_voice_by_name_in_the_first_folder_that_has_it(folder: Path, name: str) -> None:
    (folder / "empty").mkdir()
    files = find_voice(name, data_dirs=["empty", folder / "voices"])
    assert files.model == folder / "voices" / "anna.onnx"
    assert files.config == folder / "voices" / "anna.onnx.json"


def test_a_voice_by_name_in_the_current_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("voices")
    assert find_voice("anna").model == Path("anna.onnx")


def test_the_voices_of_folders(folder: Path) -> None:
    (folder / "anna.onnx").write_bytes(b"onnx")  # without JSON it is no voice
    (folder / "new").mkdir()
    for name in ("anna.onnx", "anna.onnx.json", "b.c.onnx", "b.c.onnx.json"):
        (folder / "new" / name).write_text("{}")
    found = list_voices([".", "missing", "voices", folder / "new"])
    assert found == {
        "anna": VoiceFiles(Path("voices/anna.onnx"), Path("voices/anna.onnx.json")),
        "b.c": VoiceFiles(folder / "new/b.c.onnx", folder / "new/b.c.onnx.json"),
    }
    assert list_voices() == {}


def test_a_name_with_dots_is_not_cut(folder: Path) -> None:
    for suffix in (".onnx", ".onnx.json"):
        (folder / "voices" / f"v1.5{suffix}").touch()
    assert find_voice("v1.5", data_dirs=["voices"]).model.name == "v1.5.onnx"


@pytest.mark.parametrize(
    ("model", "data_dirs", "where"),
    [
        ("boris", [], "There is no boris.onnx in the current folder"),
        ("boris", ["voices", "more"], "There is no boris.onnx in voices, more"),
        ("voices/boris.onnx", [], "voices/boris.onnx does not exist"),
        ("./voices/", [], "There is no voices.onnx in the current folder"),
    ],
)
def test_a_voice_that_is_not_there(
    folder: Path, model: str, data_dirs: list[str], where: str
) -> None:
    with pytest.raises(VoiceNotFoundError) as caught:
        find_voice(model, data_dirs=data_dirs)
    assert str(caught.value) == (
        f"{where}; check the path, download one with `python -m piper.download_voices NAME`, "
        "or export one of your own with `python -m piper.train.export_onnx`."
    )


def test_a_folder_is_no_voice(folder: Path) -> None:
    with pytest.raises(VoiceNotFoundError, match="is a folder, but a voice is a file"):
        find_voice(folder / "voices")


def test_a_voice_without_its_json(folder: Path) -> None:
    (folder / "voices" / "anna.onnx.json").rename(folder / "anna.json")
    with pytest.raises(VoiceNotFoundError, match=r"has no anna\.onnx\.json beside it.*--config"):
        find_voice("voices/anna.onnx")
    assert find_voice("voices/anna.onnx", config_path="anna.json").config == Path("anna.json")
    with pytest.raises(VoiceNotFoundError, match=r"none\.json does not exist"):
        find_voice("voices/anna.onnx", config_path="none.json")


def test_the_json_in_place_of_the_voice(tiny_voice: Path) -> None:
    with pytest.raises(VoiceNotFoundError, match=r"is a voice's JSON; give its ONNX file"):
        find_voice(f"{tiny_voice}.json")
