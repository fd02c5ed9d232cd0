"""The GAN step: a batch becomes named losses of both networks.

Knows the networks and the losses, but not Lightning, optimizers or files. The symbols `z_p`,
`m_p`, `logs_p`, `logs_q` are those of VITS (Kim et al. 2021), as in the network's modules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from piper.train import losses
from piper.train.data.batches import Batch
from piper.train.vits.config import NetworkConfig
from piper.train.vits.discriminators import Discriminator
from piper.train.vits.mel import audio_to_mel, spectrogram_to_mel
from piper.train.vits.synthesizer import Synthesizer, SynthesizerOutput, cut_segments


@dataclass
class Generated:
    """What the generator made of a batch, beside the recordings' same segments.

    Attributes:
        output: The generator's output; its audio is (B, 1, S) with S one segment.
        real_audio: The recordings' segments, (B, 1, S).
        real_mel: Their log-mel spectrograms, (B, M, T).
    """

    output: SynthesizerOutput
    real_audio: Tensor
    real_mel: Tensor


class GanStep:
    """The losses of one step of VITS.

    Args:
        generator: The network that speaks.
        discriminator: The networks that tell recordings from generated audio.
        config: Hyper-parameters of both.
        loss_weights: Weight of each of the generator's losses, by name.
    """

    def __init__(
        self,
        generator: Synthesizer,
        discriminator: Discriminator,
        config: NetworkConfig,
        loss_weights: Mapping[str, float],
    ) -> None:
        self.generator = generator
        self.discriminator = discriminator
        self.config = config
        self.loss_weights = dict(loss_weights)

    def generate(self, batch: Batch, random: torch.Generator | None = None) -> Generated:
        """Run the generator on a batch.

        Args:
            batch: Phoneme ids, spectrograms and audio.
            random: Source of noise and segment positions; None takes torch's own.
        """
        output: SynthesizerOutput = self.generator(
            batch.ids,
            batch.id_lengths,
            batch.spectrograms,
            batch.spectrogram_lengths,
            batch.speaker_ids,
            generator=random,
        )
        hop = self.config.hop_length
        starts = output.segment_starts
        spectrogram = cut_segments(batch.spectrograms, starts, self.config.segment_frames)
        return Generated(
            output=output,
            real_audio=cut_segments(batch.audio, starts * hop, self.config.segment_size),
            real_mel=spectrogram_to_mel(spectrogram, self.config),
        )

    def discriminator_loss(self, generated: Generated) -> Tensor:
        """Return the discriminators' loss on the recordings' and the generated segments."""
        real = self.discriminator(generated.real_audio)
        fake = self.discriminator(generated.output.audio.detach())
        return losses.discriminator_loss(real, fake)

    def spectral_losses(self, generated: Generated) -> dict[str, Tensor]:
        """Return the generator's losses that need no discriminator."""
        output = generated.output
        mel = audio_to_mel(output.audio.squeeze(1), self.config)
        return {
            "mel": losses.mel_loss(generated.real_mel, mel),
            "kl": losses.kl_loss(
                output.z_p, output.logs_q, output.m_p, output.logs_p, output.frame_mask
            ),
            "duration": losses.duration_loss(output.duration_loss),
        }

    def generator_losses(self, generated: Generated) -> dict[str, Tensor]:
        """Return all losses of the generator by name.

        The discriminators' weights take no part in it, so their gradients are not computed, and
        the recordings' features are kept for no backward pass.
        """
        with frozen(self.discriminator):
            with torch.no_grad():
                real = self.discriminator(generated.real_audio)
            fake = self.discriminator(generated.output.audio)
        return {
            **self.spectral_losses(generated),
            "adversarial": losses.generator_loss(fake),
            "feature": losses.feature_loss(real, fake),
        }

    def total(self, named: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the named losses; all of them must have a weight."""
        return losses.weighted_sum(named, {name: self.loss_weights[name] for name in named})


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Let no weight of a module require a gradient in this block; its inputs still may."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
