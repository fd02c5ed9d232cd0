"""The discriminators of spectrograms: names, shapes and scores of Piper's; no part of a voice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from test_golden import fill_by_name

from piper.errors import ConfigError
from piper.train.presets import create_network_config
from piper.train.vits.discriminators import MultiResolutionDiscriminator

FOLDER = Path(__file__).parents[2] / "data"


def test_names_shapes_and_order_equal_those_of_checkpoints() -> None:
    """Optimizer states number the parameters, so that their order counts."""
    path = FOLDER / "state_dict" / "multi_resolution.json"
    wanted = json.loads(path.read_text(encoding="utf-8"))["parameters"]
    with torch.device("meta"):
        network = MultiResolutionDiscriminator()
    state = {f"model_mrd.{name}": list(value.shape) for name, value in network.state_dict().items()}
    assert state == wanted
    assert list(state) == list(wanted)
    assert [f"model_mrd.{name}" for name, _ in network.named_parameters()] == list(wanted)


def test_scores_equal_the_recorded_ones() -> None:
    """They were recorded when they equalled those of Piper's trainer bit for bit."""
    network = MultiResolutionDiscriminator()
    fill_by_name(network, "model_mrd")
    with np.load(FOLDER / "multi_resolution.npz") as golden, torch.no_grad():
        judged = network(torch.from_numpy(golden["audio"]))
        assert len(judged) == 3
        for index, features in enumerate(judged):
            np.testing.assert_allclose(features[-1], golden[f"scores_{index}"], atol=1e-4)


def test_features_shrink_over_time_only() -> None:
    judged = MultiResolutionDiscriminator()(torch.zeros(2, 1, 4096))
    shapes = [[tuple(feature.shape[2:]) for feature in features[:-1]] for features in judged]
    assert shapes[0] == [(513, 34), (513, 17), (513, 9), (513, 5), (513, 5)]
    assert shapes[1] == [(1025, 17), (1025, 9), (1025, 5), (1025, 3), (1025, 3)]
    assert shapes[2] == [(257, 81), (257, 41), (257, 21), (257, 11), (257, 11)]
    assert [features[-1].shape for features in judged] == [(2, 2565), (2, 3075), (2, 2827)]


def test_gradients_are_finite_also_for_silence_and_in_half_precision() -> None:
    """The magnitude of a bin that is zero has no direction."""
    network = MultiResolutionDiscriminator(16)
    audio = torch.zeros(1, 1, 2304, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        scores = [features[-1] for features in network(audio)]
    torch.cat([score.float() for score in scores], 1).square().mean().backward()
    assert audio.grad is not None
    assert bool(audio.grad.isfinite().all())


def test_segments_that_are_too_short_are_refused() -> None:
    config = create_network_config("tiny", segment_size=2048)
    with pytest.raises(
        ConfigError, match=r"segment_size 2048 is too short for use_mrd, .* need 2160 samples"
    ):
        MultiResolutionDiscriminator.for_network(config)
    narrow = MultiResolutionDiscriminator.for_network(create_network_config("tiny"))
    assert narrow.discriminators[0].convs[0].bias.shape == (32,)
