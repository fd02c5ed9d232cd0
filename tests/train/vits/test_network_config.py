from __future__ import annotations

from typing import Any

import pytest

from piper.errors import ConfigError
from piper.train.vits.config import NetworkConfig


def test_defaults_are_medium() -> None:
    config = NetworkConfig()
    assert config.spec_channels == 513
    assert config.segment_frames == 32
    assert config.speaker_channels == 0
    assert config.mel_top_hertz == 11025.0


def test_lists_become_tuples() -> None:
    config = NetworkConfig(
        resblock_dilation_sizes=[[1, 2], [2, 6], [3, 12]],  # type: ignore[arg-type]
        upsample_rates=[8, 8, 4],  # type: ignore[arg-type]
    )
    assert config == NetworkConfig()
    assert hash(config) == hash(NetworkConfig())


def test_speaker_channels() -> None:
    assert NetworkConfig(num_speakers=4).speaker_channels == 512
    assert NetworkConfig(num_speakers=4, gin_channels=64).speaker_channels == 64


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"upsample_rates": (8, 8, 2)}, ["upsample_rates", "128", "hop_length", "256"]),
        ({"upsample_kernel_sizes": (16, 16)}, ["upsample_kernel_sizes", "2"]),
        ({"upsample_kernel_sizes": (16, 16, 7)}, ["upsample_kernel_sizes", "7"]),
        ({"upsample_initial_channel": 100}, ["upsample_initial_channel", "8"]),
        ({"resblock": "3"}, ["resblock", "1 or 2"]),
        ({"resblock_kernel_sizes": (3, 5)}, ["resblock_kernel_sizes", "resblock_dilation_sizes"]),
        ({"resblock_kernel_sizes": (3, 4, 7)}, ["resblock_kernel_sizes", "odd"]),
        ({"resblock_dilation_sizes": ((1,), (), (1,))}, ["resblock_dilation_sizes"]),
        ({"segment_size": 8000}, ["segment_size", "hop_length"]),
        ({"segment_size": 256}, ["segment_size", "filter_length"]),
        ({"win_length": 2048}, ["win_length", "filter_length"]),
        ({"filter_length": 1023, "win_length": 1023}, ["filter_length", "even"]),
        ({"n_heads": 5}, ["n_heads", "hidden_channels"]),
        ({"inter_channels": 191}, ["inter_channels"]),
        ({"p_dropout": 1.0}, ["p_dropout"]),
        ({"n_layers": 0}, ["n_layers"]),
        ({"upsample_rates": ()}, ["upsample_rates"]),
        ({"gin_channels": 256}, ["gin_channels", "num_speakers"]),
        ({"mel_fmax": 12000.0}, ["mel_fmax", "11025"]),
    ],
)
def test_impossible_networks_are_refused(changes: dict[str, Any], names: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        NetworkConfig(**changes)
    text = str(error.value)
    assert all(name in text for name in names)
    assert text.endswith(".")
    assert "\n" not in text
