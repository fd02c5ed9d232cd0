"""Voices downloaded through the server, from a catalogue on loopback."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from piper.server.settings import Downloads, ServerSettings

NAME = "en_US-new-low"


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def published(tmp_path: Path, voices_folder: Path) -> Iterator[tuple[Path, str]]:
    """A folder with a catalogue and a voice, and the catalogue's address."""
    folder = tmp_path / "published"
    (folder / "en").mkdir(parents=True)
    files = {}
    for ending in (".onnx", ".onnx.json"):
        content = (voices_folder / f"speakers{ending}").read_bytes()
        (folder / "en" / f"{NAME}{ending}").write_bytes(content)
        files[f"en/{NAME}{ending}"] = {
            "size_bytes": len(content),
            "md5_digest": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        }
    entry = {"files": files, "aliases": ["en-new"], "quality": "low"}
    (folder / "voices.json").write_text(json.dumps({NAME: entry}))
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{web.server_port}/voices.json"
        web.shutdown()
        thread.join()


def download(server: Any, **body: Any) -> Any:
    return server.ask("POST", "/download", json.dumps(body))


def test_a_voice_is_downloaded_and_speaks(
    start_server: Callable[..., Any], published: tuple[Path, str], tmp_path: Path
) -> None:
    _, url = published
    here = tmp_path / "here"
    here.mkdir()
    server = start_server(ServerSettings(downloads=Downloads(here, url)), folder=here)
    listed = json.loads(server.get("/all-voices").body)
    assert listed[NAME]["quality"] == "low"
    assert server.synthesize(text="Hello.", voice=NAME).status == 404
    answer = download(server, voice="en-new")
    assert (answer.status, answer.body) == (200, NAME.encode())
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert sorted(path.name for path in here.iterdir()) == [f"{NAME}.onnx", f"{NAME}.onnx.json"]
    assert server.synthesize(text="Hello.", voice=NAME, speaker="vera").status == 200
    (here / f"{NAME}.onnx").write_bytes(b"changed")
    assert download(server, voice=NAME).status == 200
    assert (here / f"{NAME}.onnx").read_bytes() == b"changed"
    assert download(server, voice=NAME, force_redownload=True).status == 200
    assert server.synthesize(text="Hello.", voice=NAME).status == 200


def test_what_cannot_be_downloaded(
    start_server: Callable[..., Any], published: tuple[Path, str], tmp_path: Path
) -> None:
    folder, url = published
    here = tmp_path / "here"
    server = start_server(ServerSettings(downloads=Downloads(here, url)), folder=here)
    for name in ("nobody", "../published/en/en_US-new-low", "/etc/passwd"):
        answer = download(server, voice=name)
        assert answer.status == 404
        assert "The catalogue has no voice" in answer.sentence
    # Only JSON: another site's page must not make a browser fill this disk.
    answer = server.ask("POST", "/download", json.dumps({"voice": NAME}), "text/plain")
    assert answer.status == 422
    (folder / "en" / f"{NAME}.onnx").write_bytes(b"cut")
    answer = download(server, voice=NAME)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
    assert "did not arrive whole" in answer.sentence
    assert list(here.glob("*")) == []


def test_without_a_catalogue(start_server: Callable[..., Any], tmp_path: Path) -> None:
    downloads = Downloads(tmp_path, "http://127.0.0.1:1/voices.json")
    server = start_server(ServerSettings(downloads=downloads))
    for answer in (server.get("/all-voices"), download(server, voice="nobody")):
        assert answer.status == 503
        assert "cannot be fetched" in answer.sentence
    assert download(server, voice="tiny").body == b"tiny"
