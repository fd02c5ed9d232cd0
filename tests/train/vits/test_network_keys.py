"""Names, shapes and order of parameters are those of Piper's checkpoints.

Order counts too: optimizer states number the parameters.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from piper.train.vits.config import NetworkConfig
from piper.train.vits.discriminators import Discriminator
from piper.train.vits.network import VitsSynthesizer

FOLDER = Path(__file__).parents[2] / "data" / "state_dict"


@pytest.mark.parametrize("preset", ["medium", "x_low", "high", "medium_multi_speaker_4"])
def test_parameters_equal_checkpoint(preset: str) -> None:
    wanted = json.loads((FOLDER / f"{preset}.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        model_g = VitsSynthesizer(NetworkConfig(**wanted["hparams"]))
        model_d = Discriminator()
    actual = {f"model_g.{name}": list(x.shape) for name, x in model_g.state_dict().items()}
    actual |= {f"model_d.{name}": list(x.shape) for name, x in model_d.state_dict().items()}
    assert actual == wanted["parameters"]
    assert list(actual) == list(wanted["parameters"])


def test_plain_duration_predictor_has_the_names_of_vits() -> None:
    with torch.device("meta"):
        model_g = VitsSynthesizer(NetworkConfig(use_sdp=False))
    names = {name for name in model_g.state_dict() if name.startswith("dp.")}
    layers = ("conv_1.weight", "conv_1.bias", "norm_1.gamma", "norm_1.beta")
    layers += ("conv_2.weight", "conv_2.bias", "norm_2.gamma", "norm_2.beta")
    assert names == {f"dp.{layer}" for layer in (*layers, "proj.weight", "proj.bias")}
