"""Starts a network from another training's weights, or from a published voice's."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import torch
from torch import Tensor, nn

from piper.config import VoiceConfig
from piper.errors import CheckpointError, ConfigError, PiperError, name_some
from piper.files import load_json_object
from piper.train.checkpoints import (
    AVERAGES_KEY,
    NETWORK_PREFIXES,
    VOICE_CONFIG_KEY,
    find_checkpoint,
    load_checkpoint,
    network_config_from_checkpoint,
)
from piper.train.presets import find_quality
from piper.train.quick.config import QuickConfig
from piper.train.resuming import find_run
from piper.train.vits.config import NetworkConfig

_LOGGER = logging.getLogger(__name__)

TABLES = ("model_g.emb_g.weight", "model_g.text.speakers.weight")
EMBEDDINGS = ("model_g.enc_p.emb.weight", "model_g.text.embedding.weight")
"""Rows of speakers and of phonemes, by family: VITS, quick."""
_CONDITION = re.compile(r"(model_g\..*(?:\.cond|\.cond_layer))\.(bias|weight|weight_g|weight_v)")


def fold_speaker(weights: Mapping[str, Tensor], row: int) -> dict[str, Tensor]:
    """Return the weights of a network that speaks as one of its speakers, and has no other.

    Where a network has several speakers, a layer of kernel 1 turns the speaker's embedding `g` into
    a vector W g + b that is added to the output of another convolution, in the decoder, the
    duration predictor and each WaveNet. For one speaker this vector is a constant, so that it can
    be added to the other layer's bias instead.

    Equal to the network it comes from, but for the plain duration predictor: its layer pads the
    text with zeros after the speaker's vector was added, so its first and last phoneme differ.

    A quick voice adds the speaker's row to each phoneme's.
    """
    result = {name: weight for name, weight in weights.items() if not _CONDITION.fullmatch(name)}
    table = find_name(TABLES, result)
    g = result.pop(table)[row].double()
    if table == TABLES[1]:
        phonemes = result[EMBEDDINGS[1]]
        result[EMBEDDINGS[1]] = (phonemes.double() + g).to(phonemes.dtype)
    for stem in find_conditions(weights):
        vector = _plain_weight(weights, stem)[:, :, 0] @ g + weights[f"{stem}.bias"].double()
        module = stem.rpartition(".")[0]
        layers = find_conditioned_layers(weights, stem)
        for layer, share in zip(layers, vector.chunk(max(len(layers), 1)), strict=False):
            if layer == f"{module}.conv_1":
                share = _plain_weight(weights, layer).sum(2) @ share
            bias = weights[f"{layer}.bias"]
            result[f"{layer}.bias"] = (bias.double() + share).to(bias.dtype)
    return result


def find_name(candidates: Sequence[str], names: Collection[str]) -> str:
    """Return which of the families' names for the same thing a network has."""
    return next((name for name in candidates if name in names), candidates[0])


def find_conditions(names: Mapping[str, Tensor]) -> list[str]:
    """Return the layers that turn a speaker's embedding into a vector, without their ending."""
    return sorted({match[1] for name in names if (match := _CONDITION.fullmatch(name))})


def find_conditioned_layers(names: Mapping[str, Tensor], stem: str) -> list[str]:
    """Return the layers to whose output such a layer's vector is added, in the vector's order."""
    module, _, kind = stem.rpartition(".")
    if kind == "cond_layer":
        pattern = re.compile(rf"{re.escape(module)}\.in_layers\.(\d+)\.bias")
        count = sum(1 for name in names if pattern.fullmatch(name))
        return [f"{module}.in_layers.{i}" for i in range(count)]
    layers = (f"{module}.{layer}" for layer in ("conv_pre", "pre", "conv_1"))
    return [layer for layer in layers if f"{layer}.bias" in names][:1]


def map_rows(
    source: Tensor,
    own: Tensor,
    source_ids: Mapping[str, int],
    own_ids: Mapping[str, int],
    newcomer: int | None = None,
) -> tuple[Tensor, list[str] | None]:
    """Return a speaker table with the rows of speakers that both know.

    Args:
        source: (N, G), the table to start from.
        own: (M, G), the table that is trained.
        source_ids: Speaker's name to row of the source; may be unknown.
        own_ids: The same of the table that is trained.
        newcomer: Row of the source that other speakers start from; None: the mean of all.

    Returns:
        The table (M, G), and the names that were found; None where the first rows were taken
        because a table's names are unknown.
    """
    start = source.mean(0) if newcomer is None else source[newcomer]
    rows = start.expand_as(own).clone()
    if not source_ids or not own_ids:
        count = min(len(source), len(own))
        rows[:count] = source[:count]
        return rows, None
    known = [name for name in own_ids if source_ids.get(name, len(source)) < len(source)]
    for name in known:
        rows[own_ids[name]] = source[source_ids[name]]
    return rows, known


def _plain_weight(weights: Mapping[str, Tensor], stem: str) -> Tensor:
    """Return a layer's weight in double precision, weight norm folded."""
    if f"{stem}.weight" in weights:
        return weights[f"{stem}.weight"].double()
    direction = weights[f"{stem}.weight_v"].double()
    axes = tuple(range(1, direction.dim()))
    norm = torch.linalg.vector_norm(direction, dim=axes, keepdim=True)
    return direction * (weights[f"{stem}.weight_g"].double() / norm)


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

    @classmethod
    def create(
        cls,
        path: str,
        weights: dict[str, Tensor],
        description: str,
        sample_rate: int | None,
        said: Mapping[str, Any],
    ) -> WarmSource:
        """Return a file's weights, with the symbols and speakers that a voice's JSON says."""
        rows = _symbol_rows(said), _speaker_rows(said)
        return cls(path, weights, description, sample_rate, *rows)

    @property
    def is_quick(self) -> bool:
        """Whether it is a quick voice's."""
        return EMBEDDINGS[1] in self.weights

    @property
    def speaker_table(self) -> Tensor | None:
        """(N, G), a row for each speaker; None where there is one speaker."""
        return self.weights.get(find_name(TABLES, self.weights))

    def find_speaker(self, wanted: str | None) -> int | None:
        """Return the row of a speaker by name or id; None where none was asked for."""
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
                f"{name_some(self.speaker_ids, 12) or f'an id from 0 to {len(table) - 1}'}."
            )
        return row


def load_source(path: str) -> WarmSource:
    """Read a checkpoint or a voice to start from.

    The moving averages of a checkpoint's weights, where it has them, are taken for the weights:
    they are what it is heard by.

    Args:
        path: A `.ckpt` of this or another trainer, the folder of a run, or a voice's `.onnx`.
            Symbols and speakers are known from the checkpoint itself or the JSON beside the file.
    """
    return _load_voice(path) if path.endswith(".onnx") else _load_checkpoint(find_checkpoint(path))


def show_symbol(symbol: str) -> str:
    """Return a symbol so that it can be read: combining marks and spaces by their code point."""
    is_plain = symbol.isalnum() or (symbol.isascii() and symbol.strip() != "")
    return symbol if is_plain else "U+" + f"{ord(symbol[0]):04X}" if symbol else "''"


def find_voice_json(checkpoint: Mapping[str, Any], path: Path | str) -> Mapping[str, Any]:
    """Return the voice's JSON that a checkpoint carries, or that lies where it was trained."""
    return checkpoint.get(VOICE_CONFIG_KEY) or _find_json(_places_of_json(Path(path)))


def speakers_of(checkpoint: Mapping[str, Any]) -> dict[str, int]:
    """Return the speakers that a checkpoint carries: name to row; nothing where it names none."""
    return _speaker_rows(checkpoint.get(VOICE_CONFIG_KEY) or {})


def compare_voices(
    checkpoint: Mapping[str, Any], path: Path | str | None, voice: VoiceConfig
) -> list[str]:
    """Return sentences on what is new in the dataset to a checkpoint to resume; refuse what moved.

    Rows of both tables mean what they meant when they were trained, whatever the maps say now.
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
    new = {
        "phoneme map": [show_symbol(symbol) for symbol in ours if theirs and symbol not in theirs],
        "speakers": [name for name in our_rows if their_rows and name not in their_rows],
    }
    return [
        f"New in the {what}, so without any training: {name_some(names, 12)}."
        for what, names in new.items()
        if names
    ]


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
    return WarmSource.create(path, weights, kind, config.sample_rate, said)


def _load_checkpoint(path: str) -> WarmSource:
    checkpoint = load_checkpoint(path)
    weights = dict(checkpoint["state_dict"])
    quality, rate = None, None
    # Of another trainer's hyper-parameters the weights say enough by their shapes.
    with suppress(ConfigError):
        network = network_config_from_checkpoint(checkpoint)
        quality = find_quality(network)
        rate = network.sample_rate if "sample_rate" in checkpoint["hyper_parameters"] else None
    kind = f"a checkpoint of quality {quality}" if quality else "a checkpoint"
    averages = (checkpoint.get(AVERAGES_KEY) or {}).get("weights") or {}
    if averages:
        weights |= {f"model_g.{name}": value for name, value in averages.items()}
        kind += ", its EMA weights"
    return WarmSource.create(path, weights, kind, rate, find_voice_json(checkpoint, path))


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
    pairs = [pair for part in said if isinstance(part, Mapping) for pair in part.items()]
    for key, value in pairs:
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


def _symbol_rows(said: Mapping[str, Any]) -> dict[str, list[int]]:
    """Return each symbol's rows, as far as a JSON can be understood."""
    rows = {}
    for name, ids in _part(said, "phoneme_id_map").items():
        ids = [ids] if type(ids) is int else ids
        if isinstance(ids, list) and all(type(i) is int for i in ids):
            rows[name] = ids
    return rows


def _speaker_rows(said: Mapping[str, Any]) -> dict[str, int]:
    speakers = _part(said, "speaker_id_map")
    return {name: row for name, row in speakers.items() if type(row) is int}


PARTS = (
    ("phoneme embeddings", "model_g.enc_p.emb."),
    ("text encoder", "model_g.enc_p."),
    ("durations", "model_g.dp."),
    ("flow", "model_g.flow."),
    ("decoder", "model_g.dec."),
    ("posterior encoder", "model_g.enc_q."),
    ("speaker table", "model_g.emb_g."),
    ("discriminators", "model_d."),
    ("spectrogram discriminators", "model_mrd."),
    ("phoneme embeddings", "model_g.text.embedding."),
    ("speaker table", "model_g.text.speakers."),
    ("durations", "model_g.text.duration_"),
    ("text side", "model_g.text."),
    ("decoder", "model_g.decoder."),
    ("calibration", "model_g."),
)
"""Parts of the network and how their weights' names begin; the first that fits counts."""

TAKEN = "taken"
FILTER_LAYERS = ("decoder.exit.", "decoder.phase.")
"""Of a quick voice; they give a frame's filters one after the other."""
OTHER_SHAPE = "of another shape in the file"
MISSING = "not in the file"
AT_ZERO = "at zero, so that every speaker starts as the file's voice"


@dataclass
class WarmReport:
    """A table: part of the network, tensors taken over, tensors that start fresh, and why.

    Attributes:
        title: What was started from.
        outcomes: Name of each weight of the network that was asked for to what became of it:
            `TAKEN` or the reason why it starts fresh.
        details: Part to what else there is to say of it.
        notes: Sentences on the whole.
    """

    title: str
    outcomes: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def count(self, part: str) -> tuple[int, int]:
        """Return how many tensors of a part were taken over, and how many start fresh."""
        reasons = self._reasons(part)
        return reasons[TAKEN], reasons.total() - reasons[TAKEN]

    def _reasons(self, part: str) -> Counter[str]:
        return Counter(reason for name, reason in self.outcomes.items() if find_part(name) == part)

    def __str__(self) -> str:
        """Return the table."""
        lines = [self.title, f"  {'part':<20}{'taken':>6}{'fresh':>7}  why"]
        for part in dict(PARTS):
            if reasons := self._reasons(part):
                taken = reasons.pop(TAKEN, 0)
                whys = [f"{count} {reason}" for reason, count in reasons.most_common()]
                if part in self.details:
                    whys.append(self.details[part])
                why = "; ".join(whys)
                lines.append(f"  {part:<20}{taken:>6}{reasons.total():>7}  {why}".rstrip())
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def find_part(name: str) -> str:
    """Return the part of the network that a weight belongs to."""
    return next((part for part, prefix in PARTS if name.startswith(prefix)), "")


VOCODER_PREFIXES = ("model_g.dec.", "model_d.", "model_mrd.")


def read_warm_starts(
    path: Path | str | None, vocoder_path: Path | str | None = None, speaker: str | None = None
) -> list[WarmStart]:
    """Read the files that `--model.warmstart` and `--model.vocoder_warmstart` name."""
    starts = []
    if path:
        starts.append(WarmStart.read(path, NETWORK_PREFIXES, speaker))
    if vocoder_path:
        speaker = None if path else speaker
        starts.append(WarmStart.read(vocoder_path, VOCODER_PREFIXES, speaker))
    return starts


def warm_start(
    module: nn.Module,
    path: Path | str,
    voice: VoiceConfig | None = None,
    *,
    prefixes: Sequence[str] = NETWORK_PREFIXES,
    speaker: str | None = None,
) -> WarmReport:
    """Start a network from the weights of a checkpoint or of a voice, where they fit.

    Args:
        module: The module with `model_g`, `model_d` and `network_config`.
        path: A `.ckpt` of this or another trainer, or a voice's `.onnx`.
        voice: What is trained: its symbols and speakers. None: they are taken by position.
        prefixes: Which weights to take, by the beginning of their names.
        speaker: Of a file with several: whom a network with one speaker, and speakers that the
            file does not know, start from; a name or an id.
    """
    return WarmStart.read(path, prefixes, speaker).apply(module, voice)


@dataclass(frozen=True)
class WarmStart:
    """A file that was read, and what is to be taken from it."""

    source: WarmSource
    prefixes: tuple[str, ...]
    speaker: int | None = None

    @classmethod
    def read(
        cls,
        path: Path | str,
        prefixes: Sequence[str] = NETWORK_PREFIXES,
        speaker: str | None = None,
    ) -> WarmStart:
        """Read a file; arguments and errors as for `warm_start`."""
        source = load_source(str(path))
        return cls(source, tuple(prefixes), source.find_speaker(speaker))

    @property
    def takes_speakers(self) -> bool:
        """Whether the file's speakers are taken over, beside its sounds."""
        return TABLES[0].startswith(self.prefixes) and self.source.speaker_table is not None

    def check_family(self, network: NetworkConfig | QuickConfig) -> None:
        """Refuse a file of another family than the network's."""
        if self.source.is_quick != isinstance(network, QuickConfig):
            theirs, ours = ("quick", "VITS") if self.source.is_quick else ("VITS", "quick")
            raise CheckpointError(
                f"{self.source.path} is of a {theirs} voice, and none of its weights serves a "
                f"{ours} voice, which is what is trained: give a {ours} voice or checkpoint with "
                "--model.warmstart, or another --model.quality."
            )

    def apply(self, module: nn.Module, voice: VoiceConfig | None = None) -> WarmReport:
        """Take over what fits."""
        whole = module.state_dict()
        own = {name: value for name, value in whole.items() if name.startswith(self.prefixes)}
        transfer = _Transfer(self, own, voice)
        fitted = transfer.run()
        report = transfer.report
        report.notes += _notes(self.source, report.outcomes, module)
        if TAKEN not in report.outcomes.values():
            raise CheckpointError(
                f"No weight of {self.source.path} fits this network; is it a checkpoint or a "
                "voice of Piper?"
            )
        module.load_state_dict({**whole, **fitted})
        return report


class _Transfer:
    """The way of weights from a file into a network's own."""

    def __init__(
        self, start: WarmStart, own: Mapping[str, Tensor], voice: VoiceConfig | None
    ) -> None:
        self.source = start.source
        self.speaker = start.speaker
        self.own = own
        self.table = find_name(TABLES, own)
        self.embedding = find_name(EMBEDDINGS, own)
        self.phoneme_ids = voice.phoneme_id_map if voice else {}
        self.speaker_ids = voice.speaker_id_map if voice else {}
        self.report = WarmReport(f"Started from {self.source.path}, {self.source.description}:")
        self.outcomes = self.report.outcomes

    def run(self) -> dict[str, Tensor]:
        """Return the network's weights by name: the file's where they fit, else its own."""
        weights = dict(self.source.weights)
        table = self.source.speaker_table
        keeps_table = table is not None and _width(self.own.get(self.table)) == _width(table)
        if table is not None and not keeps_table:
            weights = fold_speaker(weights, self.speaker or 0)
            self.report.notes.append(
                f"Of its {len(table)} speakers, {self._speaker_name(self.speaker or 0)} was taken "
                "for all there is: --model.warmstart_speaker names another."
            )
        weights = take_apart(weights, self.own)
        fitted = {name: self._fit(name, weights.get(name)) for name in self.own}
        if keeps_table:
            fitted[self.table] = self._map_speakers(weights[self.table])
        else:
            fitted |= self._zero_conditions()
        if self.embedding in self.own and self.embedding in weights:
            fitted[self.embedding] = self._map_symbols(weights[self.embedding])
        return fitted

    def _fit(self, name: str, weight: Tensor | None) -> Tensor:
        own = self.own[name]
        if weight is not None and name.startswith(FILTER_LAYERS):
            # One filter a frame, in earlier versions, serves as each of several.
            weight = torch.cat([weight] * max(1, len(own) // max(1, len(weight))))
        if weight is None or weight.shape != own.shape:
            self.outcomes[name] = MISSING if weight is None else OTHER_SHAPE
            return own
        self.outcomes[name] = TAKEN
        return weight

    def _map_speakers(self, table: Tensor) -> Tensor:
        own = self.own[self.table]
        rows, known = map_rows(table, own, self.source.speaker_ids, self.speaker_ids, self.speaker)
        count = min(len(table), len(own)) if known is None else len(known)
        how = "the first rows, as names are unknown" if known is None else "by name"
        detail = f"{count} of {len(own)} speakers {how}"
        if count < len(own):
            is_mean = self.speaker is None
            start = "the mean of the file's" if is_mean else self._speaker_name(self.speaker)
            detail += f", {len(own) - count} from {start}"
        self.outcomes[self.table] = TAKEN
        self.report.details["speaker table"] = detail
        return rows

    def _speaker_name(self, row: int | None) -> str:
        names = (name for name, number in self.source.speaker_ids.items() if number == row)
        return f"the file's speaker {next(names, row)}"

    def _zero_conditions(self) -> dict[str, Tensor]:
        """Begin the layers that a speaker's embedding goes through at zero, beside taken ones.

        Drawn anew they would add noise to a network that speaks. Their gradients are not zero.
        """
        zeros: dict[str, Tensor] = {}
        if self.table == TABLES[1] and self.table in self.own:
            zeros[self.table] = torch.zeros_like(self.own[self.table])
            self.outcomes[self.table] = AT_ZERO
        for stem in find_conditions(self.own):
            layers = find_conditioned_layers(self.own, stem)
            if all(self.outcomes[f"{layer}.bias"] == TAKEN for layer in layers):
                for name in (f"{stem}.{ending}" for ending in ("bias", "weight", "weight_g")):
                    if name in self.own:
                        zeros[name] = torch.zeros_like(self.own[name])
                        self.outcomes[name] = AT_ZERO
                if f"{stem}.weight_v" in self.own:  # a direction, whose length is zero
                    self.outcomes[f"{stem}.weight_v"] = AT_ZERO
        return zeros

    def _map_symbols(self, table: Tensor) -> Tensor:
        """Give each symbol the row that it has in the file."""
        own = self.own[self.embedding]
        if _width(table) != _width(own):
            return own
        rows, theirs, ours = own.clone(), self.source.phoneme_ids, self.phoneme_ids
        self.outcomes[self.embedding] = TAKEN
        if not theirs or not ours:
            count = min(len(table), len(own))
            rows[:count] = table[:count]
            whose = "the file's" if not theirs else "the dataset's"
            self.report.details["phoneme embeddings"] = (
                f"{count} rows by position ({whose} are unknown)"
            )
            return rows
        if theirs == ours and table.shape == own.shape:
            rows = table.clone()  # rows without a symbol included
        fresh = []
        for symbol, ids in ours.items():
            pairs = zip(ids, theirs.get(symbol, []), strict=False)
            usable = [(i, j) for i, j in pairs if i < len(own) and 0 <= j < len(table)]
            for i, j in usable:
                rows[i] = table[j]
            if not usable:
                fresh.append(show_symbol(symbol))
        if len(fresh) == len(ours):
            self.outcomes[self.embedding] = "of other symbols in the file"
        named = f", {len(fresh)} fresh: {name_some(fresh, 12)}" if fresh else ""
        self.report.details["phoneme embeddings"] = (
            f"{len(ours) - len(fresh)} symbols by name{named}"
        )
        return rows


def take_apart(weights: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Give weights the weight normalisation that a network wants and a voice has folded in.

    Direction and length are w = g · v / |v| (Salimans and Kingma 2016), so v = w serves.
    """
    result = dict(weights)
    for name, weight in weights.items():
        stem = name.removesuffix("weight")
        if name not in own and f"{stem}weight_v" in own:
            del result[name]
            axes = tuple(range(1, weight.dim()))
            norm = weight.norm(dim=axes, keepdim=True)
            # A row of zeros has no direction, and any other than zero will do.
            result[f"{stem}weight_v"] = torch.where(norm > 0, weight, 1.0)
            result[f"{stem}weight_g"] = norm
    return result


def _notes(source: WarmSource, outcomes: Mapping[str, str], module: nn.Module) -> list[str]:
    notes = []
    tables = (*EMBEDDINGS, *TABLES)
    if any(why == OTHER_SHAPE for name, why in outcomes.items() if name not in tables):
        notes.append("The file's network is of another quality: what fits by shape was taken.")
    rate = getattr(getattr(module, "network_config", None), "sample_rate", None)
    if rate and source.sample_rate not in (None, rate):
        notes.append(
            f"The file was trained at {source.sample_rate} Hz, here it is {rate} Hz:"
            " decoder and posterior encoder have to learn the other rate."
        )
    return notes


def _width(table: Tensor | None) -> int:
    return table.shape[1] if table is not None else 0
