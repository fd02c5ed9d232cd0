"""A server on loopback that publishes a voice, with all that goes wrong on the way. For tests."""

from __future__ import annotations

import hashlib
import http.server
import json
import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from piper.download import TransferOptions, download_voice, load_catalogue
from piper.errors import PiperError

NAME = "ru_RU-test-medium"
ONNX = random.Random(1).randbytes(1_920_000)
CONFIG = b'{"num_symbols": 256}'
PLACE = "ru/ru_RU/test/medium"
MODEL_PATH = f"/main/{PLACE}/{NAME}.onnx"


@dataclass
class Hub:
    """What is published, how it is served, and what was asked for.

    Attributes:
        root: The folder that is served as `/main/`.
        url: The catalogue's address.
        requests: Path and headers of each request.
        sent_bytes: Of the ONNX, in all answers.
        has_ranges: Whether a Range is heeded.
        cuts: How many bytes of each ONNX answer come before the connection breaks; None is all.
        statuses: Codes that the first requests for the ONNX are answered with.
        retry_after: Header of those answers.
        length_shift_bytes: Added to the true Content-Length of the ONNX; None sends no length.
        content_range: In place of the true one.
        seconds_a_block: Pause after 64 KiB.
        moved_to: Where requests for the ONNX are redirected to.
    """

    root: Path
    url: str = ""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent_bytes: int = 0
    has_ranges: bool = True
    cuts: list[int | None] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    retry_after: str = ""
    length_shift_bytes: int | None = 0
    content_range: str = ""
    seconds_a_block: float = 0.0
    moved_to: str = ""

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]

    @property
    def ranges(self) -> list[str]:
        """The Range of each request for the ONNX."""
        return [headers.get("Range", "") for path, headers in self.requests if path == MODEL_PATH]

    def publish(self, onnx: bytes = ONNX, **facts: Any) -> None:
        """Write a voice and the catalogue; `facts` are added to the ONNX's entry."""
        files = self._write_files(PLACE, NAME, onnx)
        files[f"{PLACE}/{NAME}.onnx"].update(facts)
        russian = {"code": "ru_RU", "family": "ru"}
        russian |= {"name_english": "Russian", "name_native": "Русский"}
        entry = {"key": NAME, "quality": "medium", "language": russian, "num_speakers": 1}
        catalogue = {
            # As short as an entry may be: language and quality stand in its name.
            "zz_ZZ-last-low": {"files": self._write_files("zz", "zz_ZZ-last-low", ONNX[::-1])},
            NAME: {**entry, "files": files, "aliases": ["ru-test"]},
        }
        (self.root / "voices.json").write_text(json.dumps(catalogue), encoding="utf-8")

    def _write_files(self, place: str, name: str, onnx: bytes) -> dict[str, dict[str, Any]]:
        """Write a voice's files; return their entries."""
        (self.root / place).mkdir(parents=True, exist_ok=True)
        files = {}
        contents = {f"{name}.onnx": onnx, f"{name}.onnx.json": CONFIG, "MODEL_CARD": b"card"}
        for file_name, content in contents.items():
            (self.root / place / file_name).write_bytes(content)
            md5 = hashlib.md5(content).hexdigest()
            files[f"{place}/{file_name}"] = {"size_bytes": len(content), "md5_digest": md5}
        return files


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        hub = self.hub
        hub.requests.append((self.path, dict(self.headers)))
        path = self.path
        is_model = path == MODEL_PATH
        if is_model and hub.statuses:
            self.send_response(hub.statuses.pop(0))
            self.send_header("Retry-After", hub.retry_after)
            self.end_headers()
            return
        if is_model and hub.moved_to:
            self.send_response(302)
            self.send_header("Location", hub.moved_to)
            self.end_headers()
            return
        if path.startswith("/endless/"):
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):  # until the client hangs up
                while True:
                    self.wfile.write(bytes(1 << 16))
            return
        file = hub.root / path.removeprefix("/main/").removeprefix("/moved/")
        if not file.is_file():
            self.send_error(404)
            return
        self._send(file.read_bytes(), is_model or path.startswith("/moved/"))

    def _send(self, content: bytes, is_model: bool) -> None:
        hub = self.hub
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and hub.has_ranges:
            start = int(wanted[1])
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            true_range = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", hub.content_range or true_range)
        if not is_model:
            self.send_header("Content-Length", str(len(content) - start))
        else:
            if hub.length_shift_bytes is not None:
                length = len(content) - start + hub.length_shift_bytes
                self.send_header("Content-Length", str(length))
        self.end_headers()
        cut = hub.cuts.pop(0) if is_model and hub.cuts else None
        end = len(content) if cut is None else start + cut
        for at in range(start, min(end, len(content)), 1 << 16):
            block = content[at : min(at + (1 << 16), end)]
            self.wfile.write(block)
            if is_model:
                hub.sent_bytes += len(block)
            time.sleep(hub.seconds_a_block)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    """Says nothing about clients that hang up, as those of some tests do."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextmanager
def serve_hub(root: Path) -> Iterator[Hub]:
    """Publish a voice in a new folder, and serve it until the block ends."""
    hub = Hub(root)
    root.mkdir()
    hub.publish()
    handler = type("HubHandler", (_Handler,), {"hub": hub})
    server = _Server(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}/main/voices.json"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


HASTY = TransferOptions(waits_seconds=(0.01, 0.02))
WHOLE = {f"{NAME}.onnx": ONNX, f"{NAME}.onnx.json": CONFIG}


def download(hub: Hub, target: Path, options: TransferOptions = HASTY, **more: Any) -> list[Path]:
    return download_voice(load_catalogue(hub.url)[NAME], target, options=options, **more)


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def find_part(folder: Path) -> Path:
    (part,) = folder.glob(f".{NAME}.onnx.*.part")
    return part


def leave_part(hub: Hub, target: Path, size_bytes: int = 1_000_000) -> Path:
    """Let a download end after so many bytes of the ONNX."""
    hub.cuts = [size_bytes]
    with pytest.raises(PiperError, match=r"bytes of it did not come"):
        download(hub, target, TransferOptions(waits_seconds=()))
    hub.requests.clear()
    hub.sent_bytes = 0
    return find_part(target)


def wait_for_part(target: Path, size_bytes: int) -> None:
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size >= size_bytes for path in target.glob(".*.part")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
