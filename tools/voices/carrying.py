"""What travels to a machine without a network, and what comes back: small, in parts.

There: recordings as Opus with phoneme ids made beforehand, and the weights to start from in half
precision. Back: the weights that a voice speaks with, likewise. Trains nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from speech_files import write_opus

from piper.errors import PiperError
from piper.files import replace_on_success
from piper.jobs import run_jobs
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
from piper.train.families import is_needed_to_speak
from piper.train.warm_start import load_source

PART_BYTES = 16_000_000
PART_NAME = "voice.part{:02d}"


def pack_dataset(source: Path, target: Path) -> int:
    """Write a dataset with Opus recordings and phoneme ids; return the bytes of its recordings.

    Args:
        source: A dataset with texts, one speaker.
        target: Folder of the new one, to be trained on with `--data.dataset_type=phoneme_ids`.
    """
    settings = resolve_settings(dataset_dir=source)
    rows = load_metadata(
        settings.csv_path, settings.audio_dir, has_stress_marks=settings.has_stress_marks
    )
    voice = create_voice_config(settings, rows)
    (target / "wavs").mkdir(parents=True, exist_ok=True)
    paths = [target / "wavs" / f"{row.audio_path.stem}.opus" for row in rows]
    pairs = [(row.audio_path, path) for row, path in zip(rows, paths, strict=True)]
    missing = [pair for pair in pairs if not pair[1].is_file()]
    run_jobs(_encode, missing, "Packing", "recordings")
    lines = []
    for row, path in zip(rows, paths, strict=True):
        ids, _ = find_ids(row, voice)
        lines.append(f"{path.name}|{row.text}|{' '.join(map(str, ids))}\n")
    with replace_on_success(target / "metadata.csv") as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")
    config = json.dumps(voice.to_dict(), ensure_ascii=False, indent=2)
    with replace_on_success(target / "config.json") as temporary:
        temporary.write_text(config + "\n", encoding="utf-8")
    return sum(path.stat().st_size for path in paths)


def _encode(pair: tuple[Path, Path]) -> None:
    source, target = pair
    recording = decode(source)
    write_opus(target, recording.mix(), recording.sample_rate)


def pack_start(voice: Path, target: Path) -> int:
    """Write a voice's weights as a checkpoint in half precision; return its bytes.

    Args:
        voice: An `.onnx` with its JSON, or a checkpoint.
        target: The file, for `--model.warmstart`.
    """
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
    data = {
        "state_dict": _halve(
            {
                f"model_g.{name}": value
                for name, value in weights.items()
                if is_needed_to_speak(name, network)
            }
        ),
        "hyper_parameters": checkpoint["hyper_parameters"],
        VOICE_CONFIG_KEY: checkpoint[VOICE_CONFIG_KEY],
        **{name: checkpoint.get(name) for name in ("epoch", "global_step")},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("voice.part*"):
        old.unlink()
    whole = folder / "voice.ckpt"
    torch.save(data, whole)
    parts = []
    with whole.open("rb") as file:
        while block := file.read(part_bytes):
            parts.append(folder / PART_NAME.format(len(parts)))
            parts[-1].write_bytes(block)
    whole.unlink()
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
        with temporary.open("wb") as file:
            for part in parts:
                with part.open("rb") as block:
                    shutil.copyfileobj(block, file)
        load_checkpoint(temporary)  # whole, before it replaces another
    return target
