"""Voices of the Hugging Face Hub, by a server on loopback that speaks its API."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
import wave
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

TOKEN = "hf_of_the_test"
REPOSITORY = "anna/ru_RU-test"


class Hub(ThreadingHTTPServer):
    """The endpoints that publishing and fetching a voice want; what it holds lies in memory."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.uploads: dict[str, bytes] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


def commit_of(files: dict[str, bytes]) -> str:
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_HEAD(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_PUT(self) -> None:
        self._answer(self._put)

    def _answer(self, handle: Any) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, headers, answer = handle(path, body)
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _get(self, path: str, _: bytes) -> tuple[int, dict[str, str], Any]:
        missing = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
        if path == "/api/whoami-v2":
            return 200, {}, {"name": "anna", "type": "user"}
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(\w+))?", path):
            files = self.server.repositories.get(match[1])
            if files is None:
                return 404, missing, {"error": "Repository not found"}
            siblings = [{"rfilename": name} for name in sorted(files)]
            return 200, {}, {"id": match[1], "sha": commit_of(files), "siblings": siblings}
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/\w+", path):
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": commit_of({name: data})}
                for name, data in sorted(self.server.repositories[match[1]].items())
            ]
            return 200, {}, tree
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/\w+/(.+)", path):
            files = self.server.repositories.get(match[1], {})
            if match[2] not in files:
                return 404, {"X-Error-Code": "EntryNotFound"}, {"error": "Entry not found"}
            data = files[match[2]]
            etag = f'"{hashlib.sha256(data).hexdigest()}"'
            return 200, {"ETag": etag, "X-Repo-Commit": commit_of(files)}, data
        return 404, missing, {"error": f"no {path}"}

    def _post(self, path: str, body: bytes) -> tuple[int, dict[str, str], Any]:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {}, {"error": "Invalid credentials"}
        if path == "/api/repos/create":
            said = json.loads(body)
            name = f"{said.get('organization') or 'anna'}/{said['name']}"
            if name in self.server.repositories:
                return 409, {}, {"error": "already there", "url": f"{self.server.url}/{name}"}
            self.server.repositories[name] = {}
            return 200, {}, {"url": f"{self.server.url}/{name}"}
        if path == "/api/validate-yaml":
            return 200, {}, {"errors": [], "warnings": []}
        if path.endswith("/preupload/main"):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".onnx") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return 200, {}, {"files": files}
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.server.url}/lfs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            return 200, {}, {"transfer": "basic", "objects": objects}
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            files = self.server.repositories[match[1]]
            for line in body.decode().splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    files[value["path"]] = self.server.uploads[value["oid"]]
            commit = commit_of(files)
            address = f"{self.server.url}/{match[1]}/commit/{commit}"
            return 200, {}, {"commitUrl": address, "commitOid": commit}
        return 404, {}, {"error": f"no {path}"}

    def _put(self, path: str, body: bytes) -> tuple[int, dict[str, str], Any]:
        self.server.uploads[path.rpartition("/")[2]] = body
        return 200, {}, {}

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    server = Hub()
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def voice(tiny_voice: Path, tmp_path: Path) -> Path:
    for ending in ("", ".json"):
        shutil.copy(f"{tiny_voice}{ending}", tmp_path / f"voice.onnx{ending}")
    return tmp_path / "voice.onnx"


def run(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def publish(voice: Path, *more: object) -> subprocess.CompletedProcess[str]:
    return run("piper.train", "publish", voice, "--repo", REPOSITORY, *more)


def test_a_published_voice_is_spoken_with_also_without_a_network(
    hub: Hub, voice: Path, tmp_path: Path
) -> None:
    done = publish(voice, "--license", "CC BY 4.0", "--text", "One [two].", "--text", "Three.")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{hub.url}/{REPOSITORY}"
    files = hub.repositories[REPOSITORY]
    names = {"README.md", "samples/1.mp3", "samples/2.mp3", "tokens.txt", "voice.onnx"}
    assert set(files) - {".gitattributes"} == names | {"voice.onnx.json"}
    assert files["voice.onnx"] == voice.read_bytes()
    _, front, text = files["README.md"].decode().split("---\n", 2)
    told = yaml.safe_load(front)
    assert (told["license"], told["pipeline_tag"]) == ("cc-by-4.0", "text-to-speech")
    assert told["widget"][0] == {"text": "One [two].", "output": {"url": "samples/1.mp3"}}
    assert f"python -m piper -m hf://{REPOSITORY} -f speech.wav -- 'One [two].'" in text

    speech = tmp_path / "speech.wav"
    for address in (f"hf://{REPOSITORY}", f"hf://{REPOSITORY}@main/voice.onnx"):
        done = run("piper", "-m", address, "-f", speech, "--", "One.")
        assert done.returncode == 0, done.stderr
    done = run("piper.download_voices", f"hf://{REPOSITORY}", "--download-dir", tmp_path / "voices")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "voices" / "voice.onnx").read_bytes() == voice.read_bytes()
    assert (tmp_path / "voices" / "voice.onnx.json").is_file()
    hub.shutdown()
    hub.server_close()
    speech.unlink()
    done = run("piper", "-m", f"hf://{REPOSITORY}", "-f", speech, "--", "One.")
    assert done.returncode == 0, done.stderr
    with wave.open(str(speech)) as file:
        assert file.getnframes() > 1000


def test_an_evaluation_s_card_and_sentences_go_with_it(
    hub: Hub, voice: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "evaluation"
    folder.mkdir()
    (folder / "MODEL_CARD.md").write_text("---\nlicense: mit\n---\n# Anna\n", encoding="utf-8")
    sentences = [{"text": text} for text in ("One.", "Two.", "Three.", "Four.")]
    report = {"systems": [{"label": "recordings", "source": None, "sentences": sentences}]}
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    done = publish(voice, "--evaluation", folder, "--dry-run", tmp_path / "made")
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "made" / "README.md").read_text(encoding="utf-8")
    assert "# Anna" in card
    widget = yaml.safe_load(card.split("---\n")[1])["widget"]
    assert [sample["text"] for sample in widget] == ["One.", "Two.", "Three."]
    assert all((tmp_path / "made" / one["output"]["url"]).is_file() for one in widget)
    assert not hub.asked


def test_published_again_it_is_another_commit_of_the_same(hub: Hub, voice: Path) -> None:
    assert publish(voice, "--license", "mit", "--text", "One.").returncode == 0
    assert publish(voice, "--license", "cc0-1.0", "--text", "One.").returncode == 0
    assert b"license: cc0-1.0" in hub.repositories[REPOSITORY]["README.md"]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://anna", "is no address of a voice; write hf://USER/NAME"),
        ("hf://anna/nobody", "hf://anna/nobody cannot be had"),
        (f"hf://{REPOSITORY}/other.onnx", f"hf://{REPOSITORY}/other.onnx"),
        (
            f"hf://{REPOSITORY}",
            f"hf://{REPOSITORY} holds several voices (a.onnx, b.onnx); name one",
        ),
    ],
)
def test_what_cannot_be_had_is_one_message(hub: Hub, address: str, message: str) -> None:
    hub.repositories[REPOSITORY] = {"a.onnx.json": b"{}", "b.onnx.json": b"{}"}
    done = run("piper", "-m", address, "-f", "speech.wav", "--", "One.")
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "name its licence with --license"),
        (["--license", "mit", "--evaluation", "nowhere"], "nowhere/MODEL_CARD.md does not exist"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_uploaded(
    hub: Hub, voice: Path, more: list[str], message: str
) -> None:
    done = publish(voice, *more)
    assert done.returncode == 1
    assert message in done.stderr
    assert not hub.asked


def test_a_wrong_token_is_one_message(
    hub: Hub, voice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    done = publish(voice, "--license", "mit")
    assert done.returncode == 1
    assert "cannot be published (" in done.stderr
    assert "HF_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr
