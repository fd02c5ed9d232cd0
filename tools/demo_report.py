"""The demo's figures: validations from the log, the constant answer to compare with, the WAV."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np


def read_validations(logs: Path) -> list[dict[str, Any]]:
    """Return step, val_loss and val_mel of each validation in all of TensorBoard's logs."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[int, dict[str, Any]] = {}
    folders = sorted(logs.glob("version_*"), key=lambda path: int(path.name.rpartition("_")[2]))
    for folder in folders:
        accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        accumulator.Reload()
        for tag in ("val_loss", "val_mel"):
            if tag not in accumulator.Tags()["scalars"]:
                continue
            for event in accumulator.Scalars(tag):
                found.setdefault(event.step, {"step": event.step})[tag] = event.value
    return [found[step] for step in sorted(found) if len(found[step]) == 3]


def measure_constant_answer(dataset: Path, checkpoint_path: Path) -> float:
    """Return the val_mel of answering each frame with the training set's mean mel spectrogram.

    The frames are those of the validation's own segments, which do not depend on the weights.
    """
    import torch

    from piper.train.checkpoints.checkpoint import load_checkpoint, network_config_from_checkpoint
    from piper.train.data.module import VitsDataModule
    from piper.train.lightning import VitsModel
    from piper.train.vits.mel import spectrogram_to_mel

    config = network_config_from_checkpoint(load_checkpoint(checkpoint_path))
    model = VitsModel(**{key: getattr(config, key) for key in vars(config)}).eval()
    data = VitsDataModule(
        dataset_dir=str(dataset),
        batch_size=8,
        num_workers=0,
        sample_rate=config.sample_rate,
        segment_size=config.segment_size,
    )
    data.prepare_data()
    data.setup("fit")
    total = torch.zeros(config.mel_channels, dtype=torch.float64)
    frames = 0
    with torch.no_grad():
        for batch in data.train_dataloader():
            mel = spectrogram_to_mel(batch.spectrograms, config)
            for row, length in zip(mel, batch.spectrogram_lengths.tolist(), strict=True):
                total += row[:, :length].double().sum(1)
                frames += length
        mean = (total / frames).float()[None, :, None]
        error, count = 0.0, 0
        for index, batch in enumerate(data.val_dataloader()):
            real = model.generate_validation(batch, index).real_mel
            error += float((real - mean).abs().mean()) * len(batch)
            count += len(batch)
    return error / count


def measure_wav(path: Path) -> dict[str, float]:
    """Return length in seconds, root mean square of full scale, and clipped samples."""
    with wave.open(str(path)) as file:
        rate, samples = file.getframerate(), file.readframes(file.getnframes())
    audio = np.frombuffer(samples, dtype="<i2").astype(np.float64) / 32768.0
    is_full = np.abs(audio) >= 32767 / 32768
    return {
        "seconds": len(audio) / rate,
        "level": float(np.sqrt((audio**2).mean())) if len(audio) else 0.0,
        # A normalised sentence touches full scale at its peak; clipping stays there.
        "clipped": int((is_full[1:-1] & is_full[:-2] & is_full[2:]).sum()),
    }
