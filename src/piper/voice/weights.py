"""Recovers a voice's named weights from its ONNX, whoever exported it.

What can be computed once is computed here and not in every run of the graph: weight norm, the
embedding's and the attention's scale, the flow's channel reversals (by reversing weights), the
decoder's averages (in the next convolution, as leaky ReLU is positive-homogeneous) and the fixed
ends of the duration predictor's splines. A constant that is a weight as it was keeps the weight's
name; a changed one has another name, and `unfold_weights` changes it back.

Needs the package `onnx` when called. A graph that
`piper.voice.graph` wrote says by itself what it is. In others the names are pieced together:
exporters keep most parameter names, but not those of weights that they folded
(`onnx::Conv_8168`); then the bias's name or the node's name (`/flow/flows.6/enc/in_layers.0/Conv`)
says which layer it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from piper.errors import CheckpointError, VoiceNotFoundError
from piper.files import load_kept_object
from piper.voice.graph import METADATA_KEY
from piper.voice.graph_config import DEFAULT_SAMPLE_RATE, GraphConfig, count, unfold_weights
from piper.voice.graph_quick import (
    QUICK_METADATA_KEY,
    STATISTICS_KEY,
    QuickGraphConfig,
    unfold_quick_weights,
)
from piper.voice.graph_writer import import_onnx

if TYPE_CHECKING:
    import onnx


_PARAMETER = re.compile(r"(model_g\.)?((enc_p|dp|flow|dec|emb_g)\.[\w.]+)")
_LAYER_KINDS = ("Conv", "ConvTranspose")


class UnreadableModelError(CheckpointError):
    """A file that `onnx` cannot read: it is another kind of file, or memory does not suffice."""


def load_voice_weights(path: Path | str) -> tuple[dict[str, np.ndarray], GraphConfig]:
    """Read the named weights of a published voice, or of one that was exported here.

    What only training needs is not in a voice and so not in the result: posterior encoder, the
    duration predictor's posterior half and its `flows.1`, discriminators. Weight norm is folded.

    Args:
        path: The voice's `.onnx`. The JSON beside it, where there is one, gives the sample rate
            if the model's own metadata does not.

    Returns:
        Weights named as in a checkpoint without `model_g.`, and the network's shape.
    """
    path = Path(path)
    model = read_model(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if QUICK_METADATA_KEY in metadata:
        raise CheckpointError(
            f"{path} is a quick voice, whose network is of another family than VITS; give the "
            ".onnx of a VITS voice."
        )
    try:
        if METADATA_KEY in metadata:
            return _own_weights(model, metadata[METADATA_KEY])
        reader = _GraphReader(model.graph)
        weights = reader.weights()
        config = GraphConfig.from_weights(
            weights,
            sample_rate=_find_sample_rate(path, metadata),
            upsample_rates=reader.upsample_rates(),
            resblock_dilation_sizes=reader.resblock_dilations(weights),
        )
        config.check(weights)
    except MemoryError:
        raise
    except Exception as error:  # a graph of others can be wrong in any way
        raise CheckpointError(
            f"{path} is ONNX, but no weights of a Piper voice could be found in it "
            f"({_first_sentence(error)}); give a voice's .onnx."
        ) from error
    return weights, config


def load_quick_weights(path: Path | str) -> tuple[dict[str, np.ndarray], QuickGraphConfig] | None:
    """Read the named weights of a quick voice; None where the file is no such voice's.

    Returns:
        Weights named as in a checkpoint without `model_g.`, and what else the graph knows.
    """
    model = read_model(Path(path))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if QUICK_METADATA_KEY not in metadata:
        return None
    if METADATA_KEY in metadata:
        raise CheckpointError(
            f"{path} is a copy that keeps the text side of its original, from which no training "
            "can start; give the original."
        )
    try:
        config = QuickGraphConfig.from_json(metadata[QUICK_METADATA_KEY])
        arrays = {tensor.name: array for tensor, array in _initializers(model.graph)}
        return unfold_quick_weights(arrays, config, metadata[STATISTICS_KEY]), config
    except MemoryError:
        raise
    except Exception as error:  # of others, and wrong in any way
        raise CheckpointError(
            f"{path} is a quick voice, but its weights cannot be understood "
            f"({type(error).__name__}: {_first_sentence(error)}); give the checkpoint that it was "
            "exported from."
        ) from error


def read_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file."""
    onnx = import_onnx()
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(path)
    except FileNotFoundError:
        raise VoiceNotFoundError(f"{path} does not exist; check the path.") from None
    except IsADirectoryError:
        raise VoiceNotFoundError(f"{path} is a folder, but a voice's .onnx is wanted.") from None
    except DecodeError:
        # Also what protobuf says where memory does not suffice.
        model = onnx.ModelProto()
    except MemoryError:
        raise
    except Exception as error:  # weights in another file: elsewhere, gone, cut off, linked
        raise UnreadableModelError(
            f"{path} cannot be read ({_first_sentence(error)}); give a voice's .onnx with its "
            "weights in it, or with their file beside it."
        ) from None
    # Many files happen to parse as a protocol buffer, but then there is no graph in them.
    if not model.graph.node:
        raise UnreadableModelError(f"{path} is not an ONNX model; give a voice's .onnx.")
    return model


def _own_weights(model: onnx.ModelProto, text: str) -> tuple[dict[str, np.ndarray], GraphConfig]:
    config = GraphConfig.from_json(text)
    arrays = {
        tensor.name: array
        for tensor, array in _initializers(model.graph)
        if _PARAMETER.fullmatch(tensor.name.partition(":")[0])
    }
    weights = unfold_weights(arrays, config)
    config.check(weights)
    return weights, config


def _initializers(graph: onnx.GraphProto) -> Iterable[tuple[onnx.TensorProto, np.ndarray]]:
    to_array = import_onnx().numpy_helper.to_array
    for tensor in graph.initializer:
        yield tensor, to_array(tensor)


def _find_sample_rate(path: Path, metadata: dict[str, str]) -> int:
    if metadata.get("sample_rate", "").isdecimal():
        return int(metadata["sample_rate"])
    try:
        return int(load_kept_object(Path(f"{path}.json"))["audio"]["sample_rate"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return DEFAULT_SAMPLE_RATE


def _first_sentence(error: Exception) -> str:
    return re.split(r"[;?.](?:\s|$)", str(error), maxsplit=1)[0][:300]


class _GraphReader:
    """Finds parameters in a graph that an exporter wrote."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.values: dict[str, np.ndarray] = {t.name: array for t, array in _initializers(graph)}
        self.layers: dict[str, onnx.NodeProto] = {}
        helper = import_onnx().numpy_helper
        for node in graph.node:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        self.values[node.output[0]] = helper.to_array(attribute.t)
            elif node.op_type == "Identity" and node.input[0] in self.values:
                # Exporters write equal parameters once and alias the others.
                self.values[node.output[0]] = self.values[node.input[0]]

    def weights(self) -> dict[str, np.ndarray]:
        """Return every parameter that can be named."""
        found: dict[str, np.ndarray] = {}
        for name, array in self.values.items():
            if (match := _PARAMETER.fullmatch(name)) and array.dtype.kind == "f":
                found[match[2]] = array
        for node in self.graph.node:
            if node.op_type in _LAYER_KINDS:
                self._add_layer(node, found)
            elif node.op_type == "Gather":
                self._add_embedding(node, found)
            else:
                self._add_by_place(node, found)
        self._add_affine_scale(found)
        return {name: np.asarray(array, dtype=np.float32) for name, array in found.items()}

    def _add_layer(self, node: onnx.NodeProto, found: dict[str, np.ndarray]) -> None:
        module = self._module(node)
        if module is None or node.input[1] not in self.values:
            return
        self.layers[module] = node
        found[f"{module}.weight"] = self.values[node.input[1]]
        if len(node.input) > 2 and node.input[2] in self.values:
            found[f"{module}.bias"] = self.values[node.input[2]]

    @staticmethod
    def _module(node: onnx.NodeProto) -> str | None:
        """Return the layer's name: by its parameters' names, else by the node's."""
        for name in node.input[1:]:
            match = _PARAMETER.fullmatch(name)
            if match and match[2].endswith((".weight", ".bias")):
                return match[2].rpartition(".")[0]
        match = _PARAMETER.fullmatch(_place(node))
        return match[2] if match else None

    def _add_embedding(self, node: onnx.NodeProto, found: dict[str, np.ndarray]) -> None:
        """Take the table that phoneme or speaker ids look up; its own name may mislead."""
        names = {"input": "enc_p.emb.weight", "sid": "emb_g.weight"}
        name = names.get(node.input[1])
        if name and node.input[0] in self.values and self.values[node.input[0]].ndim == 2:
            found[name] = self.values[node.input[0]]

    def _add_by_place(self, node: onnx.NodeProto, found: dict[str, np.ndarray]) -> None:
        """Name other parameters that lost their names by the node that uses them."""
        place = _place(node)
        if not _PARAMETER.fullmatch(place):
            return
        arrays = [self.values[name] for name in node.input if name in self.values]
        for array in arrays:
            if "norm" in place and node.op_type in ("Mul", "Add") and array.ndim == 1:
                kind = "gamma" if node.op_type == "Mul" else "beta"
                found.setdefault(f"{place}.{kind}", array)
            elif "attn_layers" in place and array.ndim == 3 and node.op_type in ("Pad", "Slice"):
                # Keys are used before values.
                key = f"{place}.emb_rel_k"
                name = f"{place}.emb_rel_v" if key in found else key
                found.setdefault(name, array)
            elif place == "dp.flows.0" and node.op_type == "Sub" and array.ndim == 2:
                found.setdefault("dp.flows.0.m", array)

    def _add_affine_scale(self, found: dict[str, np.ndarray]) -> None:
        """Undo the folding of the duration predictor's affine flow: its constant is exp(-logs)."""
        if "dp.flows.0.logs" in found:
            return
        for node in self.graph.node:
            if node.op_type == "Mul" and _place(node) == "dp.flows.0":
                for name in node.input:
                    if name in self.values and self.values[name].ndim == 2:
                        found["dp.flows.0.logs"] = -np.log(self.values[name])

    def upsample_rates(self) -> list[int]:
        """Return the strides of the decoder's transposed convolutions."""
        modules = (f"dec.ups.{i}" for i in range(count(self._named_layers(), "dec.ups")))
        return [_attribute(self.layers[module], "strides") for module in modules]

    def resblock_dilations(self, weights: dict[str, np.ndarray]) -> list[list[int]]:
        """Return the dilations of the parallel blocks after the first upsampling."""
        blocks = count(weights, "dec.resblocks") // max(count(weights, "dec.ups"), 1)
        result = []
        for i in range(blocks):
            convs = "convs1" if f"dec.resblocks.{i}.convs1.0.weight" in weights else "convs"
            name = f"dec.resblocks.{i}.{convs}"
            steps = range(count(weights, name))
            result.append([_attribute(self.layers[f"{name}.{j}"], "dilations") for j in steps])
        return result

    def _named_layers(self) -> dict[str, np.ndarray]:
        return {f"{module}.": np.empty(0) for module in self.layers}


def _place(node: onnx.NodeProto) -> str:
    """Return the module that a node's name points to: `/dec/ups.0/ConvTranspose` → `dec.ups.0`."""
    return node.name.strip("/").rpartition("/")[0].replace("/", ".").removeprefix("model_g.")


def _attribute(node: onnx.NodeProto, name: str) -> int:
    """Return the first number of an attribute, 1 where it is left out, as ONNX means it."""
    for attribute in node.attribute:
        if attribute.name == name:
            return int(attribute.ints[0])
    return 1
