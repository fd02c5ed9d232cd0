"""The qualities a voice can have, as network hyper-parameters."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from typing import Any

from piper.errors import ConfigError
from piper.train.quick.config import QuickConfig
from piper.train.vits.config import NetworkConfig

NetworkShape = NetworkConfig | QuickConfig
"""A network of any family: VITS or quick."""

DEFAULT_QUALITY = "medium"
QUICK = "quick"

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
    # medium's network at 16 kHz
    "low": {"sample_rate": 16000},
    "x_low": {
        "sample_rate": 16000,
        "hidden_channels": 96,
        "inter_channels": 96,
        "filter_channels": 384,
    },
    # Ours, for tests: a step costs about a twentieth of medium's.
    "tiny": {
        "hidden_channels": 64,
        "inter_channels": 64,
        "filter_channels": 128,
        "n_layers": 2,
        "upsample_initial_channel": 96,
        "segment_size": 4096,
        "discriminator_channels": 64,
    },
    # The other family.
    QUICK: {},
}

PRESET_SAMPLE_RATES: dict[str, int] = {
    quality: preset["sample_rate"] for quality, preset in PRESETS.items() if "sample_rate" in preset
}
"""Hertz of the qualities whose voices have no other rate."""

NETWORK_KEYS = frozenset(field.name for field in fields(NetworkConfig))
TRAINING_KEYS = (
    "learning_rate",
    "learning_rate_d",
    "betas",
    "betas_d",
    "eps",
    "lr_decay",
    "lr_decay_d",
    "c_mel",
    "c_kl",
)
"""Hyper-parameters of a checkpoint beside the network's."""

QUICK_KEYS = frozenset(field.name for field in fields(QuickConfig))
"""Likewise, of a quick voice."""

QUICK_BATCH_SIZES = {"cpu": 8, "gpu": 64}
"""Utterances of a quick voice's batch on a device, where no flag says otherwise. Its pieces are
short and its network is small: on a CPU eight make an update of half a second, and more updates
teach more than larger ones; a GPU spends its time on starting kernels, so that 64 take hardly
longer."""

QUICK_TRAINING_DEFAULTS: dict[str, Any] = {
    "learning_rate": 2e-3,
    "learning_rate_d": 1e-3,
    "betas": (0.9, 0.98),
    "betas_d": (0.8, 0.98),
    "eps": 1e-8,
    "ema_decay": 0.0,
}

TRAINING_DEFAULTS: dict[str, Any] = {
    "learning_rate": 2e-4,
    "learning_rate_d": 1e-4,
    "betas": (0.8, 0.99),
    "betas_d": (0.5, 0.9),
    "eps": 1e-9,
    "lr_decay": 0.999875,
    "lr_decay_d": 0.9999,
    "c_mel": 45.0,
    "c_kl": 1.0,
    "warmup_updates": 0,
    "hold_decoder": 0,
    "hold_voice": 0,
    "ema_decay": 0.999,
    "use_mrd": False,
    "new_speakers_only": False,
}
"""How a voice is trained where neither a flag nor a checkpoint to resume says otherwise."""


def parse_quality(name: str) -> str:
    """Return a quality's name as a voice's JSON writes it: `x-low` is `x_low` there."""
    quality = name.replace("-", "_")
    if quality not in PRESETS:
        known = ", ".join(known.replace("_", "-") for known in PRESETS if known != "tiny")
        raise ConfigError(
            f'The quality "{name}" is unknown; choose one of {known} '
            "(--model.quality, or audio.quality in the dataset's config.json)."
        )
    return quality


def network_keys(quality: str | None) -> frozenset[str]:
    """Return the names of the hyper-parameters of a quality's network."""
    return QUICK_KEYS if quality == QUICK else NETWORK_KEYS


def training_defaults(quality: str | None) -> dict[str, Any]:
    """Return how voices of a quality are trained where nothing says otherwise."""
    return QUICK_TRAINING_DEFAULTS if quality == QUICK else TRAINING_DEFAULTS


def create_network_config(quality: str | None = None, **overrides: Any) -> NetworkShape:
    """Return a quality's hyper-parameters with some of them replaced.

    Args:
        quality: Its name; None means medium.
        overrides: Hyper-parameters by the names of `NetworkConfig`, or of `QuickConfig` for
            quick voices; None keeps the quality's value.
    """
    name = parse_quality(quality or DEFAULT_QUALITY)
    chosen = {key: value for key, value in overrides.items() if value is not None}
    if name == QUICK:
        return replace(QuickConfig(), **chosen)
    return replace(NetworkConfig(), **{**PRESETS[name], **chosen})


def find_quality(config: NetworkShape) -> str | None:
    """Return the quality whose network this is, None where it is that of none."""
    if isinstance(config, QuickConfig):
        return QUICK
    free = {"num_symbols", "num_speakers", "gin_channels", "p_dropout", "segment_size"}
    free |= {"mel_fmin", "mel_fmax", "discriminator_channels"}
    keys = NETWORK_KEYS - free
    for quality in PRESETS.keys() - {QUICK}:
        network = create_network_config(quality)
        if all(getattr(network, key) == getattr(config, key) for key in keys):
            return quality
    return None


def saved_hyper_parameters(network: NetworkConfig, given: dict[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint says of its network and training, as other trainers read it.

    Piper's parser refuses keys that it does not know, and a float where it wants a whole number;
    the channels of the discriminators are ours, so they are left out where they are Piper's.
    """
    saved = {**asdict(network), **{key: given[key] for key in TRAINING_KEYS}}
    if network.discriminator_channels == NetworkConfig.discriminator_channels:
        del saved["discriminator_channels"]
    if given["use_mrd"]:
        saved["use_mrd"] = True
    for key in ("c_mel", "c_kl"):
        saved[key] = int(saved[key]) if float(saved[key]).is_integer() else saved[key]
    return saved
