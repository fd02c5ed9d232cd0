"""docs/HTTP.md and docs/ru/http.md: their commands and programs, against a real server.

A comment before a block has it tried here: `<!-- test: server -->`, or `<!-- test: key -->` by a
server that wants a key. curl is not on every machine, so its commands are replayed, with the flags
that the documents use. JSON after commands is what the last one of them is answered.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, expect
from prometheus_client.parser import text_string_to_metric_families
from servers import copy_voice, write_catalogue

from documents import ROOT, Block, read_blocks, split_commands
from piper.server.openai import SpeechBody
from piper.server.piper import DownloadBody, SynthesizeBody
from piper.server.settings import Access, Downloads, ServerSettings
from publishing import Hub, serve_hub

PATHS = [ROOT / "docs/HTTP.md", ROOT / "docs/ru/http.md"]
BLOCKS = [block for path in PATHS for block in read_blocks(path)]
TRIED = [block for block in BLOCKS if block.mode in ("server", "key")]
COMMANDS = [block for block in TRIED if block.language == "bash"]
PROGRAMS = [block for block in TRIED if block.language == "python"]
PAGES = [block for block in TRIED if block.language == "html"]

ADDRESS = "127.0.0.1:5000"
PUBLISHED = "de_DE-thorsten-low"
KEY = "a-long-secret"
PLAYERS = {"aplay", "ffplay"}
FORMATS = {".wav": "WAV", ".mp3": "MP3", ".opus": "OGG", ".flac": "FLAC"}
SUFFIXES = {"audio/wav": ".wav", "audio/mpeg": ".mp3", "audio/pcm": ".pcm"}

Start = Callable[..., Any]


@pytest.fixture(scope="module")
def web(tiny_voice: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """What the servers download from; pages can be put there, too."""
    with serve_hub(tmp_path_factory.mktemp("web") / "hub") as hub:
        (hub.root / PUBLISHED).mkdir()
        copy_voice(tiny_voice, hub.root / PUBLISHED / f"{PUBLISHED}.onnx")
        write_catalogue(hub.root, PUBLISHED, PUBLISHED)
        yield hub


@pytest.fixture(scope="module")
def addresses(
    start_server: Start,
    web: Hub,
    tiny_voice: Path,
    tiny_voice_multi_speaker: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """Servers by a block's mode, with voices of the names that the documents use."""
    voices = tmp_path_factory.mktemp("documented")
    speakers = {"prudence": 0, "spike": 1, "poppy": 2}
    copy_voice(tiny_voice, voices / "en_US-joe-medium.onnx")
    copy_voice(tiny_voice, voices / "ru_RU-irina-medium.onnx", espeak={"voice": "ru"})
    semaine = voices / "en_GB-semaine-medium.onnx"
    copy_voice(tiny_voice_multi_speaker, semaine, speaker_id_map=speakers)
    origin = web.url.removesuffix("/main/voices.json")
    found = {}
    for mode, key in (("server", None), ("key", KEY)):
        settings = ServerSettings(
            downloads=Downloads(voices, web.url),
            access=Access(api_key=key, allowed_origins=(origin,)),
        )
        found[mode] = f"127.0.0.1:{start_server(settings, folder=voices).port}"
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a block is tried."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPER_API_KEY", KEY)
    return tmp_path


def create_curl_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("curl", allow_abbrev=False)
    parser.add_argument("url")
    parser.add_argument("-o", dest="output")
    parser.add_argument("-T", dest="file")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", dest="data", action="append", default=[])
    parser.add_argument("--data-urlencode", action="append", default=[])
    for flag in ("-G", "-N", "-s"):
        parser.add_argument(flag, action="store_true")
    return parser


def replay(words: list[str], piped: bytes = b"") -> httpx.Response:
    """Do what curl does; write its answer to the file after -o, send what is piped by `-T -`."""
    args = create_curl_parser().parse_args([os.path.expandvars(word) for word in words[1:]])
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if args.data else {}
    headers |= dict(header.split(": ", 1) for header in args.headers)
    pairs = (pair.split("=", 1) for pair in args.data_urlencode)
    data = "&".join([*args.data, *(f"{name}={quote(value)}" for name, value in pairs)])
    url = f"{args.url}?{data}" if args.G else args.url
    with httpx.Client(trust_env=False, timeout=120) as client:
        if args.file:
            assert args.file == "-"
            answer = client.put(url, content=iter([piped]), headers=headers)
        elif data and not args.G:
            answer = client.post(url, content=data.encode(), headers=headers)
        else:
            answer = client.get(url, headers=headers)
    if args.output:
        Path(args.output).write_bytes(answer.content)
    return answer


def find_answer(block: Block) -> Any:
    """Return the JSON that a document shows after a block, None where there is none."""
    following = BLOCKS[BLOCKS.index(block) + 1 :]
    if following and following[0].language == "json":
        return json.loads(following[0].text)
    return None


def check_alike(found: Any, shown: Any) -> None:
    """Check that an answer is built as the one that a document shows, and says the same."""
    assert type(found) is type(shown)
    if isinstance(shown, dict):
        assert found.keys() == shown.keys()
        for key, value in shown.items():
            check_alike(found[key], value)
            assert key not in ("detail", "message", "type", "object") or found[key] == value
    elif isinstance(shown, list):
        for one, other in zip(found, shown, strict=False):
            check_alike(one, other)


def check_events(answer: httpx.Response) -> None:
    """Check that server-sent events bring sound, and say when it is all."""
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]
    *parts, last = [event["type"] for event in events]
    assert set(parts) == {"speech.audio.delta"}
    assert last == "speech.audio.done"


def check_sound(path: Path) -> None:
    """Check that a file is what its name says, and that a few words can be heard in it."""
    if path.suffix == ".pcm":
        samples, rate = np.frombuffer(path.read_bytes(), "<i2"), 24000
    else:
        assert soundfile.info(path).format == FORMATS[path.suffix]
        samples, rate = soundfile.read(path, dtype="int16")
    assert 0.2 < len(samples) / rate < 20
    assert np.abs(samples.astype(float)).max() > 100


def check_files(block: Block, folder: Path) -> None:
    """Check that a block has written the files that it names, and nothing else."""
    names = set(re.findall(r"[\w-]+\.(?:wav|mp3|opus|flac|pcm)\b", block.text))
    sounds = [path for path in folder.iterdir() if ".onnx" not in path.name]
    assert {path.name for path in sounds if not path.name.startswith("heard")} == names
    for path in sounds:
        check_sound(path)


@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_commands(block: Block, addresses: dict[str, str], folder: Path, tiny_voice: Path) -> None:
    for name in ("anna", "vera"):
        copy_voice(tiny_voice, folder / f"{name}.onnx")
    commands = list(split_commands(block.text.replace(ADDRESS, addresses[block.mode])))
    shown = find_answer(block)
    is_mistake = shown is not None and bool({"detail", "error"} & shown.keys())
    requests = [words for words in commands if words[0] == "curl"]
    piped = [
        Path(name).read_bytes() for words in commands if words[0] == "cat" for name in words[1:]
    ]
    answers = [replay(words, b"".join(piped)) for words in requests]
    for answer in answers:
        assert answer.content
        assert answer.is_error == (is_mistake and answer is answers[-1]), answer.text
        if answer.headers["Content-Type"].startswith("text/event-stream"):
            check_events(answer)
    if shown is not None:
        check_alike(answers[-1].json(), shown)
    played = [words for words in commands if words[0] not in ("curl", "cat")]
    assert {words[0] for words in played} <= PLAYERS
    if played:
        assert len(played) == len(answers)
        for number, answer in enumerate(answers):
            suffix = SUFFIXES[answer.headers["Content-Type"]]
            (folder / f"heard{number}{suffix}").write_bytes(answer.content)
    check_files(block, folder)


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_programs(block: Block, addresses: dict[str, str], folder: Path) -> None:
    text = "\n" * (block.line - 1) + block.text.replace(ADDRESS, addresses[block.mode])
    exec(compile(text, str(block.path), "exec"), {"__name__": "example"})
    check_files(block, folder)


@pytest.mark.parametrize("block", PAGES, ids=str)
def test_pages(block: Block, addresses: dict[str, str], web: Hub, browser: Browser) -> None:
    text = block.text.replace(ADDRESS, addresses[block.mode])
    (web.root / "speak.html").write_text(text, encoding="utf-8")
    page = browser.new_page()
    page.goto(web.url.replace("voices.json", "speak.html"))
    page.click("#speak")
    expect(page.locator("#said")).to_have_text(page.input_value("#text"))
    page.close()


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_left_out(path: Path, server: Any) -> None:
    text = path.read_text(encoding="utf-8")
    for address in [*server.app.openapi()["paths"], "/live", "/openapi.json"]:
        assert re.search(rf"{address.partition('{')[0]}\b", text), address
    for body in (SynthesizeBody, SpeechBody, DownloadBody):
        for key in body.model_fields:
            assert re.search(rf"[`\"]{key}[`\"]", text), key
    shown = set(re.findall(r"`(piper_\w+)`", text))
    families = list(text_string_to_metric_families(server.get("/metrics").body.decode()))
    counters = {f"{family.name}_total" for family in families if family.type == "counter"}
    others = {family.name for family in families if family.type != "counter"}
    ours = {name for name in counters | others if name.startswith("piper_")}
    assert shown == {name for name in ours if not name.endswith("_created")}
