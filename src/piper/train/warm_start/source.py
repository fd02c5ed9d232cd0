"""A file to start from: a checkpoint of any age, or a voice, as weights and what is known of them.

Knows nothing of the network that will take them over.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import torch
from torch import Tensor

from piper.config import VoiceConfig
from piper.errors import CheckpointError, ConfigError, PiperError
from piper.json_reader import load_json_object
from piper.train.checkpoints.checkpoint import (
    AVERAGES_KEY,
    VOICE_CONFIG_KEY,
    load_checkpoint,
    network_config_from_checkpoint,
)
from piper.train.checkpoints.last import find_checkpoint
from piper.train.presets import find_quality
from piper.train.resuming import find_run
from piper.train.warm_start.speakers import EMBEDDINGS, TABLES, find_name

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
    def is_quick(self) -> bool:
        """Whether it is a quick voice's."""
        return EMBEDDINGS[1] in self.weights

    @property
    def speaker_table(self) -> Tensor | None:
        """(N, G), a row for each speaker; None where there is one speaker."""
        return self.weights.get(find_name(TABLES, self.weights))

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
        path: A `.ckpt` of this or another trainer, the folder of a run, or a voice's `.onnx`.
            Symbols and speakers are known from the checkpoint itself or the JSON beside the file.

    Raises:
        PiperError: The file cannot be read.
    """
    return _load_voice(path) if path.endswith(".onnx") else _load_checkpoint(find_checkpoint(path))


def name_some(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def show_symbol(symbol: str) -> str:
    """Return a symbol so that it can be read: combining marks and spaces by their code point."""
    is_plain = symbol.isalnum() or (symbol.isascii() and symbol.strip() != "")
    return symbol if is_plain else "U+" + f"{ord(symbol[0]):04X}" if symbol else "''"


def find_voice_json(checkpoint: Mapping[str, Any], path: Path | str) -> Mapping[str, Any]:
    """Return the voice's JSON that a checkpoint carries, or that lies where it was trained.

    Args:
        checkpoint: What was read.
        path: Its file. Without a JSON anywhere the result is empty.
    """
    return checkpoint.get(VOICE_CONFIG_KEY) or _find_json(_places_of_json(Path(path)))


def speakers_of(checkpoint: Mapping[str, Any]) -> dict[str, int]:
    """Return the speakers that a checkpoint carries: name to row; nothing where it names none."""
    return _speaker_rows(checkpoint.get(VOICE_CONFIG_KEY) or {})


def compare_voices(
    checkpoint: Mapping[str, Any], path: Path | str | None, voice: VoiceConfig
) -> list[str]:
    """Compare the symbols and speakers of a checkpoint to resume with those of the dataset.

    Rows of both tables mean what they meant when they were trained, whatever the maps say now.

    Args:
        checkpoint: What was read.
        path: Its file.
        voice: Of the dataset.

    Returns:
        Sentences on what is new.

    Raises:
        CheckpointError: A row would belong to another symbol or speaker.
    """
    said = find_voice_json(checkpoint, path or "")
    theirs, ours = _symbol_rows(said), voice.phoneme_id_map
    advice = "or begin a new training from its weights with --model.warmstart, which goes by"
    if moved := _find_moved(theirs, ours):
        first = moved[0]
        was = f"row {theirs[first][:1]}" if first in theirs else "another symbol's row"
        raise CheckpointError(
            f"{path} was trained with another phoneme map: {show_symbol(first)} is {was} there and "
            f"{ours[first][:1]} here ({len(moved)} of {len(ours)} symbols differ). Train with its "
            f"map (--data.phonemes_path), {advice} symbol."
        )
    their_rows = {name: [row] for name, row in _speaker_rows(said).items()}
    our_rows = {name: [row] for name, row in voice.speaker_id_map.items()}
    if moved := _find_moved(their_rows, our_rows):
        raise CheckpointError(
            f"{path} was trained with other speakers: {moved[0]} would speak as another one "
            f"({len(moved)} of {len(our_rows)} speakers differ). Number them as there "
            f"(speaker_id_map in config.json), {advice} name."
        )
    sentences = []
    for known, names, what in (
        (theirs, [show_symbol(symbol) for symbol in ours if symbol not in theirs], "phoneme map"),
        (their_rows, [name for name in our_rows if name not in their_rows], "speakers"),
    ):
        if known and names:
            sentences.append(f"New in the {what}, so without any training: {name_some(names)}.")
    return sentences


def _find_moved(theirs: Mapping[str, list[int]], ours: Mapping[str, list[int]]) -> list[str]:
    """Return the names that have another row now, or one that was another name's."""
    kept = {row for name, rows in theirs.items() if ours.get(name) == rows for row in rows}
    taken = {row for rows in theirs.values() for row in rows} - kept
    return [
        name
        for name, rows in ours.items()
        if (theirs[name] != rows if name in theirs else taken.intersection(rows))
    ]


def _load_voice(path: str) -> WarmSource:
    from piper.voice.weights import load_quick_weights, load_voice_weights

    arrays, config = load_quick_weights(path) or load_voice_weights(path)
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
    said = find_voice_json(checkpoint, path)
    return _create_source(path, weights, kind, rate, said)


def _places_of_json(path: Path) -> list[Path]:
    """Where a checkpoint's config.json may be: beside it, or in the folder that was trained in."""
    places = [Path(f"{path}.json"), path.with_name("config.json")]
    folders = [folder.name for folder in path.absolute().parents[:3]]
    if len(folders) == 3 and folders[0] == "checkpoints" and folders[2] == "lightning_logs":
        places.append(path.absolute().parents[3] / "config.json")
    return places


def find_json_places(checkpoint: Mapping[str, Any], path: Path | str) -> list[Path]:
    """Return where the JSON of a checkpoint that carries none may be, the likeliest first.

    Beside the checkpoint and in the folders above it, where the checkpoint says that its dataset
    was, and where the config.yaml of its run says so. They may be another voice's.
    """
    file = Path(path)
    places = [*_places_of_json(file), *(f / "config.json" for f in file.absolute().parents[1:5])]
    said: list[Any] = [checkpoint.get("hyper_parameters")]
    said.append(checkpoint.get("datamodule_hyper_parameters"))
    with suppress(PiperError, OSError, ImportError):
        said.append(find_run(str(path)).data)
    for part in said:
        for key, value in part.items() if isinstance(part, Mapping) else ():
            if str(key).endswith(("path", "dir", "dataset", "csv", "config")):
                values = value if isinstance(value, list | tuple) else [value]
                for name in (Path(v) for v in values if isinstance(v, str | PurePath) and str(v)):
                    own = [name] if name.suffix == ".json" else [name / "config.json"]
                    places += [*own, name.with_name("config.json")] if name.name else own
    return list(dict.fromkeys(place for place in places if _is_file(place)))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no system has
        return False


def _find_json(places: Sequence[Path]) -> Mapping[str, Any]:
    """Read the first voice's JSON there is; without one symbols are taken by their position."""
    for place in places:
        if _is_file(place):
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
    return WarmSource(
        path=path,
        weights=weights,
        description=kind,
        sample_rate=sample_rate,
        phoneme_ids=_symbol_rows(said),
        speaker_ids=_speaker_rows(said),
    )


def _symbol_rows(said: Mapping[str, Any]) -> dict[str, list[int]]:
    """Return each symbol's rows, as far as a JSON can be understood."""
    rows = {
        name: [ids] if type(ids) is int else ids
        for name, ids in _part(said, "phoneme_id_map").items()
    }
    return {
        name: ids
        for name, ids in rows.items()
        if isinstance(ids, list) and all(type(i) is int for i in ids)
    }


def _speaker_rows(said: Mapping[str, Any]) -> dict[str, int]:
    speakers = _part(said, "speaker_id_map")
    return {name: row for name, row in speakers.items() if type(row) is int}
