"""The add-on of Home Assistant: its files fit together, and its script starts the real server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import yaml
from servers import wait_until
from wyoming.tts import Synthesize
from wyoming_clients import ask, collect_samples

from piper import http_server, wyoming_server

FOLDER = Path(__file__).parents[2] / "home-assistant" / "piper-workshop"
CONFIG = yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))


RULE = re.compile(r"(str|bool|password|(int|float)(\([\d.]*,[\d.]*\))?)\??")
"""Of an option's value, as all supervisors read it: newer ones know bounds below 0, too."""
KEYS = {
    *("name", "version", "slug", "description", "url", "arch", "init", "discovery", "ports"),
    *("webui", "map", "backup_exclude", "options", "schema"),
}
"""Those that are used: https://developers.home-assistant.io/docs/add-ons/configuration"""


def test_home_assistant_knows_what_is_configured() -> None:
    assert set(CONFIG) <= KEYS
    assert {"name", "version", "slug", "description", "arch"} <= set(CONFIG)
    assert set(CONFIG["arch"]) <= {"aarch64", "amd64"}
    assert all(RULE.fullmatch(rule) for rule in CONFIG["schema"].values())
    # An option with a default has to be given; one without may be missing.
    required = [name for name, rule in CONFIG["schema"].items() if not rule.endswith("?")]
    assert list(CONFIG["options"]) == required
    kinds = {"str": str, "bool": bool, "float": float}
    for name, value in CONFIG["options"].items():
        assert isinstance(value, kinds[CONFIG["schema"][name].partition("(")[0]])
    assert CONFIG["webui"].endswith("[PORT:5000]") and "5000/tcp" in CONFIG["ports"]


@pytest.mark.parametrize("language", ["en", "ru"])
def test_every_option_has_its_words(language: str) -> None:
    path = FOLDER / "translations" / f"{language}.yaml"
    words = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert list(words["configuration"]) == list(CONFIG["schema"])
    assert list(words["network"]) == list(CONFIG["ports"])
    assert all(option["name"] for option in words["configuration"].values())


def test_the_server_knows_every_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    import run

    options = {**CONFIG["options"], "speaker": "anna", "pitch": -2, "sentence_silence": 0.2}
    options |= {"write_numbers": True, "debug_logging": True}
    for server, module in ((run.WYOMING, wyoming_server), (run.HTTP, http_server)):
        assert module.__name__ == server[0]
        args = module.create_parser().parse_args(run.create_command(options, server)[3:])
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

    options = {**CONFIG["options"], "voice": tiny_voice.stem, "api_key": "secret"}
    (tmp_path / "options.json").write_text(json.dumps(options), encoding="utf-8")
    with socket.socket() as free, socket.socket() as free_too:
        for one in (free, free_too):
            one.bind(("127.0.0.1", 0))
        port, http_port = (one.getsockname()[1] for one in (free, free_too))
    with HTTPServer(("127.0.0.1", 0), Supervisor) as supervisor:
        supervisor.timeout = 120
        environment = {
            **os.environ,
            "ADDON_OPTIONS": str(tmp_path / "options.json"),
            "ADDON_VOICES": str(tiny_voice.parent),
            "ADDON_SUPERVISOR": f"http://127.0.0.1:{supervisor.server_address[1]}",
            "ADDON_PORT": str(port),
            "ADDON_HTTP_PORT": str(http_port),
            "SUPERVISOR_TOKEN": "secret",
        }
        process = subprocess.Popen(
            [sys.executable, FOLDER / "run.py"], env=environment, start_new_session=True
        )
        try:
            supervisor.handle_request()
            [(path, key, said)] = told
            assert (path, key, said["service"]) == ("/discovery", "Bearer secret", "wyoming")
            assert said["config"]["uri"] == f"tcp://{socket.gethostname()}:{port}"

            events = asyncio.run(ask(f"tcp://127.0.0.1:{port}", Synthesize("Hello.").event()))
            assert len(collect_samples(events))
            wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", http_port)) == 0)
            request = Request(f"http://127.0.0.1:{http_port}/voices")
            with pytest.raises(HTTPError, match="401"):
                urlopen(request, timeout=60)
            request.add_header("Authorization", "Bearer secret")
            with urlopen(request, timeout=60) as answer:
                assert tiny_voice.stem in json.load(answer)
            process.terminate()
            assert process.wait(60) in (0, 143)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # a container ends with its first process
            process.wait()
