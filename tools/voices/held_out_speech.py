"""Speaks a dataset's sentences with a checkpoint's network, into files that are scored elsewhere.

On the machine that trains: there may be no ONNX Runtime and no espeak-ng, so torch speaks, and a
dataset may bring its phoneme ids.
"""

from __future__ import annotations

from pathlib import Path

import torch
from speech_files import write_flac, write_opus

from piper.progress import ProgressLine
from piper.train.checkpoints import load_checkpoint, network_config_from_checkpoint
from piper.train.data.dataset_config import create_voice_config
from piper.train.data.metadata import load_metadata
from piper.train.data.prepare import find_ids
from piper.train.data.settings import resolve_settings
from piper.train.export import load_network
from piper.voice.synthesizer import scale_audio

SEED = 20210611
MAX_SECONDS = 40.0
"""A network that has learnt little can ask for hours."""


def speak_checkpoint(
    checkpoint_path: Path, dataset: Path, dataset_type: str, folder: Path, *, as_opus: bool
) -> None:
    """Say a dataset's sentences, as a voice would: the averaged weights, its default noise.

    Args:
        checkpoint_path: What was trained.
        dataset: Folder with metadata.csv and config.json.
        dataset_type: `text` or `phoneme_ids`.
        folder: Gets a file for each sentence, named as its recording.
        as_opus: A fifth of FLAC, to be carried from machines far away.
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
        generator = torch.Generator(device).manual_seed(SEED)
        with torch.inference_mode():
            result = network.infer(
                torch.tensor([ids], device=device),
                torch.tensor([len(ids)], device=device),
                generator=generator,
                max_frames=most_frames,
            )
        audio = result.audio.reshape(-1).float().nan_to_num(0.0).cpu().numpy()
        samples = scale_audio(audio, normalize=True, volume=1.0)
        stem = folder / row.audio_path.stem
        if as_opus:
            write_opus(stem.with_suffix(".opus"), samples, config.sample_rate)
        else:
            write_flac(stem.with_suffix(".flac"), samples, config.sample_rate)
        progress.show(number)
    progress.finish(len(rows))
