"""The quick voice's network: text to latents, latents to sound.

The latents of a frame are no learned code but its log-mel spectrogram, the logarithm of its
fundamental frequency (F0) and whether it is voiced. So text side and decoder are two plain
regressions, which are trained at the same time. The decoder shapes pulses of the given F0 and white
noise by two filters a frame, as in DDSP (Engel et al. 2020) and the neural source-filter models
(Wang et al. 2019): phase and periodicity need not be learned. Blocks are those of ConvNeXt (Liu et
al. 2022) over time.

Shapes: B batch, P phonemes, T frames, S samples, C channels, M mels, F frequency bins, L = M + 2
latents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from piper.train.quick.config import LONGEST_FFT, TEXT_KERNEL, QuickConfig
from piper.train.vits.layers import WeightNormConv2d, full_precision
from piper.train.vits.mel import mel_filterbank
from piper.voice.graph_quick import (
    BLOCK_SCALE,
    F0_RANGE_HERTZ,
    LOG_MAGNITUDE_RANGE,
    NOISE_SMOOTHING,
    PITCH_NOISE_GAIN,
    PITCH_SMOOTHING,
    create_minimum_phase,
)

NO_PAD = -1
"""In place of the padding symbol's id, where ids of somebody's own have no such symbol."""
POSITION_FEATURES = 4
FRAME_KERNEL = 7
TEXT_EXPANSION = 2
EXPANSION = 3


class Block(nn.Module):
    """A ConvNeXt block over time, (B, T, C) to (B, T, C)."""

    def __init__(self, channels: int, expansion: int, kernel: int) -> None:
        super().__init__()
        self.mix = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, expansion * channels)
        self.reduce = nn.Linear(expansion * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), BLOCK_SCALE))

    def forward(
        self, x: Tensor, mask: Tensor | None = None, dropout: Tensor | None = None
    ) -> Tensor:
        """Return x (B, T, C) plus what the block adds.

        Args:
            mask: (B, T, 1), 1 inside; what is outside counts as 0.
            dropout: (B, 1, H) factors on the hidden channels, in training.
        """
        inside = x if mask is None else x * mask
        mixed = self.mix(inside.transpose(1, 2)).transpose(1, 2)
        hidden = F.gelu(self.expand(self.norm(mixed)))
        if dropout is not None:
            hidden = hidden * dropout
        return x + self.scale * self.reduce(hidden)


@dataclass(frozen=True)
class FrameIndex:
    """Which phoneme each frame belongs to, and where in it the frame lies.

    Attributes:
        phonemes: (B, T) int64.
        positions: (B, T, 4): place in the phoneme from 0 to 1, log(1 + frames since its start),
            log(1 + frames to its end), log of its length.
        mask: (B, T, 1), 1 where the frame belongs to the utterance.
    """

    phonemes: Tensor
    positions: Tensor
    mask: Tensor

    @classmethod
    def from_durations(cls, durations: Tensor, frames: int) -> FrameIndex:
        """Lay out phonemes that last so many frames, (B, P) int64."""
        ends = durations.cumsum(1)
        times = torch.arange(frames, device=durations.device).expand(len(durations), -1)
        phonemes = torch.searchsorted(ends, times.contiguous(), right=True)
        phonemes = phonemes.clamp(max=durations.shape[1] - 1)
        lengths = durations.gather(1, phonemes).float().clamp(min=1.0)
        since = times - (ends - durations).gather(1, phonemes) + 0.5
        positions = torch.stack(
            [
                since / lengths,
                torch.log1p(since.clamp(min=0.0)),
                torch.log1p((lengths - since).clamp(min=0.0)),
                lengths.log(),
            ],
            dim=-1,
        )
        return cls(phonemes, positions, (times < ends[:, -1:]).unsqueeze(-1).float())


@dataclass(frozen=True)
class DurationEstimate:
    """Durations as a distribution, (B, P): log(1 + frames) is normal."""

    mean: Tensor
    log_deviation: Tensor


@dataclass(frozen=True)
class LatentEstimate:
    """Latents as the text side expects them, standardised.

    Attributes:
        mean: (B, T, L).
        pitch_log_deviation: (B, T), of log F0.
    """

    mean: Tensor
    pitch_log_deviation: Tensor


@dataclass(frozen=True)
class TextDropout:
    """Factors on the hidden channels of the text side's blocks in training, (B, 1, H) each.

    Attributes:
        text: Of the blocks over phonemes.
        durations: Of the block of the durations.
        frames: Of the blocks over frames.
    """

    text: Sequence[Tensor]
    durations: Tensor
    frames: Sequence[Tensor]

    def map(self, function: Callable[[Tensor], Tensor]) -> TextDropout:
        """Return the factors with each tensor changed."""
        text, frames = ([function(one) for one in group] for group in (self.text, self.frames))
        return TextDropout(text, function(self.durations), frames)


class TextSide(nn.Module):
    """Phonemes to durations, and with durations to latents.

    In a copy of a VITS voice that keeps its own text side: z, which that voice would decode, to the
    latents that are decoded here.
    """

    def __init__(self, config: QuickConfig) -> None:
        super().__init__()
        channels = config.channels
        self.kept_latents = config.kept_latents
        if not config.kept_latents:
            self.embedding = nn.Embedding(config.num_symbols, channels)
            nn.init.normal_(self.embedding.weight, std=0.5)
        self.speakers: nn.Embedding | None = None
        if config.num_speakers > 1:
            self.speakers = nn.Embedding(config.num_speakers, channels)
            nn.init.normal_(self.speakers.weight, std=0.5)
        if config.kept_latents:
            self.entry = nn.Conv1d(config.kept_latents, channels, 5, padding=2)
        else:
            self._add_phonemes(config)
        self.frame_blocks = nn.ModuleList(
            Block(channels, EXPANSION, FRAME_KERNEL) for _ in range(config.frame_blocks)
        )
        self.frame_norm = nn.LayerNorm(channels)
        self.exit = nn.Linear(channels, config.latents + 1)

    def _add_phonemes(self, config: QuickConfig) -> None:
        channels = config.channels
        self.text_blocks = nn.ModuleList(
            Block(channels, TEXT_EXPANSION, TEXT_KERNEL) for _ in range(config.text_blocks)
        )
        self.text_norm = nn.LayerNorm(channels)
        self.duration_entry = nn.Linear(channels, channels)
        self.duration_block = Block(channels, 1, TEXT_KERNEL)
        self.duration_exit = nn.Linear(channels, 2)
        self.position = nn.Linear(POSITION_FEATURES, channels)

    def draw_dropout(self, count: int, share: float) -> TextDropout:
        """Return which hidden channels of the blocks are left out in training, of so many pieces.

        A channel is left out of a whole piece: drawn at once, it is the same however many threads
        share the pieces, and costs nothing.
        """

        def draw(block: nn.Module) -> Tensor:
            assert isinstance(block, Block)
            return F.dropout(torch.ones(count, 1, block.expand.out_features), share)

        return TextDropout(
            [draw(block) for block in self.text_blocks],
            draw(self.duration_block),
            [draw(block) for block in self.frame_blocks],
        )

    def encode(
        self,
        ids: Tensor,
        mask: Tensor,
        speaker_ids: Tensor | None = None,
        dropout: TextDropout | None = None,
    ) -> Tensor:
        """Return the phonemes' encodings, (B, P, C), of ids (B, P) without padding symbols.

        Args:
            mask: (B, P, 1), 1 where there is a phoneme.
        """
        x = self.embedding(ids)
        if self.speakers is not None and speaker_ids is not None:
            x = x + self.speakers(speaker_ids).unsqueeze(1)
        for number, block in enumerate(self.text_blocks):
            x = block(x, mask, dropout and dropout.text[number])
        encoded: Tensor = self.text_norm(x)
        return encoded

    def encode_frames(
        self, z: Tensor, index: FrameIndex, speaker_ids: Tensor | None = None
    ) -> Tensor:
        """Return the frames' encodings, (B, T, C), of a kept text side's z (B, T, Z)."""
        x: Tensor = self.entry((z * index.mask).transpose(1, 2)).transpose(1, 2)
        if self.speakers is not None and speaker_ids is not None:
            x = x + self.speakers(speaker_ids).unsqueeze(1)
        return x

    def estimate_durations(
        self, encoded: Tensor, mask: Tensor, dropout: TextDropout | None = None
    ) -> DurationEstimate:
        """Return how long phonemes last; gradients do not reach the encodings."""
        x = F.gelu(self.duration_entry(encoded.detach()))
        x = self.duration_block(x, mask, dropout and dropout.durations)
        x = self.duration_exit(x).float()
        return DurationEstimate(x[..., 0], x[..., 1].clamp(-5.0, 1.0))

    def estimate_latents(
        self, encoded: Tensor, index: FrameIndex, dropout: TextDropout | None = None
    ) -> LatentEstimate:
        """Return the frames' latents, of the encodings of phonemes or of frames."""
        x = encoded
        if not self.kept_latents:
            rows = index.phonemes.unsqueeze(-1).expand(-1, -1, encoded.shape[-1])
            x = encoded.gather(1, rows) + self.position(index.positions)
        for number, block in enumerate(self.frame_blocks):
            x = block(x, index.mask, dropout and dropout.frames[number])
        x = self.exit(self.frame_norm(x)).float()
        return LatentEstimate(x[..., :-1], x[..., -1].clamp(-5.0, 1.0))


class Decoder(nn.Module):
    """Latents to sound: filters for pulses and for noise, and an inverse Fourier transform.

    The pulses' filter has the least phase that its magnitudes can have, as a vocal tract nearly
    has, and what is learned beside it: without a phase the voice buzzes.
    """

    window: Tensor
    minimum_phase: Tensor

    def __init__(self, config: QuickConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        self.entry = nn.Conv1d(config.decoder_inputs, channels, 5, padding=2)
        self.blocks = nn.ModuleList(
            Block(channels, EXPANSION, FRAME_KERNEL) for _ in range(config.decoder_blocks)
        )
        self.norm = nn.LayerNorm(channels)
        filters = config.filters_per_frame
        self.exit = nn.Linear(channels, filters * 2 * config.bins)
        nn.init.normal_(self.exit.weight, std=0.01)
        nn.init.constant_(self.exit.bias, -4.0)
        self.phase = nn.Linear(channels, filters * config.bins)
        nn.init.zeros_(self.phase.weight)
        nn.init.zeros_(self.phase.bias)
        # Kept with the weights: whoever writes the graph adds it to `phase`.
        least = torch.from_numpy(create_minimum_phase(config.decoder_filter_length))
        self.register_buffer("minimum_phase", least)
        window = torch.hann_window(config.decoder_filter_length)
        self.register_buffer("window", window, persistent=False)

    def forward(self, latents: Tensor, f0: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return sound, (B, S) with S = T * hop length.

        Args:
            latents: (B, T, L), standardised, and beside them (B, T, L + Z) those of a kept text
                side, which know more of the sound.
            f0: (B, T) hertz, positive in unvoiced frames, too.
            noise: (B, S) normal, or as much more as the first and last windows reach beyond it;
                None draws it.
        """
        x = self.entry(latents.transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        batch, steps = len(x), x.shape[1] * self.config.filters_per_frame
        logarithms = self.exit(x).float().reshape(batch, steps, -1)
        learnt = self.phase(x).float().reshape(batch, steps, -1)
        with full_precision(latents):
            phase = learnt + logarithms[..., : self.config.bins] @ self.minimum_phase
            filters = logarithms.clamp(*LOG_MAGNITUDE_RANGE).exp().transpose(1, 2)
            magnitudes, aperiodic = filters.chunk(2, dim=1)
            harmonic = torch.polar(magnitudes, phase.transpose(1, 2))
            pulses = create_pulses(f0.float(), self.config)
            if noise is None:
                noise = torch.randn_like(pulses)
            tuned = self._transform(pulses, steps) * harmonic
            spectrum = tuned + self._transform(noise, steps) * aperiodic
            return self._invert(spectrum)

    def _transform(self, samples: Tensor, steps: int) -> Tensor:
        """Return complex spectra (B, F, W) of W windows centred at (w + 1/2) of the decoder's hops.

        Samples (B, S) are with or without what the first and last windows reach beyond them.
        """
        size, hop = self.config.decoder_filter_length, self.config.decoder_hop_length
        margin = ((steps - 1) * hop + size - samples.shape[1]) // 2
        padded = F.pad(samples, (margin, margin))
        return torch.stft(padded, size, hop, size, self.window, center=False, return_complex=True)

    def _invert(self, spectrum: Tensor) -> Tensor:
        """Overlap and add frames, divided by the windows' squares."""
        size, hop = self.config.decoder_filter_length, self.config.decoder_hop_length
        frames = torch.fft.irfft(spectrum.transpose(1, 2), size) * self.window
        count = frames.shape[1]
        length = (count - 1) * hop + size

        def add_up(rows: Tensor) -> Tensor:
            folded = F.fold(rows.transpose(1, 2), (1, length), (1, size), stride=(1, hop))
            return folded[:, 0, 0]

        squares = add_up(self.window.square().expand(1, count, size)).clamp(min=1e-3)
        margin = (size - hop) // 2
        return (add_up(frames) / squares)[:, margin : length - margin]


def create_pulses(f0: Tensor, config: QuickConfig) -> Tensor:
    """Return band-limited pulses of power about 1, (B, S), for f0 (B, T) in hertz.

    The sum of all harmonics below half the sample rate in closed form (Dirichlet's kernel).
    """
    f0 = f0.clamp(*F0_RANGE_HERTZ).unsqueeze(1)
    hertz = F.interpolate(f0, scale_factor=config.hop_length, mode="linear")[:, 0]
    # Thousands of turns: in float32 the last ones would be off by a sample.
    turns = torch.cumsum(hertz.double() / config.sample_rate, dim=1)
    # Half a turn to each side of a pulse, where the sines are small and so exact.
    phase = (turns - turns.round()).float() * math.pi
    # The highest harmonic fades in and out with the pitch, instead of coming and going at once.
    room = 0.5 * config.sample_rate / hertz - 0.5
    harmonics = torch.floor(room)
    count = 2 * harmonics + 1
    sine = torch.sin(phase)
    # At the pulse itself both sines are 0, and their quotient is the number of harmonics.
    is_pulse = sine.abs() < 1e-4
    kernel = torch.sin(count * phase) / torch.where(is_pulse, torch.ones_like(sine), sine)
    kernel = torch.where(is_pulse, count, kernel)
    fading = 2 * (room - harmonics) * torch.cos(2 * (harmonics + 1) * phase)
    return (kernel - 1 + fading) * torch.sqrt(0.5 / room)


class Speech(NamedTuple):
    """A sentence as it was spoken.

    Attributes:
        audio: (S,).
        durations: (P,) int64 frames of each id.
        f0: (T,) hertz.
    """

    audio: Tensor
    durations: Tensor
    f0: Tensor


class QuickSynthesizer(nn.Module):
    """The whole voice: what a checkpoint's `model_g` holds.

    Beside the weights it keeps how latents are standardised, and what regression to the mean
    loses: the spread of latents, and the length of durations (the mean of logarithms is short).
    `pad_id` is the symbol between phonemes, which is left out before they are spoken.
    """

    latent_mean: Tensor
    latent_deviation: Tensor
    predicted_mean: Tensor
    spread: Tensor
    duration_scale: Tensor
    pad_id: Tensor

    def __init__(self, config: QuickConfig) -> None:
        super().__init__()
        self.config = config
        self.text = TextSide(config)
        self.decoder = Decoder(config)
        size = config.latents
        for name, value in (
            ("latent_mean", torch.zeros(size)),
            ("latent_deviation", torch.ones(size)),
            ("predicted_mean", torch.zeros(size)),
            ("spread", torch.ones(size)),
            ("duration_scale", torch.ones(())),
            ("pad_id", torch.zeros((), dtype=torch.int64)),
        ):
            self.register_buffer(name, value)

    def standardise(self, latents: Tensor) -> Tensor:
        """Return latents (…, L) with mean 0 and deviation 1 over the training set."""
        return (latents - self.latent_mean) / self.latent_deviation

    def latents_to_f0(self, latents: Tensor) -> Tensor:
        """Return hertz (B, T) of standardised latents (B, T, L)."""
        place = self.config.mel_channels
        log_f0 = latents[..., place] * self.latent_deviation[place] + self.latent_mean[place]
        return log_f0.exp().clamp(*F0_RANGE_HERTZ)

    def widen(self, estimate: Tensor) -> Tensor:
        """Bring the spread of estimated latents (B, T, L) towards that of recorded ones."""
        return self.predicted_mean + (estimate - self.predicted_mean) * self.spread

    @torch.no_grad()
    def infer(
        self,
        ids: Tensor,
        speaker_ids: Tensor | None = None,
        *,
        noise_scale: float = 0.667,
        length_scale: float = 1.0,
        noise_w_scale: float = 0.8,
        pitch_semitones: float = 0.0,
        generator: torch.Generator | None = None,
        max_frames: int | None = None,
        hiss: Tensor | None = None,
    ) -> Speech:
        """Speak one sentence.

        Args:
            ids: (1, P); padding symbols among them are not spoken.
            speaker_ids: (1,), with several speakers.
            noise_scale: Factor on the deviation of pitch and on the noise in the sound.
            length_scale: Factor on durations.
            noise_w_scale: Factor on the deviation of durations.
            pitch_semitones: Added to the pitch.
            generator: Source of all noise; None takes torch's own.
            max_frames: Frames of the longest sentence; what would follow is left out.
            hiss: (N,) white noise that is heard over and over, as voices have it; None draws it.
        """
        if self.config.kept_latents:
            raise RuntimeError("the text side is that of another voice, which is not here")
        device = ids.device
        is_spoken = ids[0] != self.pad_id
        is_spoken[0] = True  # as in the graph: something is left of padding alone
        ids = ids[:, is_spoken]

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator).to(device)

        mask = torch.ones(*ids.shape, 1, device=device)
        encoded = self.text.encode(ids, mask, speaker_ids)
        estimate = self.text.estimate_durations(encoded, mask)
        duration_noise = noise_w_scale * smooth_noise(draw(*ids.shape))
        log_frames = estimate.mean + estimate.log_deviation.exp() * duration_noise
        exact = torch.expm1(log_frames) * self.duration_scale * length_scale
        durations = exact.round().clamp(min=0).long()
        frames = max(1, int(durations.sum()))
        if max_frames is not None:
            frames = min(frames, max_frames)
        index = FrameIndex.from_durations(durations, frames)
        latents = self.text.estimate_latents(encoded, index)
        z = self.widen(latents.mean)
        place = self.config.mel_channels
        wander = smooth_noise(draw(*ids.shape)) * PITCH_NOISE_GAIN
        wander = smooth_pitch_noise(wander, index.phonemes)
        z[..., place] += noise_scale * latents.pitch_log_deviation.exp() * wander
        f0 = self.latents_to_f0(z) * 2.0 ** (pitch_semitones / 12.0)
        times = self._noise_times(frames).to(device)
        noise = draw(len(times)) if hiss is None else hiss[times % len(hiss)]
        sound = self.decoder(z, f0, noise[None])
        every = durations.new_zeros(is_spoken.shape)
        every[is_spoken] = durations[0]
        return Speech(sound[0].clamp(-1.0, 1.0), every, f0[0])

    @torch.no_grad()
    def decode_kept(
        self, kept: Tensor, hiss: Tensor, speaker_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return sound (S,) and hertz (T,) of a kept text side's z (1, T, Z).

        The white noise, (N,), is heard over and over.
        """
        nothing = torch.zeros(1, 0)
        index = FrameIndex(nothing, nothing, torch.ones(*kept.shape[:2], 1, device=kept.device))
        encoded = self.text.encode_frames(kept, index, speaker_ids)
        latents = self.widen(self.text.estimate_latents(encoded, index).mean)
        f0 = self.latents_to_f0(latents)
        noise = hiss[self._noise_times(kept.shape[1]).to(kept.device) % len(hiss)]
        sound = self.decoder(torch.cat([latents, kept], dim=-1), f0, noise[None])
        return sound[0].clamp(-1.0, 1.0), f0[0]

    def _noise_times(self, frames: int) -> Tensor:
        """Return the samples that so many frames' windows reach, of which 0 is the first."""
        margin = (self.config.decoder_filter_length - self.config.decoder_hop_length) // 2
        return torch.arange(-margin, frames * self.config.hop_length + margin)


def smooth_noise(noise: Tensor) -> Tensor:
    """Return the means of random numbers (B, P) over neighbouring phonemes."""
    half = NOISE_SMOOTHING // 2
    padded = F.pad(noise.unsqueeze(1), (half, half), mode="replicate")
    return F.avg_pool1d(padded, NOISE_SMOOTHING, stride=1)[:, 0]


def smooth_pitch_noise(noise: Tensor, phonemes: Tensor) -> Tensor:
    """Spread random numbers (B, P) over their phonemes' frames (B, T), with soft passages."""
    frames = noise.gather(1, phonemes).unsqueeze(1)
    half = PITCH_SMOOTHING // 2
    padded = F.pad(frames, (half, half), mode="replicate")
    return F.avg_pool1d(padded, PITCH_SMOOTHING, stride=1)[:, 0]


class SpectrumDiscriminator(nn.Module):
    """Tells recordings from what was spoken, by magnitudes to the power 0.3.

    Time goes first, and frequencies are thinned out at once: a third of the time of a layer more.
    The hop is a quarter of the transform; layers after the first have twice its channels.
    """

    window: Tensor

    def __init__(self, filter_length: int, channels: int = 16) -> None:
        super().__init__()
        wide = 2 * channels
        first = 4 if filter_length > 256 else 2
        plan = (
            (1, channels, (3, 7), first),
            (channels, wide, (3, 5), 2),
            (wide, wide, (3, 5), 2),
            (wide, wide, (3, 3), 1),
        )
        self.layers = nn.ModuleList(
            WeightNormConv2d(
                entry, out, kernel, stride=(1, step), padding=(kernel[0] // 2, kernel[1] // 2)
            )
            for entry, out, kernel, step in plan
        )
        self.exit = WeightNormConv2d(wide, 1, (3, 3), padding=(1, 1))
        self.register_buffer("window", torch.hann_window(filter_length), persistent=False)

    def forward(self, audio: Tensor) -> list[Tensor]:
        """Return the layers' features of audio (B, S), the scores last."""
        with full_precision(audio):
            magnitudes = measure_magnitudes(audio.float(), self.window)
        x = magnitudes.pow(0.3).transpose(1, 2).unsqueeze(1)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return [*features, self.exit(x)]


def measure_magnitudes(audio: Tensor, window: Tensor) -> Tensor:
    """Return magnitudes (B, F, T) of audio (B, S), with a hop of a quarter of the window."""
    size = len(window)
    bins = torch.stft(audio, size, size // 4, size, window, return_complex=True)
    return (bins.real.square() + bins.imag.square() + 1e-7).sqrt()


class SpectralLoss(nn.Module):
    """How far two sounds' spectra are apart, in four resolutions (as in Yamamoto et al. 2020).

    The mean over resolutions of: L1 of log magnitudes, half the spectral convergence, L1 of log
    mels.
    """

    RESOLUTIONS = ((LONGEST_FFT, 160), (1024, 80), (512, 64), (256, 32))
    """Samples of the Fourier transform, mels."""

    def __init__(self, config: QuickConfig) -> None:
        super().__init__()
        for size, mels in self.RESOLUTIONS:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)
            filters = mel_filterbank(config.sample_rate, size, mels, 0.0, config.sample_rate / 2)
            self.register_buffer(f"filters_{size}", filters, persistent=False)

    def forward(self, spoken: Tensor, recorded: Tensor) -> Tensor:
        """Return the loss of sounds (B, S), a scalar."""
        losses = []
        with full_precision(spoken):
            for size, _ in self.RESOLUTIONS:
                window, filters = getattr(self, f"window_{size}"), getattr(self, f"filters_{size}")
                own = measure_magnitudes(spoken.float(), window)
                other = measure_magnitudes(recorded.float(), window)
                logs = ((own + 1e-3).log() - (other + 1e-3).log()).abs().mean()
                distance = (own - other).square().sum((1, 2)).sqrt()
                size_of_other = other.square().sum((1, 2)).sqrt().clamp(min=1e-3)
                convergence = (distance / size_of_other).mean()
                mels = ((filters @ own + 1e-4).log() - (filters @ other + 1e-4).log()).abs().mean()
                losses.append(logs + 0.5 * convergence + mels)
        return torch.stack(losses).mean()
