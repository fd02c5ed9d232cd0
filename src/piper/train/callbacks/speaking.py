"""Test sentences as the network speaks them now. Knows neither logs nor scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lightning.pytorch import Trainer

from piper.train.callbacks.keep import KeepLast
from piper.train.data.module import ListeningExample
from piper.train.families import Spoken, speak
from piper.train.presets import NetworkShape

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
    config: NetworkShape = model.network_config
    was_training = model.model_g.training
    model.model_g.eval()
    try:
        spoken = speak(
            model.model_g,
            example.ids.to(model.device),
            example.speaker_id,
            seed=LISTENING_SEED,
            max_frames=int(MAX_SECONDS * config.sample_rate / config.hop_length),
        )
    finally:
        model.model_g.train(was_training)
    # A network that has gone astray gives NaN, which neither a player nor a score can take.
    return replace(spoken.to_cpu(), audio=spoken.audio.nan_to_num(0.0).cpu())
