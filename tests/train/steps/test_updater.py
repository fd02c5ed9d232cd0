"""Both networks step together or not at all; averages and seeds follow the updates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from piper.errors import TrainingError
from piper.train.checkpoints import load_checkpoint
from piper.train.steps.update import (
    MAX_SKIPPED_IN_A_ROW,
    FrozenPart,
    GanMixedPrecision,
    Updater,
    WeightAverages,
    create_optimizer,
    create_precision,
    seed_update,
)
from piper.voice.graph_config import is_spoken_with
from trainings import last_checkpoint, train

NAMES = ("discriminator", "generator")


class PlainStrategy:
    """Steps an optimizer as Lightning does without a scaler."""

    def optimizer_step(self, optimizer: Any, closure: Any, **kwargs: Any) -> Any:
        return optimizer.step()


def create_pair(
    warmup_updates: int = 0,
) -> tuple[list[nn.Parameter], list[LightningOptimizer], Updater]:
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(4))]
    optimizers = []
    for weight in weights:
        optimizer, _ = create_optimizer([weight], 0.1, (0.8, 0.99), 1e-9, 1.0)
        wrapped = LightningOptimizer(optimizer)
        wrapped._strategy = PlainStrategy()  # type: ignore[assignment]
        optimizers.append(wrapped)
    return weights, optimizers, Updater(warmup_updates)


def give_gradients(weights: list[nn.Parameter], value: float = 1.0) -> None:
    for weight in weights:
        weight.grad = torch.full_like(weight, value)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_stops_both_networks(bad: float) -> None:
    weights, optimizers, updater = create_pair()
    updater.clip_value = 1.0
    give_gradients(weights)
    updater.apply(optimizers, NAMES, 0)
    before = [weight.detach().clone() for weight in weights]
    states = [optimizer.optimizer.state_dict()["state"][0] for optimizer in optimizers]
    moments = [{key: value.clone() for key, value in state.items()} for state in states]
    give_gradients(weights)
    assert weights[1].grad is not None
    weights[1].grad[2] = bad
    figures = updater.apply(optimizers, NAMES, 1)
    assert float(figures["skipped_updates"]) == 1
    for weight, old in zip(weights, before, strict=True):
        assert torch.equal(weight, old)
    # Running means and the count of steps, too: nothing of the bad gradient stays.
    for optimizer, moment in zip(optimizers, moments, strict=True):
        state = optimizer.optimizer.state_dict()["state"][0]
        assert all(torch.equal(state[key], value) for key, value in moment.items())
    give_gradients(weights)
    updater.apply(optimizers, NAMES, 2)
    assert not torch.equal(weights[0], before[0])
    assert all(weight.isfinite().all() for weight in weights)


def test_many_skipped_updates_in_a_row_end_the_training() -> None:
    weights, optimizers, updater = create_pair()
    updater.check()
    for update in range(MAX_SKIPPED_IN_A_ROW):
        updater.check()
        give_gradients(weights, float("nan"))
        updater.apply(optimizers, NAMES, update)
    with pytest.raises(TrainingError, match=r"50 updates were skipped.*learning_rate"):
        updater.check()
    give_gradients(weights)
    updater.apply(optimizers, NAMES, 60)
    updater.check()


def test_one_scaler_serves_both_networks() -> None:
    """Lightning's plugin updates it after the first network: the second is unscaled by another."""
    weights, optimizers, updater = create_pair()
    plain_weights, plain_optimizers, plain = create_pair()
    # Grows after each update, so that a second one in between would be noticed.
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1)
    for update in range(3):
        scale = float(scaler.scale(torch.ones(())))
        give_gradients(weights, scale)
        figures = updater.apply(optimizers, NAMES, update, scaler)
        give_gradients(plain_weights)
        expected = plain.apply(plain_optimizers, NAMES, update)
        assert {k: float(v) for k, v in figures.items()} == pytest.approx(
            {k: float(v) for k, v in expected.items()}
        )
    for weight, other in zip(weights, plain_weights, strict=True):
        torch.testing.assert_close(weight, other)
    before = scaler.get_scale()
    give_gradients(weights, float("inf"))
    updater.apply(optimizers, NAMES, 3, scaler)
    assert scaler.get_scale() == before / 2


def test_the_scaler_is_ours_on_a_gpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert create_precision("16-mixed", "cpu") is None
    assert create_precision("bf16-mixed", "auto") is None
    plugin = GanMixedPrecision("cpu")
    state = plugin.state_dict()
    assert state["scale"] == 65536.0
    assert plugin.pre_backward(torch.ones(()), None) == 1.0


def test_rates_warm_up_and_the_schedule_does_not_notice() -> None:
    weights, optimizers, updater = create_pair(warmup_updates=4)
    seen: list[float] = []
    strategy = optimizers[0]._strategy
    monkey = strategy.optimizer_step

    def record(optimizer: Any, closure: Any, **kwargs: Any) -> Any:
        seen.append(optimizer.param_groups[0]["lr"])
        return monkey(optimizer, closure)

    strategy.optimizer_step = record  # type: ignore[method-assign]
    for update in range(6):
        give_gradients(weights)
        updater.apply(optimizers, NAMES, update)
    assert seen == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])
    assert optimizers[0].param_groups[0]["lr"] == 0.1


def test_averages_follow_the_weights() -> None:
    torch.manual_seed(0)
    network = nn.Linear(2, 2)
    averages = WeightAverages(network, decay=0.9)
    expected = network.weight.detach().clone()
    for update in range(200):
        with torch.no_grad():
            network.weight.add_(1.0)
        averages.update()
        decay = min(0.9, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * network.weight.detach()
    trained = network.weight.detach().clone()
    with averages.applied():
        torch.testing.assert_close(network.weight.detach(), expected)
    assert torch.equal(network.weight.detach(), trained)
    other = WeightAverages(nn.Linear(2, 2), decay=0.9)
    other.load_state_dict(averages.state_dict())
    assert other.updates == 200
    torch.testing.assert_close(other.state_dict()["weights"]["weight"], expected)


def test_an_error_inside_the_block_gives_the_weights_back() -> None:
    network = nn.Linear(2, 2)
    averages = WeightAverages(network, decay=0.9)
    with torch.no_grad():
        network.weight.add_(1.0)
    trained = network.weight.detach().clone()
    with pytest.raises(KeyError), averages.applied():
        raise KeyError
    assert torch.equal(network.weight.detach(), trained)


def test_each_update_of_each_process_has_numbers_of_its_own() -> None:
    def numbers(*key: int) -> tuple[float, ...]:
        seed_update(*key)
        return tuple(torch.rand(4).tolist())

    keys = [(seed, rank, update) for seed in (1, 2) for rank in (0, 1) for update in (0, 1, 2)]
    assert len({numbers(*key) for key in keys}) == len(keys)
    assert numbers(1, 1, 2) == numbers(1, 1, 2)


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    flags = ("--trainer.max_epochs=2", "--model.ema_decay=0.5", "--model.learning_rate=1e-2")
    assert train(dataset, root, "--data.batch_size=5", *flags) == 0
    return last_checkpoint(root)


def test_a_checkpoint_has_trained_weights_and_averages_apart(trained: Path) -> None:
    checkpoint = load_checkpoint(trained)
    averages = checkpoint["averages"]
    assert averages["updates"] == checkpoint["global_step"] // 2
    assert averages["decay"] == 0.5
    weights: dict[str, Tensor] = checkpoint["state_dict"]
    generator = {name.removeprefix("model_g.") for name in weights if name.startswith("model_g.")}
    assert set(averages["weights"]) == generator
    assert not any("average" in name for name in weights)
    name = "dec.conv_pre.weight"
    assert not torch.equal(averages["weights"][name], weights[f"model_g.{name}"])


def test_export_takes_the_averages_unless_asked_not_to(trained: Path, tmp_path: Path) -> None:
    from piper.train.export_onnx import main as export
    from piper.voice.weights import load_voice_weights

    checkpoint = load_checkpoint(trained)
    name = "dec.conv_pre.weight"
    sources = {
        (): checkpoint["averages"]["weights"][name],
        ("--trained-weights",): checkpoint["state_dict"][f"model_g.{name}"],
    }
    for flags, expected in sources.items():
        path = tmp_path / f"voice{len(flags)}.onnx"
        assert export(["--checkpoint", str(trained), "--output-file", str(path), *flags]) == 0
        weights, _ = load_voice_weights(path)
        torch.testing.assert_close(torch.tensor(weights[name]), expected)


def test_averages_go_on_where_a_training_is_resumed(
    trained: Path, dataset: Path, tmp_path: Path
) -> None:
    flags = ("--data.batch_size=5", "--trainer.max_epochs=3", f"--ckpt_path={trained}")
    assert train(dataset, tmp_path, *flags, "--model.ema_decay=0.5") == 0
    last = load_checkpoint(last_checkpoint(tmp_path))
    assert last["averages"]["updates"] == last["global_step"] // 2
    # Without averages the key is not there, and the weights are validated.
    assert train(dataset, tmp_path, *flags, "--model.ema_decay=0") == 0
    assert "averages" not in load_checkpoint(last_checkpoint(tmp_path, 1))


FLAGS = ("--data.batch_size=5", "--validation_quality=off", "--trainer.limit_val_batches=0")


def test_gradients_go_through_what_is_held() -> None:
    before, held = nn.Linear(3, 3), nn.Linear(3, 1)
    frozen = FrozenPart(held.parameters(), "decoder", 2)
    held_on, learns_now = "The decoder is held until update 2.", "The decoder learns from now on."
    changes = {0: held_on, 2: learns_now}
    for update, learns in ((0, False), (1, False), (2, True), (3, True)):
        assert frozen.apply(update) == changes.get(update)
        held(before(torch.ones(2, 3))).sum().backward()
        assert (held.weight.grad is not None) == learns
        assert before.weight.grad is not None and before.weight.grad.abs().sum() > 0


def train_held(dataset: Path, root: Path, updates: int, *flags: str) -> dict[str, Any]:
    assert train(dataset, root, *FLAGS, f"--trainer.max_steps={updates}", *flags) == 0
    return load_checkpoint(last_checkpoint(root))


def find_changed(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    """Return the parts of the generator whose weights differ in two checkpoints."""
    weights: list[dict[str, Tensor]] = [one["state_dict"], other["state_dict"]]
    names = [name for name in weights[0] if name.startswith("model_g.")]
    return {name.split(".")[1] for name in names if not torch.equal(*(w[name] for w in weights))}


def test_a_held_decoder_is_held_on_when_training_goes_on_and_learns_later(
    dataset: Path, tmp_path: Path
) -> None:
    """What discriminators that know nothing yet say is of no use to a decoder that speaks."""
    train_held(dataset, tmp_path / "source", 1)
    source = f"--model.warmstart={last_checkpoint(tmp_path / 'source')}"
    flags = (source, "--model.hold_decoder=2", "--ckpt_path=last", "--model.ema_decay=0")
    root = tmp_path / "held"
    one = train_held(dataset, root, 1, *flags)
    two = train_held(dataset, root, 2, *flags)
    assert find_changed(one, two) == {"dp", "enc_p", "enc_q", "flow"}
    three = train_held(dataset, root, 3, *flags)
    assert "dec" in find_changed(two, three)


def test_of_a_held_voice_only_what_it_is_not_spoken_with_learns(
    dataset: Path, tiny_voice: Path, tmp_path: Path
) -> None:
    """An .onnx has none of that; made once, from the voice's own speech, it is a better start."""
    flags = (f"--model.warmstart={tiny_voice}", "--model.hold_voice=9", "--model.hold_decoder=1")
    flags += ("--ckpt_path=last", "--model.quality=tiny")
    one = train_held(dataset, tmp_path, 1, *flags)
    two = train_held(dataset, tmp_path, 2, *flags)
    assert find_changed(one, two) == {"dp", "enc_q"}
    weights: list[dict[str, Tensor]] = [one["state_dict"], two["state_dict"]]
    for name in weights[0]:
        is_held = name.startswith("model_g.") and is_spoken_with(name.removeprefix("model_g."))
        assert torch.equal(*(w[name] for w in weights)) == is_held, name


def test_a_decoder_that_knows_nothing_is_not_held(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flag in ("--model.hold_decoder=2", "--model.hold_voice=2"):
        assert train(dataset, tmp_path, *FLAGS, flag) != 0
        assert "give the voice to start from with --model.warmstart" in capsys.readouterr().err
