"""The GAN step: a batch becomes gradients of both networks, and named losses.

All of them are computed in float32, whatever the network's precision is: the sums run over
thousands of frames, which bfloat16's eight bits of mantissa do not hold. The symbols `z_p`,
`m_p`, `logs_p`, `logs_q` are those of VITS (Kim et al. 2021), as in the network's modules.

Both networks learn from one pass: all losses are taken with the weights from before the update.
That is what updating the generator first, and the discriminators on the audio it had made before,
comes to as well; but here each discriminator processes a pair of audio once instead of twice, and
no gradient is computed that nobody takes.

The work is done piece by piece, so that few intermediate results live at a time: recordings to
latents; flow, texts and durations, and backward through them, on a CPU for a few utterances after
the other; latents to audio; each discriminator on its own, forward and backward; backward through
the decoder; backward through what made the latents of recordings.

The sums of all parts are divided by the normalisers of the whole update, and random numbers are
drawn for the whole batch, so the gradients do not depend on the parts (dropout's masks aside).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from piper.errors import ConfigError, TrainingError, describe_briefly
from piper.train.data.batches import Batch, part_bounds
from piper.train.vits.config import NetworkConfig
from piper.train.vits.layers import (
    TrainingNoise,
    cut_segments,
    go_back,
    place_segments,
)
from piper.train.vits.mel import audio_to_mel, spectrogram_to_mel
from piper.train.vits.network import Posterior, TrainingOutput, VitsSynthesizer

_LOGGER = logging.getLogger(__name__)

USUAL_WEIGHTS = {"mel": 45.0, "kl": 1.0, "duration": 1.0, "adversarial": 1.0, "feature": 1.0}
"""The generator's losses weighed as in VITS: 45 as in HiFi-GAN, the others as they are."""
TEXT_FRAMES = 4096
"""Frames, padding included, that flow and texts take at once on a CPU. They want more memory than
all else, 0.11 GB for 1,000 frames of medium, and so many keep two cores as busy as more do."""
_CPU_SIGNS = ("can't allocate memory", "could not create a ", "not enough memory")
"""What errors of torch's and oneDNN's allocators on a CPU say."""


def mel_loss(real: Tensor, generated: Tensor) -> Tensor:
    """Return the mean absolute difference of two log-mel spectrograms, both (B, M, T)."""
    return (real.float() - generated.float()).abs().mean()


def kl_loss(z_p: Tensor, logs_q: Tensor, m_p: Tensor, logs_p: Tensor, frame_mask: Tensor) -> Tensor:
    """Return the divergence between posterior and prior, a frame (equation 4 of the paper).

    Args:
        z_p: Posterior sample through the flow, (B, C, T).
        logs_q: Logarithm of the posterior's deviation, (B, C, T).
        m_p: Prior's mean, stretched to frames, (B, C, T).
        logs_p: Logarithm of the prior's deviation, stretched to frames, (B, C, T).
        frame_mask: 1 where a frame belongs to the utterance, (B, 1, T).
    """
    z_p, logs_q, m_p, logs_p = (x.float() for x in (z_p, logs_q, m_p, logs_p))
    frame_mask = frame_mask.float()
    divergence = logs_p - logs_q - 0.5 + 0.5 * (z_p - m_p) ** 2 * torch.exp(-2.0 * logs_p)
    return (divergence * frame_mask).sum() / frame_mask.sum()


def duration_loss(per_utterance: Tensor, id_lengths: Tensor) -> Tensor:
    """Return the predictor's loss a phoneme, from sums and phonemes of utterances, (B,)."""
    return per_utterance.float().sum() / id_lengths.sum()


def feature_loss(real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """Return the feature matching loss (Larsen et al. 2016), twice the mean difference a layer.

    The scores count as the last layer, as in HiFi-GAN (Kong et al. 2020).

    Args:
        real: One list of feature maps a discriminator, the score last, of recordings.
        fake: The same of generated audio.
    """
    pairs = [pair for maps in zip(real, fake, strict=True) for pair in zip(*maps, strict=True)]
    total = torch.zeros((), device=fake[0][0].device)
    for real_map, fake_map in pairs:
        total = total + (real_map.detach().float() - fake_map.float()).abs().mean()
    return 2.0 * total


def generator_loss(fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """Return the least-squares adversarial loss of the generator (Mao et al. 2017)."""
    scores = [maps[-1].float() for maps in fake]
    return torch.stack([((1.0 - score) ** 2).mean() for score in scores]).sum()


def discriminator_loss(
    real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]
) -> Tensor:
    """Return the least-squares adversarial loss of the discriminators (Mao et al. 2017)."""
    losses = [
        ((1.0 - real_maps[-1].float()) ** 2).mean() + (fake_maps[-1].float() ** 2).mean()
        for real_maps, fake_maps in zip(real, fake, strict=True)
    ]
    return torch.stack(losses).sum()


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Return the sum of named losses, each times the weight of the same name."""
    if set(losses) != set(weights):
        unknown = sorted(set(losses) ^ set(weights))
        raise ConfigError(
            f"Losses and weights differ in {', '.join(unknown)}; the losses are "
            f"{', '.join(sorted(losses))}."
        )
    return torch.stack([losses[name] * weight for name, weight in weights.items()]).sum()


@dataclass
class Generated:
    """What the generator made of a batch, beside the recordings' same segments.

    Attributes:
        output: The generator's output; its audio is (B, 1, S) with S one segment.
        id_lengths: Phonemes of the utterances, (B,).
        real_audio: The recordings' segments, (B, 1, S).
        real_mel: Their log-mel spectrograms, (B, M, T).
    """

    output: TrainingOutput
    id_lengths: Tensor
    real_audio: Tensor
    real_mel: Tensor


@dataclass(frozen=True)
class Normalisers:
    """What an update's sums are divided by: everything in it, on all processes.

    So the gradients of a batch do not depend on the parts that it is worked on in.
    """

    utterances: Tensor
    frames: Tensor
    phonemes: Tensor

    @classmethod
    def of(cls, batch: Batch) -> Normalisers:
        """Count one batch."""
        frames = batch.spectrogram_lengths.sum().float()
        phonemes = batch.id_lengths.sum().float()
        return cls(torch.full_like(frames, len(batch)), frames, phonemes)


class GanStep:
    """The gradients and losses of one step of VITS."""

    def __init__(
        self,
        generator: VitsSynthesizer,
        discriminators: Sequence[nn.Module],
        config: NetworkConfig,
        loss_weights: Mapping[str, float],
    ) -> None:
        self.generator = generator
        self.discriminators = list(discriminators)
        self.config = config
        self.loss_weights = dict(loss_weights)
        self.decode_pieces: Callable[..., dict[str, Tensor]] = self._decode_pieces
        """From pieces to audio, losses and back; all of one shape, so it can be replaced by a
        recording of it (`compilation.Recorded`)."""

    # -- training

    def backward(
        self,
        batch: Batch,
        noise: TrainingNoise | None = None,
        normalisers: Normalisers | None = None,
        scale: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Add a batch's gradients to those of both networks.

        Args:
            batch: Utterances, or a part of a batch of them.
            noise: Their random numbers; None draws them.
            normalisers: Of the whole update that the batch is a part of; None: it is the whole.
            scale: Factor on all gradients, as mixed precision wants it.

        Returns:
            The generator's losses and `discriminator`, by name, detached: the batch's share of the
            update's means, so that the shares of all its parts add up to them.
        """
        normalisers = normalisers or Normalisers.of(batch)
        generator = self.generator
        if noise is None:
            noise = generator.draw_noise(batch.ids, batch.spectrograms)
        g = generator.embed_speakers(batch.speaker_ids)
        posterior = generator.encode_recordings(
            batch.spectrograms, batch.spectrogram_lengths, g, noise
        )
        # Each stage adds its gradients here; all of them go back from here at once.
        found = posterior.as_leaves()
        voice = None if g is None else g.detach().requires_grad_()
        named = self._match_texts(batch, found, voice, noise, normalisers, scale)
        share = len(batch) / normalisers.utterances
        named |= self._decode(batch, found.z, voice, noise, share, scale)
        roots, gradients = [posterior.z, posterior.logs_q], [found.z.grad, found.logs_q.grad]
        if g is not None and voice is not None and g.requires_grad:  # not where it is held
            roots.append(g)
            gradients.append(voice.grad)
        go_back(roots, gradients)
        return named

    def _match_texts(
        self,
        batch: Batch,
        posterior: Posterior,
        g: Tensor | None,
        noise: TrainingNoise,
        normalisers: Normalisers,
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
            kl = (rows.frame_lengths.sum() / normalisers.frames) * kl_loss(
                match.z_p, rows.logs_q, match.m_p, match.logs_p, rows.frame_mask
            )
            go_back([self._scaled(self.total({"kl": kl}), scale)])
            per_utterance = self.generator.compute_duration_loss(
                match, voice, noise.rows(start, end, frames, phonemes)
            )
            duration = (part.id_lengths.sum() / normalisers.phonemes) * duration_loss(
                per_utterance, part.id_lengths
            )
            if duration.requires_grad:  # nothing of the durations is trained with the table alone
                go_back([self._scaled(self.total({"duration": duration}), scale)])
            sums["kl"].append(kl.detach())
            sums["duration"].append(duration.detach())
        return {name: torch.stack(values).sum() for name, values in sums.items()}

    @staticmethod
    def _text_parts(batch: Batch) -> int:
        if batch.ids.device.type != "cpu":
            return 1
        count, _, frames = batch.spectrograms.shape
        return min(count, -(-count * frames // TEXT_FRAMES))

    def _decode(
        self,
        batch: Batch,
        z: Tensor,
        g: Tensor | None,
        noise: TrainingNoise,
        share: Tensor,
        scale: Tensor | None,
    ) -> dict[str, Tensor]:
        """Go from latents to audio and its losses, and back."""
        real_audio, real_mel, starts = self._cut_real(batch, noise.segments)
        pieces = cut_segments(z, starts, self.config.segment_frames)
        leaves = [pieces.detach(), *([] if g is None else [g.detach()])]
        for leaf in leaves:
            leaf.requires_grad_()
        given = [real_audio, real_mel, share, *([] if scale is None else [scale])]
        named = self.decode_pieces(leaves, given)
        roots = [pieces, *([] if g is None else [g])]
        go_back(roots, [leaf.grad for leaf in leaves])
        return named

    def _decode_pieces(
        self, leaves: Sequence[Tensor], given: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Give pieces of latents, and speakers' embeddings, their gradients."""
        real_audio, real_mel, share, *rest = given
        scale = rest[0] if rest else None
        audio = self.generator.dec(*leaves)
        detached = audio.detach().requires_grad_()
        named = self._discriminate(real_audio, detached, share, scale)
        mel = share * mel_loss(real_mel, audio_to_mel(detached.squeeze(1), self.config))
        go_back([self._scaled(self.total({"mel": mel}), scale)])
        go_back([audio], [detached.grad])
        return named | {"mel": mel.detach()}

    def _discriminate(
        self, real_audio: Tensor, generated_audio: Tensor, share: Tensor, scale: Tensor | None
    ) -> dict[str, Tensor]:
        """Ask each discriminator, one after the other.

        Adds the discriminators' gradients to their weights, and those of the adversarial and the
        feature loss to the generated audio.
        """
        sums: dict[str, list[Tensor]] = {"discriminator": [], "adversarial": [], "feature": []}
        for network in self.discriminators:
            real, fake = [network(real_audio)], [network(generated_audio)]
            discriminator = share * discriminator_loss(real, fake)
            named = {
                "adversarial": share * generator_loss(fake),
                "feature": share * feature_loss(real, fake),
            }
            # Only what leads from the audio to these losses: no gradients of weights.
            loss = self._scaled(self.total(named), scale)
            go_back([loss], inputs=[generated_audio], retain_graph=True)
            weights = [p for p in network.parameters() if p.requires_grad]
            go_back([self._scaled(discriminator, scale)], inputs=weights)
            for name, loss in (*named.items(), ("discriminator", discriminator)):
                sums[name].append(loss.detach())
        return {name: torch.stack(values).sum() for name, values in sums.items()}

    @staticmethod
    def _scaled(loss: Tensor, scale: Tensor | None) -> Tensor:
        return loss if scale is None else loss * scale

    # -- validation

    def generate(self, batch: Batch, rng: torch.Generator | None = None) -> Generated:
        """Run the generator on a batch."""
        noise = self.generator.draw_noise(batch.ids, batch.spectrograms, rng)
        real_audio, real_mel, starts = self._cut_real(batch, noise.segments)
        output: TrainingOutput = self.generator(
            batch.ids,
            batch.id_lengths,
            batch.spectrograms,
            batch.spectrogram_lengths,
            batch.speaker_ids,
            noise=noise,
            segment_starts=starts,
        )
        return Generated(output, batch.id_lengths, real_audio, real_mel)

    def spectral_losses(self, generated: Generated) -> dict[str, Tensor]:
        """Return the generator's losses that need no discriminator."""
        output, match, own = generated.output, generated.output.match, generated.output.posterior
        mel = audio_to_mel(output.audio.squeeze(1), self.config)
        return {
            "mel": mel_loss(generated.real_mel, mel),
            "kl": kl_loss(match.z_p, own.logs_q, match.m_p, match.logs_p, own.frame_mask),
            "duration": duration_loss(output.duration_loss, generated.id_lengths),
        }

    def total(self, named: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the named losses; all of them must have a weight."""
        return weighted_sum(named, {name: self.loss_weights[name] for name in named})

    def _cut_real(self, batch: Batch, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the recordings' segments, their log-mel spectrograms, and where they begin."""
        config = self.config
        starts = place_segments(batch.spectrogram_lengths, config.segment_frames, uniform)
        spectrogram = cut_segments(batch.spectrograms, starts, config.segment_frames)
        audio = cut_segments(batch.audio, starts * config.hop_length, config.segment_size)
        return audio, spectrogram_to_mel(spectrogram, config), starts


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory could not be had, on a GPU or a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _CPU_SIGNS)


class MicroBatches:
    """Works on a batch in parts, and in more of them where memory runs out.

    What was too much is remembered, so that later batches of that size are split at once.
    """

    def __init__(self, gan: GanStep, *networks: nn.Module) -> None:
        self.gan = gan
        self._networks = networks
        self._most_frames: int | None = None
        self._is_told = False

    def backward(
        self,
        batch: Batch,
        parts: int,
        normalisers: Normalisers,
        scale: Tensor | None,
        seed: Callable[[], None],
    ) -> dict[str, Tensor]:
        """Add a batch's gradients to those of the networks, which are to be none before.

        No process waits for another in here, so each may split as it needs to.

        Args:
            batch: All utterances of this process's update.
            parts: The least number of parts.
            normalisers: Of the whole update.
            scale: Factor on all gradients.
            seed: Sets the random numbers of this update; called before each try.

        Returns:
            The losses by name, as `GanStep.backward` gives them.
        """
        parts = self._enough_parts(batch, parts)
        while True:
            seed()
            try:
                return self._backward_parts(batch, parts, normalisers, scale)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = describe_briefly(error, 500)
            # Out of the except block: the error held on to all intermediate results.
            for network in self._networks:
                network.zero_grad(set_to_none=True)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if parts >= len(batch):
                raise TrainingError(_describe_longest(batch, self.gan.config.hop_length, reason))
            self._most_frames = _frames_of_a_part(batch, parts) // 2
            parts = self._enough_parts(batch, min(2 * parts, len(batch)))
            self._tell(batch, parts)

    def _backward_parts(
        self, batch: Batch, parts: int, normalisers: Normalisers, scale: Tensor | None
    ) -> dict[str, Tensor]:
        noise = self.gan.generator.draw_noise(batch.ids, batch.spectrograms)
        named: dict[str, Tensor] = {}
        bounds = part_bounds(len(batch), parts)
        for (start, end), part in zip(bounds, batch.chunk(parts), strict=True):
            rows = noise.rows(start, end, part.spectrograms.shape[2], part.ids.shape[1])
            for name, loss in self.gan.backward(part, rows, normalisers, scale).items():
                named[name] = named[name] + loss if name in named else loss
        return named

    def _enough_parts(self, batch: Batch, parts: int) -> int:
        """Return how many parts a batch needs so that none is as large as what was too much."""
        if self._most_frames is not None:
            while parts < len(batch) and _frames_of_a_part(batch, parts) > self._most_frames:
                parts += 1
        return parts

    def _tell(self, batch: Batch, parts: int) -> None:
        if self._is_told:
            return
        self._is_told = True
        size = -(-len(batch) // parts)
        _LOGGER.warning(
            "Out of memory with %d utterances at once: this batch is done again in %d parts, and "
            "so are later ones of its size; the result is the same. --data.batch_size=%d "
            "--trainer.accumulate_grad_batches=%d or --data.max_batch_frames=%d would avoid it.",
            len(batch),
            parts,
            size,
            parts,
            self._most_frames,
        )


def _frames_of_a_part(batch: Batch, parts: int) -> int:
    """Return the frames of the largest part of a batch, padding included: the longest come first.

    Taken from shapes, so that a GPU is not asked.
    """
    return -(-len(batch) // parts) * batch.spectrograms.shape[2]


def _describe_longest(batch: Batch, hop_length: int, reason: str) -> str:
    longest = int(batch.spectrogram_lengths.argmax())
    frames = int(batch.spectrogram_lengths[longest])
    name = f", {batch.names[longest]}" if batch.names else ""
    return (
        f"Out of memory with a single utterance of {frames} frames ({frames * hop_length} "
        f"samples){name}: leave recordings of that length out with --data.max_seconds, or train a "
        f"smaller --model.quality ({reason})"
    )
