"""Lightning's hooks around the GAN step, and nothing else: no losses, no layers, no files."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import Optimizer

from piper.train import checkpoint as checkpoints
from piper.train.data.batches import Batch
from piper.train.distributed import average_gradients
from piper.train.optimizers import OptimizerSettings, create_optimizer
from piper.train.presets import NETWORK_KEYS, create_network_config
from piper.train.step import GanStep
from piper.train.vits.config import NetworkConfig
from piper.train.vits.discriminators import Discriminator
from piper.train.vits.synthesizer import Synthesizer
from piper.train.warm_start import warm_start

VALIDATION_SEED = 20210611
"""Seed of validation's noise and segments: the same in each epoch, so that epochs compare."""


class VitsModel(LightningModule):
    """A VITS voice in training: generator `model_g`, discriminators `model_d`.

    Hyper-parameters of the network that are not given come from the preset.

    Args:
        preset: Quality: medium, high, low, x_low, or tiny for a CPU.
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
        c_mel: Weight of the mel loss.
        c_kl: Weight of the divergence between posterior and prior.
        warmstart_ckpt: Checkpoint or voice (.onnx) whose weights to start from, where they fit.
        vocoder_warmstart_ckpt: The same for the decoder and the discriminators alone.

    Raises:
        ConfigError: Hyper-parameters that do not fit each other.
        CheckpointError: A checkpoint to start from cannot be read.
    """

    def __init__(
        self,
        preset: str | None = None,
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
        learning_rate: float = 2e-4,
        learning_rate_d: float = 1e-4,
        betas: tuple[float, float] = (0.8, 0.99),
        betas_d: tuple[float, float] = (0.5, 0.9),
        eps: float = 1e-9,
        lr_decay: float = 0.999875,
        lr_decay_d: float = 0.9999,
        c_mel: float = 45.0,
        c_kl: float = 1.0,
        warmstart_ckpt: str | None = None,
        vocoder_warmstart_ckpt: str | None = None,
    ) -> None:
        given = dict(locals())
        super().__init__()
        self.automatic_optimization = False
        network = {key: given[key] for key in NETWORK_KEYS}
        self.network_config = create_network_config(preset, **network)
        self.generator_settings = OptimizerSettings(
            learning_rate, (betas[0], betas[1]), eps, lr_decay
        )
        self.discriminator_settings = OptimizerSettings(
            learning_rate_d, (betas_d[0], betas_d[1]), eps, lr_decay_d
        )
        self.save_hyperparameters(_saved_hyper_parameters(self.network_config, given))

        self.model_g = Synthesizer(self.network_config)
        self.model_d = Discriminator(self.network_config.discriminator_channels)
        loss_weights = {"mel": c_mel, "kl": c_kl, "duration": 1.0, "adversarial": 1.0}
        self.gan = GanStep(
            self.model_g, self.model_d, self.network_config, {**loss_weights, "feature": 1.0}
        )
        self.accumulate_grad_batches = 1
        """Batches whose gradients make one update; `--trainer.accumulate_grad_batches` sets it."""
        self.gradient_clip_val: float | None = None
        """Largest norm (or value) of a network's gradients; `--trainer.gradient_clip_val`."""
        self.gradient_clip_algorithm = "norm"
        self._validated_step = 0
        self._first_batch: int | None = None
        if warmstart_ckpt:
            warm_start(self, warmstart_ckpt)
        if vocoder_warmstart_ckpt:
            warm_start(self, vocoder_warmstart_ckpt, ("model_g.dec.", "model_d."))

    # -- optimizers

    def configure_optimizers(self) -> tuple[list[Optimizer], list[Any]]:
        """Return the generator's and the discriminators' optimizer, each with its schedule."""
        pairs = [
            create_optimizer(self.model_g.parameters(), self.generator_settings),
            create_optimizer(self.model_d.parameters(), self.discriminator_settings),
        ]
        return [optimizer for optimizer, _ in pairs], [schedule for _, schedule in pairs]

    def on_train_epoch_end(self) -> None:
        """Let both learning rates decay, which manual optimization leaves to us."""
        self._first_batch = 0
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

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip the gradients, here because a gradient scaler has undone its scaling by now."""
        if self.gradient_clip_val is None:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if self.gradient_clip_algorithm == "value":
            torch.nn.utils.clip_grad_value_(parameters, self.gradient_clip_val)
        else:
            torch.nn.utils.clip_grad_norm_(parameters, self.gradient_clip_val)

    # -- training

    def training_step(self, batch: Batch, batch_index: int) -> None:
        """Take one batch: the discriminators' update, then the generator's."""
        optimizer_g, optimizer_d = cast(list[LightningOptimizer], self.optimizers())
        first, last, share = self._accumulation(batch_index)
        if first:
            optimizer_g.zero_grad()
            optimizer_d.zero_grad()

        generated = self.gan.generate(batch)
        discriminator_loss = self.gan.discriminator_loss(generated)
        self.manual_backward(discriminator_loss * share)
        if last:
            self._update(optimizer_d)

        named = self.gan.generator_losses(generated)
        total = self.gan.total(named)
        self.manual_backward(total * share)
        if last:
            self._update(optimizer_g)
        self._log_training(named, total, discriminator_loss, len(batch))

    def _accumulation(self, batch_index: int) -> tuple[bool, bool, float]:
        """Return whether a batch begins and ends an update, and its share of it."""
        if self._first_batch is None:
            self._first_batch = batch_index
        group = self.accumulate_grad_batches
        begin = batch_index - batch_index % group
        end = min(begin + group, int(self.trainer.num_training_batches))
        # Resumed inside an update: the gradients of its earlier batches are gone.
        begin = max(begin, self._first_batch)
        return batch_index == begin, batch_index + 1 == end, 1.0 / (end - begin)

    def _update(self, optimizer: LightningOptimizer) -> None:
        average_gradients([p for group in optimizer.param_groups for p in group["params"]])
        optimizer.step()

    def _log_training(
        self, named: dict[str, Tensor], total: Tensor, discriminator: Tensor, batch_size: int
    ) -> None:
        scalars = {f"train_{name}": value.detach() for name, value in named.items()}
        scalars["train_loss"] = total.detach()
        scalars["train_discriminator"] = discriminator.detach()
        self.log_dict(scalars, batch_size=batch_size)
        for name, optimizer in zip(
            ("generator", "discriminator"), self.trainer.optimizers, strict=True
        ):
            self.log(f"learning_rate_{name}", optimizer.param_groups[0]["lr"], batch_size=1)

    # -- validation

    def on_train_start(self) -> None:
        """Validate before the first step, so that the log shows what training started from."""
        self._validated_step = self.trainer.global_step
        self._first_batch = None
        if self.trainer.global_step == 0:
            self._validate()

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
        named = self.gan.spectral_losses(self.generate_validation(batch, batch_index))
        scalars = {f"val_{name}": value for name, value in named.items()}
        scalars["val_loss"] = self.gan.total(named)
        self.log_dict(scalars, batch_size=len(batch), sync_dist=True)

    def generate_validation(self, batch: Batch, batch_index: int) -> Any:
        """Run the generator on a batch of validation, with the batch's own fixed noise."""
        random = torch.Generator(device=self.device).manual_seed(VALIDATION_SEED + batch_index)
        return self.gan.generate(batch, random)

    # -- checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint carry the voice's JSON, so that export needs no other file."""
        data = getattr(self.trainer, "datamodule", None)
        if data is not None:
            checkpoint[checkpoints.VOICE_CONFIG_KEY] = data.voice_config().to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make a checkpoint of any age fit this network, or say why it does not."""
        checkpoints.adapt_checkpoint(checkpoint, self)


TRAINING_KEYS = (
    "learning_rate",
    "learning_rate_d",
    "betas",
    "betas_d",
    "eps",
    "lr_decay",
    "lr_decay_d",
    "c_mel",
    "c_kl",
)
"""Hyper-parameters of a checkpoint beside the network's."""


def _saved_hyper_parameters(network: NetworkConfig, given: dict[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint says of its network and training, as other trainers read it.

    Piper's parser refuses keys that it does not know, and a float where it wants a whole number;
    the channels of the discriminators are ours, so they are left out where they are Piper's.
    """
    saved = {**asdict(network), **{key: given[key] for key in TRAINING_KEYS}}
    if network.discriminator_channels == NetworkConfig.discriminator_channels:
        del saved["discriminator_channels"]
    for key in ("c_mel", "c_kl"):
        saved[key] = int(saved[key]) if float(saved[key]).is_integer() else saved[key]
    return saved
