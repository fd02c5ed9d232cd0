"""The add-on of Home Assistant: its files fit together, and its script starts the real server."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from wyoming.tts import Synthesize
from wyoming_clients import ask, collect_samples

from piper.wyoming_server import create_parser

FOLDER = Path(__file__).parents[2] / "home-assistant" / "piper-workshop"
CONFIG = yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("language", ["en", "ru"])
def test_every_option_has_its_words(language: str) -> None:
    path = FOLDER / "translations" / f"{language}.yaml"
    words = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert list(words["configuration"]) == list(CONFIG["options"]) == list(CONFIG["schema"])
    assert list(words["network"]) == list(CONFIG["ports"])


def test_the_server_knows_every_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    import run

    options = {**CONFIG["options"], "speaker": "anna", "pitch": -2, "sentence_silence": 0.2}
    options |= {"write_numbers": True, "debug_logging": True}
    args = create_parser().parse_args(run.create_command(options)[3:])
    assert (args.model, args.speaker, args.pitch) == ("en_US-joe-medium", "anna", -2)
    assert args.write_numbers and args.debug


def test_it_speaks_and_home_assistant_is_told(tiny_voice: Path, tmp_path: Path) -> None:
    told: list[tuple[str, str, Any]] = []

    class Supervisor(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.append((self.path, self.headers["Authorization"], json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    options = {**CONFIG["options"], "voice": tiny_voice.stem}
    (tmp_path / "options.json").write_text(json.dumps(options), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with HTTPServer(("127.0.0.1", 0), Supervisor) as supervisor:
        supervisor.timeout = 120
        environment = {
            **os.environ,
            "ADDON_OPTIONS": str(tmp_path / "options.json"),
            "ADDON_VOICES": str(tiny_voice.parent),
            "ADDON_SUPERVISOR": f"http://127.0.0.1:{supervisor.server_address[1]}",
            "ADDON_PORT": str(port),
            "SUPERVISOR_TOKEN": "secret",
        }
        process = subprocess.Popen([sys.executable, FOLDER / "run.py"], env=environment)
        try:
            supervisor.handle_request()
            [(path, key, said)] = told
            assert (path, key, said["service"]) == ("/discovery", "Bearer secret", "wyoming")
            assert said["config"]["uri"] == f"tcp://{socket.gethostname()}:{port}"

            events = asyncio.run(ask(f"tcp://127.0.0.1:{port}", Synthesize("Hello.").event()))
            assert len(collect_samples(events))
            process.terminate()
            assert process.wait(60) in (0, 143)
        finally:
            process.kill()
            process.wait()
