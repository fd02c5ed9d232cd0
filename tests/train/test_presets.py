"""Qualities by name."""

from __future__ import annotations

import pytest

from piper.errors import ConfigError
from piper.train.presets import PRESETS, create_network_config


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_network(name: str) -> None:
    create_network_config(name)


def test_a_dash_is_as_good_as_an_underscore() -> None:
    assert create_network_config("x-low") == create_network_config("x_low")


def test_given_values_replace_the_preset_and_none_keeps_it() -> None:
    config = create_network_config("high", sample_rate=16000, n_layers=None)
    assert (config.sample_rate, config.n_layers, config.resblock) == (16000, 6, "1")


def test_an_unknown_quality_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"medium, high, low, x-low, quick"):
        create_network_config("ultra")
