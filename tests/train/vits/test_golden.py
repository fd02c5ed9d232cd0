"""The network equals the golden results of a tiny network whose weights follow from their names."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from piper.train.vits.align import find_alignment
from piper.train.vits.config import NetworkConfig
from piper.train.vits.discriminators import Discriminator
from piper.train.vits.layers import lengths_to_mask
from piper.train.vits.mel import spectrogram, spectrogram_to_mel
from piper.train.vits.network import VitsSynthesizer

GOLDEN_PATH = Path(__file__).parents[2] / "data" / "tiny_single.npz"
TOLERANCE = 1e-4


def fill_by_name(network: nn.Module, prefix: str) -> None:
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            full_name = f"{prefix}.{name}"
            shape = tuple(parameter.shape)
            random = np.random.RandomState(zlib.crc32(full_name.encode()))
            values = random.standard_normal(shape)
            if full_name.endswith(("weight_g", "gamma")):
                values = 1 + 0.1 * values
            elif full_name.endswith(("bias", "beta", ".m", ".logs")):
                values = 0.1 * values
            else:
                values = values / math.sqrt(max(1, math.prod(shape[1:])))
            parameter.copy_(torch.from_numpy(values.astype(np.float32)))


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN_PATH) as data:
        return dict(data)


@pytest.fixture(scope="module")
def config(golden: dict[str, np.ndarray]) -> NetworkConfig:
    return NetworkConfig(**json.loads(str(golden["hparams"])))


@pytest.fixture(scope="module")
def model_g(config: NetworkConfig) -> VitsSynthesizer:
    network = VitsSynthesizer(config).eval()
    fill_by_name(network, "model_g")
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def results(
    golden: dict[str, np.ndarray], config: NetworkConfig, model_g: VitsSynthesizer
) -> dict[str, torch.Tensor]:
    """All that is computed from the second of audio, from all of its frames."""
    wav = torch.from_numpy(golden["wav"]).unsqueeze(0)
    spec = spectrogram(wav, config.filter_length, config.hop_length, config.win_length)
    frame_mask = torch.ones(1, 1, spec.shape[2])
    m, logs = model_g.enc_q(spec, frame_mask)
    forward = model_g.flow(m, frame_mask)
    model_d = Discriminator().eval().requires_grad_(False)
    fill_by_name(model_d, "model_d")
    decoded = model_g.dec(m[:, :, :16])
    return {
        "spec": spec[0, :, :20],
        "mel": spectrogram_to_mel(spec, config)[0, :, :20],
        "post_m": m[0, :, :20],
        "post_logs": logs[0, :, :20],
        "flow_forward_of_post_m": forward[0, :, :20],
        "flow_roundtrip_err": (model_g.flow.inverse(forward, frame_mask) - m).abs().max(),
        "dec_of_post_m_16": decoded[0, 0],
        "disc_real": judge(model_d, wav[:, None, :4096]),
        "disc_fake": judge(model_d, decoded),
    }


def judge(model_d: Discriminator, audio: torch.Tensor) -> torch.Tensor:
    return torch.cat([features[-1].flatten() for features in model_d(audio)])


def assert_close(actual: torch.Tensor, wanted: np.ndarray) -> None:
    assert tuple(actual.shape) == wanted.shape
    assert np.abs(actual.numpy() - wanted).max() < TOLERANCE


@pytest.mark.parametrize(
    "entry",
    [
        "spec",
        "mel",
        "post_m",
        "post_logs",
        "flow_forward_of_post_m",
        "flow_roundtrip_err",
        "dec_of_post_m_16",
        "disc_real",
        "disc_fake",
    ],
)
def test_entry_from_audio(
    entry: str, golden: dict[str, np.ndarray], results: dict[str, torch.Tensor]
) -> None:
    assert_close(results[entry], golden[entry])


def test_prior_of_text(golden: dict[str, np.ndarray], model_g: VitsSynthesizer) -> None:
    ids, lengths = torch.from_numpy(golden["ids"]), torch.from_numpy(golden["lengths"])
    _, m, logs = model_g.enc_p(ids, lengths_to_mask(lengths, ids.shape[1]))
    assert_close(m, golden["text_m"])
    assert_close(logs, golden["text_logs"])


def test_speaking(golden: dict[str, np.ndarray], model_g: VitsSynthesizer) -> None:
    ids, lengths = torch.from_numpy(golden["ids"]), torch.from_numpy(golden["lengths"])
    output = model_g.infer(ids[:1], lengths[:1], noise_scale=0.0, noise_w_scale=0.0)
    assert_close(output.durations[0], golden["infer_durations"])
    assert_close(output.audio[0, 0], golden["infer_audio"])
    assert torch.equal(output.alignment.sum((1, 2)), output.durations)


def test_alignment_search(golden: dict[str, np.ndarray]) -> None:
    mask = torch.from_numpy(golden["mas_mask"])
    value = torch.from_numpy(golden["mas_value"])
    frame_lengths = mask[:, :, 0].sum(1).long()
    id_lengths = mask[:, 0, :].sum(1).long()
    path = find_alignment(value, frame_lengths, id_lengths)
    assert torch.equal(path, torch.from_numpy(golden["mas_path"]))
