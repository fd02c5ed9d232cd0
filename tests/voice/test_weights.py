"""Recovering named weights: from graphs written here, and from such as torch's exporter writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from network_shapes import golden_weights, network_shapes
from onnx import helper, numpy_helper

from piper.errors import CheckpointError, VoiceNotFoundError
from piper.voice.graph import GraphConfig, build_graph
from piper.voice.weights import load_voice_weights

Weights = dict[str, np.ndarray]


def create_weights(**changes: object) -> Weights:
    shapes = {"hidden": 8, "filters": 12, "layers": 2, "decoder_channels": 16, "symbols": 20}
    return golden_weights(network_shapes(**{**shapes, **changes}))  # type: ignore[arg-type]


def fold_norms(weights: Weights) -> Weights:
    """Apply weight norm as its paper states it: g v / |v|."""
    result = {name: array for name, array in weights.items() if ".weight_" not in name}
    for name, v in weights.items():
        if name.endswith("weight_v"):
            g = weights[name[:-1] + "g"]
            lengths = np.linalg.norm(v.reshape(len(v), -1), axis=1).reshape(-1, 1, 1)
            result[name[:-2]] = g * v / lengths
    return {name: array for name, array in result.items() if not name.startswith("dp.flows.1.")}


def assert_same(found: Weights, expected: Weights) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "changes", [{}, {"speakers": 3, "speaker_channels": 8}, {"use_sdp": False}]
)
def test_a_graph_written_here_gives_its_weights_back(tmp_path: Path, changes: dict) -> None:
    weights = create_weights(**changes)
    config = GraphConfig.from_weights(weights, sample_rate=16000)
    path = tmp_path / "voice.onnx"
    onnx.save(build_graph(weights, config), path)
    found, found_config = load_voice_weights(path)
    assert found_config == config
    assert_same(found, fold_norms(weights))


class Exporter:
    """Writes a graph's nodes and initializers with the names that torch's exporter gives them.

    The nodes are not wired to each other: names, attributes and parameters are all that the
    reader goes by.
    """

    def __init__(self, weights: Weights, *, has_names: bool) -> None:
        self.weights = fold_norms(weights)
        self.has_names = has_names
        self.anonymous = {name[:-2] for name in weights if name.endswith("weight_v")}
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        for name in self.weights:
            self.write(name)

    def tensor(self, array: np.ndarray, name: str) -> str:
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind: str, place: str, *inputs: str, **attributes: object) -> None:
        name = f"/{place}/{kind}"
        output = f"{name}_output_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=name, **attributes))

    def named(self, name: str) -> str:
        """Store a parameter under its own name, or under a number."""
        known = self.has_names or name.endswith("bias")
        other = f"onnx::Conv_{8168 + len(self.tensors)}"
        is_folded = name in self.anonymous and name.startswith("flow.")
        return self.tensor(self.weights[name], name if known and not is_folded else other)

    def write(self, name: str) -> None:
        module, _, kind = name.rpartition(".")
        place = module.replace(".", "/").replace("layers/", "layers.").replace("flows/", "flows.")
        for part in ("ups", "resblocks", "convs", "convs1", "convs2", "convs_sep", "convs_1x1"):
            for i in range(9):
                place = place.replace(f"/{part}/{i}", f"/{part}.{i}")
        if name == "enc_p.emb.weight":
            # Exporters reuse names: the table of a real voice is called `sid`.
            self.node("Gather", "enc_p/emb", self.tensor(self.weights[name], "sid_0"), "input")
        elif name == "emb_g.weight":
            self.node("Gather", "emb_g", self.tensor(self.weights[name], "onnx::Gather_1"), "sid")
        elif name == "dp.flows.0.logs":
            scale = self.tensor(np.exp(-self.weights[name]), "/dp/flows.0/Exp_output_0")
            self.node("Mul", "dp/flows.0", "x", scale)
        elif name == "dp.flows.0.m":
            self.node("Sub", "dp/flows.0", "x", self.named(name))
        elif kind in ("gamma", "beta"):
            self.node("Mul" if kind == "gamma" else "Add", place, "x", self.named(name))
        elif kind.startswith("emb_rel"):
            self.node("Pad", place, self.named(name), "pads")
        elif kind == "weight":
            self.write_layer(module, place)

    def write_layer(self, module: str, place: str) -> None:
        inputs = ["x", self.named(f"{module}.weight")]
        if f"{module}.bias" in self.weights:
            inputs.append(self.named(f"{module}.bias"))
        if ".ups." in module:
            kernel = self.weights[f"{module}.weight"].shape[2]
            self.node("ConvTranspose", place, *inputs, strides=[kernel // 2])
        else:
            dilation = 1
            if ".resblocks." in module:
                block, step = (int(part) for part in module.split(".") if part.isdecimal())
                dilation = ((1, 2), (2, 6), (3, 12))[block % 3][step]
            self.node("Conv", place, *inputs, dilations=[dilation])

    def save(self, path: Path) -> None:
        graph = helper.make_graph(self.nodes, "main_graph", [], [], self.tensors)
        onnx.save(helper.make_model(graph, producer_name="pytorch"), path)


@pytest.mark.parametrize("has_names", [True, False])
@pytest.mark.parametrize("speakers", [1, 3])
def test_weights_without_names_are_found_by_bias_or_node(
    tmp_path: Path, has_names: bool, speakers: int
) -> None:
    weights = create_weights(speakers=speakers, speaker_channels=8)
    path = tmp_path / "voice.onnx"
    Exporter(weights, has_names=has_names).save(path)
    path.with_name("voice.onnx.json").write_text(json.dumps({"audio": {"sample_rate": 16000}}))
    found, config = load_voice_weights(path)
    assert_same(found, fold_norms(weights))
    assert config == GraphConfig.from_weights(weights, sample_rate=16000)


def test_shared_parameters_are_followed(tmp_path: Path) -> None:
    """Exporters write equal parameters once; the others are aliases, or constants in nodes."""
    weights = create_weights()
    exporter = Exporter(weights, has_names=True)
    first, second = "enc_p.encoder.norm_layers_1.0.gamma", "enc_p.encoder.norm_layers_1.1.gamma"
    third = "enc_p.encoder.norm_layers_2.0.gamma"
    weights[second] = weights[first]
    exporter.tensors = [t for t in exporter.tensors if t.name not in (second, third)]
    constant = numpy_helper.from_array(weights[third])
    exporter.nodes = [
        helper.make_node("Identity", [first], [second], name="Identity_0"),
        helper.make_node("Constant", [], [third], name="Constant_0", value=constant),
        *exporter.nodes,
    ]
    exporter.save(tmp_path / "voice.onnx")
    found, _ = load_voice_weights(tmp_path / "voice.onnx")
    assert_same(found, fold_norms(weights))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(VoiceNotFoundError, match=r"none\.onnx does not exist"):
        load_voice_weights(tmp_path / "none.onnx")
    with pytest.raises(VoiceNotFoundError, match="is a folder"):
        load_voice_weights(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello, this is text\n", b"\x08\x07", bytes(range(256))])
def test_a_file_that_is_not_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "voice.onnx"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"voice\.onnx is not an ONNX model; give"):
        load_voice_weights(path)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    Exporter({}, has_names=True).save(path)
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "other", [], [])
    onnx.save(helper.make_model(graph), path)
    with pytest.raises(CheckpointError, match="no weights of a Piper voice") as caught:
        load_voice_weights(path)
    assert str(caught.value).count(". ") == 0


def test_a_damaged_own_graph_is_refused(tmp_path: Path) -> None:
    weights = create_weights()
    model = build_graph(weights, GraphConfig.from_weights(weights))
    model.metadata_props[0].value = "[]"
    onnx.save(model, tmp_path / "voice.onnx")
    with pytest.raises(CheckpointError, match="no weights of a Piper voice"):
        load_voice_weights(tmp_path / "voice.onnx")
