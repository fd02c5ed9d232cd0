"""The cache of optimised models: made, used, mended, and done without."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from piper import system
from piper.config import SynthesisConfig
from piper.errors import ConfigError, PiperError
from piper.voice import cache as cache_module
from piper.voice.cache import (
    CACHE_VARIABLE,
    FORMAT,
    compare_with_original,
    describe_machine,
    find_cache_dir,
    read_optimised_model,
    write_optimised_model,
)
from piper.voice.session import PartsSession, VoiceSession
from piper.voice.voice import PiperVoice

QUIET = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0, normalize_audio=False)
IDS = [1, 0, 20, 0, 30, 0, 2]


def entries(cache: Path) -> list[Path]:
    return sorted(path for path in cache.glob(f"*-{FORMAT}"))


def speak(voice: Path, cache: Path | bool) -> tuple[type, np.ndarray]:
    loaded = PiperVoice.load(voice, cache_dir=cache or False)  # type: ignore[arg-type]
    return type(loaded.network), loaded.phoneme_ids_to_audio(IDS, QUIET)


@pytest.fixture(scope="module")
def filled(tiny_voice: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A cache with the small voice's model, and the sound that this gives."""
    folder = tmp_path_factory.mktemp("filled") / "cache"
    return folder, speak(tiny_voice, folder)[1]


@pytest.fixture
def first(filled: tuple[Path, np.ndarray]) -> np.ndarray:
    return filled[1]


@pytest.fixture
def cache(filled: tuple[Path, np.ndarray], tmp_path: Path) -> Path:
    """A copy of it, which a test may change."""
    return Path(shutil.copytree(filled[0], tmp_path / "cache"))


def test_made_once_and_used_afterwards(own_voice: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    kind, first = speak(own_voice, cache)
    assert kind is PartsSession
    [entry] = entries(cache)
    times = {path.name: path.stat().st_mtime_ns for path in entry.iterdir()}
    assert np.array_equal(speak(own_voice, cache)[1], first)
    assert {path.name: path.stat().st_mtime_ns for path in entry.iterdir()} == times
    assert not list(cache.glob(".*.part"))
    np.testing.assert_allclose(first, speak(own_voice, False)[1], atol=1e-4)


def test_the_second_start_takes_nothing_apart(tiny_voice: Path, cache: Path) -> None:
    code = (
        "import sys; from piper import PiperVoice\n"
        "voice = PiperVoice.load(sys.argv[1], cache_dir=sys.argv[2])\n"
        "assert type(voice.network).__name__ == 'PartsSession'\n"
        "print([m for m in ('onnx', 'torch', 'piper.voice.weights') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tiny_voice), str(cache)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_it_is_kept_for_this_processor_and_this_onnx_runtime(
    tiny_voice: Path,
    cache: Path,
    first: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Weights are laid out as wide as a processor's registers; elsewhere they would be noise."""
    assert [describe_machine() in path.name for path in entries(cache)] == [True]
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text("processor : 0\nmodel name : other\nflags : fpu avx\n\nprocessor : 1\n")
    monkeypatch.setattr(system, "CPU_INFO", cpu_info)
    assert np.array_equal(speak(tiny_voice, cache)[1], first)
    assert len(entries(cache)) == 2
    monkeypatch.setattr(system, "CPU_INFO", tmp_path / "none")
    assert describe_machine().startswith(f"{onnxruntime.__version__}-")


def test_a_graph_for_a_gpu_is_optimised_at_each_start(own_voice: Path, tmp_path: Path) -> None:
    for name, is_blocked in (("plain", False), ("blocked", True)):
        folder = tmp_path / name
        folder.mkdir()
        assert write_optimised_model(own_voice, folder, is_for_machine=is_blocked) is None
    plain, blocked = (onnx.load(tmp_path / name / "decoder.onnx") for name in ("plain", "blocked"))
    assert {node.domain for node in plain.graph.node} == {""}
    assert any(node.domain for node in blocked.graph.node)
    files = read_optimised_model(tmp_path / "plain")
    assert files is not None
    assert not files.is_for_machine
    assert compare_with_original(PartsSession(files), VoiceSession(own_voice), 256, 1) is None


def test_a_moved_voice_finds_its_graph_and_a_changed_one_gets_a_new_one(
    own_voice: Path, tiny_voice_multi_speaker: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    first = speak(own_voice, cache)[1]
    moved = own_voice.with_name("moved.onnx")
    shutil.copy(own_voice, moved)
    shutil.copy(f"{own_voice}.json", f"{moved}.json")
    assert np.array_equal(speak(moved, cache)[1], first)
    assert len(entries(cache)) == 1
    for suffix in ("", ".json"):
        shutil.copy(f"{tiny_voice_multi_speaker}{suffix}", f"{moved}{suffix}")
    np.testing.assert_allclose(speak(moved, cache)[1], speak(moved, False)[1], atol=1e-4)
    assert len(entries(cache)) == 2


@pytest.mark.parametrize("damage", ["cut weights", "cut graph", "garbage", "gone", "description"])
def test_a_broken_entry_is_made_again(
    tiny_voice: Path, cache: Path, first: np.ndarray, damage: str
) -> None:
    [entry] = entries(cache)
    if damage == "cut weights":
        os.truncate(entry / "decoder.bin", 100)
    elif damage == "cut graph":
        os.truncate(entry / "text.onnx", 100)
    elif damage == "garbage":
        graph = entry / "text.onnx"
        graph.write_bytes(b"\xff" * graph.stat().st_size)
    elif damage == "gone":
        (entry / "decoder.onnx").unlink()
    else:
        (entry / "voice.json").write_text("{")
    kind, again = speak(tiny_voice, cache)
    assert kind is PartsSession
    assert np.array_equal(again, first)


@pytest.mark.parametrize(
    ("file", "how"),
    [
        ("decoder.bin", "written"),
        ("voice.json", "written"),
        ("text.onnx", "written"),
        ("decoder.bin", "by the disk"),
    ],
)
def test_flipped_bytes_are_found_before_they_are_heard(
    tiny_voice: Path,
    cache: Path,
    first: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    how: str,
) -> None:
    """They were noise at full scale, at each start, for a file of the right size was believed."""
    [entry] = entries(cache)
    content = bytearray((entry / file).read_bytes())
    if file == "voice.json":
        content = bytearray(content.replace(b'"hop_length": 256', b'"hop_length": 128'))
    else:
        content[len(content) // 2] ^= 0x40
    if how == "written":
        (entry / file).write_bytes(content)
    else:  # as if nobody had written: found with the check of all that is due once a day
        monkeypatch.setattr(cache_module, "_find_state", lambda path: [path.stat().st_size, 0, 0])
        cache_module.read_optimised_model(entry)
        (entry / file).write_bytes(content)
        assert cache_module.read_optimised_model(entry) is not None
        monkeypatch.setattr(cache_module, "_CHECK_SECONDS", 0.0)
    kind, again = speak(tiny_voice, cache)
    assert kind is PartsSession
    assert np.array_equal(again, first)


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("x"), PiperError("x")])
def test_whatever_goes_wrong_with_the_other_graph_the_voice_speaks(
    own_voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    for place in ((cache_module, "compare_with_original"), (cache_module, "PartsSession")):
        with monkeypatch.context() as patch:
            patch.setattr(*place, fail)
            kind, audio = speak(own_voice, tmp_path / place[1])
        assert kind is VoiceSession
        assert len(audio)


def test_a_folder_that_cannot_be_used_leaves_the_original(
    own_voice: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.INFO, "piper"):
        kind, _ = speak(own_voice, tmp_path / "file" / "cache")
    assert kind is VoiceSession
    [record] = caplog.records
    assert "speaks by its own graph" in record.message
    assert "cannot be used" in record.message


def test_weights_that_cannot_be_named_leave_the_original(
    own_voice: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = onnx.load(own_voice)
    del model.metadata_props[:]
    for number, node in enumerate(model.graph.node):
        node.name = str(number)
    names = {tensor.name: f"w{i}" for i, tensor in enumerate(model.graph.initializer)}
    for tensor in model.graph.initializer:
        tensor.name = names[tensor.name]
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    onnx.save(model, own_voice)
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.INFO, "piper"):
            kind, audio = speak(own_voice, tmp_path / "cache")
        assert kind is VoiceSession
        assert len(audio)
        assert len(caplog.records) == 1
        # The refusal is of this machine and version: another may be able to.
        [refusal] = (tmp_path / "cache").glob("*.json")
        assert refusal.name.endswith(f"-{describe_machine()}-{FORMAT}.json")
        assert "no weights of a Piper voice" in caplog.records[0].message


def test_a_graph_that_differs_is_not_used(own_voice: Path, tmp_path: Path) -> None:
    """Taking weights apart by name may go wrong without an error; then the sound says so."""
    model = onnx.load(own_voice)
    for node in model.graph.node:
        if node.op_type == "Tanh" and node.output[0] == "output":
            node.op_type = "Sigmoid"
    onnx.save(model, own_voice)
    assert speak(own_voice, tmp_path / "cache")[0] is VoiceSession
    assert entries(tmp_path / "cache") == []


def test_the_comparison_says_what_differs(
    tiny_voice: Path, tiny_voice_multi_speaker: Path, tmp_path: Path
) -> None:
    parts = PiperVoice.load(tiny_voice, cache_dir=tmp_path).network
    assert isinstance(parts, PartsSession)
    assert compare_with_original(parts, VoiceSession(tiny_voice), 256, 1) is None
    other = VoiceSession(tiny_voice_multi_speaker)
    assert compare_with_original(parts, other, 256, 1) is not None


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert find_cache_dir() == tmp_path
    assert find_cache_dir(tmp_path / "other") == tmp_path / "other"
    assert find_cache_dir(False) is None
    monkeypatch.setenv(CACHE_VARIABLE, "off")
    assert find_cache_dir() is None
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert find_cache_dir() == tmp_path / "xdg" / "piper"


def test_an_index_that_cannot_be_written_matters_not(
    tiny_voice: Path, cache: Path, first: np.ndarray
) -> None:
    """A cache that was filled for many, and is only read: the voice is hashed at each start."""
    shutil.rmtree(cache / "index")
    (cache / "index").touch()
    kind, again = speak(tiny_voice, cache)
    assert kind is PartsSession
    assert np.array_equal(first, again)


def test_processes_that_start_at_once_make_it_once(own_voice: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    code = (
        "import logging, sys; logging.basicConfig(level=logging.DEBUG)\n"
        "from piper import PiperVoice\n"
        "voice = PiperVoice.load(sys.argv[1], cache_dir=sys.argv[2])\n"
        "print(type(voice.network).__name__)"
    )
    command = [sys.executable, "-c", code, str(own_voice), str(cache)]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=120) for process in started]
    assert [out for out, _ in outputs] == ["PartsSession\n"] * 3
    assert sum(log.count("Making the optimised model") for _, log in outputs) == 1
    assert len(entries(cache)) == 1


def test_what_a_killed_process_left_is_removed(tiny_voice: Path, cache: Path) -> None:
    [entry] = entries(cache)
    left = entry.with_name(f".{entry.name}.part")
    entry.rename(left)
    assert speak(tiny_voice, cache)[0] is PartsSession
    assert not left.exists()
    assert entries(cache) == [entry]


def test_more_speakers_in_the_json_than_in_the_network(
    tiny_voice_multi_speaker: Path, tmp_path: Path
) -> None:
    data = json.loads(Path(f"{tiny_voice_multi_speaker}.json").read_text(encoding="utf-8"))
    data["num_speakers"] = 9
    (tmp_path / "voice.onnx.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"says num_speakers 9, but the network has 3"):
        PiperVoice.load(tiny_voice_multi_speaker, tmp_path / "voice.onnx.json")
