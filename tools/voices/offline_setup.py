"""Code and packages for a machine that has torch and Lightning, but no network. Trains nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from piper.errors import PiperError
from piper.files import replace_on_success

ROOT = Path(__file__).resolve().parents[2]
CODE = ("src/piper", "tools/datasets", "tools/voices")
PACKAGES = (
    *("jsonargparse", "docstring-parser", "typeshed-client"),
    *("soundfile", "cffi", "pycparser", "soxr"),
)
"""What images with torch and Lightning lack; 2 MB. Phonemes were made here, so no espeak-ng."""
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64")
SCRIPT_NAME = "train.sh"
SCRIPT = """\
#!/bin/sh
# Sets up without a network, and trains in pieces; the same command goes on where it was.
set -e
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
if ! test -e "$here/site"; then
  rm -rf "$here/site.part"
  python3 -m pip install -q --no-index --no-deps --target "$here/site.part" "$here"/wheels/*.whl
  mv "$here/site.part" "$here/site"
fi
PYTHONPATH="$here/site:$here/code/src" exec python3 \\
  "$here/code/tools/voices/train_festvox_ru.py" --work-dir "$here/.." --packed --stages train "$@"
"""


def write_setup(folder: Path, python: str | None = None) -> int:
    """Write `code`, `wheels` and `train.sh` into a folder that travels; return their bytes.

    Args:
        folder: With the packed datasets.
        python: Version of the other machine's Python, such as 3.12; None: that of this one. The
            other machine is one with Linux and an x86-64 processor.

    Raises:
        PiperError: The packages cannot be had.
    """
    for name in CODE:
        target = folder / "code" / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
    wheels = folder / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)  # two versions of one package cannot be installed
    _download(wheels, python or f"{sys.version_info.major}.{sys.version_info.minor}")
    with replace_on_success(folder / SCRIPT_NAME) as temporary:
        temporary.write_text(SCRIPT, encoding="utf-8")
    parts = [path for name in ("code", "wheels") for path in (folder / name).rglob("*")]
    return sum(path.stat().st_size for path in parts if path.is_file())


def _download(folder: Path, python: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--implementation=cp", f"--dest={folder}"]
    command += [f"--python-version={python}", *(f"--platform={name}" for name in PLATFORMS)]
    command += [f"{name}=={version(name)}" for name in PACKAGES]
    if subprocess.run(command).returncode != 0:
        raise PiperError(
            f"The packages for Python {python} cannot be had; pip says why above. Run it again "
            "with the network, or with another --target-python."
        )
