"""The GAN step: a batch becomes gradients of both networks, and named losses.

Knows the networks and the losses, but not Lightning, optimizers or files. The symbols `z_p`,
`m_p`, `logs_p`, `logs_q` are those of VITS (Kim et al. 2021), as in the network's modules.

Both networks learn from one pass: all losses are taken with the weights from before the update.
That is what updating the generator first, and the discriminators on the audio it had made before,
comes to as well; but here each discriminator hears a pair of audio once instead of twice, and no
gradient is computed that nobody takes.

The work is done piece by piece, so that few intermediate results live at a time: recordings to
latents; flow, texts and durations, and backward through them, on a CPU for a few utterances after
the other; latents to audio; each discriminator on its own, forward and backward; backward through
the decoder; backward through what made the latents of recordings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from piper.train.data.batches import Batch, part_bounds
from piper.train.steps import losses
from piper.train.vits.config import NetworkConfig
from piper.train.vits.masks import cut_segments, place_segments
from piper.train.vits.mel import audio_to_mel, spectrogram_to_mel
from piper.train.vits.noise import Draws
from piper.train.vits.synthesizer import Posterior, Synthesizer, SynthesizerOutput

TEXT_FRAMES = 4096
"""Frames, padding included, that flow and texts take at once on a CPU. They want more memory than
all else, 0.11 GB for 1,000 frames of medium, and so many keep two cores as busy as more do."""


@dataclass
class Generated:
    """What the generator made of a batch, beside the recordings' same segments.

    Attributes:
        output: The generator's output; its audio is (B, 1, S) with S one segment.
        id_lengths: Phonemes of the utterances, (B,).
        real_audio: The recordings' segments, (B, 1, S).
        real_mel: Their log-mel spectrograms, (B, M, T).
    """

    output: SynthesizerOutput
    id_lengths: Tensor
    real_audio: Tensor
    real_mel: Tensor


@dataclass(frozen=True)
class Totals:
    """What an update's sums are divided by: everything in it, on all processes.

    So the gradients of a batch do not depend on the parts that it is worked on in.

    Attributes:
        utterances: How many, a scalar.
        frames: Of all of them without padding, a scalar.
        phonemes: Likewise.
    """

    utterances: Tensor
    frames: Tensor
    phonemes: Tensor

    @classmethod
    def of(cls, batch: Batch) -> Totals:
        """Count one batch."""
        frames = batch.spectrogram_lengths.sum().float()
        phonemes = batch.id_lengths.sum().float()
        return cls(torch.full_like(frames, len(batch)), frames, phonemes)


class GanStep:
    """The gradients and losses of one step of VITS.

    Args:
        generator: The network that speaks.
        discriminators: The networks that tell recordings from generated audio; each maps
            (B, 1, S) to its layers' features, the scores last.
        config: Hyper-parameters of both.
        loss_weights: Weight of each of the generator's losses, by name.
    """

    def __init__(
        self,
        generator: Synthesizer,
        discriminators: Sequence[nn.Module],
        config: NetworkConfig,
        loss_weights: Mapping[str, float],
    ) -> None:
        self.generator = generator
        self.discriminators = list(discriminators)
        self.config = config
        self.loss_weights = dict(loss_weights)

    # -- training

    def backward(
        self,
        batch: Batch,
        draws: Draws | None = None,
        totals: Totals | None = None,
        scale: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Add a batch's gradients to those of both networks.

        Args:
            batch: Utterances, or a part of a batch of them.
            draws: Their random numbers; None draws them.
            totals: Of the whole update that the batch is a part of; None: it is the whole.
            scale: Factor on all gradients, as mixed precision wants it.

        Returns:
            The generator's losses and `discriminator`, by name, detached: the batch's share of the
            update's means, so that the shares of all its parts add up to them.
        """
        totals = totals or Totals.of(batch)
        generator = self.generator
        if draws is None:
            draws = generator.draw(batch.ids, batch.spectrograms)
        g = generator.embed_speakers(batch.speaker_ids)
        posterior = generator.encode_recordings(
            batch.spectrograms, batch.spectrogram_lengths, g, draws
        )
        # Each stage adds its gradients here; all of them go back from here at once.
        found = posterior.as_leaves()
        voice = None if g is None else g.detach().requires_grad_()
        named = self._match_texts(batch, found, voice, draws, totals, scale)
        share = len(batch) / totals.utterances
        named |= self._decode_and_judge(batch, found.z, voice, draws, share, scale)
        roots, gradients = [posterior.z, posterior.logs_q], [found.z.grad, found.logs_q.grad]
        if g is not None and voice is not None:
            roots.append(g)
            gradients.append(voice.grad)
        torch.autograd.backward(roots, gradients)
        return named

    def _match_texts(
        self,
        batch: Batch,
        posterior: Posterior,
        g: Tensor | None,
        draws: Draws,
        totals: Totals,
        scale: Tensor | None,
    ) -> dict[str, Tensor]:
        """Go from latents and texts to the losses between them, and back, a part at a time."""
        sums: dict[str, list[Tensor]] = {"kl": [], "duration": []}
        bounds = part_bounds(len(batch), self._text_parts(batch))
        for (start, end), part in zip(bounds, batch.chunk(len(bounds)), strict=True):
            frames, phonemes = part.spectrograms.shape[2], part.ids.shape[1]
            rows = posterior.rows(start, end, frames)
            voice = None if g is None else g[start:end]
            match = self.generator.match_texts(rows, part.ids, part.id_lengths, voice)
            # A mean over these frames, or phonemes, is this much of the whole update's.
            kl = (rows.frame_lengths.sum() / totals.frames) * losses.kl_loss(
                match.z_p, rows.logs_q, match.m_p, match.logs_p, rows.frame_mask
            )
            self._scaled(self.total({"kl": kl}), scale).backward()
            per_utterance = self.generator.judge_durations(
                match, voice, draws.rows(start, end, frames, phonemes)
            )
            duration = (part.id_lengths.sum() / totals.phonemes) * losses.duration_loss(
                per_utterance, part.id_lengths
            )
            if duration.requires_grad:  # nothing of the durations is trained with the table alone
                self._scaled(self.total({"duration": duration}), scale).backward()
            sums["kl"].append(kl.detach())
            sums["duration"].append(duration.detach())
        return {name: torch.stack(values).sum() for name, values in sums.items()}

    @staticmethod
    def _text_parts(batch: Batch) -> int:
        if batch.ids.device.type != "cpu":
            return 1
        count, _, frames = batch.spectrograms.shape
        return min(count, -(-count * frames // TEXT_FRAMES))

    def _decode_and_judge(
        self,
        batch: Batch,
        z: Tensor,
        g: Tensor | None,
        draws: Draws,
        share: Tensor,
        scale: Tensor | None,
    ) -> dict[str, Tensor]:
        """Go from latents to audio and its losses, and back."""
        real_audio, real_mel, starts = self._cut_real(batch, draws.segments)
        audio = self.generator.dec(cut_segments(z, starts, self.config.segment_frames), g)
        heard = audio.detach().requires_grad_()
        named = self._judge(real_audio, heard, share, scale)
        mel = share * losses.mel_loss(real_mel, audio_to_mel(heard.squeeze(1), self.config))
        self._scaled(self.total({"mel": mel}), scale).backward()
        audio.backward(heard.grad)
        return named | {"mel": mel.detach()}

    def _judge(
        self, real_audio: Tensor, heard: Tensor, share: Tensor, scale: Tensor | None
    ) -> dict[str, Tensor]:
        """Let each discriminator judge, one after the other.

        Adds the discriminators' gradients to their weights, and those of the adversarial and the
        feature loss to the generated audio.
        """
        sums: dict[str, list[Tensor]] = {"discriminator": [], "adversarial": [], "feature": []}
        for judge in self.discriminators:
            real, fake = [judge(real_audio)], [judge(heard)]
            discriminator = share * losses.discriminator_loss(real, fake)
            named = {
                "adversarial": share * losses.generator_loss(fake),
                "feature": share * losses.feature_loss(real, fake),
            }
            # Only what leads from the audio to these losses: no gradients of weights.
            self._scaled(self.total(named), scale).backward(inputs=[heard], retain_graph=True)
            weights = [p for p in judge.parameters() if p.requires_grad]
            self._scaled(discriminator, scale).backward(inputs=weights)
            for name, loss in (*named.items(), ("discriminator", discriminator)):
                sums[name].append(loss.detach())
        return {name: torch.stack(values).sum() for name, values in sums.items()}

    @staticmethod
    def _scaled(loss: Tensor, scale: Tensor | None) -> Tensor:
        return loss if scale is None else loss * scale

    # -- validation

    def generate(self, batch: Batch, random: torch.Generator | None = None) -> Generated:
        """Run the generator on a batch.

        Args:
            batch: Phoneme ids, spectrograms and audio.
            random: Source of noise and segment positions; None takes torch's own.
        """
        draws = self.generator.draw(batch.ids, batch.spectrograms, random)
        real_audio, real_mel, starts = self._cut_real(batch, draws.segments)
        output: SynthesizerOutput = self.generator(
            batch.ids,
            batch.id_lengths,
            batch.spectrograms,
            batch.spectrogram_lengths,
            batch.speaker_ids,
            draws=draws,
            segment_starts=starts,
        )
        return Generated(output, batch.id_lengths, real_audio, real_mel)

    def spectral_losses(self, generated: Generated) -> dict[str, Tensor]:
        """Return the generator's losses that need no discriminator."""
        output = generated.output
        mel = audio_to_mel(output.audio.squeeze(1), self.config)
        return {
            "mel": losses.mel_loss(generated.real_mel, mel),
            "kl": losses.kl_loss(
                output.z_p, output.logs_q, output.m_p, output.logs_p, output.frame_mask
            ),
            "duration": losses.duration_loss(output.duration_loss, generated.id_lengths),
        }

    def total(self, named: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the named losses; all of them must have a weight."""
        return losses.weighted_sum(named, {name: self.loss_weights[name] for name in named})

    def _cut_real(self, batch: Batch, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the recordings' segments, their log-mel spectrograms, and where they begin."""
        config = self.config
        starts = place_segments(batch.spectrogram_lengths, config.segment_frames, drawn)
        spectrogram = cut_segments(batch.spectrograms, starts, config.segment_frames)
        audio = cut_segments(batch.audio, starts * config.hop_length, config.segment_size)
        return audio, spectrogram_to_mel(spectrogram, config), starts
