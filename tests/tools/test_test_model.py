"""The tool that tries a voice, with a small real one."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import wave
from pathlib import Path
from types import ModuleType

import pytest

from piper.errors import VoiceNotFoundError

ROOT = Path(__file__).resolve().parents[2]


def load_tool() -> ModuleType:
    """Import the tool under a name that no module of tests can have."""
    spec = importlib.util.spec_from_file_location(
        "tool_test_model", ROOT / "tools" / "inference" / "test_model.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load_tool()


def put_voice(voice: Path, target: Path, *, age_seconds: int = 0) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(voice, target)
    shutil.copy(f"{voice}.json", f"{target}.json")
    changed = target.stat().st_mtime - age_seconds
    os.utime(target, (changed, changed))
    return target


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    return folder


def test_the_quick_start_s_voice_comes_first(tiny_voice: Path, root: Path, tmp_path: Path) -> None:
    put_voice(tiny_voice, root / "demo" / "new.onnx")
    here = put_voice(tiny_voice, tmp_path / "felix_mirage_epoch749.onnx", age_seconds=900)
    assert tool.find_model(root, tmp_path) == here
    ours = put_voice(tiny_voice, root / "felix_mirage_epoch749.onnx", age_seconds=999)
    assert tool.find_model(root, tmp_path) == ours


def test_else_the_newest_voice_of_the_project(tiny_voice: Path, root: Path, tmp_path: Path) -> None:
    put_voice(tiny_voice, root / "own.onnx", age_seconds=30)
    put_voice(tiny_voice, root / "voices" / "old" / "old.onnx", age_seconds=60)
    newest = put_voice(tiny_voice, root / "lightning_logs" / "version_1" / "v.onnx", age_seconds=5)
    shutil.copy(tiny_voice, root / "without_json.onnx")
    put_voice(tiny_voice, root / ".venv" / "other.onnx")
    assert tool.find_model(root, tmp_path) == newest
    newer = put_voice(tiny_voice, root / "demo" / "newer.onnx")
    assert tool.find_model(root, tmp_path) == newer


def test_without_a_voice_it_says_how_to_get_one(root: Path, tmp_path: Path) -> None:
    with pytest.raises(VoiceNotFoundError, match=r"There is no voice in .*`make demo`"):
        tool.find_model(root, tmp_path)


def test_it_speaks_from_any_folder(tiny_voice: Path, tmp_path: Path) -> None:
    script = str(ROOT / "tools" / "inference" / "test_model.py")
    done = subprocess.run(
        [sys.executable, script, "--model", str(tiny_voice)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    assert set(lines) == {"voice", "text", "duration", "real-time factor", "file"}
    assert lines["text"].strip() == "Hello, this is a test."
    assert lines["file"].strip() == "output.wav"
    with wave.open(str(tmp_path / "output.wav")) as wav:
        seconds = wav.getnframes() / wav.getframerate()
    assert lines["duration"].strip() == f"{seconds:.2f} s"


def test_config_text_and_output_file_are_taken(
    tiny_voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads(Path(f"{tiny_voice}.json").read_text(encoding="utf-8"))
    config["espeak"]["voice"] = "ru"
    russian = tmp_path / "russian.json"
    russian.write_text(json.dumps(config), encoding="utf-8")
    output = tmp_path / "speech" / "o.wav"
    arguments = ["--model", str(tiny_voice), "--config", str(russian), "--output-file"]
    assert tool.main([*arguments, str(output)]) == 0
    assert "Привет, это тест." in capsys.readouterr().out
    assert output.is_file()
    assert tool.main([*arguments, str(output), "--text", "Доброе утро!"]) == 0
    assert "Доброе утро!" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "none.onnx"], "error: There is no none.onnx in the current folder; check"),
        (["--text", "..."], "error: There is nothing to speak in '...'"),
        (["--config", "none.json"], "error: none.json does not exist; give the voice's JSON"),
    ],
)
def test_mistakes_are_one_sentence(
    tiny_voice: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    model = [] if "--model" in arguments else ["--model", str(tiny_voice)]
    assert tool.main([*model, *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(message)
    assert captured.err.count("\n") == 1
    assert captured.out == ""
