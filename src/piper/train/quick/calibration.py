"""How a quick voice's latents are standardised, and what regression to the mean has lost of them.

A network that is taught by distances speaks the mean of what could be said: its latents vary less
than the recordings', and the mean of the logarithms of durations is short. Both are measured on
utterances of the training set, and made good when the voice speaks.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from piper.train.quick.network import QuickSynthesizer
from piper.train.quick.step import LatentExtractor, Pieces

WIDENING = 0.7
"""Share of the recorded spread that predicted latents are given back: noise is not among it."""
PITCH_WIDENING = 0.4
"""The pitch's: its random share, at the default noise scale, brings the rest."""
WIDEST = 2.0
LONGEST, SHORTEST = 1.5, 0.8
"""Bounds of the factor on durations."""


@torch.no_grad()
def standardise_latents(
    network: QuickSynthesizer, extract: LatentExtractor, pieces: Iterable[Pieces]
) -> None:
    """Set mean and deviation of the latents to those of whole utterances, one a piece."""
    latents = torch.cat([extract(one.audio, one.log_f0, one.voiced)[0] for one in pieces])
    mean, deviation = latents.mean(0), latents.std(0).clamp(min=1e-2)
    mean[-1] = deviation[-1] = 0.5  # voicing is 0 or 1
    network.latent_mean.copy_(mean)
    network.latent_deviation.copy_(deviation)


@torch.no_grad()
def calibrate(
    network: QuickSynthesizer, extract: LatentExtractor, pieces: Iterable[Pieces]
) -> None:
    """Set the spread of latents and the length of durations by whole utterances, one a piece."""
    text = network.text
    estimates, recordings = [], []
    predicted, recorded = 0.0, 0.0
    for one in pieces:
        encoded = text.encode(one.ids, one.id_mask, one.speaker_ids)
        estimates.append(text.estimate_latents(encoded, one.index).mean[0])
        recordings.append(network.standardise(extract(one.audio, one.log_f0, one.voiced))[0])
        durations = torch.expm1(text.estimate_durations(encoded, one.id_mask).mean)
        predicted += float(durations.round().clamp(min=0.0).sum())
        recorded += float(one.durations.sum())
    estimate, recording = torch.cat(estimates), torch.cat(recordings)
    wider = (recording.std(0) / estimate.std(0).clamp(min=1e-3)).clamp(1.0, WIDEST)
    spread = 1.0 + WIDENING * (wider - 1.0)
    spread[-2] = 1.0 + PITCH_WIDENING * (wider[-2] - 1.0)
    spread[-1] = 1.0
    network.predicted_mean.copy_(estimate.mean(0))
    network.spread.copy_(spread)
    scale = recorded / max(1.0, predicted)
    network.duration_scale.fill_(min(max(scale, SHORTEST), LONGEST))
