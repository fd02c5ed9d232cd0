"""VITS put together, to train and to speak.

Symbols of the paper (Kim et al. 2021, "Conditional variational autoencoder with adversarial
learning for end-to-end text-to-speech"): `z` are latents, `z_p` the same in the prior's space
after the flow; `m_q`, `logs_q` the posterior's mean and log deviation, `m_p`, `logs_p` the
prior's; `g` is the speaker embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from piper.train.vits.align import (
    compute_log_likelihood,
    durations_to_path,
    expand_by_path,
    find_alignment,
)
from piper.train.vits.config import NetworkConfig
from piper.train.vits.durations import DurationPredictor, StochasticDurationPredictor
from piper.train.vits.encoders import CouplingFlow, PosteriorEncoder, TextEncoder
from piper.train.vits.generator import Generator
from piper.train.vits.layers import (
    TrainingNoise,
    cut_segments,
    draw_normal,
    draw_uniform,
    lengths_to_mask,
    place_segments,
)


@dataclass
class Posterior:
    """What recordings become.

    Attributes:
        z: Latents (B, inter, T), a sample of the posterior.
        m_q: Its mean.
        logs_q: Its log deviation.
        frame_mask: (B, 1, T).
        frame_lengths: (B,) int64.
    """

    z: Tensor
    m_q: Tensor
    logs_q: Tensor
    frame_mask: Tensor
    frame_lengths: Tensor

    def as_leaves(self) -> Posterior:
        """Return the same numbers, at which gradients stop and are added up."""
        z, logs_q = (x.detach().requires_grad_() for x in (self.z, self.logs_q))
        return Posterior(z, self.m_q.detach(), logs_q, self.frame_mask, self.frame_lengths)

    def rows(self, start: int, end: int, frames: int) -> Posterior:
        """Return some recordings, cut to so many frames."""
        return Posterior(
            self.z[start:end, :, :frames],
            self.m_q[start:end, :, :frames],
            self.logs_q[start:end, :, :frames],
            self.frame_mask[start:end, :, :frames],
            self.frame_lengths[start:end],
        )


@dataclass
class TextMatch:
    """What texts say about the latents of their recordings.

    Attributes:
        z_p: The latents after the flow (B, inter, T).
        m_p: Prior's mean, expanded to frames (B, inter, T).
        logs_p: Prior's log deviation, expanded to frames.
        path: (B, T, P) of zeros and ones: which phoneme each frame says.
        id_mask: (B, 1, P).
        hidden: The text encoder's states (B, hidden, P), which durations are predicted from.
    """

    z_p: Tensor
    m_p: Tensor
    logs_p: Tensor
    path: Tensor
    id_mask: Tensor
    hidden: Tensor


@dataclass
class TrainingOutput:
    """What a training pass gives.

    Attributes:
        audio: (B, 1, segment_size), float32, within 1.
        segment_starts: (B,) int64, frames; cut the recordings at these times hop_length.
        duration_loss: (B,), the duration predictor's loss, summed over an utterance's phonemes.
    """

    audio: Tensor
    segment_starts: Tensor
    posterior: Posterior
    match: TextMatch
    duration_loss: Tensor


@dataclass
class InferenceOutput:
    """What speaking gives.

    Attributes:
        audio: (B, 1, S), float32; S = T * hop_length, zero-padded latents after an utterance.
        durations: (B, P) float32, frames of each phoneme.
        alignment: (B, 1, T, P) of zeros and ones.
        frame_mask: (B, 1, T).
    """

    audio: Tensor
    durations: Tensor
    alignment: Tensor
    frame_mask: Tensor


class VitsSynthesizer(nn.Module):
    """The generator half of VITS; Lightning's module holds it as `model_g`."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.enc_p = TextEncoder(config)
        self.dec = Generator(config)
        self.enc_q = PosteriorEncoder(config)
        self.flow = CouplingFlow(config)
        self.dp: StochasticDurationPredictor | DurationPredictor
        if config.use_sdp:
            self.dp = StochasticDurationPredictor(config)
        else:
            self.dp = DurationPredictor(config)
        self.emb_g: nn.Embedding | None = None
        if config.speaker_channels:
            self.emb_g = nn.Embedding(config.num_speakers, config.speaker_channels)

    def forward(
        self,
        ids: Tensor,
        id_lengths: Tensor,
        spectrogram: Tensor,
        spectrogram_lengths: Tensor,
        speaker_ids: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        noise: TrainingNoise | None = None,
        segment_starts: Tensor | None = None,
    ) -> TrainingOutput:
        """Reconstruct recordings, and learn from their texts what speaking will need.

        Nothing is copied to the host.

        Args:
            ids: (B, P) int64.
            id_lengths: (B,) int64.
            spectrogram: (B, F, T) linear magnitudes.
            spectrogram_lengths: (B,) int64.
            speaker_ids: (B,) int64, where the network has several speakers.
            generator: Source of all noise but dropout's; None takes torch's global one.
            noise: The noise itself, where it is already drawn.
            segment_starts: (B,) int64 in frames; None takes them from the noise.

        Raises:
            ValueError: If the network has several speakers and `speaker_ids` is None.
        """
        g = self.embed_speakers(speaker_ids)
        if noise is None:
            noise = self.draw_noise(ids, spectrogram, generator)
        posterior = self.encode_recordings(spectrogram, spectrogram_lengths, g, noise)
        if segment_starts is None:
            segment_starts = place_segments(
                spectrogram_lengths, self.config.segment_frames, noise.segments
            )
        audio = self.dec(cut_segments(posterior.z, segment_starts, self.config.segment_frames), g)
        match = self.match_texts(posterior, ids, id_lengths, g)
        loss = self.compute_duration_loss(match, g, noise)
        return TrainingOutput(audio, segment_starts, posterior, match, loss)

    def draw_noise(
        self, ids: Tensor, spectrogram: Tensor, generator: torch.Generator | None = None
    ) -> TrainingNoise:
        """Draw what a training pass over ids (B, P) and spectrograms (B, F, T) needs."""
        batch, phonemes = ids.shape
        latents = (batch, self.config.inter_channels, spectrogram.shape[2])
        return TrainingNoise(
            draw_normal(latents, spectrogram, generator),
            draw_normal((batch, 2, phonemes), spectrogram, generator),
            draw_uniform((batch,), spectrogram, generator),
        )

    def encode_recordings(
        self,
        spectrogram: Tensor,
        spectrogram_lengths: Tensor,
        g: Tensor | None,
        noise: TrainingNoise,
    ) -> Posterior:
        """The first part of a training pass: recordings to latents that the decoder can decode."""
        frame_mask = lengths_to_mask(spectrogram_lengths, spectrogram.shape[2])
        m_q, logs_q = self.enc_q(spectrogram, frame_mask, g)
        z = (m_q + noise.latents * torch.exp(logs_q)) * frame_mask
        return Posterior(z, m_q, logs_q, frame_mask, spectrogram_lengths)

    def match_texts(
        self,
        posterior: Posterior,
        ids: Tensor,
        id_lengths: Tensor,
        g: Tensor | None,
    ) -> TextMatch:
        """The second part of a training pass: texts to the prior of their recordings."""
        id_mask = lengths_to_mask(id_lengths, ids.shape[1])
        x, m_p, logs_p = self.enc_p(ids, id_mask)
        z_p = self.flow(posterior.z, posterior.frame_mask, g)
        likelihood = compute_log_likelihood(z_p, m_p, logs_p)
        path = find_alignment(likelihood, posterior.frame_lengths, id_lengths)
        return TextMatch(
            z_p=z_p,
            m_p=expand_by_path(m_p, path),
            logs_p=expand_by_path(logs_p, path),
            path=path,
            id_mask=id_mask,
            hidden=x,
        )

    def compute_duration_loss(
        self, match: TextMatch, g: Tensor | None, noise: TrainingNoise
    ) -> Tensor:
        """The last part: the predictor's loss (B,), summed over an utterance's phonemes.

        Its gradients end in the predictor, which takes all else as given.
        """
        durations = match.path.sum(1).unsqueeze(1)
        return self.dp(match.hidden.detach(), match.id_mask, durations, g, noise.durations)

    @torch.no_grad()
    def infer(
        self,
        ids: Tensor,
        id_lengths: Tensor,
        speaker_ids: Tensor | None = None,
        *,
        noise_scale: float = 0.667,
        length_scale: float = 1.0,
        noise_w_scale: float = 0.8,
        generator: torch.Generator | None = None,
        max_frames: int | None = None,
    ) -> InferenceOutput:
        """Speak; at least one frame.

        Args:
            ids: (B, P) int64.
            id_lengths: (B,) int64.
            speaker_ids: (B,) int64, where the network has several speakers.
            noise_scale: Deviation of the prior's noise, as a share of the learned one.
            length_scale: Factor on durations; above 1 is slower.
            noise_w_scale: Deviation of the stochastic duration predictor's noise.
            generator: Source of the noise; None takes torch's global one.
            max_frames: Where to cut; a network that has learned little can ask for hours.

        Raises:
            ValueError: If the network has several speakers and `speaker_ids` is None.
        """
        g = self.embed_speakers(speaker_ids)
        id_mask = lengths_to_mask(id_lengths, ids.shape[1])
        x, m_p, logs_p = self.enc_p(ids, id_mask)
        logw = self.dp.infer(x, id_mask, g, noise_scale=noise_w_scale, generator=generator)
        durations = torch.ceil(torch.exp(logw) * id_mask * length_scale).squeeze(1)

        frame_lengths = durations.sum(1).clamp(min=1, max=max_frames).long()
        frames = int(frame_lengths.max())
        frame_mask = lengths_to_mask(frame_lengths, frames)
        path = durations_to_path(durations, frames)
        m_p, logs_p = expand_by_path(m_p, path), expand_by_path(logs_p, path)
        noise = draw_normal(tuple(m_p.shape), m_p, generator) * noise_scale
        z_p = (m_p + noise * torch.exp(logs_p)) * frame_mask
        z = self.flow.inverse(z_p, frame_mask, g)
        return InferenceOutput(
            audio=self.dec(z * frame_mask, g),
            durations=path.sum(1),
            alignment=path.unsqueeze(1),
            frame_mask=frame_mask,
        )

    def embed_speakers(self, speaker_ids: Tensor | None) -> Tensor | None:
        """Speakers' embeddings (B, G, 1), or None where the network has one speaker."""
        if self.emb_g is None:
            return None
        if speaker_ids is None:
            raise ValueError(
                f"speaker_ids are missing: this network has {self.config.num_speakers} speakers"
            )
        return self.emb_g(speaker_ids).unsqueeze(2)
