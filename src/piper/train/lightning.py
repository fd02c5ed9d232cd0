"""Lightning's hooks around the GAN step, and nothing else: no losses, no layers, no files."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from piper.errors import ConfigError
from piper.train.checkpoints import checkpoint as checkpoints
from piper.train.data.batches import Batch
from piper.train.parallel.distributed import sum_over_processes
from piper.train.presets import (
    NETWORK_KEYS,
    TRAINING_DEFAULTS,
    TRAINING_KEYS,
    create_network_config,
    saved_hyper_parameters,
)
from piper.train.steps import losses
from piper.train.steps.averages import WeightAverages
from piper.train.steps.compilation import compile_generator, is_wanted
from piper.train.steps.gan import GanStep, Totals
from piper.train.steps.holding import Hold
from piper.train.steps.micro_batches import MicroBatches
from piper.train.steps.optimizers import OptimizerSettings, create_optimizer
from piper.train.steps.seeds import seed_update
from piper.train.steps.update import Updater, UpdateSettings
from piper.train.vits.discriminators import Discriminator
from piper.train.vits.multi_resolution import MultiResolutionDiscriminator
from piper.train.vits.synthesizer import Synthesizer
from piper.train.warm_start.source import compare_voices, name_some, speakers_of
from piper.train.warm_start.start import read_warm_starts

_LOGGER = logging.getLogger(__name__)
VALIDATION_SEED = 20210611
"""Seed of validation's noise and segments: the same in each epoch, so that epochs compare."""


class VitsModel(LightningModule):
    """A VITS voice in training: generator `model_g`, discriminators `model_d`.

    Hyper-parameters of the network that are not given follow from the quality. How it is trained
    (learning_rate to use_mrd) has the defaults of `presets.TRAINING_DEFAULTS`; the command line
    takes what is not given from the checkpoint that it resumes.

    Args:
        quality: x-low, low, medium (where none is given), high, or tiny for a CPU.
        sample_rate: Hertz of the audio.
        num_symbols: Rows of the phoneme embedding.
        num_speakers: Speakers of the dataset.
        resblock: Kind of the decoder's residual blocks, "1" or "2".
        resblock_kernel_sizes: Their kernels.
        resblock_dilation_sizes: Their dilations, a list a kernel.
        upsample_rates: The decoder's upsampling factors; their product is hop_length.
        upsample_initial_channel: The decoder's widest layer.
        upsample_kernel_sizes: Kernels of the upsampling layers.
        filter_length: Samples in a spectrogram's window (n_fft).
        hop_length: Samples a frame.
        win_length: Samples of the window that are not zero.
        mel_channels: Bands of the mel spectrogram.
        mel_fmin: Lowest frequency of the bands, hertz.
        mel_fmax: Highest frequency of the bands, hertz; None means half the sample rate.
        inter_channels: Channels of the latent.
        hidden_channels: Channels inside the encoders.
        filter_channels: Channels of the text encoder's feed-forward layers.
        n_heads: Attention heads of the text encoder.
        n_layers: Layers of the text encoder.
        kernel_size: Kernel of its feed-forward layers.
        p_dropout: Dropout of the text encoder.
        gin_channels: Channels of the speaker embedding; 0 means 512 where there are several.
        use_sdp: Stochastic duration predictor instead of the plain one.
        segment_size: Samples that the decoder makes in a training step.
        discriminator_channels: The discriminators' widest layer.
        learning_rate: The generator's, in the first epoch.
        learning_rate_d: The discriminators', in the first epoch.
        betas: AdamW's, for the generator.
        betas_d: AdamW's, for the discriminators.
        eps: AdamW's.
        lr_decay: Factor on the generator's learning rate after each epoch.
        lr_decay_d: Factor on the discriminators' learning rate after each epoch.
        warmup_updates: Updates in which both learning rates grow from 0.
        hold_decoder: Updates in which the decoder stays as a warm start brought it, while the
            encoder of recordings, which a voice has not, learns to be spoken by it.
        ema_decay: Share of the weights' moving average that stays at each update; the average is
            what is validated and exported. 0 takes the weights themselves.
        c_mel: Weight of the mel loss.
        c_kl: Weight of the divergence between posterior and prior.
        use_mrd: Let discriminators of spectrograms in three resolutions judge as well.
        new_speakers_only: Train nothing of the voice but the speakers of the dataset: all others
            stay as they are, to the bit.
        warmstart: Checkpoint or voice (.onnx) whose weights to start from, where they fit.
        vocoder_warmstart: The same for the decoder and the discriminators alone.
        warmstart_speaker: Of a source with several: whom a single-speaker voice, and speakers
            that are new, start from; a name or an id.
        compile: Compile decoder and duration couplings with torch.compile: off, on, or auto for
            long trainings on a GPU.
        scores: Judges that hear each validation, joined by commas: distillmos, per, similarity,
            package.module:function. The first chooses the best checkpoints. The command line
            reads this and the next, no network does.
        phoneme_recogniser: File of the recogniser that per needs.

    Raises:
        ConfigError: Hyper-parameters that do not fit each other.
        CheckpointError: A checkpoint to start from cannot be read.
    """

    def __init__(
        self,
        quality: str | None = None,
        sample_rate: int | None = None,
        num_symbols: int | None = None,
        num_speakers: int | None = None,
        resblock: str | None = None,
        resblock_kernel_sizes: tuple[int, ...] | None = None,
        resblock_dilation_sizes: tuple[tuple[int, ...], ...] | None = None,
        upsample_rates: tuple[int, ...] | None = None,
        upsample_initial_channel: int | None = None,
        upsample_kernel_sizes: tuple[int, ...] | None = None,
        filter_length: int | None = None,
        hop_length: int | None = None,
        win_length: int | None = None,
        mel_channels: int | None = None,
        mel_fmin: float | None = None,
        mel_fmax: float | None = None,
        inter_channels: int | None = None,
        hidden_channels: int | None = None,
        filter_channels: int | None = None,
        n_heads: int | None = None,
        n_layers: int | None = None,
        kernel_size: int | None = None,
        p_dropout: float | None = None,
        gin_channels: int | None = None,
        use_sdp: bool | None = None,
        segment_size: int | None = None,
        discriminator_channels: int | None = None,
        learning_rate: float | None = None,
        learning_rate_d: float | None = None,
        betas: tuple[float, float] | None = None,
        betas_d: tuple[float, float] | None = None,
        eps: float | None = None,
        lr_decay: float | None = None,
        lr_decay_d: float | None = None,
        warmup_updates: int | None = None,
        hold_decoder: int | None = None,
        ema_decay: float | None = None,
        c_mel: float | None = None,
        c_kl: float | None = None,
        use_mrd: bool | None = None,
        new_speakers_only: bool | None = None,
        warmstart: str | None = None,
        vocoder_warmstart: str | None = None,
        warmstart_speaker: str | None = None,
        compile: Literal["off", "on", "auto"] = "off",
        scores: str | None = None,
        phoneme_recogniser: str | None = None,
    ) -> None:
        given = dict(locals())
        super().__init__()
        self.automatic_optimization = False
        network = {key: given[key] for key in NETWORK_KEYS}
        self.network_config = create_network_config(quality, **network)
        self._training = {
            key: default if given[key] is None else given[key]
            for key, default in TRAINING_DEFAULTS.items()
        }
        training = SimpleNamespace(**self._training)
        self.generator_settings = OptimizerSettings(
            training.learning_rate, tuple(training.betas), training.eps, training.lr_decay
        )
        self.discriminator_settings = OptimizerSettings(
            training.learning_rate_d, tuple(training.betas_d), training.eps, training.lr_decay_d
        )
        self.save_hyperparameters(saved_hyper_parameters(self.network_config, self._training))

        self.model_g = Synthesizer(self.network_config)
        self.model_d = Discriminator(self.network_config.discriminator_channels)
        self.model_mrd: MultiResolutionDiscriminator | None = None
        if training.use_mrd:
            self.model_mrd = MultiResolutionDiscriminator.for_network(self.network_config)
        judges = [*self.model_d.discriminators]
        if self.model_mrd is not None:
            judges += self.model_mrd.discriminators
        weights = {**losses.USUAL_WEIGHTS, "mel": training.c_mel, "kl": training.c_kl}
        self.gan = GanStep(self.model_g, judges, self.network_config, weights)
        self.micro_batches = MicroBatches(self.gan, self.model_g, *judges)
        self.updater = Updater(UpdateSettings(warmup_updates=training.warmup_updates))
        self.hold = Hold(self.model_g.dec, "decoder", training.hold_decoder)
        self._kept_speakers: tuple[list[int], Tensor] | None = None
        if training.new_speakers_only:
            self._freeze_voice()
        self.accumulate_grad_batches = 1
        """Parts of a batch, which makes one update; `--trainer.accumulate_grad_batches` sets it."""
        self.averages: WeightAverages | None = None
        self._compile_choice = compile
        self._loaded_averages: dict[str, Any] | None = None
        # What seed_everything has set; each update begins with numbers that follow from it.
        self._seed = torch.initial_seed()
        self._validated_step = 0
        self._warm_starts = read_warm_starts(warmstart, vocoder_warmstart, warmstart_speaker)

    @property
    def training_settings(self) -> dict[str, Any]:
        """How it is trained, beside the network: by the names of the flags."""
        clip = self.updater.settings
        return {
            **self._training,
            "gradient_clip_val": clip.clip_value or 0,
            "gradient_clip_algorithm": clip.clip_algorithm,
        }

    def setup(self, stage: str) -> None:
        """Start from other weights, now that the dataset's symbols and speakers are known."""
        data = getattr(self._trainer, "datamodule", None)
        while self._warm_starts:
            start = self._warm_starts.pop(0)
            if data is not None and start.takes_speakers:
                silent = data.adopt_speakers(start.source.speaker_ids, keeps_rows=False)
                self._warn_about_silent(silent)
            report = start.apply(self, data.voice_config() if data else None)
            if self._trainer is None or self._trainer.is_global_zero:
                _LOGGER.info("%s", report)

    def _warn_about_silent(self, speakers: list[str]) -> None:
        if not speakers or self._training["new_speakers_only"] or not self._is_first_process():
            return
        _LOGGER.warning(
            "The dataset has no recordings of %d speakers of the voice (%s), who lose their voices "
            "while the others are trained. To keep them, add some of their recordings, or speech "
            "of theirs that the old voice speaks, or train nothing but the new speakers: "
            "--model.new_speakers_only=true.",
            len(speakers),
            name_some(speakers),
        )

    def _is_first_process(self) -> bool:
        return self._trainer is None or self._trainer.is_global_zero

    def _freeze_voice(self) -> None:
        """Let no weight of the generator learn but the speaker table's.

        Raises:
            ConfigError: There is one speaker.
        """
        if (table := self.model_g.emb_g) is None:
            raise ConfigError(
                "--model.new_speakers_only is for voices of several speakers: leave it out, or "
                "give --model.num_speakers."
            )
        for parameter in self.model_g.parameters():
            parameter.requires_grad_(False)
        table.weight.requires_grad_(True)

    def _keep_speakers(self) -> None:
        """Give the speakers that are not trained their rows back: AdamW lets all rows decay."""
        if not self._training["new_speakers_only"] or self.model_g.emb_g is None:
            return
        table = self.model_g.emb_g.weight.data
        if self._kept_speakers is None:
            data = getattr(self.trainer, "datamodule", None)
            trained = data.trained_speakers() if data is not None else set()
            rows = [row for row in range(len(table)) if row not in trained]
            self._kept_speakers = rows, table[rows].clone()
        rows, kept = self._kept_speakers
        table[rows] = kept

    # -- optimizers

    def configure_optimizers(self) -> tuple[list[Optimizer], list[Any]]:
        """Return the generator's and the discriminators' optimizer, each with its schedule."""
        pairs = [
            create_optimizer(self.model_g.parameters(), self.generator_settings),
            create_optimizer(self.discriminator_parameters(), self.discriminator_settings),
        ]
        return [optimizer for optimizer, _ in pairs], [schedule for _, schedule in pairs]

    def discriminator_parameters(self) -> list[nn.Parameter]:
        """All judges' parameters, in the order in which Piper's optimizer states count them."""
        mrd = self.model_mrd.parameters() if self.model_mrd is not None else ()
        return [*self.model_d.parameters(), *mrd]

    def on_train_epoch_end(self) -> None:
        """Let both learning rates decay, which manual optimization leaves to us."""
        schedules = self.lr_schedulers()
        assert isinstance(schedules, list)
        for schedule in schedules:
            schedule.step()  # type: ignore[call-arg]
        # No end goes unheard: Lightning validates every few epochs, and not where time is up.
        if self._is_last_epoch() and self.trainer.global_step != self._validated_step:
            self._validate()

    def _is_last_epoch(self) -> bool:
        trainer = self.trainer
        max_epochs = trainer.max_epochs or -1
        return (
            trainer.should_stop
            or 0 < trainer.max_steps <= trainer.global_step
            or 0 < max_epochs <= trainer.current_epoch + 1
        )

    # -- training

    def on_fit_start(self) -> None:
        """Begin the averages, with the weights or with what a checkpoint says."""
        self._begin_averages()
        self._keep_speakers()

    def _begin_averages(self) -> None:
        decay = self._training["ema_decay"]
        self.averages = WeightAverages(self.model_g, decay) if decay else None
        if self.averages is not None and self._loaded_averages is not None:
            self.averages.load_state_dict(self._loaded_averages)
        self._loaded_averages = None

    def training_step(self, batch: Batch, batch_index: int) -> None:
        """Make one update of both networks from one batch, which each process has a share of."""
        optimizers = cast(list[LightningOptimizer], self.optimizers())
        for optimizer in optimizers:
            optimizer.zero_grad()
        own = Totals.of(batch)
        counts = torch.stack([own.utterances, own.frames, own.phonemes])
        totals = Totals(*sum_over_processes(counts).unbind())
        update = self.trainer.global_step // len(optimizers)
        change = self.hold.apply(update)
        if change and self.trainer.is_global_zero:
            _LOGGER.info("%s", change)
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        scale = None if scaler is None else scaler.scale(torch.ones((), device=self.device))
        named = self.micro_batches.backward(
            batch,
            self.accumulate_grad_batches,
            totals,
            scale,
            partial(seed_update, self._seed, self.global_rank, update),
        )
        # The discriminators first, as callbacks that look at gradients have always seen them.
        names = ("generator", "discriminator")
        figures = self.updater.apply(optimizers[::-1], names[::-1], update, scaler)
        self._keep_speakers()
        if self.averages is not None:
            self.averages.update()
        self._log_training(named, figures, len(batch))

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        """Look now and then whether training still gets anywhere."""
        if (batch_index + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self.updater.check()

    def _log_training(
        self, named: dict[str, Tensor], figures: dict[str, Tensor], batch_size: int
    ) -> None:
        whole = dict(zip(named, sum_over_processes(torch.stack([*named.values()])), strict=True))
        scalars = {f"train_{name}": value for name, value in {**whole, **figures}.items()}
        del whole["discriminator"]
        scalars["train_loss"] = self.gan.total(whole)
        self.log_dict(scalars, batch_size=batch_size)
        for name, optimizer in zip(
            ("generator", "discriminator"), self.trainer.optimizers, strict=True
        ):
            self.log(f"learning_rate_{name}", optimizer.param_groups[0]["lr"], batch_size=1)

    # -- validation

    def on_train_start(self) -> None:
        """Validate before the first step, so that the log shows what training started from."""
        self._validated_step = self.trainer.global_step
        if self.trainer.global_step == 0:
            self._validate()
        if is_wanted(self._compile_choice, self.device, self._planned_updates()):
            compile_generator(self.model_g)

    def _planned_updates(self) -> float:
        """Updates that are left of the budget of epochs and steps; infinite where there is none."""
        trainer, plans = self.trainer, [math.inf]
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            epochs = trainer.max_epochs - trainer.current_epoch
            plans.append(epochs * trainer.num_training_batches)
        if trainer.max_steps >= 0:
            plans.append((trainer.max_steps - trainer.global_step) / 2)
        return min(plans)

    def on_validation_start(self) -> None:
        """Take the averages of a checkpoint that is only validated."""
        if self._loaded_averages is not None:
            self._begin_averages()

    def on_validation_epoch_end(self) -> None:
        """Remember that these weights were validated."""
        self._validated_step = self.trainer.global_step

    def _validate(self) -> None:
        trainer = self.trainer
        if getattr(trainer, "fast_dev_run", False) or not trainer.limit_val_batches:
            return
        trainer.validating = True
        trainer.fit_loop.epoch_loop.val_loop.run()
        trainer.training = True

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Take the losses of fixed segments with fixed noise.

        `val_loss` leaves the adversarial losses out: they measure the discriminators as much as
        the generator, so two epochs would not compare.
        """
        with self.averaged_weights():
            named = self.gan.spectral_losses(self.generate_validation(batch, batch_index))
        scalars = {f"val_{name}": value for name, value in named.items()}
        scalars["val_loss"] = self.gan.total(named)
        self.log_dict(scalars, batch_size=len(batch), sync_dist=True)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Let the generator have its averaged weights in this block, where there are any."""
        if self.averages is None:
            yield
            return
        with self.averages.applied():
            yield

    def generate_validation(self, batch: Batch, batch_index: int) -> Any:
        """Run the generator on a batch of validation, with the batch's own fixed noise."""
        random = torch.Generator(device=self.device).manual_seed(VALIDATION_SEED + batch_index)
        return self.gan.generate(batch, random)

    # -- checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint carry the averages, and the voice's JSON that export needs."""
        if self.averages is not None:
            checkpoint[checkpoints.AVERAGES_KEY] = self.averages.state_dict()
        checkpoint[checkpoints.SETTINGS_KEY] = {
            key: value for key, value in self.training_settings.items() if key not in TRAINING_KEYS
        }
        data = getattr(self.trainer, "datamodule", None)
        if data is not None:
            checkpoint[checkpoints.VOICE_CONFIG_KEY] = data.voice_config().to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make a checkpoint of any age fit this network, or say why it does not."""
        trainer = self._trainer
        data = getattr(trainer, "datamodule", None)
        path, changes = getattr(trainer, "ckpt_path", None), []
        if data is not None:
            changes = compare_voices(checkpoint, path, data.voice_config())
            if carried := speakers_of(checkpoint):
                data.adopt_speakers(carried, keeps_rows=True)
        changes += checkpoints.adapt_checkpoint(checkpoint, self, path)
        if trainer is not None and trainer.state.fn == "fit" and trainer.is_global_zero:
            for change in changes:
                _LOGGER.info("%s", change)
        self._loaded_averages = checkpoint.get(checkpoints.AVERAGES_KEY)
