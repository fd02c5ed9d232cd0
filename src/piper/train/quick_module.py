"""Lightning's hooks around the quick voice's step: what is trained when, on which pieces."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from piper.errors import DatasetError, describe_briefly
from piper.phoneme_ids import PAD
from piper.system import available_cores
from piper.train.checkpoints import describe_changes, fits_parameter, read_training_settings
from piper.train.data.batches import Batch
from piper.train.distributed import sum_over_processes
from piper.train.presets import (
    QUICK,
    QUICK_KEYS,
    QUICK_TRAINING_DEFAULTS,
    TRAINING_KEYS,
    create_network_config,
)
from piper.train.quick.config import QuickConfig
from piper.train.quick.data import QuickDataModule
from piper.train.quick.network import NO_PAD, QuickSynthesizer, SpectrumDiscriminator
from piper.train.quick.schedule import APART, Plan, plan_update
from piper.train.quick.step import LatentExtractor, Pieces, QuickStep, cut_pieces, encode_pieces
from piper.train.steps.update import seed_update
from piper.train.voice_module import VALIDATION_SEED, VoiceModule, count_updates, find_timers
from piper.train.warm_start import read_warm_starts

_LOGGER = logging.getLogger(__name__)
VALIDATION_FRAMES = 200
VALIDATION_DECODED_FRAMES = 48
MEASURED_UTTERANCES = 160
"""Training utterances that the latents' mean and deviation are taken from."""
CALIBRATION_UTTERANCES = 40
TEXT_CLIP, DECODER_CLIP = 1.0, 5.0
"""Largest norms of the gradients, where no flag says otherwise."""
WEIGHT_DECAY = 0.01
DISCRIMINATOR_SIZES = (256, 128, 64)
"""Samples. Windows no longer than a pitch period hear what buzzes; what is longer the spectral loss
hears. DistillMOS was 3.71, with (512, 256, 128) 3.63, and the longer the windows the less."""
LITTLE_SECONDS = 1800.0
LITTLE_DROPOUT = 0.2
"""So much less than that is learnt by heart: with ten minutes the phoneme error was 1.16 times the
recordings' instead of 1.53. With 80 minutes voices were as good without dropout after 830 updates.
"""
UPDATES_WITHOUT_END = 3000
"""What counts as the budget where a training has no end."""
TOGETHER_KEY = "together_since"
WIDENING = 0.7
"""Share of the recorded spread that predicted latents are given back: noise is not among it."""
PITCH_WIDENING = 0.4
"""The pitch's: its random share, at the default noise scale, brings the rest."""
WIDEST = 2.0
LONGEST, SHORTEST = 1.5, 0.8
"""Bounds of the factor on durations."""


@contextmanager
def short_products() -> Iterator[None]:
    """Let a CPU that can multiply in bfloat16 do so in matrix products, sums in float32.

    An update takes a third less time on one with AMX or AVX512-BF16, and voices are as good; on
    others nothing changes.
    """
    matmul: Any = getattr(torch.backends.mkldnn, "matmul", None)
    before = getattr(matmul, "fp32_precision", None)
    if before is None:  # before torch 2.9
        yield
        return
    matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before


class QuickModel(VoiceModule):
    """A quick voice in training: understood after minutes on a CPU.

    Text side and decoder are trained side by side, then together with discriminators. Learning
    rates follow the share of the budget that is over (--trainer.max_time, max_steps, max_epochs).

    Args:
        quality: quick; the others have other flags (--help without it).
        sample_rate: Hertz of the audio.
        num_symbols: Rows of the phoneme embedding.
        num_speakers: Speakers of the dataset.
        filter_length: Samples of the Fourier transform.
        hop_length: Samples a frame.
        mel_channels: Bands of the mel spectrogram that text becomes.
        mel_fmax: Highest frequency of the bands, hertz; None means half the sample rate.
        channels: Channels of text side and decoder.
        text_blocks: Blocks over phonemes.
        frame_blocks: Blocks over frames of the text side.
        decoder_blocks: Blocks of the decoder.
        filters_per_frame: How often within a frame the decoder changes its filters.
        kept_latents: Channels of a frame of a VITS voice that keeps its own text side, as `copy
            --keep text` sets it; 0: phonemes are spoken.
        learning_rate: The largest of text side and decoder.
        learning_rate_d: The discriminators' largest.
        betas: AdamW's, for text side and decoder.
        betas_d: AdamW's, for the discriminators, and for the decoder beside them.
        eps: AdamW's.
        ema_decay: Decay of the weights' EMA at each update; the EMA is
            what is validated and exported. 0 takes the weights themselves.
        warmstart: Checkpoint or voice (.onnx) of a quick voice whose weights to start from.
        warmstart_speaker: Of a source with several: whom a single-speaker voice, and speakers
            that are new, start from; a name or an id.
        scores: Metrics of each validation, joined by commas: distillmos, per, similarity,
            package.module:function. The first chooses the best checkpoints. The command line
            reads this and the next, no network does.
        phoneme_recogniser: File of the recogniser that per needs.

    Raises:
        ConfigError: Hyper-parameters that do not fit each other.
        CheckpointError: A checkpoint to start from cannot be read.
    """

    network_config: QuickConfig
    model_g: QuickSynthesizer
    is_last_best = True

    def __init__(
        self,
        quality: str | None = None,
        sample_rate: int | None = None,
        num_symbols: int | None = None,
        num_speakers: int | None = None,
        filter_length: int | None = None,
        hop_length: int | None = None,
        mel_channels: int | None = None,
        mel_fmax: float | None = None,
        channels: int | None = None,
        text_blocks: int | None = None,
        frame_blocks: int | None = None,
        decoder_blocks: int | None = None,
        filters_per_frame: int | None = None,
        kept_latents: int | None = None,
        learning_rate: float | None = None,
        learning_rate_d: float | None = None,
        betas: tuple[float, float] | None = None,
        betas_d: tuple[float, float] | None = None,
        eps: float | None = None,
        ema_decay: float | None = None,
        warmstart: str | None = None,
        warmstart_speaker: str | None = None,
        scores: str | None = None,
        phoneme_recogniser: str | None = None,
    ) -> None:
        given = dict(locals())
        network = create_network_config(QUICK, **{key: given[key] for key in QUICK_KEYS})
        assert isinstance(network, QuickConfig)
        settings = {
            key: default if given[key] is None else given[key]
            for key, default in QUICK_TRAINING_DEFAULTS.items()
        }
        super().__init__(network, settings, read_warm_starts(warmstart, None, warmstart_speaker))
        training = {key: settings[key] for key in TRAINING_KEYS if key in settings}
        self.save_hyperparameters({"quality": QUICK, **vars(network), **training})
        self.model_g = QuickSynthesizer(network)
        discriminators = [SpectrumDiscriminator(size) for size in DISCRIMINATOR_SIZES]
        self.model_d = nn.ModuleList(discriminators)
        self.step = QuickStep(self.model_g, discriminators, network)
        self._together_since: int | None = None
        self._pad_id: int | None = None
        self._threads = 1
        self._plan: Plan | None = None
        self._calibrated_step = 0
        self._begin = time.monotonic()

    def total(self, named: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the named losses."""
        return self.step.total(named)

    # -- optimizers

    def configure_optimizers(self) -> tuple[list[Optimizer], list[Any]]:
        """Return the optimizer of text side and decoder, and that of the discriminators."""
        training = self._training
        parts = ((self.model_g.text, TEXT_CLIP), (self.model_g.decoder, DECODER_CLIP))
        groups = [{"params": list(part.parameters()), "clip_norm": clip} for part, clip in parts]
        trained: tuple[Any, ...] = (groups, self.model_d.parameters())
        optimizers: list[Optimizer] = [
            AdamW(
                parameters,
                lr=training[f"learning_rate{ending}"],
                betas=tuple(training[f"betas{ending}"]),
                eps=training["eps"],
                weight_decay=WEIGHT_DECAY,
                fused=True,
            )
            for parameters, ending in zip(trained, ("", "_d"), strict=True)
        ]
        return optimizers, []

    def _set_rates(self, optimizers: list[LightningOptimizer], plan: Plan) -> None:
        """Let the optimizers do what the settings and the plan say, whatever a checkpoint held."""
        training = self._training
        (text, decoder), (discriminators,) = (one.param_groups for one in optimizers)
        text["lr"] = training["learning_rate"] * plan.text_rate
        decoder["lr"] = training["learning_rate"] * plan.decoder_rate
        discriminators["lr"] = training["learning_rate_d"] * plan.discriminator_rate
        text["betas"] = tuple(training["betas"])
        discriminators["betas"] = tuple(training["betas_d"])
        decoder["betas"] = (
            discriminators["betas"] if plan.phase.has_discriminators else text["betas"]
        )
        for group in (text, decoder, discriminators):
            group["eps"] = training["eps"]

    # -- training

    def on_fit_start(self) -> None:
        """Take what the recordings say of latents, and the threads that a CPU has."""
        super().on_fit_start()
        if self.device.type == "cpu":
            here = max(1, self.trainer.num_devices)
            self._threads = max(1, available_cores() // here)
            # The step's own threads compute, each alone: those of torch would wait for each other.
            torch.set_num_threads(1)
        self.step.to(self.device)
        is_little = self._data().seconds < LITTLE_SECONDS and not self.network_config.kept_latents
        self.step.dropout = LITTLE_DROPOUT if is_little else 0.0
        # Ids of somebody's own may have none; those of texts always do.
        self._pad_id = next(iter(self._data().voice_config().phoneme_id_map.get(PAD, ())), NO_PAD)
        self.model_g.pad_id.fill_(self._pad_id)
        # A checkpoint or a file to start from brings it along, where its latents are the same.
        if not self.model_g.latent_mean.any():
            batches = self._data().some_batches(MEASURED_UTTERANCES, is_learnt=True)
            standardise_latents(self.model_g, self.step.extract, map(self._cut_whole, batches))

    def _data(self) -> QuickDataModule:
        data: QuickDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        return data

    def on_train_start(self) -> None:
        """Count the preparation in the time of `--trainer.max_time`: it is the whole run's."""
        for timer in find_timers(self.trainer) if self.trainer.global_step == 0 else ():
            timer._offset += int(time.monotonic() - self._begin)
        super().on_train_start()

    def progress(self) -> float:
        """Return the share of the budget that is over, by whichever limit comes first."""
        trainer, update = self.trainer, count_updates(self.trainer)
        shares = [0.0]
        if trainer.max_steps > 0:
            shares.append(trainer.global_step / trainer.max_steps)
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            shares.append(update / (trainer.max_epochs * float(trainer.num_training_batches)))
        timed = 0.0
        for timer in find_timers(trainer):
            timed = timer.time_elapsed() / (timer._duration or math.inf)
        if trainer.world_size > 1:  # all processes take the same
            timed = float(sum_over_processes(torch.tensor(timed, device=self.device)))
            timed /= trainer.world_size
        if timed:
            shares.append(timed)
        if len(shares) == 1:
            shares.append(update / UPDATES_WITHOUT_END)
        return min(1.0, max(shares))

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Cut a piece out of each utterance, before it goes to a GPU."""
        if not isinstance(batch, Batch):
            return batch
        if not self.trainer.training:
            rng = np.random.default_rng(VALIDATION_SEED)
            return self._cut(batch, VALIDATION_FRAMES, VALIDATION_DECODED_FRAMES, rng)
        update = count_updates(self.trainer)
        progress = self.progress()
        if self._together_since is None and progress >= APART:
            self._together_since = update
        plan = self._plan = plan_update(progress, update, self._together_since)
        rng = np.random.default_rng([self._seed % 2**32, self.global_rank, update])
        return self._cut(batch, plan.frames, plan.phase.decoded_frames, rng)

    def _cut(
        self, batch: Batch, frames: int, decoded_frames: int, rng: np.random.Generator
    ) -> Pieces:
        if self._pad_id is None:  # asked for once: on a GPU the answer has to be waited for
            self._pad_id = int(self.model_g.pad_id)
        wanted, given = self.network_config.kept_latents, batch.spectrograms.shape[1]
        if wanted and given != wanted:
            raise DatasetError(
                f"The network keeps a text side whose frames have {wanted} latents, but the "
                f"dataset has {given}; python -m piper.train copy --keep text makes both."
            )
        sizes = {"frames": frames, "decoded_frames": decoded_frames}
        return cut_pieces(batch, self.network_config, **sizes, pad_id=self._pad_id, rng=rng)

    def _cut_whole(self, batch: Batch) -> Pieces:
        """Return the one utterance of a batch as a piece, on the network's device."""
        assert batch.f0 is not None
        frames = batch.f0.shape[1]
        decoded = min(frames, VALIDATION_DECODED_FRAMES)
        return self._cut(batch, frames, decoded, np.random.default_rng(0)).to(self.device)

    def make_gradients(self, batch: Pieces, update: int, scale: Tensor | None) -> dict[str, Tensor]:
        """Give all networks that the plan trains their gradients, and the optimizers its rates."""
        # Lightning calls `on_before_batch_transfer`, which cuts the batch by it, right before.
        plan = self._plan
        assert plan is not None
        self._set_rates(cast(list[LightningOptimizer], self.optimizers()), plan)
        seed_update(self._seed, self.global_rank, update)
        # What autocast says holds in the thread that it was said in.
        threads = 1 if torch.is_autocast_enabled(self.device.type) else self._threads
        parts = self.accumulate_grad_batches
        with short_products():
            return self.step.backward(batch, plan.phase, parts=parts, threads=threads, scale=scale)

    def try_update(self, batch: Batch) -> None:
        """Compute the gradients of a batch as the heaviest update does."""
        self.step.to(self.device)
        plan = plan_update(1.0, 2, 1)
        decoded, rng = plan.phase.decoded_frames, np.random.default_rng(0)
        pieces = self._cut(batch, VALIDATION_FRAMES, decoded, rng)
        with short_products():
            self.step.backward(pieces.to(self.device), plan.phase, threads=1)

    # -- validation

    def on_validation_start(self) -> None:
        """Measure what regression to the mean has lost, with the weights that are validated."""
        super().on_validation_start()
        self.step.to(self.device)
        if self.trainer.state.fn == "fit":
            self._calibrate()

    def _calibrate(self) -> None:
        """Measure what regression to the mean has lost, once for the same weights."""
        step = self.trainer.global_step
        # Before the first update there is nothing to make good, or a warm start brought it along.
        if step == 0 or step == self._calibrated_step:
            return
        batches = self._data().some_batches(CALIBRATION_UTTERANCES)
        with self.averaged_weights():
            calibrate(self.model_g, self.step.extract, map(self._cut_whole, batches))
        self._calibrated_step = step

    def validation_losses(self, batch: Pieces, batch_index: int) -> dict[str, Tensor]:
        """Take the losses of fixed pieces with fixed noise."""
        rng = torch.Generator().manual_seed(VALIDATION_SEED + batch_index)
        size = VALIDATION_DECODED_FRAMES * self.network_config.hop_length
        noise = torch.randn((len(batch), size), generator=rng).to(self.device)
        return self.step.losses(batch, noise)

    # -- checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint say when the discriminators began, and be as good as a validated one.

        A training that is stopped may never have been validated.
        """
        super().on_save_checkpoint(checkpoint)
        if self.trainer.state.fn == "fit":
            try:
                self._calibrate()  # buffers that the checkpoint shares
            except Exception as error:  # data or memory that failed; hours of training did not
                _LOGGER.warning(
                    "How lively the voice is to speak could not be measured for this checkpoint, "
                    "which is whole in all else: %s",
                    describe_briefly(error, 200),
                )
        checkpoint[TOGETHER_KEY] = self._together_since

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on in the phase that the checkpoint was in."""
        super().on_load_checkpoint(checkpoint)
        since = checkpoint.get(TOGETHER_KEY)
        self._together_since = since if type(since) is int and since >= 0 else None

    def adapt_checkpoint(self, checkpoint: dict[str, Any], path: Any) -> list[str]:
        """Make a checkpoint fit this network.

        Only this project writes them: optimizers count parameters as ours do, and rates are set
        anew at each update.
        """
        self.fit_checkpoint(checkpoint, path)
        checkpoint["lr_schedulers"] = []
        states = checkpoint.get("optimizer_states") or []
        optimizers, _ = self.configure_optimizers()
        if len(states) != len(optimizers) or not all(map(_fits_optimizer, states, optimizers)):
            _LOGGER.warning("Checkpoint: it holds no optimizer states, so they start anew.")
            checkpoint["optimizer_states"] = [optimizer.state_dict() for optimizer in optimizers]
        return describe_changes(read_training_settings(checkpoint), self.training_settings, {})


def _fits_optimizer(state: Mapping[str, Any], optimizer: Any) -> bool:
    """Return whether a state has this optimizer's groups, and their parameters' sizes."""
    groups = [group["params"] for group in optimizer.param_groups]
    saved = [group.get("params") for group in state["param_groups"]]
    if [len(group) for group in groups] != [len(own) if own else 0 for own in saved]:
        return False
    parameters = [parameter for group in groups for parameter in group]
    return all(
        isinstance(position, int)
        and 0 <= position < len(parameters)
        and fits_parameter(value, parameters[position])
        for position, value in state["state"].items()
    )


@torch.no_grad()
def standardise_latents(
    network: QuickSynthesizer, extract: LatentExtractor, pieces: Iterable[Pieces]
) -> None:
    """Set mean and deviation of the latents to those of whole utterances, one a piece."""
    latents = torch.cat([extract(one.audio, one.log_f0, one.voiced)[0] for one in pieces])
    mean, deviation = latents.mean(0), latents.std(0).clamp(min=1e-2)
    voiced = latents[latents[:, -1] > 0, -2]
    if len(voiced):  # where there is no voice the pitch is interpolated, and mostly higher
        mean[-2] = voiced.mean()
    mean[-1] = deviation[-1] = 0.5  # voicing is 0 or 1
    network.latent_mean.copy_(mean)
    network.latent_deviation.copy_(deviation)


@torch.no_grad()
def calibrate(
    network: QuickSynthesizer, extract: LatentExtractor, pieces: Iterable[Pieces]
) -> None:
    """Set the spread of latents and the length of durations by whole utterances, one a piece.

    A network that is taught by distances speaks the mean of what could be said: its latents vary
    less than the recordings', and the mean of the logarithms of durations is short. Both are
    measured here, and made good when the voice speaks.
    """
    text = network.text
    estimates, recordings = [], []
    predicted, recorded = 0.0, 0.0
    for one in pieces:
        encoded = encode_pieces(text, one)
        estimates.append(text.estimate_latents(encoded, one.index).mean[0])
        recordings.append(network.standardise(extract(one.audio, one.log_f0, one.voiced))[0])
        if text.kept_latents:
            continue
        durations = torch.expm1(text.estimate_durations(encoded, one.id_mask).mean)
        predicted += float(durations.round().clamp(min=0.0).sum())
        recorded += float(one.durations.sum())
    estimate, recording = torch.cat(estimates), torch.cat(recordings)
    wider = (recording.std(0) / estimate.std(0).clamp(min=1e-3)).clamp(1.0, WIDEST)
    spread = 1.0 + WIDENING * (wider - 1.0)
    spread[-2] = 1.0 + PITCH_WIDENING * (wider[-2] - 1.0)
    spread[-1] = 1.0
    network.predicted_mean.copy_(estimate.mean(0))
    network.spread.copy_(spread)
    scale = recorded / max(1.0, predicted) if predicted else 1.0
    network.duration_scale.fill_(min(max(scale, SHORTEST), LONGEST))
