"""Starts a network from the weights of another training or of a published voice.

Knows weights by name and shape, symbols and speakers, but nothing of how training goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from piper.config import VoiceConfig
from piper.errors import CheckpointError
from piper.train.checkpoints.checkpoint import NETWORK_PREFIXES
from piper.train.quick.config import QuickConfig
from piper.train.vits.config import NetworkConfig
from piper.train.warm_start.report import AT_ZERO, MISSING, OTHER_SHAPE, TAKEN, WarmReport
from piper.train.warm_start.source import WarmSource, load_source, name_some, show_symbol
from piper.train.warm_start.speakers import (
    EMBEDDINGS,
    TABLES,
    find_conditioned_layers,
    find_conditions,
    find_name,
    fold_speaker,
    map_rows,
)

VOCODER_PREFIXES = ("model_g.dec.", "model_d.", "model_mrd.")


def read_warm_starts(
    path: Path | str | None, vocoder_path: Path | str | None = None, speaker: str | None = None
) -> list[WarmStart]:
    """Read the files that `--model.warmstart` and `--model.vocoder_warmstart` name.

    Raises:
        PiperError: A file cannot be read, or lacks the speaker.
    """
    starts = []
    if path:
        starts.append(WarmStart.read(path, NETWORK_PREFIXES, speaker))
        speaker = None
    if vocoder_path:
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

    Raises:
        CheckpointError: The file cannot be read, nothing in it fits, or it lacks the speaker.
    """
    return WarmStart.read(path, prefixes, speaker).apply(module, voice)


@dataclass(frozen=True)
class WarmStart:
    """A file that was read, and what is to be taken from it.

    Attributes:
        source: The file's weights.
        prefixes: Which weights to take, by the beginning of their names.
        speaker: Row of the speaker that was asked for.
    """

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
        """Refuse a file of another family than the network's.

        Raises:
            CheckpointError: It is.
        """
        if self.source.is_quick != isinstance(network, QuickConfig):
            theirs, ours = ("quick", "VITS") if self.source.is_quick else ("VITS", "quick")
            raise CheckpointError(
                f"{self.source.path} is of a {theirs} voice, and none of its weights serves a "
                f"{ours} voice, which is what is trained: give a {ours} voice or checkpoint with "
                "--model.warmstart, or another --model.quality."
            )

    def apply(self, module: nn.Module, voice: VoiceConfig | None = None) -> WarmReport:
        """Take over what fits.

        Raises:
            CheckpointError: Nothing does.
        """
        whole = module.state_dict()
        own = {name: value for name, value in whole.items() if name.startswith(self.prefixes)}
        transfer = _Transfer(self, own, voice)
        fitted = transfer.run()
        report = WarmReport(
            f"Started from {self.source.path}, {self.source.description}:",
            transfer.outcomes,
            transfer.details,
            transfer.notes + _notes(self.source, transfer.outcomes, module),
        )
        if TAKEN not in transfer.outcomes.values():
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
        self.outcomes: dict[str, str] = {}
        self.details: dict[str, str] = {}
        self.notes: list[str] = []

    def run(self) -> dict[str, Tensor]:
        """Return the network's weights by name: the file's where they fit, else its own."""
        weights = dict(self.source.weights)
        table = self.source.speaker_table
        keeps_table = table is not None and _width(self.own.get(self.table)) == _width(table)
        if table is not None and not keeps_table:
            weights = fold_speaker(weights, self.speaker or 0)
            self.notes.append(
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
        start = (
            "the mean of the file's" if self.speaker is None else self._speaker_name(self.speaker)
        )
        self.outcomes[self.table] = TAKEN
        self.details["speaker table"] = f"{count} of {len(own)} speakers {how}" + (
            f", {len(own) - count} from {start}" if count < len(own) else ""
        )
        return rows

    def _speaker_name(self, row: int) -> str:
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
            self.details["phoneme embeddings"] = f"{count} rows by position ({whose} are unknown)"
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
        named = f", {len(fresh)} fresh: {name_some(fresh)}" if fresh else ""
        self.details["phoneme embeddings"] = f"{len(ours) - len(fresh)} symbols by name{named}"
        return rows


def take_apart(weights: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Give weights the weight normalisation that a network wants and a voice has folded in.

    Direction and length are w = g · v / |v| (Salimans and Kingma 2016), so v = w serves.

    Args:
        weights: Named as in a checkpoint.
        own: The names of the network.
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
    config = getattr(module, "network_config", None)
    if isinstance(config, NetworkConfig | QuickConfig) and source.sample_rate not in (
        None,
        config.sample_rate,
    ):
        notes.append(
            f"The file was trained at {source.sample_rate} Hz, here it is {config.sample_rate} Hz:"
            " decoder and posterior encoder have to learn the other rate."
        )
    return notes


def _width(table: Tensor | None) -> int:
    return table.shape[1] if table is not None else 0
