"""Whole utterances: decoded in pieces as at once, measured alike each time, ending no training."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

import trainings
from piper.train import cli
from piper.train.callbacks import sentences
from piper.train.callbacks.sentences import (
    FIGURES,
    Measures,
    MeasureSentences,
    decode_in_pieces,
    decoder_receptive_field,
    measure_example,
    summarise_measures,
)
from piper.train.data.module import ListeningExample
from piper.train.presets import create_network_config
from piper.train.vits.config import NetworkConfig
from piper.train.vits.mel import spectrogram, spectrogram_to_mel
from piper.train.vits.network import VitsSynthesizer
from trainings import read_log, read_scalars

NARROW = {"hidden_channels": 16, "inter_channels": 16, "filter_channels": 16, "n_layers": 1}


class Voice:
    """What the Lightning module offers to those who measure it."""

    device = torch.device("cpu")

    def __init__(self, config: NetworkConfig) -> None:
        torch.manual_seed(7)
        self.network_config = config
        self.model_g = VitsSynthesizer(config).eval()


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


FLAGS = ("--data.batch_size=5", "--data.num_test_examples=1", "--validation_quality=off")
TWO = "--data.num_test_examples=2"


def train_measured(dataset: Path, root: Path, *flags: str, verb: str = "fit") -> int:
    return trainings.train(dataset, root, *FLAGS, *flags, verb=verb)


def test_the_budget_of_time_is_kept(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Too dear for each validation: done at the first and the last, and said once."""
    monkeypatch.setattr(cli, "MeasureSentences", partial(MeasureSentences, share=1e-9))
    caplog.set_level("INFO", logger="piper")
    assert train_measured(dataset, tmp_path, "--trainer.max_epochs=3") == 0
    validated = [*read_scalars(tmp_path, "val_loss")]
    assert [*read_scalars(tmp_path, "val_mel_text")] == [validated[0], validated[-1]]
    assert caplog.text.count("it is done about every") == 1


def test_figures_stand_beside_the_losses_always_of_the_same_sentences(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As many as fit. Means over others would not compare, in a run or after resuming."""
    caplog.set_level("INFO", logger="piper")
    measures: list[MeasureSentences] = []

    def create(seconds: float, *args: Any) -> MeasureSentences:
        measures.append(MeasureSentences(*args, share=1e9, first_seconds=seconds))
        return measures[-1]

    monkeypatch.setattr(cli, "MeasureSentences", partial(create, 0.0))
    flags = ("--ckpt_path=last", TWO, "--verbose")
    assert train_measured(dataset, tmp_path, *flags, "--trainer.max_epochs=1") == 0
    assert "Validations measure 1 of the 2 test sentences" in caplog.text
    assert "whole sentences: mel " in capsys.readouterr().err
    monkeypatch.setattr(cli, "MeasureSentences", partial(create, 1e9))
    assert train_measured(dataset, tmp_path, *flags, "--trainer.max_epochs=2") == 0
    assert [one.state_dict() for one in measures] == [{"sentences": 1}] * 2

    for tag in FIGURES:
        figures = read_scalars(tmp_path, tag)
        assert [*figures] == [*read_scalars(tmp_path, "val_loss")], tag
        assert all(value > 0 for value in figures.values()), tag
    # Whole utterances and segments of the same network are about as far from the recordings.
    tags = ("val_mel_whole", "val_mel")
    whole, segments = ([*read_scalars(tmp_path, tag).values()][-1] for tag in tags)
    assert whole == pytest.approx(segments, rel=0.3)


@pytest.mark.parametrize("is_averaged", [False, True])
def test_a_network_that_has_gone_astray_ends_no_training(
    is_averaged: bool,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Durations that are no numbers once asked for a tensor of a negative size.

    Lost after the averages began, they are lost in the trained weights alone, which nobody hears.
    """
    hook = "on_train_start" if is_averaged else "on_fit_start"
    original: Callable[..., None] = getattr(cli.VitsModel, hook)

    def lose_the_durations(self: Any) -> None:
        with torch.no_grad():
            self.model_g.dp.pre.weight.fill_(torch.nan)
        original(self)

    monkeypatch.setattr(cli.VitsModel, hook, lose_the_durations)
    flags = ("--trainer.limit_train_batches=1", "--trainer.max_epochs=1")
    assert train_measured(dataset, tmp_path, *flags) == 0
    # Spectra need no durations.
    assert 0 in read_scalars(tmp_path, "val_mel_whole")
    assert (0 in read_scalars(tmp_path, "val_duration_error_ms")) == is_averaged
    spoken = read_log(tmp_path).Tags()["audio"]
    assert ("sentence_0/speech" in spoken) == is_averaged
    if not is_averaged:
        assert caplog.text.count("A test sentence cannot be spoken") == 1


def test_validate_measures_too(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_measured(dataset, tmp_path, verb="validate") == 0
    assert "val_mel_text" in capsys.readouterr().out


def test_a_training_of_minutes_is_not_measured_for_one(tmp_path: Path) -> None:
    """The first measurement took 20 s of a quick voice's eight minutes, and the last one, too."""
    trainer = Trainer(max_time="00:00:08:00", accelerator="cpu", logger=False)
    assert MeasureSentences()._first_limit(trainer) == pytest.approx(4.8)
    assert MeasureSentences()._first_limit(Trainer(accelerator="cpu", logger=False)) == 20.0
