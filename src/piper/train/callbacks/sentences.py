"""Fixed sentences at validations: how far they are from their recordings, within a budget of time.

Symbols as in `vits/network`.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from piper.errors import describe_briefly
from piper.train.callbacks.stopping import is_stopping
from piper.train.data.module import ListeningExample
from piper.train.distributed import Agreement
from piper.train.families import Spoken, speak
from piper.train.presets import NetworkShape
from piper.train.vits.align import compute_log_likelihood, expand_by_path, find_alignment
from piper.train.vits.config import NetworkConfig
from piper.train.vits.generator import EDGE_KERNEL_SIZE
from piper.train.vits.layers import draw_normal
from piper.train.vits.mel import audio_to_mel, spectrogram_to_mel
from piper.train.vits.network import VitsSynthesizer
from piper.train.voice_module import find_timers, is_last_epoch
from piper.voice.graph import compute_decoder_context
from piper.voice.graph_config import GraphConfig

_LOGGER = logging.getLogger(__name__)

MEASURE_SEED = 20210611
NOISE_SCALE = 0.667
"""Deviation of the prior's noise when speaking, the default of voices."""
PIECE_FRAMES = 256
"""Frames decoded at once, 3 s at 22,050 Hz: memory does not grow with the utterance."""


@dataclass(frozen=True)
class Measures:
    """Sums over an utterance, so that means over several count each frame and phoneme alike.

    Attributes:
        frames: Frames of the recording.
        ids: Phoneme ids, padding between phonemes included.
        mel_whole: Sum over frames of the mean |Δ log-mel| to the recording, of the recording
            through posterior and decoder.
        mel_text: The same of speech from the text, with the recording's own durations.
        duration_error_frames: Sum over ids of |predicted - aligned duration|.
        predicted_frames: Sum of the predicted durations.
    """

    frames: int
    ids: int
    mel_whole: float
    mel_text: float
    duration_error_frames: float
    predicted_frames: float


@torch.no_grad()
def measure_example(model: Any, example: ListeningExample) -> Measures:
    """Compare what a network makes of an utterance with its recording.

    The noise is the same each time and on each device. Runs in float32, as voices do.
    """
    network: VitsSynthesizer = model.model_g
    config: NetworkConfig = model.network_config
    rng = torch.Generator().manual_seed(MEASURE_SEED)
    ids = example.ids[None].to(model.device)
    spectrogram = example.spectrogram[None].to(model.device)
    id_count, frames = ids.shape[1], spectrogram.shape[2]
    id_mask = torch.ones(1, 1, id_count, device=model.device)
    frame_mask = torch.ones(1, 1, frames, device=model.device)
    speaker = None
    if config.num_speakers > 1:
        speaker = torch.tensor([example.speaker_id or 0], dtype=torch.long, device=model.device)
    g = network.embed_speakers(speaker)

    x, m_p, logs_p = network.enc_p(ids, id_mask)
    m_q, logs_q = network.enc_q(spectrogram, frame_mask, g)
    z = m_q + draw_normal(tuple(m_q.shape), m_q, rng) * torch.exp(logs_q)
    z_p = network.flow(z, frame_mask, g)
    lengths = [torch.tensor([count], device=model.device) for count in (frames, id_count)]
    path = find_alignment(compute_log_likelihood(z_p, m_p, logs_p), *lengths)
    noise = draw_normal(tuple(z_p.shape), z_p, rng) * NOISE_SCALE
    spoken_p = expand_by_path(m_p, path) + noise * torch.exp(expand_by_path(logs_p, path))
    spoken = network.flow.inverse(spoken_p, frame_mask, g)

    recorded = spectrogram_to_mel(spectrogram, config)
    logw = network.dp.infer(x, id_mask, g, noise_scale=0.0)
    durations = torch.ceil(torch.exp(logw)).squeeze(1)
    return Measures(
        frames=frames,
        ids=id_count,
        mel_whole=_mel_difference(decode_in_pieces(network, z, g), recorded, config),
        mel_text=_mel_difference(decode_in_pieces(network, spoken, g), recorded, config),
        duration_error_frames=float((durations - path.sum(1)).abs().sum()),
        predicted_frames=float(durations.sum()),
    )


def summarise_measures(measures: Sequence[Measures], config: NetworkConfig) -> dict[str, float]:
    """Return the figures of several utterances together, by their names in the log."""
    frames = sum(item.frames for item in measures)
    milliseconds = 1000.0 * config.hop_length / config.sample_rate
    error = sum(item.duration_error_frames for item in measures)
    return {
        "val_mel_whole": sum(item.mel_whole for item in measures) / frames,
        "val_mel_text": sum(item.mel_text for item in measures) / frames,
        "val_duration_error_ms": milliseconds * error / sum(item.ids for item in measures),
        "val_length_ratio": sum(item.predicted_frames for item in measures) / frames,
    }


def decode_in_pieces(network: VitsSynthesizer, z: Tensor, g: Tensor | None) -> Tensor:
    """Decode latents (1, inter, T) of any length to audio (S,), S = T * hop_length.

    Equal to decoding them at once: pieces overlap by as much as the decoder looks at.
    """
    context = decoder_receptive_field(network.config)
    hop, frames = network.config.hop_length, z.shape[2]
    pieces = []
    for start in range(0, frames, PIECE_FRAMES):
        end = min(start + PIECE_FRAMES, frames)
        first = max(0, start - context)
        audio = network.dec(z[:, :, first : min(end + context, frames)], g)[0, 0]
        pieces.append(audio[(start - first) * hop : (end - first) * hop])
    return torch.cat(pieces)


def decoder_receptive_field(config: NetworkConfig) -> int:
    """Return how many frames on each side of a frame the decoder's output depends on, at most."""
    names = [field.name for field in fields(GraphConfig) if hasattr(config, field.name)]
    shape = GraphConfig(**{name: getattr(config, name) for name in names})
    return compute_decoder_context(shape, EDGE_KERNEL_SIZE, EDGE_KERNEL_SIZE)


def _mel_difference(audio: Tensor, recorded: Tensor, config: NetworkConfig) -> float:
    mel = audio_to_mel(audio[None], config)
    frames = min(mel.shape[2], recorded.shape[2])
    difference = (mel[:, :, :frames] - recorded[:, :, :frames]).abs().mean(1)
    return float(difference.sum()) * recorded.shape[2] / frames


FIGURES = ("val_mel_whole", "val_mel_text", "val_duration_error_ms", "val_length_ratio")
"""Names of the figures in the log."""
SHARE = 0.03
"""Of the time since the last measurement, the most that the next may take."""
FIRST_SECONDS = 20.0
"""The first measurement takes as many sentences as fit; it stays with them, lest means differ."""
FIRST_SHARE = 0.01
"""Of --trainer.max_time, the most that it takes: there is one more at the end, and a training of
minutes has no minute for them."""
WAIT = timedelta(hours=2)
"""How long other processes wait for the first, where torch's own limit would be 10 minutes."""


class MeasureSentences(Callback):
    """Measures whole held-out utterances with the weights that will be exported.

    Only the first process does; the others wait for its figures, so that all have the same. What
    they compare are VITS's posterior and prior; quick voices log the like as losses.
    """

    def __init__(self, *, share: float = SHARE, first_seconds: float = FIRST_SECONDS) -> None:
        self._share = share
        self._first_seconds = first_seconds
        self._count: int | None = None
        self._cost = 0.0
        self._last_end = 0.0
        self.spent_seconds = 0.0
        """Of all measurements so far."""
        self._is_broken = self._has_said = False
        self._agreement: Agreement | None = None
        self.figures: dict[str, float] = {}
        """What the last validation measured, by name; empty where it was not time to."""

    @property
    def state_key(self) -> str:
        """As in checkpoints of earlier versions."""
        return "Judge"

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure where it is time to, and log the figures on every process."""
        if trainer.sanity_checking or getattr(trainer, "fast_dev_run", False):
            return
        if not isinstance(pl_module.network_config, NetworkConfig):
            return
        self._agreement = self._agreement or Agreement(WAIT)
        figures = {}
        if trainer.is_global_zero and self._is_due(trainer):
            figures = self._measure(trainer, pl_module)
        values = self._agreement.first([figures.get(name, math.nan) for name in FIGURES])
        named = zip(FIGURES, values, strict=True)
        self.figures = {name: value for name, value in named if not math.isnan(value)}
        if self.figures:
            pl_module.log_dict(self.figures, batch_size=1, sync_dist=True)

    def state_dict(self) -> dict[str, Any]:
        """Return how many sentences are measured, lest a resumed training's means differ."""
        return {"sentences": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with as many sentences."""
        self._count = state_dict.get("sentences")

    def _is_due(self, trainer: Trainer) -> bool:
        if self._is_broken:
            return False
        if not self._last_end or trainer.state.fn != "fit" or is_last_epoch(trainer):
            return True
        if self._cost <= self._share * (time.monotonic() - self._last_end):
            return True
        if not self._has_said:
            self._has_said = True
            _LOGGER.info(
                "Measuring the test sentences takes %.1f s, more than %.0f %% of the time between "
                "validations; it is done about every %s instead of at each.",
                self._cost,
                100 * self._share,
                timedelta(seconds=math.ceil(self._cost / self._share)),
            )
        return False

    def _measure(self, trainer: Trainer, model: Any) -> dict[str, float]:
        examples = trainer.datamodule.listening_examples()  # type: ignore[attr-defined]
        begin = time.monotonic()
        figures: dict[str, float] = {}
        if examples and self._count != 0:
            try:
                with torch.no_grad(), model.averaged_weights():
                    figures = self._measure_examples(trainer, model, examples, begin)
            except RuntimeError as error:
                # Out of memory, most likely: no reason to lose the training itself.
                self._is_broken = True
                _LOGGER.warning(
                    "The fixed sentences cannot be measured (%s); training goes on without.",
                    describe_briefly(error),
                )
        self._last_end = time.monotonic()
        self._cost = self._last_end - begin
        self.spent_seconds += self._cost
        return figures

    def _measure_examples(
        self, trainer: Trainer, model: Any, examples: list[ListeningExample], begin: float
    ) -> dict[str, float]:
        measures: list[Measures] = []
        limit = self._first_limit(trainer)
        for count, example in enumerate(examples[: self._count]):
            if is_stopping(trainer):
                return {}
            seconds = time.monotonic() - begin
            if self._count is None and count and seconds / count * (count + 1) > limit:
                break
            measures.append(measure_example(model, example))
        if self._count is None and len(measures) < len(examples):
            _LOGGER.info(
                "Validations measure %d of the %d test sentences, which take %.0f s.",
                len(measures),
                len(examples),
                time.monotonic() - begin,
            )
        self._count = len(measures)
        return summarise_measures(measures, model.network_config)

    def _first_limit(self, trainer: Trainer) -> float:
        """Return how many seconds the first measurement may take."""
        limits = [FIRST_SHARE * (timer._duration or math.inf) for timer in find_timers(trainer)]
        return min([self._first_seconds, *limits])


MAX_SECONDS = 20.0
"""An untrained duration predictor may ask for minutes of audio; that much is enough to hear it."""


def speak_example(model: Any, example: ListeningExample) -> Spoken:
    """Speak a sentence with fixed noise.

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
            seed=MEASURE_SEED,
            max_frames=int(MAX_SECONDS * config.sample_rate / config.hop_length),
        )
    finally:
        model.model_g.train(was_training)
    # A network that has gone astray gives NaN, which neither a player nor a score can take.
    f0 = None if spoken.f0 is None else spoken.f0.cpu()
    return Spoken(spoken.audio.nan_to_num(0.0).cpu(), spoken.durations.cpu(), f0)
