"""How near a network comes to whole recordings: spectra and durations of fixed sentences.

Knows the network and one utterance; nothing of training, logs or when to measure. Symbols as in
`vits/synthesizer`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from piper.train.data.module import ListeningExample
from piper.train.vits.align import compute_log_likelihood, expand_by_path, find_alignment
from piper.train.vits.config import NetworkConfig
from piper.train.vits.generator import EDGE_KERNEL_SIZE
from piper.train.vits.mel import audio_to_mel, spectrogram_to_mel
from piper.train.vits.noise import draw_normal
from piper.train.vits.synthesizer import Synthesizer

MEASURE_SEED = 20210611
NOISE_SCALE = 0.667
"""Deviation of the prior's noise when speaking, the default of voices."""
PIECE_FRAMES = 256
"""Frames decoded at once, 3 s at 22,050 Hz: memory does not grow with the utterance."""


@dataclass(frozen=True)
class Measures:
    """Sums over an utterance, so that means over several count each frame and phoneme alike.

    Attributes:
        frames: Frames of the recording.
        ids: Phoneme ids, padding between phonemes included.
        mel_whole: Sum over frames of the mean |Δ log-mel| to the recording, of the recording
            through posterior and decoder.
        mel_text: The same of speech from the text, with the recording's own durations.
        duration_error_frames: Sum over ids of |predicted - aligned duration|.
        predicted_frames: Sum of the predicted durations.
    """

    frames: int
    ids: int
    mel_whole: float
    mel_text: float
    duration_error_frames: float
    predicted_frames: float


@torch.no_grad()
def measure_example(model: Any, example: ListeningExample) -> Measures:
    """Compare what a network makes of an utterance with its recording.

    The noise is the same each time and on each device. Runs in float32, as voices do.

    Args:
        model: The Lightning module with `model_g` and `network_config`, in evaluation mode.
        example: The utterance.
    """
    network: Synthesizer = model.model_g
    config: NetworkConfig = model.network_config
    random = torch.Generator().manual_seed(MEASURE_SEED)
    ids = example.ids[None].to(model.device)
    spectrogram = example.spectrogram[None].to(model.device)
    id_count, frames = ids.shape[1], spectrogram.shape[2]
    id_mask = torch.ones(1, 1, id_count, device=model.device)
    frame_mask = torch.ones(1, 1, frames, device=model.device)
    g = network.embed_speakers(_speaker_tensor(example, config, model.device))

    x, m_p, logs_p = network.enc_p(ids, id_mask)
    m_q, logs_q = network.enc_q(spectrogram, frame_mask, g)
    z = m_q + draw_normal(tuple(m_q.shape), m_q, random) * torch.exp(logs_q)
    z_p = network.flow(z, frame_mask, g)
    lengths = [torch.tensor([count], device=model.device) for count in (frames, id_count)]
    path = find_alignment(compute_log_likelihood(z_p, m_p, logs_p), *lengths)
    noise = draw_normal(tuple(z_p.shape), z_p, random) * NOISE_SCALE
    spoken_p = expand_by_path(m_p, path) + noise * torch.exp(expand_by_path(logs_p, path))
    spoken = network.flow.inverse(spoken_p, frame_mask, g)

    recorded = spectrogram_to_mel(spectrogram, config)
    logw = network.dp.infer(x, id_mask, g, noise_scale=0.0)
    durations = torch.ceil(torch.exp(logw)).squeeze(1)
    return Measures(
        frames=frames,
        ids=id_count,
        mel_whole=_mel_difference(decode_in_pieces(network, z, g), recorded, config),
        mel_text=_mel_difference(decode_in_pieces(network, spoken, g), recorded, config),
        duration_error_frames=float((durations - path.sum(1)).abs().sum()),
        predicted_frames=float(durations.sum()),
    )


def summarise_measures(measures: Sequence[Measures], config: NetworkConfig) -> dict[str, float]:
    """Return the figures of several utterances together, by their names in the log."""
    frames = sum(item.frames for item in measures)
    milliseconds = 1000.0 * config.hop_length / config.sample_rate
    error = sum(item.duration_error_frames for item in measures)
    return {
        "val_mel_whole": sum(item.mel_whole for item in measures) / frames,
        "val_mel_text": sum(item.mel_text for item in measures) / frames,
        "val_duration_error_ms": milliseconds * error / sum(item.ids for item in measures),
        "val_length_ratio": sum(item.predicted_frames for item in measures) / frames,
    }


def decode_in_pieces(network: Synthesizer, z: Tensor, g: Tensor | None) -> Tensor:
    """Decode latents (1, inter, T) of any length to audio (S,), S = T * hop_length.

    Equal to decoding them at once: pieces overlap by as much as the decoder looks at.
    """
    reach = decoder_reach_frames(network.config)
    hop, frames = network.config.hop_length, z.shape[2]
    pieces = []
    for start in range(0, frames, PIECE_FRAMES):
        end = min(start + PIECE_FRAMES, frames)
        first = max(0, start - reach)
        audio = network.dec(z[:, :, first : min(end + reach, frames)], g)[0, 0]
        pieces.append(audio[(start - first) * hop : (end - first) * hop])
    return torch.cat(pieces)


def decoder_reach_frames(config: NetworkConfig) -> int:
    """Return how many frames on each side of a frame the decoder's output depends on, at most."""
    edge = EDGE_KERNEL_SIZE // 2
    reach, samples = float(edge), 1
    for rate, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
        reach += kernel / rate / samples
        samples *= rate
        reach += _block_reach(config) / samples
    return math.ceil(reach + edge / samples)


def _block_reach(config: NetworkConfig) -> int:
    """Return the reach of the widest residual block, in its own samples."""
    plain = 1 if config.resblock == "1" else 0  # block 1 has a plain convolution after each
    return max(
        kernel // 2 * sum(dilation + plain for dilation in dilations)
        for kernel, dilations in zip(
            config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True
        )
    )


def _mel_difference(audio: Tensor, recorded: Tensor, config: NetworkConfig) -> float:
    mel = audio_to_mel(audio[None], config)
    frames = min(mel.shape[2], recorded.shape[2])
    difference = (mel[:, :, :frames] - recorded[:, :, :frames]).abs().mean(1)
    return float(difference.sum()) * recorded.shape[2] / frames


def _speaker_tensor(
    example: ListeningExample, config: NetworkConfig, device: torch.device
) -> Tensor | None:
    if config.num_speakers == 1:
        return None
    return torch.tensor([example.speaker_id or 0], dtype=torch.long, device=device)
