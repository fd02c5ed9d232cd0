"""The qualities a voice can have, as network hyper-parameters. Knows neither data nor training."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from piper.errors import ConfigError
from piper.train.vits.config import NetworkConfig

DEFAULT_PRESET = "medium"

PRESETS: dict[str, dict[str, Any]] = {
    "medium": {},
    "high": {
        "resblock": "1",
        "resblock_kernel_sizes": (3, 7, 11),
        "resblock_dilation_sizes": ((1, 3, 5), (1, 3, 5), (1, 3, 5)),
        "upsample_rates": (8, 8, 2, 2),
        "upsample_initial_channel": 512,
        "upsample_kernel_sizes": (16, 16, 4, 4),
    },
    "low": {},
    "x_low": {
        "hidden_channels": 96,
        "inter_channels": 96,
        "filter_channels": 384,
    },
    # Ours, for demonstrations and tests on a CPU: a step costs about a twentieth of medium's.
    "tiny": {
        "hidden_channels": 64,
        "inter_channels": 64,
        "filter_channels": 128,
        "n_layers": 2,
        "upsample_initial_channel": 96,
        "segment_size": 4096,
        "discriminator_channels": 64,
    },
}

PRESET_SAMPLE_RATES = {"low": 16000, "x_low": 16000}
"""Qualities that a sample rate belongs to, in hertz; low is medium's network at 16 kHz."""

NETWORK_KEYS = frozenset(field.name for field in fields(NetworkConfig))


def create_network_config(preset: str | None = None, **overrides: Any) -> NetworkConfig:
    """Return a preset's hyper-parameters with some of them replaced.

    Args:
        preset: Name of a quality; None means medium. `x-low` is read as `x_low`.
        overrides: Hyper-parameters by the names of `NetworkConfig`; None keeps the preset's value.

    Raises:
        ConfigError: The preset is unknown, or the values do not fit each other.
    """
    name = (preset or DEFAULT_PRESET).replace("-", "_")
    if name not in PRESETS:
        raise ConfigError(
            f'The quality "{preset}" is unknown; choose one of {", ".join(PRESETS)} '
            "(--model.preset, or audio.quality in the dataset's config.json)."
        )
    chosen = {key: value for key, value in overrides.items() if value is not None}
    return replace(NetworkConfig(), **{**PRESETS[name], **chosen})
