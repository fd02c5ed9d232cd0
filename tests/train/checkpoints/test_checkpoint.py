"""Checkpoints of any age: what loads, what is refused, what never runs."""

from __future__ import annotations

import contextlib
import pathlib
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from piper.errors import CheckpointError, PiperError
from piper.train import checkpoints
from piper.train.cli import SafeCheckpointIO
from piper.train.export import load_network
from piper.train.lightning import VitsModel
from piper.train.steps.update import WeightAverages
from piper.train.warm_start import warm_start

SMALL: dict[str, Any] = {"quality": "tiny", "discriminator_channels": 16, "n_layers": 1}
NARROW: dict[str, Any] = {**SMALL, "hidden_channels": 4, "inter_channels": 4, "num_symbols": 20}
NARROW |= {"filter_channels": 4, "upsample_initial_channel": 8, "discriminator_channels": 4}


def make_checkpoint(model: VitsModel) -> dict[str, Any]:
    """Return what Lightning would write, with optimizers that have taken a step."""
    optimizers, schedules = model.configure_optimizers()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    for optimizer in optimizers:
        optimizer.step()
    return {
        "epoch": 749,
        "global_step": 355500,
        "state_dict": dict(model.state_dict()),
        "hyper_parameters": dict(model.hparams),
        "optimizer_states": [optimizer.state_dict() for optimizer in optimizers],
        "lr_schedulers": [schedule.state_dict() for schedule in schedules],
    }


def load_optimizers(model: VitsModel, data: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Let a model's optimizers and schedules go on from a checkpoint, as Lightning does."""
    optimizers, schedules = model.configure_optimizers()
    for optimizer, state in zip(optimizers, data["optimizer_states"], strict=True):
        optimizer.load_state_dict(state)
    for schedule, state in zip(schedules, data["lr_schedulers"], strict=True):
        schedule.load_state_dict(state)
    return optimizers, schedules


@pytest.fixture(scope="module")
def model() -> VitsModel:
    torch.manual_seed(0)
    return VitsModel(**SMALL)


def test_old_files_with_pickled_paths_load(model: VitsModel, tmp_path: Path) -> None:
    """Old trainers pickled `dataset` lists of paths and unknown keys; those files must load."""
    data = make_checkpoint(model)
    data["hyper_parameters"] |= {
        "dataset": [pathlib.PosixPath("/data/voice/dataset.jsonl")],
        "sample_bytes": 2,
        "channels": 1,
        "quality": "medium",
    }
    torch.save(data, tmp_path / "old.ckpt")
    loaded = checkpoints.load_checkpoint(tmp_path / "old.ckpt")
    assert str(loaded["hyper_parameters"]["dataset"][0]) == "/data/voice/dataset.jsonl"
    config = checkpoints.network_config_from_checkpoint(loaded)
    assert config == model.network_config


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("pathlib._local", "PosixPath"),
        ("pathlib", "WindowsPath"),
        ("pathlib._local", "WindowsPath"),
    ],
)
def test_paths_of_other_pythons_and_systems_load(
    module: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Foreign:
        def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
            return stand_in, ("data", "voice")

    def stand_in(*parts: str) -> str:
        return "/".join(parts)

    stand_in.__module__, stand_in.__qualname__ = module, name
    fake = types.ModuleType(module)
    setattr(fake, name, stand_in)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, module, fake)
        torch.save({"state_dict": {}, "hyper_parameters": {"dir": Foreign()}}, tmp_path / "f.ckpt")
    loaded = checkpoints.load_checkpoint(tmp_path / "f.ckpt")
    parts = loaded["hyper_parameters"]["dir"].parts
    assert parts == ("data", "voice")


def test_nothing_that_is_pickled_runs(tmp_path: Path) -> None:
    """A checkpoint from elsewhere must not be able to run code."""
    marker = tmp_path / "ran"

    class Attack:
        def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
            return exec, (f"open({str(marker)!r}, 'w').close()",)

    data = {"state_dict": {}, "hyper_parameters": {"n_layers": 6, "evil": Attack()}}
    torch.save(data, tmp_path / "evil.ckpt")
    loaded = checkpoints.load_checkpoint(tmp_path / "evil.ckpt")
    assert not marker.exists()
    assert loaded["hyper_parameters"] == {"n_layers": 6}
    # That it would have run otherwise: the same file through plain pickle.
    torch.load(tmp_path / "evil.ckpt", weights_only=False)
    assert marker.exists()


def test_another_pickle_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "broken.ckpt"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match=r"broken\.ckpt"):
        checkpoints.load_checkpoint(path)


def test_a_file_without_discriminator_keeps_the_network_s_own(model: VitsModel) -> None:
    data = make_checkpoint(model)
    for name in [name for name in data["state_dict"] if name.startswith("model_d.")]:
        del data["state_dict"][name]
    data["optimizer_states"] = data["optimizer_states"][:1]
    data["lr_schedulers"] = data["lr_schedulers"][:1]
    fresh = VitsModel(**SMALL)
    fresh.adapt_checkpoint(data, None)
    fresh.load_state_dict(data["state_dict"])
    optimizers, _ = load_optimizers(fresh, data)
    assert len(optimizers[0].state_dict()["state"]) == len(list(fresh.model_g.parameters()))
    assert optimizers[1].state_dict()["state"] == {}


def test_a_schedule_of_tensors_starts_anew(
    model: VitsModel, caplog: pytest.LogCaptureFixture
) -> None:
    """A schedule takes all that it is given for attributes, and torch writes no tensors there."""
    data = make_checkpoint(model)
    data["lr_schedulers"][0]["_is_initial"] = torch.ones(2, 3)
    checkpoints.check_to_resume(data, "odd.ckpt")
    assert "odd.ckpt: its lr_schedulers make no sense, so they start anew." in caplog.text
    VitsModel(**SMALL).adapt_checkpoint(data, None)
    assert all("_last_lr" in state for state in data["lr_schedulers"])


def test_discriminators_of_spectrograms_come_and_go(
    model: VitsModel, caplog: pytest.LogCaptureFixture
) -> None:
    """A training goes on with and without them, and says what was left out or starts anew."""
    with_mrd = VitsModel(**SMALL, use_mrd=True)
    data = make_checkpoint(with_mrd)
    own = len(list(with_mrd.model_d.parameters()))
    both = len(with_mrd.discriminator_parameters())
    assert len(data["optimizer_states"][1]["state"]) == both == own + 54
    assert data["hyper_parameters"]["use_mrd"] is True

    without = VitsModel(**SMALL)
    without.adapt_checkpoint(data, None)
    without.load_state_dict(data["state_dict"])
    assert sorted(data["optimizer_states"][1]["state"]) == list(range(own))
    assert "54 unknown here, so left out (model_mrd.discriminators)" in caplog.text
    assert "--model.use_mrd=true would go on with model_mrd." in caplog.text
    caplog.clear()

    data = make_checkpoint(without)
    again = VitsModel(**SMALL, use_mrd=True)
    again.adapt_checkpoint(data, None)
    again.load_state_dict(data["state_dict"])
    assert "54 missing in the file, so started anew (model_mrd.discriminators)" in caplog.text
    optimizers, _ = load_optimizers(again, data)
    for parameter in again.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizers[1].step()
    states = optimizers[1].state_dict()["state"]
    # The old ones go on from their second step, the new ones take their first.
    assert [int(states[i]["step"]) for i in (0, own - 1, own, both - 1)] == [2, 2, 1, 1]


def test_discriminators_of_spectrograms_cost_a_voice_nothing(tmp_path: Path) -> None:
    from piper.config import VoiceConfig
    from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
    from piper.train.export import export_voice

    voice = VoiceConfig(
        num_symbols=256,
        num_speakers=1,
        sample_rate=22050,
        espeak_voice="ru",
        phoneme_id_map=DEFAULT_PHONEME_ID_MAP,
    )
    sizes = []
    for use_mrd in (False, True):
        torch.manual_seed(0)
        data = make_checkpoint(VitsModel(**SMALL, use_mrd=use_mrd))
        path = tmp_path / f"{use_mrd}.ckpt"
        torch.save({**data, "voice_config": voice.to_dict()}, path)
        sizes.append(export_voice(path, tmp_path / "voice.onnx").model_path.stat().st_size)
    assert sizes[0] == sizes[1]
    # The days of training that a slip of the keyboard once cost.
    before = path.read_bytes()
    for output in (path, tmp_path / "false.ckpt" / ".." / "True.ckpt"):
        with pytest.raises(PiperError, match=r"True.ckpt is read by this run \(--checkpoint\)"):
            export_voice(path, output)
    assert path.read_bytes() == before
    config = tmp_path / "voice.onnx.json"
    with pytest.raises(PiperError, match=r"voice.onnx.json is read by this run \(--config\)"):
        export_voice(path, tmp_path / "voice.onnx", config)


def test_a_link_among_checkpoints_is_a_name_and_one_elsewhere_a_place(tmp_path: Path) -> None:
    (tmp_path / "epoch=9.ckpt").write_bytes(b"kept")
    (tmp_path / "last.ckpt").symlink_to("epoch=9.ckpt")
    (tmp_path / "best.ckpt").symlink_to(tmp_path / "disk" / "best.ckpt")
    for name in ("last.ckpt", "best.ckpt"):
        SafeCheckpointIO().save_checkpoint({"state_dict": {}}, tmp_path / name)
    assert (tmp_path / "epoch=9.ckpt").read_bytes() == b"kept"
    assert not (tmp_path / "last.ckpt").is_symlink() and (tmp_path / "best.ckpt").is_symlink()
    assert (tmp_path / "disk" / "best.ckpt").stat().st_size > 100


def test_optimizer_states_follow_the_names_not_the_order(model: VitsModel) -> None:
    """Positions in an optimizer follow the file's own order, which need not be ours."""
    data = make_checkpoint(model)
    names = [name for name in data["state_dict"] if name.startswith("model_g.")]
    states = data["optimizer_states"][0]["state"]
    for position in states:
        states[position]["exp_avg"] = torch.full_like(states[position]["exp_avg"], position)
    reversed_names = names[::-1]
    data["state_dict"] = {
        **{name: data["state_dict"][name] for name in reversed_names},
        **{k: v for k, v in data["state_dict"].items() if not k.startswith("model_g.")},
    }
    count = len(names)
    data["optimizer_states"][0]["state"] = {count - 1 - i: s for i, s in states.items()}
    model.adapt_checkpoint(data, None)
    moved = data["optimizer_states"][0]["state"]
    assert all(float(moved[i]["exp_avg"].flatten()[0]) == i for i in range(count))


def test_optimizers_and_schedules_do_what_the_model_says(model: VitsModel) -> None:
    data = make_checkpoint(model)
    for state, schedule in zip(data["optimizer_states"], data["lr_schedulers"], strict=True):
        state["param_groups"][0]["lr"] = 1e-5
        schedule["_last_lr"] = [1e-5]
    other = VitsModel(**SMALL, learning_rate_d=3e-4, lr_decay_d=0.5, betas=(0.7, 0.9), eps=1e-8)
    changes = other.adapt_checkpoint(data, None)
    assert len(changes) == 4
    optimizers, schedules = load_optimizers(other, data)
    groups = [optimizer.param_groups[0] for optimizer in optimizers]
    # A rate that nobody changed stays where its decay has brought it.
    assert [group["lr"] for group in groups] == [1e-5, 3e-4]
    assert [group["betas"] for group in groups] == [(0.7, 0.9), (0.5, 0.9)]
    assert [group["eps"] for group in groups] == [1e-8, 1e-8]
    for schedule in schedules:
        schedule.step()
    assert [group["lr"] for group in groups] == pytest.approx([1e-5 * 0.999875, 1.5e-4])


@pytest.mark.parametrize("speakers", [{"anna": 1, "boris": 0}, {"anna": 0, "vera": 1}])
def test_other_speakers_of_the_same_number_are_no_resuming(speakers: dict[str, int]) -> None:
    from piper.config import VoiceConfig
    from piper.train.warm_start import compare_voices

    voice = VoiceConfig(256, 2, 22050, "ru", {"a": [14]}, speaker_id_map=speakers)
    carried = {"phoneme_id_map": {"a": [14]}, "speaker_id_map": {"anna": 0, "boris": 1}}
    with pytest.raises(CheckpointError, match="was trained with other speakers: "):
        compare_voices({"voice_config": carried}, "last.ckpt", voice)
    voice.speaker_id_map = {"anna": 0, "boris": 1}
    voice.phoneme_id_map = {"a": [14], "ö": [200]}
    sentences = compare_voices({"voice_config": carried}, "last.ckpt", voice)
    assert sentences == ["New in the phoneme map, so without any training: ö."]


@pytest.fixture(scope="module")
def whole(model: VitsModel) -> dict[str, Any]:
    """What a training of one small layer each would have saved, Lightning's own parts included."""
    data = make_checkpoint(VitsModel(**NARROW))
    progress = {"ready": 3, "started": 3, "processed": 3, "completed": 3}
    loop = {"state_dict": {}, "epoch_progress": {"total": progress, "current": progress}}
    weights = {k.removeprefix("model_g."): v for k, v in data["state_dict"].items() if "_g" in k}
    return data | {
        "loops": {"fit_loop": loop},
        "averages": {"decay": 0.999, "updates": 3, "weights": weights},
        "training_settings": {"warmup_updates": 0, "gradient_clip_val": 0},
        "voice_config": {"phoneme_id_map": {"a": [14]}, "speaker_id_map": {}},
    }


SLOW = (HealthCheck.too_slow,)  # other programs may use the machine
ODD = [None, True, -1, 0, 2**70, 1e400, float("nan"), "x", "", [], {}, [[[]]], {"x": {1: 2}}, b"y"]
ODD += [torch.ones(2, 3), torch.ones(1).expand(2**20, 2**20), torch.ones(2, dtype=torch.complex64)]


def find_places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, item in items:
        yield (*place, key)
        yield from find_places(item, (*place, key))


def replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """Return a copy with something else at one place; the copy shares all other parts."""
    if not place:
        return new
    copy = value.copy()
    copy[place[0]] = replaced(value[place[0]], place[1:], new)
    return copy


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=SLOW)
@given(choice=st.data())
def test_whatever_lies_in_a_checkpoint_the_answer_is_a_sentence_or_a_training(
    whole: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, choice: st.DataObject
) -> None:
    try_odd_checkpoint(whole, tmp_path_factory.getbasetemp(), choice)


@pytest.mark.long
@settings(max_examples=300, deadline=None, suppress_health_check=SLOW)
@given(choice=st.data())
def test_whatever_lies_in_many_checkpoints(
    whole: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, choice: st.DataObject
) -> None:
    try_odd_checkpoint(whole, tmp_path_factory.getbasetemp(), choice)


def try_odd_checkpoint(whole: dict[str, Any], folder: Path, choice: st.DataObject) -> None:
    """Resume from, start from or load a file with one to three things that do not belong."""
    path, changed = folder / "odd.ckpt", whole
    for _ in range(choice.draw(st.integers(1, 3))):
        # First a part, then a depth, so that thousands of weights do not hide the rest.
        part = choice.draw(st.sampled_from(sorted(changed)))
        places = [place for place in find_places(changed) if place[0] == part]
        depth = choice.draw(st.integers(1, max(map(len, places))))
        place = choice.draw(st.sampled_from([p for p in places if len(p) == depth]))
        changed = replaced(changed, place, choice.draw(st.sampled_from(ODD)))
    torch.save(changed, path)
    with contextlib.suppress(PiperError):
        choice.draw(st.sampled_from((resume, start_from, load_to_export)))(path)


def resume(path: Path) -> None:
    data = checkpoints.load_checkpoint_to_resume(path)
    checkpoints.network_config_from_checkpoint(data, path)
    model = VitsModel(**NARROW)
    model.adapt_checkpoint(data, path)
    model.load_state_dict(data["state_dict"])
    optimizers, schedules = model.configure_optimizers()
    for optimizer, state in zip(optimizers, data["optimizer_states"], strict=True):
        optimizer.load_state_dict(state)
    for schedule, state in zip(schedules, data["lr_schedulers"], strict=True):
        schedule.load_state_dict(state)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    for step in (*optimizers, *schedules):
        step.step()
    if averages := data.get("averages"):
        WeightAverages(model.model_g, 0.9).load_state_dict(averages)


def start_from(path: Path) -> None:
    warm_start(VitsModel(**NARROW), path)


def load_to_export(path: Path) -> None:
    data = checkpoints.load_checkpoint(path)
    load_network(data, checkpoints.network_config_from_checkpoint(data, path))


def test_a_slim_checkpoint_names_the_one_with_the_optimizers(
    model: VitsModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slim = make_checkpoint(model)
    del slim["optimizer_states"]
    path = tmp_path / "epoch=1-step=2.ckpt"
    torch.save(slim, path)
    model.adapt_checkpoint(checkpoints.load_checkpoint_to_resume(path), path)
    assert "no optimizer states, so they start anew." in caplog.text
    assert "last.ckpt" not in caplog.text
    (tmp_path / "last.ckpt").touch()
    model.adapt_checkpoint(checkpoints.load_checkpoint_to_resume(path), path)
    assert f"{tmp_path / 'last.ckpt'} holds them." in caplog.text


def test_several_speakers_are_no_other_network(model: VitsModel) -> None:
    """The width of their table stands in the weights, and as 0 in the flags: it was refused."""
    voice = VitsModel(**NARROW, num_speakers=2)
    saved = checkpoints.network_config_from_checkpoint(make_checkpoint(voice))
    assert checkpoints.find_differences(saved, voice.network_config) == []
