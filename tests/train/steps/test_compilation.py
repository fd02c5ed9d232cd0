"""Compiled parts of the generator: same gradients, same names, and plain where that is better."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from piper.errors import ConfigError
from piper.train.presets import create_network_config
from piper.train.steps import compilation
from piper.train.vits.network import VitsSynthesizer
from trainings import succeed

UPDATES_SCRIPT = Path(__file__).with_name("compiled_updates.py")


def create_generator() -> VitsSynthesizer:
    config = create_network_config(
        "tiny", hidden_channels=16, inter_channels=16, filter_channels=16, n_layers=1
    )
    return VitsSynthesizer(config)


def test_names_of_weights_stay() -> None:
    generator = create_generator()
    names = list(generator.state_dict())
    compilation.compile_generator(generator)
    parts = [module for module in generator.modules() if "forward" in vars(module)]
    # the decoder, and four couplings in each of the duration predictor's two flows
    assert parts[0] is generator.dec
    assert len(parts) == 9
    assert list(generator.state_dict()) == names


def test_whole_utterances_and_validation_take_the_plain_functions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of their lengths would be compiled anew."""
    generator = create_generator()

    def refuse(*arguments: Any) -> None:
        raise AssertionError("compiled")

    compilation.compile_generator(generator)
    for module in generator.modules():
        if "forward" in vars(module):
            monkeypatch.setattr(module.forward, "compiled", refuse)
    ids, lengths = torch.ones(2, 5, dtype=torch.long), torch.tensor([5, 3])
    generator.eval().infer(ids, lengths)
    # in training mode a decoder that hears more than a segment is not compiled either
    generator.train().dec(torch.zeros(1, 16, generator.config.segment_frames + 1))


@pytest.mark.parametrize(
    ("choice", "device", "updates", "wanted"),
    [
        ("off", "cuda", 10**6, False),
        ("on", "cpu", 1, True),
        ("auto", "cpu", 10**6, False),
        ("auto", "cuda", 100, False),
    ],
)
def test_choice(choice: str, device: str, updates: int, wanted: bool) -> None:
    assert compilation.should_compile(choice, torch.device(device), updates) is wanted


@pytest.mark.parametrize(
    ("choice", "device", "missing"),
    [("auto", "cuda", "a C compiler"), ("on", "cpu", "a C++ compiler")],
)
def test_what_is_missing_is_said(
    choice: str,
    device: str,
    missing: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compilation, "find_spec", lambda name: name)  # as where Triton is
    with caplog.at_level(logging.WARNING):
        assert not compilation.should_compile(choice, torch.device(device), 10**6)
    assert f"nothing is compiled, for want of {missing} (apt-get install" in caplog.text


def test_unknown_choice_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="choose off, on, graphs or auto"):
        compilation.should_compile("yes", torch.device("cpu"), 1)


def run_updates(tmp_path: Path, *arguments: str, **environment: str) -> str:
    # a cache of its own, lest kernels of an earlier run need no compiler
    cache = str(tmp_path / "cache")
    words = [sys.executable, UPDATES_SCRIPT, *arguments]
    return succeed(words, TORCHINDUCTOR_CACHE_DIR=cache, **environment)


@pytest.mark.long
def test_with_a_broken_compiler_training_goes_on_uncompiled(tmp_path: Path) -> None:
    said = run_updates(tmp_path, "1", CXX="false")
    assert said.count("torch.compile failed, so the network runs as it is") == 1
    assert "largest difference 0\n" in said


@pytest.mark.long
def test_three_compiled_updates_equal_three_plain_ones(tmp_path: Path) -> None:
    said = run_updates(tmp_path, "3")
    assert "failed" not in said
    difference = float(said.split("largest difference ")[1].split()[0])
    assert 0.0 < difference < 1e-4
