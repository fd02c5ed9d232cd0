#!/usr/bin/env python3
"""Fetches about 25 minutes of telephone prompts in Russian, English, Spanish, French or Italian.

Recordings (16,000 Hz) and texts are in Debian's packages asterisk-core-sounds-LANGUAGE-g722 and
asterisk-core-sounds-LANGUAGE. Needs apt-get and dpkg-deb, but no root; the system is not touched.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from debian_packages import download_package, unpack_package

from piper.errors import DatasetError
from piper.train.command import run_command
from piper.train.formats.convert import ImportOptions, ImportReport, import_dataset

LANGUAGES = {"ru": "ru", "en": "en-us", "es": "es-419", "fr": "fr", "it": "it"}
"""Package's language to espeak-ng's voice: the Spanish one is Mexican, the English American."""
DOCUMENTS = Path("usr/share/doc")
SOUNDS = Path("usr/share/asterisk/sounds")
# `[this is a beep]`, `<beep ascending>`, `(1 second of silence)`: no speech.
_SOUND = re.compile(r"[\[(<][^\])>]*[\])>]")
_SIGN = re.compile(r"\[\W*\]")
"""What a letter's name stands for: `at [@]`."""


def fetch_asterisk_prompts(output_dir: Path | str, language: str = "ru") -> ImportReport | None:
    """Make the dataset: config.json, metadata.csv, wavs/, and the packages' copyright notice.

    Returns:
        What was imported; None where all was there already.

    Raises:
        DatasetError: The packages cannot be had, or are not what they should be.
    """
    folder = Path(output_dir)
    if _is_whole(folder, language):
        return None
    texts = f"asterisk-core-sounds-{language}"
    packages = (f"{texts}-g722", texts)
    # Beside the dataset: what is imported and what comes of it are two folders.
    work_dir = folder.absolute().with_name(f".{folder.name}.download")
    source, unpacked = work_dir / f"prompts_{language}", work_dir / "unpacked"
    shutil.rmtree(source, ignore_errors=True)
    for package, wanted in zip(packages, (SOUNDS / "*", DOCUMENTS / texts), strict=True):
        unpack_package(download_package(package, work_dir), unpacked, wanted)
    list_path = unpacked / DOCUMENTS / texts / f"core-sounds-{language}.txt.gz"
    lines = gzip.decompress(list_path.read_bytes()).decode("utf-8-sig").splitlines()
    voices = sorted((unpacked / SOUNDS).glob(f"{language}_*"))
    if not voices:
        raise DatasetError(f"{packages[0]} holds no recordings in {SOUNDS}/{language}_*.")
    gather_prompts(voices[0], parse_prompts(lines), source)
    options = ImportOptions(format_name="jsonl", language=LANGUAGES[language])
    report = import_dataset(source, folder, options)
    # The licence asks for its notice to be kept with the recordings.
    shutil.copyfile(unpacked / DOCUMENTS / packages[0] / "copyright", folder / "COPYRIGHT")
    shutil.rmtree(work_dir, ignore_errors=True)
    return report


def parse_prompts(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Return name and text of each prompt, of `name: Text.`; sounds and silence are left out."""
    for line in lines:
        name, colon, text = line.strip().partition(":")
        text = text.strip()
        if not colon or name.startswith(";") or not text or _SOUND.fullmatch(text):
            continue
        yield name.strip(), re.sub(r"[\[\]]", "", _SIGN.sub("", text)).strip()


def gather_prompts(voice: Path, prompts: Iterable[tuple[str, str]], source: Path) -> None:
    """Put recordings and texts (`digits/1`) into a new folder; what is not there stays missing."""
    source.mkdir(parents=True)
    rows = []
    for name, text in prompts:
        flat = f"{name.replace('/', '_')}.g722"
        if (voice / f"{name}.g722").is_file():
            shutil.copyfile(voice / f"{name}.g722", source / flat)
        rows.append(json.dumps({"audio_path": flat, "text": text}, ensure_ascii=False))
    (source / "prompts.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _is_whole(folder: Path, language: str) -> bool:
    """Return whether the dataset is there; the copyright notice is put there last.

    Raises:
        DatasetError: Another language is there.
    """
    try:
        report = json.loads((folder / "import.json").read_text(encoding="utf-8"))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    voice = config.get("espeak", {}).get("voice")
    if voice != LANGUAGES[language]:
        raise DatasetError(
            f"{folder} has prompts of the voice {voice}, not {LANGUAGES[language]}; name another "
            "folder with --output-dir."
        )
    return bool(report.get("is_complete")) and (folder / "COPYRIGHT").is_file()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--language", choices=tuple(LANGUAGES), default="ru")
    parser.add_argument("--output-dir", help="default: datasets/asterisk_LANGUAGE")
    args = parser.parse_args()
    folder = Path(args.output_dir or f"datasets/asterisk_{args.language}")
    return run_command(lambda: fetch(folder, args.language), "Stopped; run it again to go on.")


def fetch(folder: Path, language: str) -> int:
    report = fetch_asterisk_prompts(folder, language)
    if report is None:
        print(f"The prompts are in {folder} already.")
        return 0
    print(f"{report.num_recordings} prompts ({report.seconds / 60:.1f} min) are in {folder}.")
    for one in report.left_out:
        print(f"left out: {one.name} ({one.reason})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
