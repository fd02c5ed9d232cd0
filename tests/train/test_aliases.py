"""Flags by the names they once had, and by those of Piper's trainer; qualities by name."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml

from piper.errors import ConfigError
from piper.train.data.settings import DatasetFlags
from piper.train.lightning import VitsModel
from piper.train.presets import PRESETS, create_network_config
from piper.train.resuming import (
    ABSENT,
    MODEL_ALIASES,
    MOVED,
    SCORE,
    translate_arguments,
    translate_config,
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["--model.preset=x-low"], ["--model.quality=x-low"]),
        (["--model.preset", "tiny"], ["--model.quality", "tiny"]),
        (["--model.warmstart_ckpt=a.ckpt"], ["--model.warmstart=a.ckpt"]),
        (["--model.warmstart_ckpt", "preset"], ["--model.warmstart", "preset"]),
        (["--model.vocoder_warmstart_ckpt=b.ckpt"], ["--model.vocoder_warmstart=b.ckpt"]),
        (["--model.mos_metric=utmos"], ["--validation_quality=auto"]),
        (["--model.mos_metric", "null"], ["--validation_quality=off"]),
        (["--model.mos_metric", "none", "--a"], ["--validation_quality=off", "--a"]),
        (["--model.grad_clip=1.5"], ["--trainer.gradient_clip_val=1.5"]),
        (["--model.grad_clip", "null", "--a"], ["--a"]),
        (["--model.batch_size", "8"], ["--data.batch_size=8"]),
        (["fit", "--model.n_layers_q", "5", "--model.init_lr_ratio=1.0"], ["fit"]),
        (["fit", "--model.warmup_epochs=0", "--model.use_spectral_norm", "false"], ["fit"]),
        (["fit", "--data.alignments_dir=null", "--data.vowel_clusters", "null"], ["fit"]),
        (["fit", "--weights_only=false", "--debug", "--a"], ["fit", "--a"]),
        (["fit", "--model.quality=high", "--help"], ["fit", "--model.quality=high", "--help"]),
        (["--data.csv_path=--model.preset=1"], ["--data.csv_path=--model.preset=1"]),
        (["--config", "gone.yaml"], ["--config", "gone.yaml"]),
        (["--config"], ["--config"]),
        (["fit", "a set", "--a"], ["fit", "--data.dataset_dir=a set", "--a"]),  # as check takes it
    ],
)
def test_a_command_line_gets_the_names_of_today(old: list[str], new: list[str]) -> None:
    assert translate_arguments(old) == new


@pytest.mark.parametrize(
    ("old", "answer"),
    [
        (["--model.warmup_epochs=3"], "--model.warmup_updates=N counts updates"),
        (["--model.init_lr_ratio", "0.5"], "--model.warmup_updates=N lets the rates grow"),
        (["--model.use_spectral_norm=true"], "weight-normalised"),
        (["--data.alignments_dir=there"], "the alignment is learnt with the voice"),
        (["--data.vowel_clusters", "x.txt"], '"vowel_clusters": ["aɪ", "eɪ"]'),
        (["--optimizer=AdamW"], "it is AdamW for both networks"),
        (["--optimizer.lr", "1e-3"], "--model.learning_rate"),
        (["--lr_scheduler", "StepLR"], "--model.lr_decay"),
        (["--lr_scheduler.gamma=0.1"], "--model.lr_decay"),
    ],
)
def test_what_only_the_existing_trainer_can_is_answered_in_a_line(
    old: list[str], answer: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        translate_arguments(["fit", *old])
    said = str(caught.value)
    assert said.startswith(f"{old[0].partition('=')[0]} is not known here: ")
    assert answer in said
    assert "\n" not in said


# As `inspect.signature` shows the arguments of piper-tts 1.8.0's VitsModel and VitsDataModule.
THEIR_MODEL = """batch_size sample_rate num_symbols num_speakers resblock resblock_kernel_sizes
resblock_dilation_sizes upsample_rates upsample_initial_channel upsample_kernel_sizes filter_length
hop_length win_length mel_channels mel_fmin mel_fmax inter_channels hidden_channels filter_channels
n_heads n_layers kernel_size p_dropout n_layers_q use_spectral_norm gin_channels use_sdp
segment_size use_mrd learning_rate learning_rate_d betas betas_d eps lr_decay lr_decay_d
init_lr_ratio
warmup_epochs c_mel c_kl grad_clip vocoder_warmstart_ckpt warmstart_ckpt mos_metric dataset"""
THEIR_DATA = """csv_path cache_dir espeak_voice config_path voice_name sample_rate audio_dir
alignments_dir num_symbols num_speakers batch_size validation_split num_test_examples filter_length
hop_length win_length segment_size num_workers trim_silence keep_seconds_before_silence
keep_seconds_after_silence phoneme_type dataset_type phonemes_path vowel_clusters"""


@pytest.mark.parametrize(
    ("part", "theirs", "ours"),
    [("model", THEIR_MODEL, VitsModel), ("data", THEIR_DATA, DatasetFlags)],
)
def test_every_flag_of_the_existing_trainer_is_known_or_answered(
    part: str, theirs: str, ours: type
) -> None:
    known = {*inspect.signature(ours).parameters, SCORE}
    known |= set(MODEL_ALIASES) if part == "model" else set()
    for name in theirs.split():
        assert name in known or (part, name) in MOVED or (part, name) in ABSENT, name


def test_a_config_of_the_existing_trainer_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    theirs = {
        "seed_everything": 1,
        "trainer": {"max_epochs": 5},
        "model": {
            "batch_size": 16,
            "grad_clip": 2.0,
            "n_layers_q": 3,
            "use_spectral_norm": False,
            "init_lr_ratio": 1.0,
            "warmup_epochs": 0,
            "dataset": None,
            "learning_rate": 1e-4,
        },
        "data": {"csv_path": "a.csv", "alignments_dir": None, "vowel_clusters": None},
        "optimizer": None,
        "weights_only": None,
    }
    path.write_text(yaml.safe_dump(theirs), encoding="utf-8")
    [_, text] = translate_arguments(["--config", str(path)])
    assert yaml.safe_load(text) == {
        "seed_everything": 1,
        "trainer": {"max_epochs": 5, "gradient_clip_val": 2.0},
        "model": {"learning_rate": 1e-4},
        "data": {"csv_path": "a.csv", "batch_size": 16},
    }
    path.write_text(yaml.safe_dump({**theirs, "model": {"warmup_epochs": 2}}), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"^model\.warmup_epochs is not known here"):
        translate_arguments(["--config", str(path)])


def test_a_config_is_translated_where_it_is_old(tmp_path: Path) -> None:
    """A config.yaml that an earlier training wrote goes on working."""
    old = {
        "seed_everything": 1,
        "model": {"preset": "tiny", "eps": 1e-9, "warmstart_ckpt": None, "mos_metric": "utmos"},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(old), encoding="utf-8")
    [first] = translate_arguments([f"--config={path}"])
    flag, _, text = first.partition("=")
    assert flag == "--config"
    expected = {
        "seed_everything": 1,
        "model": {"quality": "tiny", "eps": 1e-9, "warmstart": None},
        "validation_quality": "auto",
    }
    assert yaml.safe_load(text) == expected
    # What is of today is left to the parser, which knows the file by its name.
    path.write_text(text, encoding="utf-8")
    assert translate_arguments(["-c", str(path)]) == ["-c", str(path)]
    assert translate_config({"fit": old}) == {"fit": expected}


def test_numbers_without_a_point_stay_numbers(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("model:\n  preset: tiny\n  eps: 1e-09\n", encoding="utf-8")
    [_, text] = translate_arguments(["--config", str(path)])
    assert yaml.safe_load(text)["model"]["eps"] == 1e-9


def test_the_model_s_own_file_is_translated(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_text("preset: high\n", encoding="utf-8")
    expected: dict[str, Any] = {"quality": "high"}
    assert yaml.safe_load(translate_arguments(["--model", str(path)])[1]) == expected


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_network(name: str) -> None:
    create_network_config(name)


def test_a_dash_is_as_good_as_an_underscore() -> None:
    assert create_network_config("x-low") == create_network_config("x_low")


def test_given_values_replace_the_preset_and_none_keeps_it() -> None:
    config = create_network_config("high", sample_rate=16000, n_layers=None)
    assert (config.sample_rate, config.n_layers, config.resblock) == (16000, 6, "1")
