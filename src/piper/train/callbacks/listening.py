"""Test sentences as the network speaks them now: sound and pictures, in whatever log there is."""

from __future__ import annotations

import importlib
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure
from torch import Tensor

from piper.audio.output import write_wav
from piper.errors import describe_briefly
from piper.train.callbacks.scores import Scores
from piper.train.callbacks.sentences import speak_example
from piper.train.callbacks.stopping import is_stopping
from piper.train.data.module import ListeningExample
from piper.train.families import Spoken
from piper.train.presets import NetworkShape
from piper.train.vits.mel import audio_to_mel
from piper.train.voice_module import logged_step

_LOGGER = logging.getLogger(__name__)


class Listen(Callback):
    """Logs audio, mel spectrogram beside the recording's, and alignment of each test sentence."""

    def __init__(self, scores: Scores | None = None) -> None:
        self._scores = scores
        self._has_warned = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Speak the test sentences with the weights that would be exported now."""
        if trainer.sanity_checking or trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        examples = trainer.datamodule.listening_examples()  # type: ignore[attr-defined]
        writers = [writer for one in trainer.loggers if (writer := create_writer(one))]
        if not writers:
            return
        step = logged_step(trainer)
        model: Any = pl_module
        already = self._scores.spoken if self._scores is not None else {}
        with model.averaged_weights():
            for index, example in enumerate(examples):
                spoken = already.get(index) or self._speak(model, example)
                if spoken is None or is_stopping(trainer):
                    return
                for writer in writers:
                    tag = f"sentence_{index}"
                    _write_example(writer, tag, step, example, spoken, model.network_config)

    def _speak(self, model: Any, example: ListeningExample) -> Spoken | None:
        """Speak a sentence, or say once that this cannot be done; training goes on."""
        try:
            return speak_example(model, example)
        except RuntimeError as error:
            if not self._has_warned:
                self._has_warned = True
                _LOGGER.warning("A test sentence cannot be spoken (%s).", describe_briefly(error))
            return None


class Writer(Protocol):
    """What takes sound, pictures and texts, with the signature of TensorBoard's SummaryWriter."""

    def add_audio(self, tag: str, snd_tensor: Tensor, step: int, sample_rate: int) -> None:
        """Take sound, (1, S), from -1 to 1."""

    def add_figure(self, tag: str, figure: Figure, step: int, close: bool = True) -> None:
        """Take a picture."""

    def add_text(self, tag: str, text_string: str, step: int) -> None:
        """Take a text."""


def create_writer(logger: Logger) -> Writer | None:
    """Return what writes sound and pictures to a logger; None where it takes numbers alone."""
    if isinstance(logger, TensorBoardLogger):
        return cast(Writer, logger.experiment)
    if isinstance(logger, MLFlowLogger):
        return _MlflowWriter(logger)
    if isinstance(logger, WandbLogger):
        return _WandbWriter(logger)
    # Lightning has no class for it; the package's own is loaded where it was asked for.
    return _AimWriter(logger) if type(logger).__module__.startswith("aim.") else None


@contextmanager
def _written(sound: Tensor, step: int, sample_rate: int) -> Iterator[Path]:
    """Give a WAV of sound (1, S), named by the step, that is gone after the block."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{step:06}.wav")
        write_wav(path, sound[0].numpy(), sample_rate)
        yield path


class _MlflowWriter:
    """Files of the run, `sentence_0/speech/000200.wav`."""

    def __init__(self, logger: MLFlowLogger) -> None:
        self._client, self._run = logger.experiment, logger.run_id

    def add_audio(self, tag: str, snd_tensor: Tensor, step: int, sample_rate: int) -> None:
        with _written(snd_tensor, step, sample_rate) as path:
            self._client.log_artifact(self._run, path, tag)

    def add_figure(self, tag: str, figure: Figure, step: int, close: bool = True) -> None:
        self._client.log_figure(self._run, figure, f"{tag}/{step:06}.png")

    def add_text(self, tag: str, text_string: str, step: int) -> None:
        self._client.log_text(self._run, text_string, f"{tag}.txt")


class _WandbWriter:
    def __init__(self, logger: WandbLogger) -> None:
        self._logger = logger

    def add_audio(self, tag: str, snd_tensor: Tensor, step: int, sample_rate: int) -> None:
        self._logger.log_audio(tag, [snd_tensor[0].numpy()], sample_rate=[sample_rate])

    def add_figure(self, tag: str, figure: Figure, step: int, close: bool = True) -> None:
        self._logger.log_image(tag, [figure])

    def add_text(self, tag: str, text_string: str, step: int) -> None:
        self._logger.log_text(tag, ["text"], [[text_string]])


class _AimWriter:
    def __init__(self, logger: Any) -> None:
        self._aim = importlib.import_module("aim")
        self._run = logger.experiment

    def add_audio(self, tag: str, snd_tensor: Tensor, step: int, sample_rate: int) -> None:
        with _written(snd_tensor, step, sample_rate) as path:
            self._run.track(self._aim.Audio(str(path), format="wav"), name=tag, step=step)

    def add_figure(self, tag: str, figure: Figure, step: int, close: bool = True) -> None:
        self._run.track(self._aim.Image(figure), name=tag, step=step)

    def add_text(self, tag: str, text_string: str, step: int) -> None:
        self._run.track(self._aim.Text(text_string), name=tag, step=step)


def _write_example(
    writer: Writer,
    tag: str,
    step: int,
    example: ListeningExample,
    spoken: Spoken,
    config: NetworkShape,
) -> None:
    audio = spoken.audio
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


def _create_axes(height: float, y_label: str, count: int = 1) -> list[Any]:
    """Return axes below each other. To find the least margins takes as long as to draw."""
    figure = Figure(figsize=(8, height))
    figure.subplots_adjust(0.09, 0.5 / height, 0.98, 1 - 0.3 / height, hspace=0.35)
    found = [figure.add_subplot(count, 1, position) for position in range(1, count + 1)]
    for axes in found:
        axes.set_ylabel(y_label)
    found[-1].set_xlabel("frame")
    return found


def draw_mels(recorded: Tensor, spoken: Tensor) -> Figure:
    """Draw a recording's log-mel spectrogram (M, T) above the spoken one's."""
    both = _create_axes(5, "mel band", 2)
    low, high = float(recorded.min()), float(recorded.max())
    for axes, title, mel in zip(both, ("recording", "spoken"), (recorded, spoken), strict=True):
        axes.imshow(mel.numpy(), aspect="auto", origin="lower", vmin=low, vmax=high)
        axes.set_title(title)
    return both[0].figure


def draw_alignment(durations: Tensor) -> Figure:
    """Draw which phoneme each frame belongs to, by the frames of each, (P,)."""
    (axes,) = _create_axes(4, "phoneme")
    phonemes = torch.arange(len(durations)).repeat_interleave(durations.clamp(min=0))
    path = torch.nn.functional.one_hot(phonemes, len(durations))
    axes.imshow(path.numpy().T, aspect="auto", origin="lower", interpolation="nearest")
    return axes.figure


def draw_pitch(f0: Tensor) -> Figure:
    """Draw the pitch of each frame in hertz, (T,)."""
    (axes,) = _create_axes(3, "pitch (Hz)")
    axes.plot(f0.numpy())
    return axes.figure
