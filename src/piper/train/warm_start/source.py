"""A file to start from: a checkpoint of any age, or a voice, as weights and what is known of them.

Knows nothing of the network that will take them over.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from piper.errors import CheckpointError, ConfigError
from piper.json_reader import load_json_object
from piper.train.checkpoints.checkpoint import (
    AVERAGES_KEY,
    VOICE_CONFIG_KEY,
    load_checkpoint,
    network_config_from_checkpoint,
)
from piper.train.presets import find_quality

_LOGGER = logging.getLogger(__name__)

NAMED_AT_MOST = 12
"""How many speakers or symbols a sentence names before it says how many more there are."""


@dataclass(frozen=True)
class WarmSource:
    """Weights to start from.

    Attributes:
        path: The file.
        weights: Named as in a checkpoint; weight norm may be folded, as a voice has it.
        description: What kind of file it is, for people.
        sample_rate: Hertz that the weights were trained at, None where nothing says so.
        phoneme_ids: Symbol to its rows in the phoneme embedding; empty where nothing says so.
        speaker_ids: Speaker's name to the row in the speaker table; empty likewise.
    """

    path: str
    weights: dict[str, Tensor]
    description: str
    sample_rate: int | None
    phoneme_ids: dict[str, list[int]]
    speaker_ids: dict[str, int]

    @property
    def speaker_table(self) -> Tensor | None:
        """(N, G), a row for each speaker; None where there is one speaker."""
        return self.weights.get("model_g.emb_g.weight")

    def find_speaker(self, wanted: str | None) -> int | None:
        """Return the row of a speaker by name or id; None where none was asked for.

        Raises:
            CheckpointError: There is no such speaker.
        """
        if wanted is None:
            return None
        table = self.speaker_table
        if table is None:
            raise CheckpointError(
                f"{self.path} has one speaker; leave out --model.warmstart_speaker."
            )
        row = self.speaker_ids.get(wanted, int(wanted) if wanted.isdecimal() else len(table))
        if row >= len(table):
            raise CheckpointError(
                f"{self.path} has no speaker {wanted!r}; --model.warmstart_speaker takes "
                f"{name_some(list(self.speaker_ids)) or f'an id from 0 to {len(table) - 1}'}."
            )
        return row


def load_source(path: str) -> WarmSource:
    """Read a checkpoint or a voice to start from.

    The moving averages of a checkpoint's weights, where it has them, are taken for the weights:
    they are what it is heard by.

    Args:
        path: A `.ckpt` of this or another trainer, or a voice's `.onnx`. Symbols and speakers are
            known from the checkpoint itself or from the JSON beside the file.

    Raises:
        PiperError: The file cannot be read.
    """
    return _load_voice(path) if path.endswith(".onnx") else _load_checkpoint(path)


def name_some(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _load_voice(path: str) -> WarmSource:
    from piper.voice.weights import load_voice_weights

    arrays, config = load_voice_weights(Path(path))
    weights = {f"model_g.{name}": torch.tensor(array) for name, array in arrays.items()}
    said = _find_json([Path(f"{path}.json")])
    quality = _part(said, "audio").get("quality")
    kind = f"a voice of quality {quality}" if quality else "a voice"
    return _create_source(path, weights, kind, config.sample_rate, said)


def _load_checkpoint(path: str) -> WarmSource:
    checkpoint = load_checkpoint(path)
    weights = dict(checkpoint["state_dict"])
    try:
        network = network_config_from_checkpoint(checkpoint)
    except ConfigError:
        # Another trainer's hyper-parameters; the weights say enough by their shapes.
        quality, rate = None, None
    else:
        quality = find_quality(network)
        rate = network.sample_rate if "sample_rate" in checkpoint["hyper_parameters"] else None
    kind = f"a checkpoint of quality {quality}" if quality else "a checkpoint"
    averages = (checkpoint.get(AVERAGES_KEY) or {}).get("weights") or {}
    if averages:
        weights |= {f"model_g.{name}": value for name, value in averages.items()}
        kind += ", its averaged weights"
    said = checkpoint.get(VOICE_CONFIG_KEY) or _find_json(_places_of_json(Path(path)))
    return _create_source(path, weights, kind, rate, said)


def _places_of_json(path: Path) -> list[Path]:
    """Where a checkpoint's config.json may be: beside it, or in the folder that was trained in."""
    places = [Path(f"{path}.json"), path.with_name("config.json")]
    folders = [folder.name for folder in path.absolute().parents[:3]]
    if len(folders) == 3 and folders[0] == "checkpoints" and folders[2] == "lightning_logs":
        places.append(path.absolute().parents[3] / "config.json")
    return places


def _find_json(places: Sequence[Path]) -> Mapping[str, Any]:
    """Read the first voice's JSON there is; without one symbols are taken by their position."""
    for place in places:
        if place.is_file():
            try:
                return load_json_object(place)
            except ConfigError as error:
                _LOGGER.warning("It is left out: %s", error)
    return {}


def _part(said: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = said.get(key)
    return value if isinstance(value, Mapping) else {}


def _create_source(
    path: str,
    weights: dict[str, Tensor],
    kind: str,
    sample_rate: int | None,
    said: Mapping[str, Any],
) -> WarmSource:
    phonemes, speakers = _part(said, "phoneme_id_map"), _part(said, "speaker_id_map")
    lists = {name: ids for name, ids in phonemes.items() if isinstance(ids, list)}
    return WarmSource(
        path=path,
        weights=weights,
        description=kind,
        sample_rate=sample_rate,
        phoneme_ids={n: ids for n, ids in lists.items() if all(type(i) is int for i in ids)},
        speaker_ids={name: row for name, row in speakers.items() if type(row) is int},
    )
