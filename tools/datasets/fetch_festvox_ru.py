#!/usr/bin/env python3
"""Fetches 1.66 hours of real Russian speech (Debian package festvox-ru) as a dataset.

Needs apt-get and dpkg-deb, but no root: package lists, cache and state lie in a folder of its own
and the system is not touched. Run again it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import wave
from collections.abc import Iterable
from pathlib import Path

from debian_packages import download_package, unpack_package

from piper.errors import DatasetError
from piper.files import replace_on_success
from piper.train.command import run_command

PACKAGE = "festvox-ru"
VOICE_DIR = Path("usr/share/festival/voices/russian/msu_ru_nsh_clunits")
COPYRIGHT_PATH = Path("usr/share/doc") / PACKAGE / "copyright"
_TRANSCRIPT = re.compile(r'^\(\s*(\S+)\s+"(.*)"\s*\)$')


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
        package = download_package(PACKAGE, work_dir)
        _unpack_package(package, work_dir / "unpacked", folder)
    shutil.rmtree(work_dir, ignore_errors=True)
    return _write_dataset(folder, limit, max_seconds)


def _unpack_package(package: Path, unpacked: Path, folder: Path) -> None:
    shutil.rmtree(unpacked, ignore_errors=True)
    unpack_package(package, unpacked, VOICE_DIR / "etc/txt.done.data")
    source = unpacked / VOICE_DIR
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

    def fetch() -> int:
        count = fetch_festvox_ru(args.output_dir, limit=args.limit, max_seconds=args.max_seconds)
        print(f"{count} utterances of Russian speech are in {args.output_dir}")
        return 0

    return run_command(fetch, "Interrupted; run it again to go on.")


if __name__ == "__main__":
    sys.exit(main())
