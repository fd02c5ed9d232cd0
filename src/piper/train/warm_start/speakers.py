"""The speaker's share of a network: taken over by row, folded into biases, or begun at zero.

Knows names and shapes of weights, but neither files nor modules. Where a network has several
speakers, a layer of kernel 1 turns the speaker's embedding `g` into a vector W g + b that is added
to the output of another convolution, in the decoder, the duration predictor and each WaveNet. For
one speaker this vector is a constant, so that it can be added to the other layer's bias instead.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

TABLES = ("model_g.emb_g.weight", "model_g.text.speakers.weight")
EMBEDDINGS = ("model_g.enc_p.emb.weight", "model_g.text.embedding.weight")
"""Rows of speakers and of phonemes, by family: VITS, quick."""
_CONDITION = re.compile(r"(model_g\..*(?:\.cond|\.cond_layer))\.(bias|weight|weight_g|weight_v)")


def fold_speaker(weights: Mapping[str, Tensor], row: int) -> dict[str, Tensor]:
    """Return the weights of a network that speaks as one of its speakers, and has no other.

    Equal to the network it comes from, but for the plain duration predictor: its layer pads the
    text with zeros after the speaker's vector was added, so its first and last phoneme differ.

    A quick voice adds the speaker's row to each phoneme's.

    Args:
        weights: Named as in a checkpoint, with a table of speakers.
        row: The speaker's.
    """
    result = {name: weight for name, weight in weights.items() if not _CONDITION.fullmatch(name)}
    table = find_name(TABLES, result)
    g = result.pop(table)[row].double()
    if table == TABLES[1]:
        phonemes = result[EMBEDDINGS[1]]
        result[EMBEDDINGS[1]] = (phonemes.double() + g).to(phonemes.dtype)
    for stem in sorted({match[1] for name in weights if (match := _CONDITION.fullmatch(name))}):
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
    found = {match[1] for name in names if (match := _CONDITION.fullmatch(name))}
    return sorted(found)


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
