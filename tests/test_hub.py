"""Voices and datasets of the Hugging Face Hub, by a server on loopback that speaks its API."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import wave
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow.parquet
import pytest
import yaml

from piper.errors import VoiceNotFoundError
from piper.train.formats.readers import HubTable, group_tables
from piper.train.publish import main
from piper.voices import fetch_hub_voice, is_hub_address

TOKEN = "hf_of_the_test"
REPOSITORY = "anna/ru_RU-test"
DATASET = "datasets/anna/speech"
_API = r"/api/(models/[^/]+/[^/]+|datasets/[^/]+/[^/]+)"


class Hub(ThreadingHTTPServer):
    """The endpoints that publishing and fetching want; what it holds lies in memory.

    Attributes:
        repositories: Files by name; those of a dataset are in `datasets/USER/NAME`.
        sent: How many bytes of each file were sent.
        allowed: So many bytes of a table's parts are sent, then 403.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.uploads: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.sent: Counter[str] = Counter()
        self.allowed = 10**9

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
        if match := re.fullmatch(_API + r"(?:/revision/(.+))?", path):
            name = match[1].removeprefix("models/")
            branch = f"@{match[2]}" if "/" in (match[2] or "") else ""
            files = self.server.repositories.get(name + branch)
            if files is None:
                known = name in self.server.repositories
                code = {"X-Error-Code": "RevisionNotFound"} if known else missing
                return 404, code, {"error": "Not found"}
            siblings = [
                {
                    "rfilename": name,
                    "blobId": commit_of({name: data}),
                    "size": len(data),
                    "lfs": {
                        "sha256": hashlib.sha256(data).hexdigest(),
                        "size": len(data),
                        "pointerSize": 134,
                    },
                }
                for name, data in sorted(files.items())
            ]
            told = {"id": name, "sha": commit_of(files), "siblings": siblings}
            _, *card = files.get("README.md", b"").decode().split("---\n")
            return 200, {}, {**told, "cardData": yaml.safe_load(card[0]) if card else {}}
        if match := re.fullmatch(_API + r"/tree/(\w+)/?(.*)", path):
            files = self._list_files(match[1], match[2])
            folder = f"{match[3]}/" if match[3] else ""
            return 200, {}, [file for file in files if file["path"].startswith(folder)]
        if match := re.fullmatch(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/(\w+)/(.+)", path):
            files = self._find_files(match[1], match[2])
            if match[3] not in files:
                return 404, {"X-Error-Code": "EntryNotFound"}, {"error": "Entry not found"}
            data = files[match[3]]
            headers = {
                "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
                "X-Repo-Commit": commit_of(files),
            }
            status = 200
            if part := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
                data, status = data[int(part[1]) : int(part[2]) + 1], 206
                if self.server.sent.total() + len(data) > self.server.allowed:
                    return 403, {}, {"error": "Forbidden"}
            self.server.sent[match[3]] += len(data) if self.command == "GET" else 0
            return status, headers, data
        return 404, missing, {"error": f"no {path}"}

    def _find_files(self, name: str, revision: str) -> dict[str, bytes]:
        """Return the files of a repository, of the branch whose commit is named."""
        found = self.server.repositories
        branches = [files for key, files in found.items() if key.partition("@")[0] == name]
        return next((files for files in branches if commit_of(files) == revision), branches[0])

    def _list_files(self, name: str, revision: str = "main") -> list[dict[str, Any]]:
        files = self._find_files(name.removeprefix("models/"), revision)
        return [
            {"type": "file", "path": name, "size": len(data), "oid": commit_of({name: data})}
            for name, data in sorted(files.items())
        ]

    def _post(self, path: str, body: bytes) -> tuple[int, dict[str, str], Any]:
        if match := re.fullmatch(_API + r"/paths-info/(\w+)", path):
            wanted = re.findall(r"paths=([^&]+)", unquote(body.decode()))
            files = self._list_files(match[1], match[2])
            return 200, {}, [file for file in files if file["path"] in wanted]
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
    assert files["samples/1.mp3"][:2] in (b"\xff\xfb", b"\xff\xf3", b"ID")  # not a WAV by that name
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


@pytest.mark.parametrize(
    "report", [{}, {"systems": []}, {"systems": [{"sentences": [{"text": 5}]}]}, {"systems": 3}]
)
def test_a_report_of_something_else_is_one_message(
    report: dict[str, Any], voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "MODEL_CARD.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    (tmp_path / "report.json").write_text(json.dumps(report), encoding="utf-8")
    flags = ["--repo", REPOSITORY, "--evaluation", str(tmp_path), "--dry-run"]
    assert main([str(voice), *flags, str(tmp_path / "made")]) == 1
    assert "report.json is no report of an evaluation; give" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_what_is_an_address_is_no_path() -> None:
    assert is_hub_address("hf://")
    assert is_hub_address(Path("hf://anna/voice"))
    assert not is_hub_address("hf.onnx")
    for address in ("hf://", f"hf://{REPOSITORY}/../../voice.onnx"):
        with pytest.raises(VoiceNotFoundError, match="is no address of a voice"):
            fetch_hub_voice(address)


@pytest.mark.parametrize("front", ["", "---\n: : [\n---\n", "---\n- a list\n---\n"])
def test_a_card_without_its_first_lines_is_one_message(
    front: str, voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "MODEL_CARD.md").write_text(f"{front}# Anna\n", encoding="utf-8")
    flags = ["--repo", REPOSITORY, "--evaluation", str(tmp_path), "--text", "One."]
    assert main([str(voice), *flags, "--dry-run", str(tmp_path / "made")]) == 1
    assert "does not begin with lines of YAML" in capsys.readouterr().err


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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HF_TOKEN", "hf_wrong"),
        # Its client's error is none of the Hub's.
        pytest.param("HF_ENDPOINT", "http://127.0.0.1:9", marks=pytest.mark.long),
    ],
)
def test_a_wrong_token_or_no_network_is_one_message(
    name: str, value: str, hub: Hub, voice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    done = publish(voice, "--license", "mit")
    assert done.returncode == 1
    assert "cannot be published (" in done.stderr
    assert "HF_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr


def import_from_hub(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return run("piper.train", "import", f"hf://{DATASET}", folder, "--language", "ru", *more)


def make_table(recordings: list[Path], speaker: str | None = None) -> bytes:
    """Return a parquet file as the library of datasets writes it, two rows a group."""
    columns = {
        "audio": [{"bytes": path.read_bytes(), "path": path.name} for path in recordings],
        "sentence": [f"Текст {path.stem}." for path in recordings],
        "client_id": [speaker] * len(recordings),
    }
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file, row_group_size=2)
    return file.getvalue()


@pytest.fixture
def recordings(speech_dataset: Path) -> list[Path]:
    return sorted((speech_dataset / "wavs").glob("*.wav"))[:6]


def read_rows(folder: Path) -> list[str]:
    return (folder / "metadata.csv").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def dataset(hub: Hub, recordings: list[Path]) -> dict[str, bytes]:
    files = {
        "all/one.parquet": make_table(recordings[:3], "Анна"),
        "all/two.parquet": make_table(recordings[3:], "Пётр"),
        "test/x.parquet": make_table(recordings[:1]),
    }
    parts = [{"split": "train", "path": "all/*"}, {"split": "test", "path": ["test/*.parquet"]}]
    card = yaml.safe_dump({"configs": [{"config_name": "default", "data_files": parts}]})
    files["README.md"] = f"---\n{card}---\n".encode()
    hub.repositories[DATASET] = files
    return files


FOOTER = 70_000
"""Bytes of a small table that are fetched for its footer and texts, 65,536 of them at once."""


def test_a_streamed_dataset_goes_on_and_nothing_is_fetched_twice(
    hub: Hub, dataset: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "speech"
    hub.allowed = len(dataset["all/one.parquet"]) + 2 * FOOTER
    done = import_from_hub(folder)
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1
    assert "all/two.parquet cannot be had (403 Forbidden" in done.stderr
    assert len(list((folder / "wavs").glob("*.wav"))) == 3
    sent = hub.sent["all/one.parquet"]
    hub.allowed = 10**9
    done = import_from_hub(folder)
    assert done.returncode == 0, done.stderr
    assert hub.sent["all/one.parquet"] - sent < FOOTER
    assert hub.sent["all/two.parquet"] < len(dataset["all/two.parquet"]) + 3 * FOOTER
    assert "test/x.parquet" not in hub.sent
    rows = read_rows(folder)
    assert [row.split("|")[1] for row in rows] == ["Анна"] * 3 + ["Пётр"] * 3
    assert rows[0].endswith("|Текст utterance001.")
    journal = json.loads((folder / "import.json").read_text())
    assert (journal["source"], journal["left_out"]) == (f"hf://{DATASET}", [])


@pytest.mark.long
def test_a_dataset_is_read_no_further_than_asked_and_also_without_a_network(
    hub: Hub, dataset: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = import_from_hub(tmp_path / "few", "--one-speaker", "--limit", "2")
    assert done.returncode == 0, done.stderr
    assert len(read_rows(tmp_path / "few")) == 2
    assert "all/two.parquet" not in hub.sent
    done = import_from_hub(tmp_path / "other", "--split", "dev")
    assert "hf://datasets/anna/speech has train, test; name one with --split" in done.stderr
    fetch = (
        "from huggingface_hub import snapshot_download as d; d('anna/speech', repo_type='dataset')"
    )
    subprocess.run([sys.executable, "-c", fetch], check=True)
    hub.asked.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = import_from_hub(tmp_path / "few", "--one-speaker", "--limit", "4")
    assert done.returncode == 0, done.stderr
    assert "There already: 2 recordings." in done.stdout  # the same files by their content
    assert len(read_rows(tmp_path / "few")) == 4
    assert not hub.asked


@pytest.mark.long
def test_a_dataset_of_another_layout_is_read_as_the_hub_converted_it(
    hub: Hub, dataset: dict[str, bytes], tmp_path: Path
) -> None:
    hub.repositories[DATASET] = {"a.wav": b"RIFF"}
    done = import_from_hub(tmp_path / "speech")
    assert (
        "hf://datasets/anna/speech has no parquet files; fetch it with `hf download" in done.stderr
    )
    table = dataset["test/x.parquet"]
    converted = {f"{name}/partial-train/0000.parquet": table for name in ("ru", "en")}
    hub.repositories[f"{DATASET}@refs/convert/parquet"] = converted
    done = import_from_hub(tmp_path / "speech")
    assert "hf://datasets/anna/speech has en, ru; name one with --config" in done.stderr
    done = import_from_hub(tmp_path / "speech", "--config", "ru")
    assert done.returncode == 0, done.stderr
    assert "the Hub has only the beginning as parquet files" in done.stdout
    assert len(read_rows(tmp_path / "speech")) == 1


@pytest.mark.parametrize(
    ("names", "card", "found"),
    [
        (["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"], {}, "train"),
        (["data/train.clean.100-00000-of-00033.parquet"], {}, "train.clean.100"),
        (["data/test-00000-of-00001-0a1b2c3d4e5f6789.parquet"], {}, "test"),
        (["0000.parquet"], {}, "train"),
        (["partial-train/0000.parquet"], {}, "train"),
        (["validation.parquet"], {"configs": "what a stranger wrote"}, "validation"),
        (
            ["a.parquet"],
            {"configs": [1, {"data_files": [None, {"path": 3}, "*.parquet"]}]},
            "train",
        ),
        (["x/a.parquet"], {"configs": [{"data_files": "**/*.parquet"}]}, "train"),
    ],
)
def test_splits_of_tables_follow_from_the_card_or_their_names(
    names: list[str], card: dict[str, Any], found: str
) -> None:
    tables = [HubTable(name, Path(name), "") for name in names]
    assert group_tables(tables, card) == {"default": {found: tables}}
