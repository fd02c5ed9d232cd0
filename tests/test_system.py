"""What differs between systems, and commands by the rules of another one."""

from __future__ import annotations

import codecs
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from piper import system
from piper.files import UniqueNames, is_plain_name
from piper.server import sockets
from piper.system import available_cores, available_memory_bytes, avoid_device, encode_path

MIB = 1024**2


def write_group(folder: Path, limit_name: str, limit: object, usage_name: str, usage: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / limit_name).write_text(f"{limit}\n")
    (folder / usage_name).write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {10 * MIB}\n")


def test_the_group_of_a_service_limits_memory_in_version_2(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/batch.slice/job.scope\n")
    write_group(tmp_path / "batch.slice", "memory.max", "max", "memory.current", 300 * MIB)
    job = tmp_path / "batch.slice" / "job.scope"
    write_group(job, "memory.max", 100 * MIB, "memory.current", 60 * MIB)
    # What the page cache holds is given back when memory is short.
    assert available_memory_bytes(tmp_path, own) == 50 * MIB
    write_group(tmp_path / "batch.slice", "memory.max", 320 * MIB, "memory.current", 300 * MIB)
    # The tightest of the nested groups counts.
    assert available_memory_bytes(tmp_path, own) == 30 * MIB


def test_the_group_of_a_service_limits_memory_in_version_1(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("5:cpu,cpuacct:/other\n4:memory:/jobs/7\n0::/\n")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    write_group(tmp_path / "memory" / "jobs" / "7", names[0], 80 * MIB, names[1], 40 * MIB)
    assert available_memory_bytes(tmp_path, own) == 50 * MIB


def test_a_container_s_limit_stands_at_the_mount_point(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/\n")
    write_group(tmp_path, "memory.max", 90 * MIB, "memory.current", 40 * MIB)
    assert available_memory_bytes(tmp_path, own) == 60 * MIB


def test_without_control_groups_the_machine_s_memory_counts(tmp_path: Path) -> None:
    assert available_memory_bytes(tmp_path, tmp_path / "none") > 50 * MIB


def test_there_is_a_core() -> None:
    assert available_cores() >= 1


@pytest.mark.parametrize("name", ["con", "Con.wav", "aux.x.y", "nul .wav", "com1", "LPT9.txt"])
def test_a_name_that_is_a_device_under_windows_is_changed(name: str) -> None:
    assert avoid_device(name) == f"_{name}"
    assert UniqueNames().take(name) == f"_{name}"
    assert not is_plain_name(name)


@pytest.mark.parametrize("name", ["", "a", "con1", "console.wav", "a.con", "com", "com10"])
def test_other_names_stay(name: str) -> None:
    assert avoid_device(name) == name


def test_letters_that_a_console_does_not_have_do_not_end_a_command() -> None:
    # Under Windows output that is redirected has the letters of a code page.
    command = [sys.executable, "-m", "piper", "--help"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert rb"\u2026" in done.stdout


def test_paths_for_c_are_in_the_code_page_of_windows(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    assert encode_path("/голоса") == "/голоса".encode()

    def find(name: str) -> codecs.CodecInfo | None:
        return codecs.lookup("cp1251") if name == "mbcs" else None

    codecs.register(find)
    request.addfinalizer(lambda: codecs.unregister(find))
    monkeypatch.setattr(system, "WINDOWS", True)
    assert encode_path("голоса") == "голоса".encode("cp1251")
    with pytest.raises(UnicodeEncodeError):
        encode_path("声")


def test_of_windows_and_macos_a_part_of_the_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "_MEMORY_INFO", tmp_path / "none")
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    assert available_memory_bytes(tmp_path, tmp_path / "none") == pages * size // 2
    monkeypatch.delattr(os, "sysconf")
    assert available_memory_bytes(tmp_path, tmp_path / "none") == 4 * 1024**3


def test_two_servers_of_windows_do_not_share_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    # There SO_REUSEADDR does not mean "of a server that ended a moment ago", but of any.
    monkeypatch.setattr(sockets, "WINDOWS", True)
    with sockets.bind_socket("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0


@pytest.fixture
def windows(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run commands as Windows would have them, see `windows_rules`."""
    rules = tmp_path / "rules"
    rules.mkdir()
    shutil.copy(Path(__file__).with_name("windows_rules.py"), rules)
    (rules / "sitecustomize.py").write_text("import windows_rules\nwindows_rules.impose()\n")
    path = os.pathsep.join([str(rules), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        "PYTHONIOENCODING": "cp1251",
        "PYTHONUTF8": "0",
    }

    def run(*words: object, text: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, *map(str, words)],
            input=text,
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            encoding="cp1251",
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


def test_speaking_by_the_rules_of_windows(
    windows: Callable[..., subprocess.CompletedProcess[str]], tiny_voice: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "голос"
    shutil.copytree(tiny_voice.parent, folder)
    speak = ("-m", "piper", "-m", folder / tiny_voice.name, "-d", "said")
    windows(*speak, "--output-dir-naming", "text", text="Con.\nNul\nWhat?\n")
    names = ["What.wav", "_Con.wav", "_Nul.wav"]
    assert sorted(path.name for path in tmp_path.glob("said/*.wav")) == names


@pytest.mark.long
def test_training_by_the_rules_of_windows(
    windows: Callable[..., subprocess.CompletedProcess[str]],
    speech_dataset: Path,
    copy_dataset: Callable[[Path], Path],
) -> None:
    # Preparing renamed a file that was open, and whatever measures memory imported `resource`.
    dataset = copy_dataset(speech_dataset)
    train = ("-m", "piper.train")
    windows(*train, "check", dataset)
    windows(*train, "prepare", dataset)
    fit = (*train, "fit", f"--data.dataset_dir={dataset}", "--data.num_workers=1")
    fit += ("--trainer.default_root_dir=runs", "--validation_quality=off", "--data.batch_size=4")
    for quality, steps in (("tiny", 2), ("quick", 2)):
        for more in (0, 1):  # begun, and gone on with
            flags = (f"--model.quality={quality}", f"--trainer.max_steps={steps + more}")
            flags += (f"--trainer.default_root_dir={quality}", "--ckpt_path=last")
            windows(*fit, *flags)
        [checkpoint] = (dataset.parent / quality).rglob("last.ckpt")
        export = ("--checkpoint", checkpoint, "--output-file", f"{quality}.onnx")
        windows("-m", "piper.train.export_onnx", *export)
    said = windows(*train, "evaluate", "--model", "quick.onnx", "--dataset", dataset, "--words", 0)
    assert "real-time factor" in said.stdout
    windows("-m", "piper", "-m", "quick.onnx", "-d", "lines", "--jobs", "2", text="One.\nTwo.\n")
