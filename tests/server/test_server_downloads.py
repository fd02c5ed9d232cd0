"""Voices downloaded through the server, from a catalogue on loopback."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from piper.server.settings import Downloads, RequestError, ServerSettings
from piper.server.store import Downloader

NAME = "en_US-new-low"


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
    assert "application/json" in answer.sentence
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


@pytest.mark.parametrize(
    "ask",
    [Downloader.list_published, lambda downloader: downloader.download(NAME, is_forced=False)],
    ids=["list", "download"],
)
def test_a_catalogue_that_says_nothing_does_not_hold_up_the_end(
    tmp_path: Path, ask: Callable[[Downloader], object]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as client:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/voices.json"
        downloader = Downloader(Downloads(tmp_path, url))
        asking = client.submit(ask, downloader)
        connection, _ = silent.accept()
        downloader.close()
        # Otherwise it would be the half minute after which a connection is given up.
        with connection, pytest.raises(RequestError, match="The server ends"):
            asking.result(timeout=25)
