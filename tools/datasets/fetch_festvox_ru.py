#!/usr/bin/env python3
"""Fetches 1.66 hours of real Russian speech (Debian package festvox-ru) as a dataset.

Needs apt-get and dpkg-deb, but no root: package lists, cache and state lie in a folder of its own
and the system is not touched. Run again it goes on where it was. Knows nothing of training.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import wave
from collections.abc import Iterable
from pathlib import Path

from piper.atomic import replace_on_success
from piper.errors import DatasetError

PACKAGE = "festvox-ru"
PINNED_SHA256 = {
    "0.5+dfsg-6": "21ef3f0f2978ecf2e2eddb367cb0ff4a72572196d28dc69feb84f4177af5e6c4",
}
VOICE_DIR = Path("usr/share/festival/voices/russian/msu_ru_nsh_clunits")
COPYRIGHT_PATH = Path("usr/share/doc") / PACKAGE / "copyright"
_TRANSCRIPT = re.compile(r'^\(\s*(\S+)\s+"(.*)"\s*\)$')
# Hooks of the system's configuration act on the system (docker images empty its cache in one).
_HOOK = re.compile(r"^(APT::Update::(Pre|Post)|DPkg::(Pre|Post))")


def fetch_festvox_ru(
    output_dir: Path | str, *, limit: int | None = None, max_seconds: float | None = None
) -> int:
    """Make the dataset: config.json, metadata.csv, wavs/, and the package's copyright notice.

    All recordings go to wavs/; `limit` and `max_seconds` choose the lines of metadata.csv, so that
    choosing anew downloads nothing. Stress marks (`+` before a vowel) stay in the texts.

    Args:
        output_dir: Folder of the dataset.
        limit: At most so many utterances, the first ones.
        max_seconds: Only utterances up to this length.

    Returns:
        The number of utterances in metadata.csv.

    Raises:
        DatasetError: The package cannot be had, or is not what it should be.
    """
    folder = Path(output_dir)
    work_dir = folder / ".download"
    if not _is_unpacked(folder):
        _check_programs()
        package = _download_package(work_dir)
        _unpack_package(package, work_dir / "unpacked", folder)
    shutil.rmtree(work_dir, ignore_errors=True)
    return _write_dataset(folder, limit, max_seconds)


def find_missing_programs() -> list[str]:
    """Return which of the programs that fetching needs are not there."""
    return [name for name in ("apt-get", "apt-cache", "dpkg-deb") if shutil.which(name) is None]


def _check_programs() -> None:
    missing = find_missing_programs()
    if missing:
        raise DatasetError(
            f"{PACKAGE} is a Debian package, and {', '.join(missing)} is not there; fetch it on "
            "Debian or Ubuntu, or use tools/datasets/make_test_dataset.py instead."
        )


def _download_package(work_dir: Path) -> Path:
    """Return the package's file, its digest checked; a whole one from before is taken."""
    environment = _create_apt_environment(work_dir)
    if not _find_entry(environment):
        _run_apt(["update"], environment, work_dir)
    entry = _find_entry(environment)
    if not entry:
        raise DatasetError(
            f"No package source of this system has {PACKAGE}; add Debian's main or Ubuntu's "
            "universe to the sources, or use tools/datasets/make_test_dataset.py instead."
        )
    digest = PINNED_SHA256.get(entry["Version"], entry["SHA256"])
    path = work_dir / Path(entry["Filename"]).name
    if not path.is_file() or _find_sha256(path) != digest:
        path.unlink(missing_ok=True)
        megabytes = int(entry["Size"]) // 10**6
        print(f"Downloading {PACKAGE} {entry['Version']} ({megabytes} MB) …", flush=True)
        _run_apt(["download", f"{PACKAGE}={entry['Version']}"], environment, work_dir)
        # apt writes a version's colon as %3a, so the file's name may differ from the index's.
        path = next(iter(work_dir.glob(f"{PACKAGE}_*.deb")), path)
    if not path.is_file() or _find_sha256(path) != digest:
        path.unlink(missing_ok=True)
        raise DatasetError(
            f"{path.name} does not have the SHA-256 digest {digest[:16]}… and was removed; "
            "try again."
        )
    return path


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


def _find_entry(environment: dict[str, str]) -> dict[str, str]:
    """Return the package's entry in the lists, newest version first, or nothing."""
    process = subprocess.run(
        ["apt-cache", "show", PACKAGE], env=environment, capture_output=True, text=True, check=False
    )
    first = process.stdout.split("\n\n")[0]
    pairs = (line.partition(": ") for line in first.splitlines() if not line.startswith(" "))
    entry = {key: value for key, _, value in pairs}
    return entry if "SHA256" in entry and "Filename" in entry else {}


def _find_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unpack_package(package: Path, unpacked: Path, folder: Path) -> None:
    shutil.rmtree(unpacked, ignore_errors=True)
    print(f"Unpacking {package.name} …", flush=True)
    process = subprocess.run(
        ["dpkg-deb", "-x", str(package), str(unpacked)], capture_output=True, text=True, check=False
    )
    source = unpacked / VOICE_DIR
    if process.returncode != 0 or not (source / "etc/txt.done.data").is_file():
        raise DatasetError(
            f"{package.name} cannot be unpacked ({process.stderr.strip() or 'other contents'}); "
            "is the disk full? Make room and run again."
        )
    (folder / "wavs").mkdir(parents=True, exist_ok=True)
    for path in sorted((source / "wav").glob("*.wav")):
        path.replace(folder / "wavs" / path.name)
    # The licence asks for its notice to be kept with the recordings.
    shutil.copyfile(unpacked / COPYRIGHT_PATH, folder / "COPYRIGHT")
    with replace_on_success(folder / "transcripts.txt") as temporary:
        shutil.copyfile(source / "etc/txt.done.data", temporary)


def _is_unpacked(folder: Path) -> bool:
    """Return whether all recordings are there; the transcripts are written last."""
    path = folder / "transcripts.txt"
    return path.is_file() and all(
        (folder / "wavs" / f"{name}.wav").is_file() for name, _ in _load_transcripts(path)
    )


def _load_transcripts(path: Path) -> Iterable[tuple[str, str]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := _TRANSCRIPT.match(line.strip()):
            yield match[1], match[2].replace('\\"', '"')


def _write_dataset(folder: Path, limit: int | None, max_seconds: float | None) -> int:
    lines = []
    sample_rate = 0
    for name, text in _load_transcripts(folder / "transcripts.txt"):
        with wave.open(str(folder / "wavs" / f"{name}.wav"), "rb") as wav_file:
            sample_rate = wav_file.getframerate()
            seconds = wav_file.getnframes() / sample_rate
        if max_seconds is None or seconds <= max_seconds:
            lines.append(f"{name}.wav|{text}\n")
    chosen = lines[:limit]
    if not chosen:
        raise DatasetError(
            f"No utterance is left with --limit {limit} and --max-seconds {max_seconds}; "
            "the shortest one takes 3.8 s."
        )
    config_path = folder / "config.json"
    if not config_path.is_file():
        config = {
            "dataset": "festvox_ru",
            "audio": {"sample_rate": sample_rate},
            "espeak": {"voice": "ru"},
            "language": {"code": "ru_RU"},
        }
        with replace_on_success(config_path) as temporary:
            temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    with replace_on_success(folder / "metadata.csv") as temporary:
        temporary.write_text("".join(chosen), encoding="utf-8")
    return len(chosen)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output-dir", default="datasets/festvox_ru", help="default: %(default)s")
    parser.add_argument("--limit", type=int, help="at most so many utterances")
    parser.add_argument("--max-seconds", type=float, help="only utterances up to this length")
    args = parser.parse_args()
    try:
        count = fetch_festvox_ru(args.output_dir, limit=args.limit, max_seconds=args.max_seconds)
    except DatasetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; run it again to go on.", file=sys.stderr)
        return 130
    print(f"{count} utterances of Russian speech are in {args.output_dir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
