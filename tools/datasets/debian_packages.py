"""Debian packages fetched and unpacked without root.

Needs apt-get and dpkg-deb. Package lists, cache and state lie in a folder of their own and the
system is not touched.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from piper.errors import DatasetError

# Hooks of the system's configuration act on the system (docker images empty its cache in one).
_HOOK = re.compile(r"^(APT::Update::(Pre|Post)|DPkg::(Pre|Post))")


def download_package(package: str, work_dir: Path) -> Path:
    """Return a package's file, with the digest of the signed lists; one from before is taken.

    Args:
        package: Its name.
        work_dir: Folder for package lists, cache and state.

    Raises:
        DatasetError: The package cannot be had, or is not what it should be.
    """
    missing = [name for name in ("apt-get", "apt-cache", "dpkg-deb") if shutil.which(name) is None]
    if missing:
        raise DatasetError(
            f"{package} is a Debian package, and {', '.join(missing)} is not there; fetch it on "
            "Debian or Ubuntu, or use tools/datasets/make_test_dataset.py instead."
        )
    environment = _create_apt_environment(work_dir)
    if not _find_entry(package, environment):
        _run_apt(["update"], environment, work_dir)
    entry = _find_entry(package, environment)
    if not entry:
        raise DatasetError(
            f"No package source of this system has {package}; add Debian's main or Ubuntu's "
            "universe to the sources, or use tools/datasets/make_test_dataset.py instead."
        )
    digest = entry["SHA256"]
    path = work_dir / Path(entry["Filename"]).name
    if not path.is_file() or _find_sha256(path) != digest:
        path.unlink(missing_ok=True)
        megabytes = int(entry["Size"]) / 10**6
        size = f"{megabytes:.0f} MB" if megabytes >= 1 else f"{megabytes * 1000:.0f} kB"
        print(f"Downloading {package} {entry['Version']} ({size}) …", flush=True)
        _run_apt(["download", f"{package}={entry['Version']}"], environment, work_dir)
        # apt writes a version's colon as %3a, so the file's name may differ from the index's.
        path = next(iter(work_dir.glob(f"{package}_*.deb")), path)
    if not path.is_file() or _find_sha256(path) != digest:
        path.unlink(missing_ok=True)
        raise DatasetError(
            f"{path.name} does not have the SHA-256 digest {digest[:16]}… and was removed; "
            "try again."
        )
    return path


def unpack_package(package: Path, unpacked: Path, wanted: Path) -> None:
    """Unpack a package's file.

    Args:
        package: The file.
        unpacked: Folder for its contents; what was there is kept.
        wanted: A path in the package without which it is of no use; may be a pattern.

    Raises:
        DatasetError: It cannot be unpacked, or has other contents.
    """
    print(f"Unpacking {package.name} …", flush=True)
    command = ["dpkg-deb", "-x", str(package), str(unpacked)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode != 0 or not any(unpacked.glob(str(wanted))):
        raise DatasetError(
            f"{package.name} cannot be unpacked ({process.stderr.strip() or 'other contents'}); "
            "is the disk full? Make room and run again."
        )


def _create_apt_environment(work_dir: Path) -> dict[str, str]:
    """Write an apt configuration that keeps everything below `work_dir`.

    The system's own settings (sources, keys, proxies) are taken over without their hooks.
    """
    work_dir = work_dir.absolute()
    for name in ("lists/partial", "archives/partial", "state", "log"):
        (work_dir / name).mkdir(parents=True, exist_ok=True)
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    settings = [line for line in dump.stdout.splitlines() if not _HOOK.match(line)]
    own = {
        "Dir::Etc::Parts": "/dev/null",
        "Dir::Etc::Main": "/dev/null",
        "Dir::State": work_dir / "state",
        "Dir::State::lists": work_dir / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": work_dir,
        "Dir::Cache::archives": work_dir / "archives",
        "Dir::Log": work_dir / "log",
        # As root, apt would download as the user _apt, who may not write here.
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
        "Acquire::IndexTargets::deb-src::Sources::DefaultEnabled": "false",
    }
    path = work_dir / "apt.conf"
    lines = [*settings, *(f'{key} "{value}";' for key, value in own.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {**os.environ, "APT_CONFIG": str(path), "LC_ALL": "C"}


def _run_apt(arguments: list[str], environment: dict[str, str], work_dir: Path) -> None:
    # Its own output is the progress: a bar on a terminal, lines elsewhere.
    command = ["apt-get", *arguments]
    process = subprocess.run(command, env=environment, cwd=work_dir, check=False)
    if process.returncode != 0:
        raise DatasetError(
            f"`{' '.join(command)}` failed with exit code {process.returncode} (its reason is "
            "above); check the network and the system's package sources, then run again."
        )


def _find_entry(package: str, environment: dict[str, str]) -> dict[str, str]:
    """Return the package's entry in the lists, newest version first, or nothing."""
    process = subprocess.run(
        ["apt-cache", "show", package], env=environment, capture_output=True, text=True, check=False
    )
    first = process.stdout.split("\n\n")[0]
    pairs = (line.partition(": ") for line in first.splitlines() if not line.startswith(" "))
    entry = {key: value for key, _, value in pairs}
    return entry if "SHA256" in entry and "Filename" in entry else {}


def _find_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
