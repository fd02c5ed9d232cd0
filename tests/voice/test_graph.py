"""The inference graph: against golden results, against the torch network, and by itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from network_shapes import golden_weights, network_shapes

from piper.errors import ExportError
from piper.train.vits.config import NetworkConfig
from piper.train.vits.network import VitsSynthesizer
from piper.voice.graph import GraphConfig, build_graph
from piper.voice.graph_config import fold_weights, unfold_weights

GOLDEN = Path(__file__).parents[1] / "data" / "tiny_single.npz"
SMALL: dict[str, Any] = {"hidden": 16, "filters": 24, "layers": 2, "decoder_channels": 32}
LENGTHS = np.array([21, 13])
# Far above 1, so that rounding up to whole frames hides no mistake of the duration predictor.
LONG = 9.7

Weights = dict[str, np.ndarray]


def create_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def run(
    model: onnx.ModelProto,
    ids: np.ndarray,
    lengths: np.ndarray,
    scales: tuple[float, float, float] = (0.0, 1.0, 0.0),
    speakers: np.ndarray | None = None,
) -> list[np.ndarray]:
    feed = {"input": ids, "input_lengths": lengths, "scales": np.array(scales, np.float32)}
    if speakers is not None:
        feed["sid"] = speakers
    return list(create_session(model).run(None, feed))


def create_voice(**changes: Any) -> tuple[Weights, GraphConfig]:
    weights = golden_weights(network_shapes(**{**SMALL, **changes}))
    dilations = changes.get("dilations")
    rates = [kernel // 2 for kernel in changes.get("upsample_kernels", (16, 16, 8))]
    config = GraphConfig.from_weights(
        weights, upsample_rates=rates, resblock_dilation_sizes=dilations
    )
    return weights, config


def create_ids(symbols: int = 256) -> np.ndarray:
    ids = np.random.RandomState(7).randint(0, symbols, (2, int(LENGTHS.max())))
    ids[1, LENGTHS[1] :] = 0
    return ids


def test_golden_weights_give_the_golden_audio() -> None:
    golden = np.load(GOLDEN)
    weights = golden_weights(network_shapes())
    model = build_graph(weights, GraphConfig.from_weights(weights))
    onnx.checker.check_model(model, full_check=True)
    audio, durations = run(model, golden["ids"][:1], golden["lengths"][:1])
    assert audio.shape == (1, 1, 1, 12288)
    np.testing.assert_array_equal(durations.ravel(), golden["infer_durations"])
    np.testing.assert_allclose(audio.ravel(), golden["infer_audio"], atol=1e-4)


NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "single": ({}, {}),
    "speakers": (
        {"speakers": 3, "speaker_channels": 12},
        {"num_speakers": 3, "gin_channels": 12},
    ),
    "plain durations": ({"use_sdp": False}, {"use_sdp": False}),
    "plain durations, speakers": (
        {"use_sdp": False, "speakers": 3, "speaker_channels": 12},
        {"use_sdp": False, "num_speakers": 3, "gin_channels": 12},
    ),
    "resblock 1": (
        {
            "resblock": "1",
            "kernels": (3, 7),
            "dilations": ((1, 3, 5), (1, 3)),
            "upsample_kernels": (8, 4),
        },
        {
            "resblock": "1",
            "resblock_kernel_sizes": (3, 7),
            "resblock_dilation_sizes": ((1, 3, 5), (1, 3)),
            "upsample_kernel_sizes": (8, 4),
            "upsample_rates": (4, 2),
            "hop_length": 8,
        },
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_graph_equals_the_torch_network(name: str) -> None:
    shape_changes, network_changes = NETWORKS[name]
    weights, config = create_voice(**shape_changes)
    network = VitsSynthesizer(
        NetworkConfig(
            inter_channels=16,
            hidden_channels=16,
            filter_channels=24,
            n_layers=2,
            upsample_initial_channel=32,
            **network_changes,
        )
    ).eval()
    state = {key: torch.from_numpy(value.copy()) for key, value in weights.items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.startswith(("enc_q.", "dp.post_")) for key in missing)
    ids = create_ids()
    speakers = np.array([2, 0]) if config.num_speakers > 1 else None
    expected = network.infer(
        torch.from_numpy(ids),
        torch.from_numpy(LENGTHS),
        None if speakers is None else torch.from_numpy(speakers),
        noise_scale=0.0,
        length_scale=LONG,
        noise_w_scale=0.0,
    )
    model = build_graph(weights, config)
    audio, durations = run(model, ids, LENGTHS, (0.0, LONG, 0.0), speakers)
    np.testing.assert_array_equal(durations[:, 0], expected.durations.numpy())
    np.testing.assert_allclose(audio[:, 0], expected.audio.numpy(), atol=1e-4)


@pytest.mark.parametrize("use_sdp", [True, False])
def test_an_utterance_sounds_the_same_alone_and_in_a_batch(use_sdp: bool) -> None:
    weights, config = create_voice(use_sdp=use_sdp)
    model = build_graph(weights, config)
    ids = create_ids()
    audio, durations = run(model, ids, LENGTHS)
    for i, length in enumerate(LENGTHS):
        alone, alone_durations = run(model, ids[i : i + 1, :length], LENGTHS[i : i + 1])
        np.testing.assert_array_equal(durations[i, :, :length], alone_durations[0])
        assert not durations[i, :, length:].any()
        # The decoder sees silence instead of an edge behind the shorter one, as in training.
        inner = alone.shape[-1] - 12 * config.hop_length
        np.testing.assert_allclose(audio[i, ..., :inner], alone[0, ..., :inner], atol=1e-5)


def test_noise_varies_the_audio_and_the_durations() -> None:
    ids = create_ids()
    session = create_session(build_graph(*create_voice()))

    def speak(noise: float, duration_noise: float) -> list[np.ndarray]:
        scales = np.array([noise, LONG, duration_noise], np.float32)
        feed = {"input": ids, "input_lengths": LENGTHS, "scales": scales}
        return list(session.run(None, feed))

    np.testing.assert_array_equal(speak(0.0, 0.0)[0], speak(0.0, 0.0)[0])
    first, second = speak(0.667, 0.0), speak(0.667, 0.0)
    np.testing.assert_array_equal(first[1], second[1])
    assert np.abs(first[0] - second[0]).max() > 1e-3
    assert not np.array_equal(speak(0.0, 1.0)[1], speak(0.0, 1.0)[1])


@pytest.mark.parametrize(
    ("ids", "lengths", "noise"),
    [
        # Noise of 3 leaves the splines' box; outside it they must pass on what comes.
        (create_ids(), LENGTHS, 3.0),
        # Shorter than the attention looks to each side.
        (np.array([[5]]), np.array([1]), 0.0),
    ],
)
def test_the_sound_stays_finite(ids: np.ndarray, lengths: np.ndarray, noise: float) -> None:
    audio, durations = run(build_graph(*create_voice()), ids, lengths, (1.0, 1.0, noise))
    assert np.isfinite(durations).all()
    assert np.isfinite(audio).all()


def test_no_duration_at_all_still_gives_a_frame() -> None:
    weights, config = create_voice()
    audio, durations = run(build_graph(weights, config), create_ids(), LENGTHS, (0.0, 0.0, 0.0))
    assert not durations.any()
    assert audio.shape == (2, 1, 1, config.hop_length)


def test_inputs_and_outputs_are_those_that_clients_know() -> None:
    model = build_graph(*create_voice(speakers=2, speaker_channels=8))
    assert [value.name for value in model.graph.input] == [
        "input",
        "input_lengths",
        "scales",
        "sid",
    ]
    assert [value.name for value in model.graph.output] == ["output", "durations"]
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 15)]
    ceilings = [node for node in model.graph.node if node.op_type == "Ceil"]
    assert [list(node.output) for node in ceilings] == [["durations"]]
    single = build_graph(*create_voice(), include_durations=False)
    assert [value.name for value in single.graph.input] == ["input", "input_lengths", "scales"]
    assert [value.name for value in single.graph.output] == ["output"]


def test_the_graph_is_clean() -> None:
    """Published graphs have 2,755 nodes, most of them shape arithmetic, and load slowly."""
    weights, config = create_voice(layers=6)
    model = build_graph(weights, config)
    assert len(model.graph.node) < 1100
    arithmetic = {"Shape", "Range", "Expand", "Unsqueeze", "Squeeze", "Concat"}
    # The mask gets its axis of height at each use, of which ONNX Runtime makes one.
    assert sum(node.op_type in arithmetic for node in model.graph.node) < 50
    used = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= used


def test_a_flow_of_odd_length_reverses_the_channels() -> None:
    """Coupling layers that add nothing leave only the reversals, whose parity must count."""
    weights, config = create_voice()
    for name in weights:
        if ".post." in name:
            weights[name] = np.zeros_like(weights[name])
    odd = {name: array for name, array in weights.items() if not name.startswith("flow.flows.6.")}
    odd["dec.conv_pre.weight"] = odd["dec.conv_pre.weight"][:, ::-1]
    expected = run(build_graph(weights, config), create_ids(), LENGTHS)[0]
    audio = run(build_graph(odd, config), create_ids(), LENGTHS)[0]
    np.testing.assert_allclose(audio, expected, atol=1e-6)


@pytest.mark.parametrize("use_sdp", [True, False])
def test_unfolding_gives_the_weights_back(use_sdp: bool) -> None:
    weights, config = create_voice(use_sdp=use_sdp, speakers=2, speaker_channels=8)
    once = unfold_weights(fold_weights(weights, config), config)
    for name, array in once.items():
        if name in weights:
            np.testing.assert_allclose(array, weights[name], rtol=1e-6, atol=1e-7, err_msg=name)
    plain = {name for name in weights if ".weight_" not in name}
    assert {name for name in plain - set(once) if not name.startswith("dp.flows.1.")} == set()


def test_the_configuration_is_read_from_the_shapes() -> None:
    _, config = create_voice(heads=4, resblock="1", kernels=(3, 5), dilations=((1, 3), (2, 4)))
    assert config == GraphConfig(
        n_heads=4,
        resblock="1",
        resblock_kernel_sizes=(3, 5),
        resblock_dilation_sizes=((1, 3), (2, 4)),
    )
    assert config.hop_length == 256
    assert GraphConfig.from_json(config.to_json()) == config


def test_what_only_training_needs_is_left_out() -> None:
    weights, config = create_voice()
    model = build_graph(weights, config)
    more = {"enc_q.pre.weight": 3, "dp.post_pre.weight": 3, "model_d.0.weight_v": 4}
    extra = {name: np.ones((2,) * axes, np.float32) for name, axes in more.items()}
    assert build_graph({**weights, **extra}, config) == model


@pytest.mark.parametrize("name", ["dec.resblocks.1.convs.0.bias", "dec.ups.0.weight_g"])
def test_a_missing_weight_is_named(name: str) -> None:
    weights, config = create_voice()
    del weights[name]
    with pytest.raises(ExportError, match=re.escape(name)):
        build_graph(weights, config)


@pytest.mark.parametrize(
    ("config", "name"),
    [(GraphConfig(n_heads=4), "n_heads=4"), (GraphConfig(upsample_rates=(8, 8)), "upsample_rates")],
)
def test_a_wrong_configuration_is_named(config: GraphConfig, name: str) -> None:
    with pytest.raises(ExportError, match=name):
        build_graph(create_voice()[0], config)
    with pytest.raises(ExportError, match="Piper"):
        GraphConfig.from_weights({"layer.weight": np.zeros((2, 2), np.float32)})
