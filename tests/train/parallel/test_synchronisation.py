"""An update copies nothing between host and device: a GPU would stand still while it waited.

The gradients are taken on torch's meta device, which has no numbers: whatever would read one
(`item`, `nonzero`, an if, a mask as index) fails by itself. What is made on the host is recorded.
Whole updates run on the CPU, where what reads a number is recorded.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from piper.train import cli
from piper.train.data.batches import Batch
from piper.train.presets import create_network_config
from piper.train.steps import gan
from piper.train.steps.gan import GanStep
from piper.train.vits.discriminators import Discriminator, MultiResolutionDiscriminator
from piper.train.vits.network import VitsSynthesizer

READS = ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "masked_select", "_unique2")


class HostWork(TorchDispatchMode):
    """Records what reads a number, and what works on tensors of the host.

    Args:
        has_device: Whether tensors of the host are out of place.
    """

    def __init__(self, *, has_device: bool = True) -> None:
        super().__init__()
        self.has_device = has_device
        self.found: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
        # A scalar of the host that meets a tensor of the device is passed to the kernel by value.
        is_on_host = self.has_device and any(x.is_cpu and x.dim() for x in tensors)
        name = function.overloadpacket.__name__
        if name in READS or is_on_host:
            files = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_stack()]
            ours = [file for file in files if "/piper/" in file]
            self.found.append(f"{function} in {(ours or files)[-1]}")
        return result


def create_step(device: str, *, use_sdp: bool, num_speakers: int) -> GanStep:
    config = create_network_config("tiny", use_sdp=use_sdp, num_speakers=num_speakers)
    with torch.device(device):
        networks: list[nn.Module] = [
            Discriminator(config.discriminator_channels),
            MultiResolutionDiscriminator.for_network(config),
        ]
        judges = [judge for network in networks for judge in network.discriminators]
        return GanStep(VitsSynthesizer(config), judges, config, gan.USUAL_WEIGHTS)


def create_batch(step: GanStep, device: str) -> Batch:
    config, size, phonemes, frames = step.config, 3, 11, 40
    is_single = config.num_speakers == 1
    with torch.device(device):
        return Batch(
            ids=torch.zeros(size, phonemes, dtype=torch.long),
            id_lengths=torch.full((size,), phonemes),
            spectrograms=torch.zeros(size, config.spec_channels, frames),
            spectrogram_lengths=torch.full((size,), frames),
            audio=torch.zeros(size, 1, frames * config.hop_length),
            audio_lengths=torch.full((size,), frames * config.hop_length),
            speaker_ids=None if is_single else torch.zeros(size, dtype=torch.long),
            segment_frames=config.segment_frames,
            sizes=size * ((phonemes, frames),),
        )


@pytest.mark.parametrize(("use_sdp", "num_speakers"), [(True, 1), (False, 3)])
def test_gradients_of_both_networks_need_no_host(use_sdp: bool, num_speakers: int) -> None:
    step = create_step("meta", use_sdp=use_sdp, num_speakers=num_speakers)
    batch = create_batch(step, "meta")
    step.backward(batch)  # makes what is made once: the mel filters, on the host
    with HostWork() as work:
        losses = step.backward(batch)
    assert work.found == []
    assert all(loss.is_meta for loss in losses.values())
    weights = [p for module in (step.generator, *step.discriminators) for p in module.parameters()]
    assert all(weight.grad is not None for weight in weights)


def test_updates_read_nothing_but_what_is_logged(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[list[str]] = []
    original = cli.VitsModel.training_step

    def recording(self: Any, batch: Any, batch_index: int) -> None:
        with HostWork(has_device=False) as work:
            original(self, batch, batch_index)
        found.append(work.found)

    monkeypatch.setattr(cli.VitsModel, "training_step", recording)
    small = ("hidden_channels", "inter_channels", "filter_channels", "discriminator_channels")
    arguments = [
        *("fit", "--model.quality=tiny", "--model.n_layers=1", "--model.use_mrd=true"),
        *(f"--model.{name}=16" for name in small),
        *("--data.batch_size=4", "--data.num_workers=0", "--data.num_test_examples=0"),
        *("--trainer.accelerator=cpu", "--trainer.max_steps=2", "--trainer.logger=false"),
        *("--trainer.enable_checkpointing=false", "--trainer.limit_val_batches=0"),
        *("--trainer.gradient_clip_val=100", "--trainer.log_every_n_steps=1000"),
        f"--data.dataset_dir={dataset}",
        f"--trainer.default_root_dir={tmp_path}",
    ]
    assert cli.main(arguments) == 0
    assert found == [[], []]


def test_reading_a_number_would_be_seen() -> None:
    loss = torch.ones(3)
    with HostWork() as work:
        loss.sum().item()
    assert any("_local_scalar_dense" in found for found in work.found)
    with pytest.raises(RuntimeError, match="meta"):
        loss.to("meta").sum().item()
