"""One update: what its gradients are, and that every parameter of it is read.

Each test here failed with the line that it is about taken out of the code.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as multiprocessing
from lightning.pytorch import LightningModule

import trainings
from piper.errors import ExportError
from piper.train import cli, export, families
from piper.train.checkpoints import load_checkpoint
from piper.train.distributed import GanDDPStrategy, sum_gradients

FLAGS = ("--data.batch_size=5", "--model.p_dropout=0.0", "--trainer.limit_val_batches=0")


@pytest.fixture
def gradients(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """The gradients of both networks as each optimizer is about to step, clipping done."""
    seen: list[dict[str, torch.Tensor]] = []
    original = cli.VitsModel.on_before_optimizer_step

    def recording(self: Any, optimizer: Any) -> None:
        original(self, optimizer)
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        seen.append(
            {
                n: p.grad.clone()
                for n, p in self.named_parameters()
                if id(p) in own and p.grad is not None
            }
        )

    monkeypatch.setattr(cli.VitsModel, "on_before_optimizer_step", recording)
    return seen


def train(dataset: Path, root: Path, *flags: str) -> None:
    assert trainings.train(dataset, root, *FLAGS, *flags) == 0


def test_accumulated_gradients_are_those_of_the_large_batch(
    dataset: Path, tmp_path: Path, gradients: list[dict[str, torch.Tensor]]
) -> None:
    """The same utterances and noise at once and in three parts, from the flags to the update."""
    train(dataset, tmp_path / "whole", "--data.batch_size=15", "--trainer.max_epochs=1")
    whole = list(gradients)
    gradients.clear()
    flags = ("--trainer.accumulate_grad_batches=3", "--trainer.max_epochs=1")
    train(dataset, tmp_path / "parts", *flags)
    assert (len(whole), len(gradients)) == (2, 2)
    for network in (0, 1):  # the discriminators step first
        for name, expected in whole[network].items():
            if ".dp." in name:
                continue  # has dropout, whose masks depend on the parts
            difference = (gradients[network][name] - expected).norm()
            assert float(difference) <= 1e-4 * max(float(expected.norm()), 1e-3), name


def test_gradients_are_clipped_to_the_norm_asked_for(
    dataset: Path, tmp_path: Path, gradients: list[dict[str, torch.Tensor]]
) -> None:
    train(dataset, tmp_path, "--trainer.max_steps=1", "--trainer.gradient_clip_val=0.01")
    for network in gradients:
        norm = torch.stack([gradient.norm() for gradient in network.values()]).norm()
        assert float(norm) == pytest.approx(0.01, rel=0.01)


def test_every_parameter_of_an_update_is_read() -> None:
    model = cli.VitsModel(
        quality="tiny",
        discriminator_channels=16,
        learning_rate=0.1,
        learning_rate_d=0.2,
        betas=(0.3, 0.4),
        betas_d=(0.5, 0.6),
        eps=0.7,
        lr_decay=0.8,
        lr_decay_d=0.9,
        c_mel=10.0,
        c_kl=11.0,
    )
    (generator, discriminator), (schedule, schedule_d) = model.configure_optimizers()
    for optimizer, rate, betas in ((generator, 0.1, (0.3, 0.4)), (discriminator, 0.2, (0.5, 0.6))):
        group = optimizer.param_groups[0]
        assert (group["lr"], group["betas"], group["eps"]) == (rate, betas, 0.7)
    assert (schedule.gamma, schedule_d.gamma) == (0.8, 0.9)
    weights = {"mel": 10.0, "kl": 11.0, "duration": 1.0, "adversarial": 1.0, "feature": 1.0}
    assert model.gan.loss_weights == weights
    named = {name: torch.tensor(2.0) for name in weights}
    assert float(model.gan.total(named)) == 2 * (10 + 11 + 3)


def test_two_processes_stop_after_the_same_update_with_the_same_weights(
    dataset: Path, tmp_path: Path
) -> None:
    """Each sees other batches, so only summed gradients keep them equal; one gets the signal."""
    command = trainings.fit_command(
        dataset,
        tmp_path,
        *("--trainer.max_epochs=500", "--trainer.devices=2", "--model.learning_rate=1e-2"),
        "--trainer.callbacks=rank_weights.SaveRankWeights",
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        trainings.wait_for(trainings.last_checkpoint(tmp_path), process)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "Traceback" not in said
    assert load_checkpoint(trainings.last_checkpoint(tmp_path))["global_step"] > 0
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def _begin_one_of_two(rank: int, store: str, results: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2
    )
    module = LightningModule()
    module.weight = torch.nn.Parameter(torch.full((3,), float(rank + 1)))
    strategy = GanDDPStrategy()
    strategy.model = module
    strategy.configure_ddp()

    parameters = [module.weight, torch.nn.Parameter(torch.zeros(2, 2))]
    parameters[0].grad = torch.full((3,), float(rank))
    if rank == 1:
        parameters[1].grad = torch.ones(2, 2)
    sum_gradients(parameters)
    gradients = [parameter.grad for parameter in parameters]
    torch.save([module.weight.detach(), *gradients], f"{results}.{rank}")
    torch.distributed.destroy_process_group()


def test_processes_start_from_the_first_s_weights_and_sum_gradients(tmp_path: Path) -> None:
    results = str(tmp_path / "results")
    arguments = (str(tmp_path / "store"), results)
    # Forked, which takes a tenth of the time: nothing here goes backward.
    multiprocessing.start_processes(_begin_one_of_two, arguments, nprocs=2, start_method="fork")
    for rank in range(2):
        weight, first, second = torch.load(f"{results}.{rank}")
        assert weight.tolist() == [1.0] * 3
        assert torch.equal(first, torch.full((3,), 1.0))
        # The first process had no gradient for it, which counts as zero.
        assert torch.equal(second, torch.ones(2, 2))


def test_a_voice_that_differs_from_its_network_is_not_written(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(dataset, tmp_path, "--trainer.max_steps=1")
    original = families.build_graph

    def build_wrong(weights: dict[str, Any], config: Any) -> Any:
        last = "dec.conv_post.weight"
        return original({**weights, last: weights[last] + 1.0}, config)

    monkeypatch.setattr(families, "build_graph", build_wrong)
    saved = tmp_path / "lightning_logs/version_0/checkpoints/last.ckpt"
    with pytest.raises(ExportError, match=r"differ by .* so .*voice\.onnx was not written"):
        export.export_voice(saved, tmp_path / "out" / "voice.onnx")
    assert list((tmp_path / "out").iterdir()) == []
