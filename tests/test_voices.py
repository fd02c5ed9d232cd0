"""Voices on disk, and downloads from a catalogue on a real server on loopback."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from piper.catalogue import download_voice, find_catalogue_voice, load_catalogue
from piper.download_voices import main
from piper.errors import PiperError, VoiceNotFoundError
from piper.voices import VoiceFiles, find_voice, list_voices

NAME = "ru_RU-test-medium"
ONNX = bytes(range(256)) * 5000
CONFIG = b'{"num_symbols": 256}'


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


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files and counts requests."""

    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        if self.path.startswith("/cut/"):  # promises more than it sends
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"short")
            return
        super().do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    """Says nothing about clients that hang up, as those of some tests do."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """A server with a catalogue: its address, its folder, the paths asked for."""
    root = tmp_path / "hub"
    place = root / "main" / "ru" / "ru_RU" / "test" / "medium"
    place.mkdir(parents=True)
    (place / f"{NAME}.onnx").write_bytes(ONNX)
    (place / f"{NAME}.onnx.json").write_bytes(CONFIG)
    (place / "MODEL_CARD").write_text("card")
    files = {
        path.relative_to(root / "main").as_posix(): {
            "size_bytes": path.stat().st_size,
            "md5_digest": hashlib.md5(path.read_bytes()).hexdigest(),
        }
        for path in place.iterdir()
    }
    entry = {"key": NAME, "quality": "medium", "files": files, "aliases": ["ru-test"]}
    catalogue = {"zz_ZZ-last-low": entry, NAME: entry}
    (root / "main" / "voices.json").write_text(json.dumps(catalogue))
    paths: list[str] = []
    handler = type("CountingHandler", (Handler,), {"requests": paths})
    server = Server(("127.0.0.1", 0), functools.partial(handler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/main/voices.json", root / "main", paths
    server.shutdown()
    thread.join()
    server.server_close()


Hub = tuple[str, Path, list[str]]


def change_entry(root: Path, **facts: Any) -> None:
    path = root / "voices.json"
    data = json.loads(path.read_text())
    for name, entry in data[NAME]["files"].items():
        if name.endswith(".onnx"):
            entry.update(facts)
    path.write_text(json.dumps(data))


def test_without_a_name_it_lists(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--catalogue-url", hub[0]]) == 0
    assert capsys.readouterr().out == f"{NAME}\nzz_ZZ-last-low\n"


@pytest.mark.parametrize("option", ["--download-dir", "--data-dir", "--data_dir"])
@pytest.mark.parametrize("name", [NAME, "ru-test"])
def test_a_voice_arrives_with_its_json(hub: Hub, tmp_path: Path, option: str, name: str) -> None:
    target = tmp_path / "new" / "voices"
    assert main([name, option, str(target), "--catalogue-url", hub[0]]) == 0
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {
        f"{NAME}.onnx": ONNX,
        f"{NAME}.onnx.json": CONFIG,
    }
    assert find_voice(NAME, data_dirs=[target])


def test_what_is_there_is_not_fetched_again_unless_forced(hub: Hub, tmp_path: Path) -> None:
    command = [NAME, "--download-dir", str(tmp_path), "--catalogue-url", hub[0]]
    assert main(command) == 0
    hub[2].clear()
    assert main(command) == 0
    assert hub[2] == ["/main/voices.json"]
    assert main([*command, "--force-redownload"]) == 0
    assert len(hub[2]) == 1 + 3


def test_a_file_that_differs_stays_with_a_warning(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = tmp_path / f"{NAME}.onnx.json"
    own.write_text("my own")
    voice = load_catalogue(hub[0])[NAME]
    with caplog.at_level(logging.WARNING):
        paths = download_voice(voice, tmp_path)
    assert paths == [tmp_path / f"{NAME}.onnx", own]
    assert own.read_text() == "my own"
    assert "is kept although it is not the catalogue's file; --force-redownload" in caplog.text
    download_voice(voice, tmp_path, is_forced=True)
    assert own.read_bytes() == CONFIG


def test_an_unknown_name_is_found_before_anything_is_fetched(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [NAME, "ru_RU-tset-medium", "--download-dir", str(tmp_path / "new")]
    assert main([*command, "--catalogue-url", hub[0]]) == 1
    assert capsys.readouterr().err.endswith(
        f"The catalogue has no voice 'ru_RU-tset-medium'; did you mean {NAME}?\n"
    )
    assert not (tmp_path / "new").exists()
    with pytest.raises(VoiceNotFoundError, match="list all by giving no name"):
        find_catalogue_voice({}, "x")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"size_bytes": 7}, f"{len(ONNX)} bytes came, but the catalogue says 7"),
        ({"md5_digest": "0" * 32}, f"but the catalogue says {'0' * 32}"),
    ],
)
def test_a_file_that_is_not_the_catalogue_s_is_refused(
    hub: Hub, tmp_path: Path, facts: dict[str, Any], message: str
) -> None:
    change_entry(hub[1], **facts)
    target = tmp_path / "new"
    with pytest.raises(PiperError, match=message):
        download_voice(load_catalogue(hub[0])[NAME], target)
    assert list(target.iterdir()) == []


def test_a_connection_that_breaks_off(hub: Hub) -> None:
    url = hub[0].replace("/main/", "/cut/")
    with pytest.raises(
        PiperError, match=rf"{re.escape(url)} cannot be fetched .*check the network"
    ):
        load_catalogue(url)


def test_a_catalogue_that_is_not_there(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--catalogue-url", f"{hub[0]}.none"]) == 1
    assert "voices.json.none answers 404 File not found; check the address" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/voices.json", "voices.json"])
def test_an_address_that_leads_nowhere(url: str) -> None:
    with pytest.raises(PiperError, match=rf"{url} cannot be fetched"):
        load_catalogue(url)


def test_an_address_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "voices.json").write_text("{}")
    with pytest.raises(PiperError, match="not an address of the web"):
        load_catalogue((tmp_path / "voices.json").as_uri())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<html>", "is not JSON"),
        ("[]", "is not a catalogue of voices"),
        ('{"a": 1}', "the entry of 'a' lacks the size and MD5"),
        ('{"a": {"files": {"a.onnx": {"size_bytes": 1, "md5_digest": ""}}}}', "the entry of 'a'"),
    ],
)
def test_a_catalogue_that_is_none(hub: Hub, content: str, message: str) -> None:
    (hub[1] / "voices.json").write_text(content)
    with pytest.raises(PiperError, match=message):
        load_catalogue(hub[0])


def test_a_folder_that_cannot_be_written(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PiperError, match=r"cannot be written \(.+\); choose another folder"):
        download_voice(load_catalogue(hub[0])[NAME], tmp_path / "file")


def test_the_json_in_place_of_the_voice(tiny_voice: Path) -> None:
    with pytest.raises(VoiceNotFoundError, match=r"is a voice's JSON; give its ONNX file"):
        find_voice(f"{tiny_voice}.json")
