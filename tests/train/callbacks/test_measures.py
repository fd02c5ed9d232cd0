"""Whole utterances: decoded in pieces as at once, measured the same each time."""

from __future__ import annotations

import pytest
import torch

from piper.train.callbacks import sentences
from piper.train.callbacks.sentences import (
    Measures,
    decode_in_pieces,
    decoder_receptive_field,
    measure_example,
    summarise_measures,
)
from piper.train.data.module import ListeningExample
from piper.train.presets import create_network_config
from piper.train.vits.config import NetworkConfig
from piper.train.vits.mel import spectrogram, spectrogram_to_mel
from piper.train.vits.synthesizer import Synthesizer

NARROW = {"hidden_channels": 16, "inter_channels": 16, "filter_channels": 16, "n_layers": 1}


class Voice:
    """What the Lightning module offers to those who measure it."""

    device = torch.device("cpu")

    def __init__(self, config: NetworkConfig) -> None:
        torch.manual_seed(7)
        self.network_config = config
        self.model_g = Synthesizer(config).eval()


def make_example(config: NetworkConfig, frames: int, speaker_id: int | None) -> ListeningExample:
    random = torch.Generator().manual_seed(3)
    audio = 0.1 * torch.randn(frames * config.hop_length, generator=random)
    linear = spectrogram(audio[None], config.filter_length, config.hop_length, config.win_length)
    ids = torch.randint(1, 100, (21,), generator=random)
    return ListeningExample("text", ids, audio, linear[0], speaker_id)


@pytest.mark.parametrize("quality", ["medium", "high", "x_low"])
def test_pieces_equal_the_whole(quality: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by a piece, so nothing may be heard where pieces meet."""
    config = create_network_config(quality, **NARROW, upsample_initial_channel=32)
    voice = Voice(config)
    # Ordinary weights; those that training begins with make silence.
    for parameter in voice.model_g.dec.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    z = torch.randn(1, 16, 75)
    with torch.no_grad():
        whole = voice.model_g.dec(z, None)[0, 0]
        monkeypatch.setattr(sentences, "PIECE_FRAMES", 20)
        pieces = decode_in_pieces(voice.model_g, z, None)
        assert pieces.shape == whole.shape
        assert torch.allclose(pieces, whole, atol=2e-6)


@pytest.mark.parametrize("quality", ["medium", "high"])
def test_the_receptive_field_covers_what_the_decoder_looks_at(quality: str) -> None:
    """Found by what moves a frame's samples; the bound may be wider, but not much."""
    config = create_network_config(quality, **NARROW, upsample_initial_channel=16)
    decoder = Voice(config).model_g.dec.double()
    z = torch.randn((1, 16, 61), dtype=torch.float64, requires_grad=True)
    audio = torch.nn.functional.leaky_relu(decoder(z, None)[0, 0])
    frame = audio[30 * config.hop_length : 31 * config.hop_length]
    (gradient,) = torch.autograd.grad(frame.sum(), z)
    moved = gradient[0].abs().sum(0).nonzero().flatten()
    reach = int(max(30 - moved.min(), moved.max() - 30))
    assert reach > 0
    assert reach <= decoder_receptive_field(config) <= reach + 3


@pytest.mark.parametrize(("speakers", "speaker_id"), [(1, None), (3, 2)])
def test_an_utterance_is_measured_the_same_each_time(speakers: int, speaker_id: int | None) -> None:
    config = create_network_config(
        "tiny", **NARROW, num_speakers=speakers, upsample_initial_channel=32
    )
    voice = Voice(config)
    example = make_example(config, 300, speaker_id)
    torch.manual_seed(1)
    first = measure_example(voice, example)
    torch.manual_seed(2)
    assert measure_example(voice, example) == first
    assert (first.frames, first.ids) == (300, 21)
    # A network that has learned nothing is near silence, whose distance is known.
    recorded = spectrogram_to_mel(example.spectrogram[None], config)
    silence = spectrogram_to_mel(torch.full_like(example.spectrogram, 1e-3)[None], config)
    distance = float((recorded - silence).abs().mean())
    assert first.mel_whole / 300 == pytest.approx(distance, rel=0.3)
    assert first.mel_text / 300 == pytest.approx(distance, rel=0.3)
    assert first.predicted_frames >= 21


def test_a_clip_of_a_single_frame_is_measured() -> None:
    config = create_network_config("tiny", **NARROW, upsample_initial_channel=32)
    audio = torch.zeros(256)
    linear = spectrogram(audio[None], 1024, 256, 1024)[0, :, :1]
    example = ListeningExample("a", torch.tensor([1, 5, 2]), audio, linear, None)
    assert measure_example(Voice(config), example).frames == 1


def test_frames_and_phonemes_count_alike_in_a_mean() -> None:
    items = [
        Measures(100, 10, 50.0, 100.0, 40.0, 110.0),
        Measures(300, 30, 450.0, 300.0, 40.0, 250.0),
    ]
    figures = summarise_measures(items, create_network_config("x_low", sample_rate=16000))
    assert figures == {
        "val_mel_whole": pytest.approx(500 / 400),
        "val_mel_text": pytest.approx(1.0),
        "val_duration_error_ms": pytest.approx(80 / 40 * 16.0),
        "val_length_ratio": pytest.approx(0.9),
    }
