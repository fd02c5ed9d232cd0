"""Lightning's hooks around the GAN step of VITS, and checkpoints of any trainer made to fit."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from piper.errors import ConfigError
from piper.train import storage
from piper.train.checkpoints import (
    LATER_KEYS,
    describe_changes,
    find_present_rates,
    fits_parameter,
    group_and_schedule,
    is_same_setting,
    network_config_from_checkpoint,
    read_training_settings,
)
from piper.train.data.batches import Batch
from piper.train.distributed import sum_over_processes
from piper.train.families import is_needed_to_speak
from piper.train.presets import (
    NETWORK_KEYS,
    TRAINING_DEFAULTS,
    create_network_config,
    saved_hyper_parameters,
)
from piper.train.steps import gan
from piper.train.steps.compilation import (
    compile_generator,
    record_step,
    should_compile,
)
from piper.train.steps.gan import GanStep, MicroBatches, Normalisers
from piper.train.steps.update import FrozenPart, create_optimizer, seed_update
from piper.train.vits.config import NetworkConfig
from piper.train.vits.discriminators import Discriminator, MultiResolutionDiscriminator
from piper.train.vits.network import VitsSynthesizer
from piper.train.voice_module import VALIDATION_SEED, VoiceModule
from piper.train.warm_start import read_warm_starts

_LOGGER = logging.getLogger(__name__)

_OPTIMIZER_PREFIXES = (("model_g.",), ("model_d.", "model_mrd."))
"""The networks of each optimizer in a checkpoint, in the order that it counts their parameters."""


class VitsModel(VoiceModule):
    """A VITS voice in training: generator `model_g`, discriminators `model_d`.

    Hyper-parameters of the network that are not given follow from the quality. How it is trained
    (learning_rate to use_mrd) has the defaults of `presets.TRAINING_DEFAULTS`; the command line
    takes what is not given from the checkpoint that it resumes.

    Args:
        quality: x-low, low, medium (where none is given), high, or quick, which has other flags
            (--model.quality=quick --help).
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
        hold_voice: The same for all that speaks: only what a voice's file lacks is trained, the
            encoder of recordings, the half of the durations that processes them, and the
            discriminators.
        ema_decay: Decay of the weights' EMA at each update; the EMA is
            what is validated and exported. 0 takes the weights themselves.
        c_mel: Weight of the mel loss.
        c_kl: Weight of the divergence between posterior and prior.
        use_mrd: Train with discriminators of spectrograms in three resolutions as well.
        new_speakers_only: Train nothing of the voice but the speakers of the dataset: all others
            stay as they are, to the bit.
        warmstart: Checkpoint or voice (.onnx) whose weights to start from, where they fit.
        vocoder_warmstart: The same for the decoder and the discriminators alone.
        warmstart_speaker: Of a source with several: whom a single-speaker voice, and speakers
            that are new, start from; a name or an id.
        compile: Compile decoder and duration couplings with torch.compile: off, on, or auto for
            long trainings on a GPU. graphs: couplings compiled, decoder and discriminators as one
            CUDA graph, which a GPU launches at once.
        scores: Metrics of each validation, joined by commas: distillmos, per, similarity,
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
        hold_voice: int | None = None,
        ema_decay: float | None = None,
        c_mel: float | None = None,
        c_kl: float | None = None,
        use_mrd: bool | None = None,
        new_speakers_only: bool | None = None,
        warmstart: str | None = None,
        vocoder_warmstart: str | None = None,
        warmstart_speaker: str | None = None,
        compile: Literal["off", "on", "graphs", "auto"] = "off",
        scores: str | None = None,
        phoneme_recogniser: str | None = None,
    ) -> None:
        given = dict(locals())
        network = create_network_config(quality, **{key: given[key] for key in NETWORK_KEYS})
        assert isinstance(network, NetworkConfig)
        settings = {
            key: default if given[key] is None else given[key]
            for key, default in TRAINING_DEFAULTS.items()
        }
        super().__init__(
            network, settings, read_warm_starts(warmstart, vocoder_warmstart, warmstart_speaker)
        )
        self.save_hyperparameters(saved_hyper_parameters(network, settings))

        self.model_g: VitsSynthesizer = VitsSynthesizer(network)
        self.model_d = Discriminator(network.discriminator_channels)
        self.model_mrd: MultiResolutionDiscriminator | None = None
        if settings["use_mrd"]:
            self.model_mrd = MultiResolutionDiscriminator.for_network(network)
        discriminators = [*self.model_d.discriminators]
        if self.model_mrd is not None:
            discriminators += self.model_mrd.discriminators
        weights = {**gan.USUAL_WEIGHTS, "mel": settings["c_mel"], "kl": settings["c_kl"]}
        self.gan = GanStep(self.model_g, discriminators, network, weights)
        self.micro_batches = MicroBatches(self.gan, self.model_g, *discriminators)
        self._kept_speakers: tuple[list[int], Tensor] | None = None
        if settings["new_speakers_only"]:
            self._freeze_voice()
        self._frozen_parts = self._find_frozen_parts()
        self._compile_choice = compile

    def _freeze_voice(self) -> None:
        """Let no weight of the generator learn but the speaker table's."""
        if (table := self.model_g.emb_g) is None:
            raise ConfigError(
                "--model.new_speakers_only is for voices of several speakers: leave it out, or "
                "give --model.num_speakers."
            )
        for parameter in self.model_g.parameters():
            parameter.requires_grad_(False)
        table.weight.requires_grad_(True)

    def _find_frozen_parts(self) -> list[FrozenPart]:
        """Return what learns nothing in the first updates; the decoder is a part of the voice."""
        decoder: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, parameter in self.model_g.named_parameters():
            if is_needed_to_speak(name, self.network_config):
                (decoder if name.startswith("dec.") else rest).append(parameter)
        updates = self._training["hold_voice"]
        return [
            FrozenPart(decoder, "decoder", max(updates, self._training["hold_decoder"])),
            FrozenPart(rest, "text side of the voice", updates),
        ]

    def settle_weights(self) -> None:
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
        training = self._training
        trained = (self.model_g.parameters(), self.discriminator_parameters())
        pairs = [
            create_optimizer(
                parameters,
                training[f"learning_rate{ending}"],
                training[f"betas{ending}"],
                training["eps"],
                training[f"lr_decay{ending}"],
            )
            for parameters, ending in zip(trained, ("", "_d"), strict=True)
        ]
        return [optimizer for optimizer, _ in pairs], [schedule for _, schedule in pairs]

    def discriminator_parameters(self) -> list[nn.Parameter]:
        """Parameters of all discriminators, in the order of Piper's optimizer states."""
        mrd = self.model_mrd.parameters() if self.model_mrd is not None else ()
        return [*self.model_d.parameters(), *mrd]

    # -- training

    def on_fit_start(self) -> None:
        """Begin the averages, and note the speakers that stay as they are."""
        super().on_fit_start()
        self.settle_weights()

    def make_gradients(self, batch: Batch, update: int, scale: Tensor | None) -> dict[str, Tensor]:
        """Give both networks their gradients, in as many parts as memory asks for."""
        own = Normalisers.of(batch)
        counts = torch.stack([own.utterances, own.frames, own.phonemes])
        normalisers = Normalisers(*sum_over_processes(counts).unbind())
        for part in self._frozen_parts:
            change = part.apply(update)
            if change and self.trainer.is_global_zero:
                _LOGGER.info("%s", change)
        return self.micro_batches.backward(
            batch,
            self.accumulate_grad_batches,
            normalisers,
            scale,
            partial(seed_update, self._seed, self.global_rank, update),
        )

    def try_update(self, batch: Batch) -> None:
        """Compute the gradients of a batch as an update does."""
        self.gan.backward(batch.to(self.device))

    def total(self, named: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the named losses."""
        return self.gan.total(named)

    def on_train_start(self) -> None:
        """Validate first; then compile, where the training is long enough for it."""
        super().on_train_start()
        has_graphs = self._compile_choice == "graphs" and self.device.type == "cuda"
        if has_graphs:
            record_step(self.gan)
        if should_compile(self._compile_choice, self.device, self._planned_updates()):
            compile_generator(self.model_g, with_decoder=not has_graphs)

    # -- validation

    def validation_losses(self, batch: Batch, batch_index: int) -> dict[str, Tensor]:
        """Take the losses of fixed segments with fixed noise."""
        rng = torch.Generator(device=self.device).manual_seed(VALIDATION_SEED + batch_index)
        return self.gan.spectral_losses(self.gan.generate(batch, rng))

    # -- checkpoints

    def adapt_checkpoint(self, checkpoint: dict[str, Any], path: Any) -> list[str]:
        """Change a loaded checkpoint of any age so that Lightning can resume this network from it.

        Its optimizers and schedules are changed to what this model says.
        """
        saved, present = read_training_settings(checkpoint), find_present_rates(checkpoint)
        network = network_config_from_checkpoint(checkpoint)
        saved_names = list(checkpoint["state_dict"])
        report = self.fit_checkpoint(checkpoint, path)
        if report.missing or report.unknown:
            has_mrd = any(name.startswith("model_mrd.") for name in report.unknown)
            hint = " --model.use_mrd=true would go on with model_mrd." if has_mrd else ""
            _LOGGER.warning("Checkpoint: %s%s", report, hint)
        optimizers, schedules = self.configure_optimizers()
        fresh = [optimizer.state_dict() for optimizer in optimizers]
        if not checkpoint.get("optimizer_states"):
            last = storage.plain_address(path).rpartition("/")[0] + "/last.ckpt" if path else ""
            fuller = f" {last} holds them." if last and storage.is_file(last) else ""
            _LOGGER.warning(
                "Checkpoint: it holds no optimizer states, so they start anew.%s", fuller
            )
        checkpoint["optimizer_states"] = _remap_optimizer_states(
            checkpoint.get("optimizer_states") or [],
            fresh,
            saved_names,
            dict(self.named_parameters()),
        )
        states = [schedule.state_dict() for schedule in schedules]
        # Only what a schedule has: it takes all that it is given for attributes of its own.
        saved_schedules = [
            {key: saved.get(key) or value for key, value in state.items()}
            for saved, state in zip(checkpoint.get("lr_schedulers") or [], states, strict=False)
        ]
        for state, schedule in zip(checkpoint["optimizer_states"], saved_schedules, strict=False):
            # Of a slim checkpoint the rate goes on all the same.
            if not state["state"] and schedule.get("_last_lr"):
                state["param_groups"][0]["lr"] = schedule["_last_lr"][0]
        checkpoint["lr_schedulers"] = saved_schedules + states[len(saved_schedules) :]
        now = self.training_settings
        _obey(checkpoint, saved, now)
        _check_begun(saved, now, int(checkpoint.get("global_step") or 0) // len(optimizers))
        for key in LATER_KEYS:
            saved[key], now[key] = getattr(network, key), getattr(self.network_config, key)
        return describe_changes(saved, now, present)


def _obey(checkpoint: Mapping[str, Any], saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Let optimizers and schedules do what the settings say.

    A learning rate that is the same as before goes on where its decay has brought it.
    """
    for index, ending in enumerate(("", "_d")):
        group, schedule = group_and_schedule(checkpoint, index)
        group |= {"betas": tuple(now[f"betas{ending}"]), "eps": now["eps"]}
        schedule["gamma"] = now[f"lr_decay{ending}"]
        rate = now[f"learning_rate{ending}"]
        if not is_same_setting(saved.get(f"learning_rate{ending}"), rate):
            group |= {"lr": rate, "initial_lr": rate}
            schedule |= {"base_lrs": [rate], "_last_lr": [rate]}


def _check_begun(saved: Mapping[str, Any], now: Mapping[str, Any], updates: int) -> None:
    """Refuse what belongs to the beginning of a training that has gone further."""
    for key in ("warmup_updates", "hold_decoder", "hold_voice"):
        is_other = key in saved and saved[key] != now[key]
        if is_other and 0 < now[key] <= updates:
            raise ConfigError(
                f"--model.{key}={now[key]} is for the first {now[key]:,} updates, and the "
                f"checkpoint has made {updates:,}: leave it out, or begin a new training from its "
                "weights with --model.warmstart."
            )


def _remap_optimizer_states(
    states: Sequence[dict[str, Any]],
    fresh: Sequence[dict[str, Any]],
    saved_names: Sequence[str],
    parameters: Mapping[str, Tensor],
) -> list[dict[str, Any]]:
    """Give each parameter its own running means back, by name.

    An optimizer stores them by position. The file's positions follow the order of its
    state_dict, which another trainer may have built in another order than ours.
    """
    remapped = []
    for index, prefixes in enumerate(_OPTIMIZER_PREFIXES):
        own, saved = (
            [name for prefix in prefixes for name in names if name.startswith(prefix)]
            for names in (parameters, saved_names)
        )
        # Without saved weights of this network its optimizer starts anew as well.
        state = states[index] if saved and index < len(states) else fresh[index]
        by_name = {
            name: state["state"][position]
            for position, name in enumerate(saved)
            if position in state["state"]
        }
        # How the step is computed is ours to say, whatever the file's trainer did.
        group = {**fresh[index]["param_groups"][0], "params": list(range(len(own)))}
        for key in ("lr", "initial_lr", "betas", "eps", "weight_decay"):
            if key in state["param_groups"][0]:
                group[key] = state["param_groups"][0][key]
        moved = {
            i: by_name[name]
            for i, name in enumerate(own)
            if name in by_name and fits_parameter(by_name[name], parameters[name])
        }
        remapped.append({"state": moved, "param_groups": [group]})
    return remapped
