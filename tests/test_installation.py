"""Both piper-tts and this package in one environment: one sentence says so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest

from piper.jobs import describe_conflict

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "piper"
SHIM = PACKAGE.parents[1] / "tools" / "shim"
# What the other distribution's own files do, as far as it matters here.
RIVAL_FILES = {
    "piper/__init__.py": "from .voice import PiperVoice\n",
    "piper/__main__.py": "print('the other one')\n",
    "piper/config.py": "class PiperConfig: pass\n",
    "piper/voice.py": "class PiperVoice: pass\n",
    "piper_tts-9.9.dist-info/METADATA": "Metadata-Version: 2.1\nName: piper-tts\nVersion: 9.9\n",
    "piper_tts-9.9.dist-info/WHEEL": (
        "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    ),
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small wheel of the name piper-tts."""
    path = tmp_path_factory.mktemp("wheel") / "piper_tts-9.9-py3-none-any.whl"
    record = "piper_tts-9.9.dist-info/RECORD"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in RIVAL_FILES.items():
            archive.writestr(name, text)
        archive.writestr(record, "".join(f"{name},,\n" for name in (*RIVAL_FILES, record)))
    return path


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """The Python of an empty virtual environment."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    return tmp_path / "env" / "bin" / "python"


def find_site(python: Path) -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.check_output([python, "-c", code], text=True).strip())


def install_ours(python: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, find_site(python) / "piper", ignore=ignore, dirs_exist_ok=True)


def install_rival(python: Path, wheel: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--python", str(python), "-q", "install")
    subprocess.run([*pip, "--no-index", "--no-deps", "--no-compile", str(wheel)], check=True)


def run(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(python), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def test_ours_was_installed_last(environment: Path, wheel: Path) -> None:
    install_rival(environment, wheel)
    install_ours(environment)
    done = run(environment, "-m", "piper", "-m", "nobody", "text")
    warning, error = done.stderr.splitlines()
    assert warning.startswith("piper-tts 9.9 and piper-workshop are both installed in ")
    assert "`pip uninstall -y piper-tts piper-workshop`" in warning
    assert error.startswith("error: There is no nobody.onnx")


def test_theirs_was_installed_last(environment: Path, wheel: Path) -> None:
    install_ours(environment)
    install_rival(environment, wheel)
    for arguments in (["-c", "import piper"], ["-m", "piper", "-m", "nobody", "text"]):
        done = run(environment, *arguments)
        assert done.returncode != 0
        last = done.stderr.splitlines()[-1]
        assert last.startswith("ImportError: piper-tts 9.9 and piper-workshop are both installed")


def test_the_name_without_code_stands_beside_ours(environment: Path, tmp_path: Path) -> None:
    # Programs that ask pip for piper-tts are satisfied by it, extras and all.
    source = shutil.copytree(SHIM, tmp_path / "shim")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    build = (*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source))
    subprocess.run(build, check=True)
    [wheel] = tmp_path.glob("*.whl")
    assert wheel.name == "piper_tts-1.8.0+workshop-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        assert all(name.startswith("piper_tts-1.8.0+workshop.dist-") for name in archive.namelist())
        [metadata] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        said = archive.read(metadata).decode()
    assert "Requires-Dist: piper-workshop\n" in said
    extras = tomllib.loads((SHIM.parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = re.findall(r"Requires-Dist: piper-workshop\[(\w+)\]", said)
    assert wanted
    assert set(wanted) <= set(extras["optional-dependencies"])
    install_ours(environment)
    install_rival(environment, wheel)
    done = run(environment, "-m", "piper", "-m", "nobody", "text")
    assert done.stderr.startswith("error: There is no nobody.onnx")
    code = "from importlib.metadata import version; print(version('piper-tts'))"
    assert run(environment, "-c", code).stdout == "1.8.0+workshop\n"


def test_ours_alone_says_nothing(environment: Path) -> None:
    install_ours(environment)
    done = run(environment, "-m", "piper", "-m", "nobody", "text")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: There is no nobody.onnx")


def test_it_costs_next_to_nothing(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"package_{number}-1.0.dist-info").mkdir()
    times, listings = [], []
    for _ in range(20):
        start = time.perf_counter()
        assert describe_conflict(str(tmp_path)) is None
        times.append(time.perf_counter() - start)
        start = time.perf_counter()
        os.listdir(tmp_path)  # noqa: PTH208
        listings.append(time.perf_counter() - start)
    assert min(times) < 10 * min(listings)  # as long as the listing alone, on whatever machine
    assert describe_conflict(str(tmp_path / "missing")) is None
