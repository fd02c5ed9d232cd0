"""One update of a quick voice: pieces of utterances to gradients of all its networks.

Text side and decoder are trained on the same pieces at the same time and do not wait for each
other: the decoder is given recorded latents, and later, beside discriminators, those that the text
side predicts. On a CPU the pieces of a batch are worked on by threads, each of which computes
alone; gradients are summed in a fixed order, so that a run can be repeated to the bit.

Shapes: B batch, P phonemes, T frames, S samples, L latents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from piper.train.data.batches import Batch, part_bounds
from piper.train.distributed import sum_over_processes
from piper.train.quick.config import QuickConfig
from piper.train.quick.network import (
    FrameIndex,
    QuickSynthesizer,
    SpectralLoss,
    SpectrumDiscriminator,
    TextDropout,
    TextSide,
)
from piper.train.vits.layers import full_precision, take_gradients
from piper.train.vits.mel import mel_filterbank

MEL_FLOOR = 1e-5
UNVOICED_WEIGHT = 0.1
"""Of the pitch loss where there is no voice: the pitch there is interpolated."""
UNVOICED_LOG_F0 = 4.7
"""Where a piece has no voiced frame: 110 Hz."""

WEIGHTS: dict[str, float] = {
    "mel": 1.0,
    "pitch": 0.2,
    "voicing": 0.1,
    "duration": 0.3,
    "pitch_spread": 0.02,
    "duration_spread": 0.02,
    "spectrum": 1.0,
    "adversarial": 0.1,
    "feature": 0.2,
}
"""Of the losses. The spreads are likelihoods whose means are given, so they only fit deviations."""


@dataclass(frozen=True)
class Pieces:
    """Pieces of utterances, of one length.

    Attributes:
        ids: (B, P) int64, of the phonemes around the piece, padding symbols left out.
        id_mask: (B, P, 1).
        durations: (B, P) int64 frames, whole phonemes.
        index: Of the piece's frames among these phonemes.
        audio: (B, S), S = T * hop length + filter length - hop length: with the margins that the
            first and last frame's windows reach into.
        log_f0: (B, T), interpolated where there is no voice.
        voiced: (B, T), 1 where there is a voice.
        slices: (B,) first frame of what the decoder is given.
        speaker_ids: (B,), with several speakers.
        kept: (B, T, Z), z of a voice that keeps its own text side; else Z is 0.
    """

    ids: Tensor
    id_mask: Tensor
    durations: Tensor
    index: FrameIndex
    audio: Tensor
    log_f0: Tensor
    voiced: Tensor
    slices: Tensor
    speaker_ids: Tensor | None
    kept: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def map(self, function: Callable[[Tensor], Tensor]) -> Pieces:
        """Return the pieces with each tensor changed."""

        def change(value: Tensor | FrameIndex | None) -> Tensor | FrameIndex | None:
            if isinstance(value, FrameIndex):
                parts = (value.phonemes, value.positions, value.mask)
                return FrameIndex(*map(function, parts))
            return None if value is None else function(value)

        return Pieces(**{item.name: change(getattr(self, item.name)) for item in fields(self)})  # type: ignore[arg-type]

    def to(self, device: torch.device | str) -> Pieces:
        """Return the pieces on a device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def chunk(self, count: int) -> list[Pieces]:
        """Split into at most `count` parts of nearly equal size."""
        return [
            self.map(lambda tensor, start=start, end=end: tensor[start:end])  # type: ignore[misc]
            for start, end in part_bounds(len(self), count)
        ]


def cut_pieces(
    batch: Batch,
    config: QuickConfig,
    *,
    frames: int,
    decoded_frames: int,
    pad_id: int,
    rng: np.random.Generator,
) -> Pieces:
    """Cut a piece at random out of each utterance of a batch on the CPU.

    Args:
        frames: T; shorter utterances are padded with silence.
        decoded_frames: How many of them the decoder is given.
        pad_id: The id of the padding symbol; `NO_PAD` where there is none.
    """
    assert batch.durations is not None and batch.f0 is not None
    margin = (config.filter_length - config.hop_length) // 2
    hop = config.hop_length
    reach = config.text_receptive_field
    lists: dict[str, list[Tensor]] = {name: [] for name in ("ids", "durations", "phonemes")}
    rows: dict[str, list[Tensor]] = {
        name: [] for name in ("positions", "mask", "audio", "log_f0", "voiced", "kept")
    }
    slices = []
    for number in range(len(batch)):
        own = slice(0, int(batch.id_lengths[number]))
        ids, durations = batch.ids[number, own], batch.durations[number, own]
        kept = ids != pad_id
        ids, durations = ids[kept], durations[kept]
        total = int(durations.sum())
        start = int(rng.integers(0, max(1, total - frames + 1)))
        index = FrameIndex.from_durations(durations[None], max(total, start + frames))
        phonemes = index.phonemes[0, start : start + frames]
        first = max(0, int(phonemes[0]) - reach)
        last = min(len(ids), int(phonemes[-1]) + reach + 1)
        lists["ids"].append(ids[first:last])
        lists["durations"].append(durations[first:last])
        lists["phonemes"].append(phonemes - first)
        rows["positions"].append(index.positions[0, start : start + frames])
        rows["mask"].append(index.mask[0, start : start + frames])
        audio = F.pad(batch.audio[number, 0, : total * hop], (margin, margin + frames * hop))
        rows["audio"].append(audio[start * hop : (start + frames) * hop + 2 * margin])
        log_f0, voiced = interpolate_pitch(batch.f0[number, :total])
        missing = max(0, start + frames - total)
        rows["log_f0"].append(
            F.pad(log_f0[start : start + frames], (0, missing), value=float(log_f0[-1]))
        )
        rows["voiced"].append(F.pad(voiced[start : start + frames], (0, missing)))
        kept = batch.spectrograms[number, :, start : min(total, start + frames)]
        rows["kept"].append(F.pad(kept, (0, frames - kept.shape[1])).T)
        room = min(frames, total) - decoded_frames
        slices.append(int(rng.integers(0, max(1, room + 1))))
    ids = pad_sequence(lists["ids"], batch_first=True)
    id_mask = pad_sequence([torch.ones(len(row), 1) for row in lists["ids"]], batch_first=True)
    stacked = {name: torch.stack(values) for name, values in rows.items()}
    return Pieces(
        ids=ids,
        id_mask=id_mask,
        durations=pad_sequence(lists["durations"], batch_first=True),
        index=FrameIndex(torch.stack(lists["phonemes"]), stacked["positions"], stacked["mask"]),
        audio=stacked["audio"],
        log_f0=stacked["log_f0"],
        voiced=stacked["voiced"],
        slices=torch.tensor(slices),
        speaker_ids=batch.speaker_ids,
        kept=stacked["kept"],
    )


def encode_pieces(text: TextSide, pieces: Pieces, dropout: TextDropout | None = None) -> Tensor:
    """Return the encodings of the pieces' phonemes, or of the frames of a kept text side."""
    if text.kept_latents:
        return text.encode_frames(pieces.kept, pieces.index, pieces.speaker_ids)
    return text.encode(pieces.ids, pieces.id_mask, pieces.speaker_ids, dropout)


def interpolate_pitch(f0: Tensor) -> tuple[Tensor, Tensor]:
    """Return log F0 without gaps (T,), and where there is a voice, 1 or 0, of hertz or 0 (T,)."""
    values = f0.double().numpy()
    voiced = values > 0
    if not voiced.any():
        return torch.full((len(f0),), UNVOICED_LOG_F0), torch.zeros(len(f0))
    places = np.arange(len(values))
    log_f0 = np.interp(places, places[voiced], np.log(values[voiced]))
    return torch.from_numpy(log_f0).float(), torch.from_numpy(voiced.astype(np.float32))


class LatentExtractor(nn.Module):
    """Audio and pitch to latents that are not standardised yet."""

    filters: Tensor
    window: Tensor

    def __init__(self, config: QuickConfig) -> None:
        super().__init__()
        self.config = config
        filters = mel_filterbank(
            config.sample_rate, config.filter_length, config.mel_channels, 0.0, config.mel_top_hertz
        )
        self.register_buffer("filters", filters, persistent=False)
        window = torch.hann_window(config.filter_length)
        self.register_buffer("window", window, persistent=False)

    def forward(self, audio: Tensor, log_f0: Tensor, voiced: Tensor) -> Tensor:
        """Audio (B, S) with margins, as in `Pieces`, log F0 and voicing (B, T) to (B, T, L)."""
        with full_precision(audio):
            size, hop = self.config.filter_length, self.config.hop_length
            bins = torch.stft(
                audio, size, hop, size, self.window, center=False, return_complex=True
            )
            magnitudes = (bins.real.square() + bins.imag.square() + 1e-6).sqrt()
            mels = (self.filters @ magnitudes).clamp(min=MEL_FLOOR).log().transpose(1, 2)
        return torch.cat([mels, log_f0.unsqueeze(-1), voiced.unsqueeze(-1)], dim=-1)


@dataclass(frozen=True)
class Phase:
    """What an update trains, and how.

    Attributes:
        has_discriminators: The decoder is given predicted latents for most pieces and is judged
            by discriminators; else recorded ones, and spectra are compared alone.
        adversarial_share: Factor on the adversarial and the feature loss, from 0 to 1.
        predicted_share: Share of the pieces whose decoder is given predicted latents.
        decoded_frames: Frames that the decoder is given.
    """

    has_discriminators: bool
    adversarial_share: float
    predicted_share: float
    decoded_frames: int


class QuickStep:
    """The gradients and losses of an update.

    Attributes:
        dropout: Share of the text side's hidden channels that is left out.
    """

    dropout = 0.0

    def __init__(
        self,
        network: QuickSynthesizer,
        discriminators: Sequence[SpectrumDiscriminator],
        config: QuickConfig,
        weights: Mapping[str, float] = WEIGHTS,
    ) -> None:
        self.network = network
        self.discriminators = list(discriminators)
        self.config = config
        self.weights = dict(weights)
        self.extract = LatentExtractor(config)
        self.spectral_loss = SpectralLoss(config)
        self._pool: ThreadPoolExecutor | None = None

    def to(self, device: torch.device) -> None:
        """Move what is no part of the voice."""
        self.extract.to(device)
        self.spectral_loss.to(device)

    def backward(
        self,
        pieces: Pieces,
        phase: Phase,
        *,
        parts: int = 1,
        threads: int = 1,
        scale: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Give all networks the gradients of the pieces; return the losses, detached.

        With several processes, gradients and losses are shares of those of all their pieces: the
        sums over the processes are the whole.

        Args:
            parts: How many the pieces are split into, for memory's sake.
            threads: How many work on it at once, each on parts of its own; 1 on a GPU.
            scale: Factor on all gradients, as mixed precision wants it.
        """
        count = len(pieces)
        bounds = part_bounds(count, max(parts, threads))
        split = pieces.chunk(len(bounds))
        predicted = torch.rand(count) < phase.predicted_share
        noise_size = phase.decoded_frames * self.config.hop_length
        noise = torch.randn(count, noise_size).to(pieces.audio.device)
        dropout = None
        if self.dropout:
            dropout = self.network.text.draw_dropout(count, self.dropout)
            dropout = dropout.map(lambda tensor: tensor.to(pieces.audio.device))
        own = [pieces.index.mask.new_tensor(count), pieces.index.mask.sum(), pieces.id_mask.sum()]
        total, frames, phonemes = sum_over_processes(torch.stack(own)).unbind()

        def work(number: int) -> tuple[dict[str, Tensor], list[Tensor]]:
            start, end = bounds[number]
            share = _Share((end - start) / total, frames, phonemes, scale)
            return self._differentiate(
                split[number],
                phase,
                share,
                predicted[start:end],
                noise[start:end],
                dropout and dropout.map(lambda tensor: tensor[start:end]),
            )

        numbers = range(len(bounds))
        if threads > 1:
            results = list(self._threads(threads).map(work, numbers))
        else:
            results = [work(number) for number in numbers]
        for parameter, *gradients in zip(
            self.parameters(phase), *(gradients for _, gradients in results), strict=True
        ):
            whole = gradients[0]
            for gradient in gradients[1:]:
                whole = whole + gradient
            parameter.grad = whole
        names = results[0][0]
        return {name: torch.stack([named[name] for named, _ in results]).sum() for name in names}

    @torch.no_grad()
    def losses(self, pieces: Pieces, noise: Tensor) -> dict[str, Tensor]:
        """Return the losses of the text side, and of the decoder with recorded latents.

        Args:
            noise: (B, S) normal, of the frames that the decoder is given.
        """
        recorded = self.network.standardise(
            self.extract(pieces.audio, pieces.log_f0, pieces.voiced)
        )
        one = recorded.new_ones(())
        share = _Share(one, pieces.index.mask.sum(), pieces.id_mask.sum())
        named, _ = self.text_losses(pieces, recorded, share)
        frames = noise.shape[1] // self.config.hop_length
        spoken, real = self._decode(pieces, recorded, frames, noise)
        return {**named, "spectrum": self.spectral_loss(spoken, real)}

    def parameters(self, phase: Phase) -> list[nn.Parameter]:
        """All that a phase trains: text side, decoder, discriminators."""
        found = [*self.network.text.parameters(), *self.network.decoder.parameters()]
        if phase.has_discriminators:
            found += [p for one in self.discriminators for p in one.parameters()]
        return found

    def _threads(self, count: int) -> ThreadPoolExecutor:
        if self._pool is None:
            # One thread of torch each, from the first operation on.
            self._pool = ThreadPoolExecutor(
                count, "quick", initializer=torch.set_num_threads, initargs=(1,)
            )
        return self._pool

    def _differentiate(
        self,
        pieces: Pieces,
        phase: Phase,
        share: _Share,
        predicted: Tensor,
        noise: Tensor,
        dropout: TextDropout | None,
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return the losses of some pieces, and the gradients of all that is trained."""
        recorded = self.network.standardise(
            self.extract(pieces.audio, pieces.log_f0, pieces.voiced)
        )
        named, estimate = self.text_losses(pieces, recorded, share, dropout)
        text = list(self.network.text.parameters())
        gradients = take_gradients(share.scaled(self.total(named)), text, allow_unused=True)
        latents = torch.where(
            predicted.to(recorded.device)[:, None, None], estimate.detach(), recorded
        )
        decoded, more = self._differentiate_decoder(pieces, latents, phase, share, noise)
        named |= decoded
        gradients += more
        filled = [
            torch.zeros_like(parameter) if gradient is None else gradient
            for parameter, gradient in zip(self.parameters(phase), gradients, strict=True)
        ]
        return {name: value.detach() for name, value in named.items()}, filled

    def text_losses(
        self, pieces: Pieces, recorded: Tensor, share: _Share, dropout: TextDropout | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the losses of the text side by name, and the latents that it predicts."""
        text = self.network.text
        encoded = encode_pieces(text, pieces, dropout)
        estimate = text.estimate_latents(encoded, pieces.index, dropout)
        mask, place = pieces.index.mask, self.config.mel_channels
        error = estimate.mean - recorded
        voiced = (UNVOICED_WEIGHT + (1 - UNVOICED_WEIGHT) * pieces.voiced) * mask[..., 0]
        pitch = error[..., place]
        named = {
            "mel": (error[..., :place].abs() * mask).sum() / share.frames / place,
            "pitch": (pitch.abs() * voiced).sum() / share.frames,
            "voicing": (error[..., place + 1].abs() * mask[..., 0]).sum() / share.frames,
            "pitch_spread": _likelihood(pitch, estimate.pitch_log_deviation, voiced) / share.frames,
        }
        if text.kept_latents:
            return named, estimate.mean
        durations = text.estimate_durations(encoded, pieces.id_mask, dropout)
        off = durations.mean - torch.log1p(pieces.durations.float())
        ids = pieces.id_mask[..., 0]
        named |= {
            "duration": (off.square() * ids).sum() / share.phonemes,
            "duration_spread": _likelihood(off, durations.log_deviation, ids) / share.phonemes,
        }
        return named, estimate.mean

    def _differentiate_decoder(
        self, pieces: Pieces, latents: Tensor, phase: Phase, share: _Share, noise: Tensor
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        spoken, real = self._decode(pieces, latents, phase.decoded_frames, noise)
        decoder = list(self.network.decoder.parameters())
        if not phase.has_discriminators:
            loss = share.utterances * self.spectral_loss(spoken, real)
            weighted = share.scaled(self.total({"spectrum": loss}))
            return {"spectrum": loss}, take_gradients(weighted, decoder)
        heard = spoken.detach().requires_grad_()
        loss = share.utterances * self.spectral_loss(heard, real)
        named = {"spectrum": loss}
        [slope] = take_gradients(share.scaled(self.total(named)), [heard])
        adversarial, feature, discriminator = [], [], []
        theirs: list[Tensor] = []
        for one in self.discriminators:
            own, other = one(heard), one(real)
            fooled = share.utterances * (own[-1] - 1).square().mean()
            distance = share.utterances * _feature_distance(own[:-1], other[:-1])
            losses = {"adversarial": fooled, "feature": distance}
            weighted = phase.adversarial_share * share.scaled(self.total(losses))
            slope = slope + take_gradients(weighted, [heard], retain_graph=True)[0]
            told = share.utterances * ((other[-1] - 1).square().mean() + own[-1].square().mean())
            theirs += take_gradients(share.scaled(told), list(one.parameters()))
            adversarial.append(fooled)
            feature.append(distance)
            discriminator.append(told)
        ours = take_gradients(spoken, decoder, grad_outputs=slope)
        named["adversarial"] = torch.stack(adversarial).sum()
        named["feature"] = torch.stack(feature).sum()
        named["discriminator"] = torch.stack(discriminator).sum()
        return named, ours + theirs

    def _decode(
        self, pieces: Pieces, latents: Tensor, size: int, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what the decoder makes of so many frames of each piece, and the recordings."""
        hop = self.config.hop_length
        margin = (self.config.filter_length - hop) // 2
        frames = pieces.slices[:, None] + torch.arange(size, device=latents.device)
        samples = (
            pieces.slices[:, None] * hop + margin + torch.arange(size * hop, device=latents.device)
        )
        # A copy's recordings have latents beside them, whatever learns from them.
        every = latents
        if self.config.kept_latents:
            every = torch.cat([latents, pieces.kept], dim=-1)
        rows = every.gather(1, frames.unsqueeze(-1).expand(-1, -1, every.shape[-1]))
        f0 = pieces.log_f0.gather(1, frames).exp()
        spoken = self.network.decoder(rows, f0, noise)
        edge = self.config.edge_samples
        spoken = spoken[:, edge:-edge]
        real = pieces.audio.gather(1, samples)[:, edge:-edge]
        return spoken, real

    def total(self, named: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the named losses; all of them must have a weight."""
        return torch.stack([self.weights[name] * value for name, value in named.items()]).sum()


@dataclass(frozen=True)
class _Share:
    """What the sums of a part of a batch are divided by.

    Attributes:
        utterances: The part's share of all pieces; frames and phonemes are those of the batch.
        scale: Factor on gradients, in mixed precision.
    """

    utterances: Tensor
    frames: Tensor
    phonemes: Tensor
    scale: Tensor | None = None

    def scaled(self, loss: Tensor) -> Tensor:
        return loss if self.scale is None else loss * self.scale


def _likelihood(error: Tensor, log_deviation: Tensor, weight: Tensor) -> Tensor:
    """Return the negative log likelihood of errors that are taken as given, a sum."""
    scaled = error.detach() * torch.exp(-log_deviation)
    return ((0.5 * scaled.square() + log_deviation) * weight).sum()


def _feature_distance(own: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """Return the mean over layers of the L1 distance relative to the recording's size."""
    return torch.stack(
        [
            (a - b.detach()).abs().mean() / b.detach().abs().mean().clamp(min=1e-4)
            for a, b in zip(own, other, strict=True)
        ]
    ).mean()
