"""Test sentences as the network speaks them now, in TensorBoard's log."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from torch import Tensor

from piper.train.callbacks.axis import logged_step
from piper.train.callbacks.scores import Scores
from piper.train.callbacks.sentences import speak_example
from piper.train.callbacks.stopping import is_stopping
from piper.train.data.module import ListeningExample
from piper.train.families import Spoken
from piper.train.presets import NetworkShape
from piper.train.vits.mel import audio_to_mel

_LOGGER = logging.getLogger(__name__)


class Listen(Callback):
    """Logs audio, mel spectrogram beside the recording's, and alignment of each test sentence.

    Args:
        scores: May have had the sentences spoken already.
    """

    def __init__(self, scores: Scores | None = None) -> None:
        self._scores = scores
        self._has_warned = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Speak the test sentences with the weights that would be exported now."""
        if trainer.sanity_checking or trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        examples = trainer.datamodule.listening_examples()  # type: ignore[attr-defined]
        writers = [
            logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)
        ]
        if not writers:
            return
        step = logged_step(trainer)
        model: Any = pl_module
        config: NetworkShape = model.network_config
        already = self._scores.spoken if self._scores is not None else {}
        with model.averaged_weights():
            for index, example in enumerate(examples):
                spoken = already.get(index) or self._speak(model, example)
                if spoken is None or is_stopping(trainer):
                    return
                for writer in writers:
                    _write_example(writer, index, step, example, spoken, config)

    def _speak(self, model: Any, example: ListeningExample) -> Spoken | None:
        """Speak a sentence, or say once that this cannot be done; training goes on."""
        try:
            return speak_example(model, example)
        except RuntimeError as error:
            if not self._has_warned:
                self._has_warned = True
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                _LOGGER.warning("A test sentence cannot be spoken (%.150s).", reason)
            return None


def _write_example(
    writer: Any,
    index: int,
    step: int,
    example: ListeningExample,
    spoken: Spoken,
    config: NetworkShape,
) -> None:
    audio = spoken.audio
    tag = f"sentence_{index}"
    peak = audio.abs().max().clamp(min=1e-4)
    writer.add_audio(f"{tag}/speech", audio[None] / peak, step, sample_rate=config.sample_rate)
    if step == 0:
        writer.add_text(f"{tag}/text", example.text, step)
        writer.add_audio(
            f"{tag}/recording", example.audio[None], step, sample_rate=config.sample_rate
        )
    recorded = audio_to_mel(example.audio[None], config)[0]
    if audio.numel() < config.filter_length:
        audio = torch.nn.functional.pad(audio, (0, config.filter_length - audio.numel()))
    mel = audio_to_mel(audio[None], config)[0]
    writer.add_figure(f"{tag}/mel", draw_mels(recorded, mel), step, close=False)
    writer.add_figure(f"{tag}/alignment", draw_alignment(spoken.durations), step, close=False)
    if spoken.f0 is not None:
        writer.add_figure(f"{tag}/pitch", draw_pitch(spoken.f0), step, close=False)


def _create_figure(height: float) -> Figure:
    """Return a figure with fixed margins: to find the least ones takes as long as to draw it."""
    figure = Figure(figsize=(8, height))
    figure.subplots_adjust(0.09, 0.5 / height, 0.98, 1 - 0.3 / height, hspace=0.35)
    return figure


def draw_mels(recorded: Tensor, spoken: Tensor) -> Figure:
    """Draw a recording's log-mel spectrogram (M, T) above the spoken one's."""
    figure = _create_figure(5)
    low, high = float(recorded.min()), float(recorded.max())
    for position, (title, mel) in enumerate((("recording", recorded), ("spoken", spoken)), 1):
        axes = figure.add_subplot(2, 1, position)
        axes.imshow(mel.numpy(), aspect="auto", origin="lower", vmin=low, vmax=high)
        axes.set_title(title)
        axes.set_ylabel("mel band")
    axes.set_xlabel("frame")
    return figure


def draw_alignment(durations: Tensor) -> Figure:
    """Draw which phoneme each frame belongs to, by the frames of each, (P,)."""
    figure = _create_figure(4)
    axes = figure.add_subplot()
    phonemes = torch.arange(len(durations)).repeat_interleave(durations.clamp(min=0))
    path = torch.nn.functional.one_hot(phonemes, len(durations))
    axes.imshow(path.numpy().T, aspect="auto", origin="lower", interpolation="nearest")
    axes.set_xlabel("frame")
    axes.set_ylabel("phoneme")
    return figure


def draw_pitch(f0: Tensor) -> Figure:
    """Draw the pitch of each frame in hertz, (T,)."""
    figure = _create_figure(3)
    axes = figure.add_subplot()
    axes.plot(f0.numpy())
    axes.set_xlabel("frame")
    axes.set_ylabel("pitch (Hz)")
    return figure
