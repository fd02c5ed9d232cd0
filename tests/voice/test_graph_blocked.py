"""The blocked layout: kept between convolutions, and nothing is heard of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from network_shapes import golden_weights, network_shapes

from piper.voice.cache import BLOCKED_DOMAIN, keep_blocked
from piper.voice.graph import build_parts
from piper.voice.graph_config import GraphConfig
from piper.voice.session import create_session

VOICES = {
    "one speaker": {},
    "three speakers": {"speakers": 3, "speaker_channels": 16},
    "high": {"resblock": "1", "kernels": (3, 7), "dilations": ((1, 3), (1, 3))},
}


def build_decoder(**shape: object) -> onnx.ModelProto:
    # As many channels as a block has, even in the last stage.
    weights = golden_weights(network_shapes(decoder_channels=128, **shape))  # type: ignore[arg-type]
    config = GraphConfig.from_weights(
        weights,
        sample_rate=16000,
        upsample_rates=(8, 8, 4),
        resblock_dilation_sizes=shape.get("dilations", ((1, 2), (2, 6), (3, 12))),  # type: ignore[arg-type]
    )
    return build_parts(weights, config).decoder


def optimize(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    onnx.save(model, folder / "plain.onnx")
    create_session(folder / "plain.onnx", optimized_path=folder / "optimized.onnx")
    return onnx.load(folder / "optimized.onnx")


def run(model: onnx.ModelProto) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    random = np.random.default_rng(1)
    feeds = {
        value.name: random.standard_normal(
            [axis.dim_value or 37 for axis in value.type.tensor_type.shape.dim]
        ).astype(np.float32)
        for value in session_inputs(model)
    }
    return np.asarray(session.run(["output"], feeds)[0])


def session_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


@pytest.mark.parametrize("name", VOICES)
def test_it_sounds_the_same(name: str, tmp_path: Path) -> None:
    plain = build_decoder(**VOICES[name])
    model = optimize(plain, tmp_path)
    before = Counter(node.op_type for node in model.graph.node)
    expected = run(plain)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(run(model), expected, atol=1e-5)
    keep_blocked(model)
    np.testing.assert_allclose(run(model), expected, atol=1e-5)
    after = Counter(node.op_type for node in model.graph.node)
    if any(node.domain == BLOCKED_DOMAIN for node in model.graph.node):
        # Between two convolutions of a residual block no layout is changed.
        assert after["ReorderOutput"] + after["ReorderInput"] <= 3 * 2 + 3
        assert after["MaxPool"] == 0
        assert after["Add"] < before["Add"]


def test_a_graph_without_blocks_is_left_as_it_is() -> None:
    model = build_decoder()
    names = [node.name for node in model.graph.node]
    keep_blocked(model)
    assert sorted(node.name for node in model.graph.node) == sorted(names)
