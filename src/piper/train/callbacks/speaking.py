"""Test sentences as the network speaks them now. Knows neither logs nor scores."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from piper.train.callbacks.keep import KeepLast
from piper.train.data.module import ListeningExample
from piper.train.vits.config import NetworkConfig

Spoken = tuple[Tensor, Tensor]
"""Audio (S,) and alignment (T, P) of a sentence, both on the CPU."""

LISTENING_SEED = 20210611
MAX_SECONDS = 20.0
"""An untrained duration predictor may ask for minutes of audio; that much is enough to hear it."""


def is_stopping(trainer: Trainer) -> bool:
    """Return whether a signal waits for the training to save: seconds count then."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return any(
        isinstance(callback, KeepLast) and bool(callback._signals and callback._signals.received)
        for callback in callbacks
    )


def speak_example(model: Any, example: ListeningExample) -> Spoken:
    """Speak a sentence with fixed noise.

    Args:
        model: The Lightning module with `model_g` and `network_config`.
        example: The sentence and its recording.

    Raises:
        RuntimeError: The network cannot, because its durations are no numbers or memory is full.
    """
    device = model.device
    config: NetworkConfig = model.network_config
    ids = example.ids[None].to(device)
    lengths = torch.tensor([ids.shape[1]], dtype=torch.long, device=device)
    speaker = None
    if config.num_speakers > 1:
        speaker = torch.tensor([example.speaker_id or 0], dtype=torch.long, device=device)
    random = torch.Generator(device=device).manual_seed(LISTENING_SEED)
    was_training = model.model_g.training
    model.model_g.eval()
    try:
        result = model.model_g.infer(
            ids,
            lengths,
            speaker,
            generator=random,
            max_frames=int(MAX_SECONDS * config.sample_rate / config.hop_length),
        )
    finally:
        model.model_g.train(was_training)
    # A network that has gone astray gives NaN, which neither a player nor a score can take.
    audio = result.audio[0, 0].float().nan_to_num(0.0).cpu()
    return audio, result.alignment[0].float().reshape(-1, ids.shape[1]).cpu()
