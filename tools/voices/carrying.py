"""What travels to a machine that has torch and Lightning but no network, and what comes back.

There: code and packages, recordings as Opus with phoneme ids made beforehand, and the weights to
start from in half precision. Back: the weights that a voice speaks with, likewise, in parts, and
the held-out sentences, which torch speaks there: it needs no ONNX Runtime and no espeak-ng.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
import torch

from piper.errors import PiperError
from piper.files import replace_on_success
from piper.jobs import run_jobs
from piper.progress import ProgressLine
from piper.train.checkpoints import (
    AVERAGES_KEY,
    VOICE_CONFIG_KEY,
    load_checkpoint,
    network_config_from_checkpoint,
)
from piper.train.data.audio import decode
from piper.train.data.dataset_config import create_voice_config
from piper.train.data.metadata import load_metadata
from piper.train.data.prepare import find_ids
from piper.train.data.settings import resolve_settings
from piper.train.export import load_network
from piper.train.families import is_needed_to_speak, speak
from piper.train.warm_start import load_source
from piper.voice.synthesizer import scale_audio

ROOT = Path(__file__).resolve().parents[2]
PART_BYTES = 16_000_000
SEED = 20210611
MAX_SECONDS = 40.0
"""A network that has learnt little can ask for hours."""
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
"""Hertz that Opus knows (RFC 6716, section 2)."""
CODE = ("src/piper", "benchmarks", "tools/datasets", "tools/runpod", "tools/voices")
PACKAGES = (
    *("jsonargparse", "docstring-parser", "typeshed-client"),
    *("soundfile", "cffi", "pycparser", "soxr"),
)
"""What images with torch and Lightning lack; 2 MB."""
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64")
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


def pack_dataset(source: Path, target: Path, dataset_type: str = "text") -> int:
    """Write a dataset with Opus recordings and phoneme ids; return the bytes of its recordings.

    Frames of the ids, as a voice that spoke says them, and speakers go with them.
    """
    settings = resolve_settings(dataset_dir=source, dataset_type=dataset_type)
    rows = load_metadata(
        settings.csv_path,
        settings.audio_dir,
        num_speakers=settings.num_speakers,
        dataset_type=dataset_type,
        has_stress_marks=settings.has_stress_marks,
    )
    voice = create_voice_config(settings, rows)
    (target / "wavs").mkdir(parents=True, exist_ok=True)
    paths = [target / "wavs" / f"{row.audio_path.stem}.opus" for row in rows]
    pairs = [(row.audio_path, path) for row, path in zip(rows, paths, strict=True)]
    missing = [pair for pair in pairs if not pair[1].is_file()]
    run_jobs(_encode, missing, "Packing", "recordings")
    lines = []
    for row, path in zip(rows, paths, strict=True):
        words = [str(number) for number in find_ids(row, voice)[0]]
        if row.durations is not None:  # a voice that spoke says them
            words = [f"{id_}:{frames}" for id_, frames in zip(words, row.durations, strict=True)]
        columns = (path.name, row.speaker, row.text, " ".join(words))
        lines.append("|".join(column for column in columns if column is not None) + "\n")
    with replace_on_success(target / "metadata.csv") as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")
    config = json.dumps(voice.to_dict(), ensure_ascii=False, indent=2)
    with replace_on_success(target / "config.json") as temporary:
        temporary.write_text(config + "\n", encoding="utf-8")
    return sum(path.stat().st_size for path in paths)


def _encode(pair: tuple[Path, Path]) -> None:
    source, target = pair
    recording = decode(source)
    write_speech(target, recording.mix(), recording.sample_rate)


def write_speech(path: Path, samples: npt.NDArray[np.float32], rate: int) -> None:
    """Write speech as FLAC of 16 bits, or as Opus at the next rate that it knows: a fifth of it."""
    if is_opus := path.suffix == ".opus":
        wanted = next(known for known in (*OPUS_RATES, OPUS_RATES[-1]) if known >= rate)
        if wanted != rate:
            samples = soxr.resample(samples, rate, wanted)
        rate = wanted
    kind = {"format": "OGG", "subtype": "OPUS"} if is_opus else {"format": "FLAC"}
    with replace_on_success(path) as temporary:
        soundfile.write(temporary, np.clip(samples, -1, 1), rate, **kind)


def pack_start(voice: Path, target: Path) -> int:
    """Write a voice's weights as a checkpoint in half precision; return its bytes."""
    source = load_source(str(voice))
    data = {
        "state_dict": _halve(source.weights),
        "hyper_parameters": {"sample_rate": source.sample_rate},
        VOICE_CONFIG_KEY: {"phoneme_id_map": source.phoneme_ids},
    }
    with replace_on_success(target) as temporary:
        torch.save(data, temporary)
    return target.stat().st_size


def _halve(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return what was learnt in half precision.

    Numbers and vectors are small, and some are statistics; what a formula gives is exact.
    """
    return {
        name: value.half() if value.dim() > 1 and not name.endswith("minimum_phase") else value
        for name, value in weights.items()
    }


def write_parts(checkpoint_path: Path, folder: Path, part_bytes: int = PART_BYTES) -> list[Path]:
    """Write what a checkpoint's voice speaks with, in half precision, in parts; return them."""
    checkpoint = load_checkpoint(checkpoint_path)
    weights = {
        name.removeprefix("model_g."): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith("model_g.")
    }
    weights |= (checkpoint.get(AVERAGES_KEY) or {}).get("weights", {})
    network = network_config_from_checkpoint(checkpoint)
    needed = [name for name in weights if is_needed_to_speak(name, network)]
    data = {
        "state_dict": _halve({f"model_g.{name}": weights[name] for name in needed}),
        "hyper_parameters": checkpoint["hyper_parameters"],
        VOICE_CONFIG_KEY: checkpoint[VOICE_CONFIG_KEY],
        **{name: checkpoint.get(name) for name in ("epoch", "global_step")},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("voice.part*"):
        old.unlink()
    whole = io.BytesIO()
    torch.save(data, whole)
    whole.seek(0)
    parts = []
    while block := whole.read(part_bytes):
        parts.append(folder / f"voice.part{len(parts):02d}")
        parts[-1].write_bytes(block)
    return parts


def join_parts(folder: Path, target: Path) -> Path:
    """Write the checkpoint that parts make together.

    Raises:
        PiperError: There are none, or they are no checkpoint.
    """
    parts = sorted(folder.glob("voice.part*"))
    if not parts:
        raise PiperError(f"{folder} has no voice.part00; bring the parts back from the machine.")
    with replace_on_success(target) as temporary:
        temporary.write_bytes(b"".join(part.read_bytes() for part in parts))
        load_checkpoint(temporary)  # whole, before it replaces another
    return target


def speak_checkpoint(
    checkpoint_path: Path, dataset: Path, dataset_type: str, folder: Path, *, as_opus: bool
) -> None:
    """Say a dataset's sentences, as a voice would, into a folder: files named as the recordings.

    The averaged weights speak with the default noise; Opus is for what is carried from far away.
    """
    settings = resolve_settings(dataset_dir=dataset, dataset_type=dataset_type)
    rows = load_metadata(
        settings.csv_path,
        settings.audio_dir,
        dataset_type=dataset_type,
        has_stress_marks=settings.has_stress_marks,
    )
    voice = create_voice_config(settings, rows)
    checkpoint = load_checkpoint(checkpoint_path)
    config = network_config_from_checkpoint(checkpoint)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = load_network(checkpoint, config).to(device)
    folder.mkdir(parents=True, exist_ok=True)
    most_frames = int(MAX_SECONDS * config.sample_rate / config.hop_length)
    progress = ProgressLine("Speaking", len(rows), "sentences")
    for number, row in enumerate(rows, start=1):
        ids, _ = find_ids(row, voice)
        with torch.inference_mode():
            tensor = torch.tensor(ids, device=device)
            spoken = speak(network, tensor, seed=SEED, max_frames=most_frames)
        audio = spoken.audio.nan_to_num(0.0).cpu().numpy()
        samples = scale_audio(audio, normalize=True, volume=1.0)
        name = f"{row.audio_path.stem}.{'opus' if as_opus else 'flac'}"
        write_speech(folder / name, samples, config.sample_rate)
        progress.show(number)
    progress.finish(len(rows))


def write_setup(folder: Path, python: str | None = None) -> int:
    """Write `code`, `wheels` and `train.sh` into a folder that travels; return their bytes.

    Args:
        folder: With the packed datasets.
        python: Version of the other machine's Python; None: that of this one. The other machine
            is one with Linux and an x86-64 processor.

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
    with replace_on_success(folder / "train.sh") as temporary:
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
