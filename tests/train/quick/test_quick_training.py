"""Quick voices by the trainer's command line: trained, stopped, gone on with, exported, spoken."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_examples import hasty_aligner

from piper import PiperVoice, SynthesisConfig
from piper.train import allowance, cli, quick_module
from piper.train.allowance import Allowance
from piper.train.checkpoints import load_checkpoint
from piper.train.export import export_voice
from piper.train.flags import find_family
from piper.train.quick.step import QuickStep
from piper.train.quick_module import QuickModel
from trainings import QUICK, Hurry, StopAfter, add_callback, find_differences

MIN_PHASE = "model_g.decoder.minimum_phase"
DROPOUTS: list[float] = []
"""Of the updates of the training that all tests share."""


def train(dataset: Path, root: Path, *flags: str) -> int:
    arguments = [f"--data.dataset_dir={dataset}", f"--trainer.default_root_dir={root}"]
    return cli.main(["fit", *arguments, *flags])


@pytest.fixture(scope="module")
def trained(aligned_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Dataset and folder of a training of six updates, the last four beside discriminators."""
    import shutil

    root = tmp_path_factory.mktemp("quick")
    dataset = Path(shutil.copytree(aligned_dataset, root / "dataset"))
    argv, sys.argv = sys.argv, ["piper.train"]
    whole = QuickStep.backward

    def backward(self: QuickStep, *arguments: Any, **options: Any) -> dict[str, torch.Tensor]:
        DROPOUTS.append(self.dropout)
        return whole(self, *arguments, **options)

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(QuickStep, "backward", backward)
            code = train(dataset, root, *QUICK, "--trainer.max_steps=6", "--model.ema_decay=0.9")
    finally:
        sys.argv = argv
    assert code == 0
    return dataset, root


def checkpoint_of(root: Path, version: int = 0) -> Path:
    return root / f"lightning_logs/version_{version}/checkpoints/last.ckpt"


def test_a_training_is_logged_and_says_what_it_is(trained: tuple[Path, Path]) -> None:
    _, root = trained
    saved = load_checkpoint(checkpoint_of(root))
    assert saved["hyper_parameters"]["quality"] == "quick"
    assert saved["voice_config"]["audio"]["quality"] == "quick"
    assert saved["global_step"] == 12
    assert saved["together_since"] == 2
    assert saved["averages"]["updates"] == 6
    log = EventAccumulator(str(root / "lightning_logs/version_0"), {"scalars": 0})
    log.Reload()
    tags = log.Tags()
    assert {"val_loss", "val_mel", "val_pitch", "val_duration", "val_spectrum"} <= {
        *tags["scalars"]
    }
    assert {"train_adversarial", "train_discriminator"} <= {*tags["scalars"]}
    assert "sentence_0/speech" in tags["audio"]
    assert {"sentence_0/mel", "sentence_0/alignment", "sentence_0/pitch"} <= {*tags["images"]}
    told = (Path(__file__).parents[3] / "docs/TRAINING.md").read_text(encoding="utf-8")
    for tag in {*tags["scalars"], *tags["images"], *tags["audio"]} - {"epoch", "hp_metric"}:
        assert f"`{re.sub('_[0-9]+/', '_N/', tag)}`" in told
    rates = [item.value for item in log.Scalars("learning_rate_generator")]
    assert rates[-1] < 0.5 * rates[1]  # the schedule ends with the budget


def test_few_recordings_are_not_learnt_by_heart(trained: tuple[Path, Path]) -> None:
    """With half an hour and more, nothing is left out in training."""
    assert DROPOUTS == [0.2] * 6


def test_it_becomes_a_voice_that_speaks(trained: tuple[Path, Path], tmp_path: Path) -> None:
    _, root = trained
    report = export_voice(checkpoint_of(root), tmp_path / "quick.onnx")
    assert report.difference < 1e-3
    voice = PiperVoice.load(tmp_path / "quick.onnx")
    chunks = list(voice.synthesize("Привет, это тест."))
    assert sum(len(chunk.audio_float_array) for chunk in chunks) > 0
    assert json.loads((tmp_path / "quick.onnx.json").read_text())["audio"]["quality"] == "quick"


def test_eight_updates_are_six_and_two(
    aligned_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, optimizers, the phase, what is calibrated: all of the file.

    Nearly always to the bit; in about one of ten trainings by some millionths.
    """
    flags = (*QUICK, "--trainer.max_steps=10", "--model.ema_decay=0.9")
    saved = {}
    for name, updates, more in (
        ("whole", 8, ()),
        ("first", 6, ()),
        ("second", 2, (f"--ckpt_path={checkpoint_of(tmp_path / 'first')}",)),
    ):
        torch.manual_seed(updates)  # what a process happens to begin with is not to matter
        with monkeypatch.context() as patch:
            add_callback(StopAfter(updates), patch)
            folder = tmp_path / name
            assert train(aligned_dataset, folder, *flags, *more) == 128 + signal.SIGTERM
        saved[name] = load_checkpoint(checkpoint_of(folder))
    assert saved["first"]["together_since"] is not None
    assert list(find_differences(saved["whole"], saved["second"], tolerance=1e-3)) == []


@pytest.mark.long
def test_it_comes_back_from_a_rented_machine_in_parts(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[3] / "tools" / "voices")
    from carrying import join_parts, write_parts

    checkpoint = checkpoint_of(trained[1])
    write_parts(checkpoint, tmp_path / "parts")
    joined = join_parts(tmp_path / "parts", tmp_path / "voice.ckpt")
    # What a formula gives comes back as it gives it.
    tables = [load_checkpoint(one)["state_dict"][MIN_PHASE] for one in (checkpoint, joined)]
    assert torch.equal(*tables)
    spoken = []
    for number, source in enumerate((checkpoint, joined)):
        export_voice(source, tmp_path / f"{number}.onnx")
        voice = PiperVoice.load(tmp_path / f"{number}.onnx")
        still = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)
        spoken.append(next(iter(voice.synthesize("Привет.", still))).audio_float_array)
    whole, carried = spoken
    assert len(whole) == len(carried)
    assert np.corrcoef(whole, carried)[0, 1] > 0.9


def test_a_training_that_is_stopped_is_as_good_as_one_that_ended(
    aligned_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What regression to the mean has lost is measured, though there was no validation."""
    add_callback(StopAfter(4), monkeypatch)
    flags = (*QUICK, "--trainer.max_steps=50", "--trainer.limit_val_batches=0")
    assert train(aligned_dataset, tmp_path, *flags) == 128 + signal.SIGTERM
    saved = load_checkpoint(checkpoint_of(tmp_path))["state_dict"]
    assert float(saved["model_g.duration_scale"]) != 1.0
    assert not torch.all(saved["model_g.predicted_mean"] == 0.0)


def test_a_checkpoint_is_written_though_there_is_no_memory_to_measure_with(
    aligned_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def have_no_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB.")

    monkeypatch.setattr(QuickModel, "_cut_whole", have_no_memory)
    monkeypatch.setattr(quick_module, "standardise_latents", lambda *_: None)
    flags = (*QUICK, "--trainer.max_steps=2", "--trainer.limit_val_batches=0")
    assert train(aligned_dataset, tmp_path, *flags) == 0
    assert load_checkpoint(checkpoint_of(tmp_path))["global_step"] == 4
    assert "is whole in all else: CUDA out of memory." in caplog.text


def test_a_checkpoint_says_that_it_is_quick(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """One command goes on, with more of a budget, without a word of the quality."""
    dataset, root = trained
    last = checkpoint_of(root)
    assert train(dataset, tmp_path, f"--ckpt_path={last}", *QUICK[1:], "--trainer.max_steps=8") == 0
    saved = load_checkpoint(checkpoint_of(tmp_path))
    assert saved["global_step"] == 16
    assert saved["together_since"] == 2


def test_a_training_of_an_earlier_version_goes_on(aligned_dataset: Path, tmp_path: Path) -> None:
    """The same command goes on after an upgrade, though networks begin otherwise today."""
    one = "--model.filters_per_frame=1"
    assert train(aligned_dataset, tmp_path, *QUICK, one, "--trainer.max_steps=2") == 0
    path = checkpoint_of(tmp_path)
    saved = torch.load(path, weights_only=False)
    del saved["hyper_parameters"]["filters_per_frame"]
    torch.save(saved, path)
    more = ("--ckpt_path=last", "--trainer.max_steps=4")
    assert train(aligned_dataset, tmp_path, *QUICK, *more) == 0
    saved = load_checkpoint(path)
    assert saved["global_step"] == 8
    assert saved["hyper_parameters"]["filters_per_frame"] == 1


def test_another_family_is_refused_in_a_table(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, root = trained
    last = checkpoint_of(root)
    assert train(dataset, tmp_path, f"--ckpt_path={last}", "--model.quality=medium") == 1
    assert "quick" in capsys.readouterr().err


def test_a_quick_voice_starts_from_another(
    trained: tuple[Path, Path],
    two_speaker_dataset: Path,
    copy_dataset: Callable[[Path], Path],
    tmp_path: Path,
) -> None:
    """With other speakers: what fits by name and shape is taken."""
    _, root = trained
    flags = (*QUICK, "--trainer.max_steps=2", "--model.num_speakers=2")
    last = checkpoint_of(root)
    dataset = copy_dataset(two_speaker_dataset)
    with hasty_aligner(1):
        assert train(dataset, tmp_path, *flags, f"--model.warmstart={last}") == 0
    old, new = load_checkpoint(last)["state_dict"], load_checkpoint(checkpoint_of(tmp_path))
    assert new["hyper_parameters"]["num_speakers"] == 2
    name = "model_g.decoder.entry.weight"
    assert (new["state_dict"][name] - old[name]).abs().max() < 0.02
    assert torch.equal(new["state_dict"]["model_g.latent_mean"], old["model_g.latent_mean"])
    export_voice(checkpoint_of(tmp_path), tmp_path / "two.onnx")
    voice = PiperVoice.load(tmp_path / "two.onnx")
    assert len(voice.config.speaker_id_map) == 2


def test_a_quick_voice_starts_from_the_file_of_another(
    trained: tuple[Path, Path],
    tmp_path: Path,
    tiny_voice: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset, root = trained
    export_voice(checkpoint_of(root), tmp_path / "quick.onnx")
    flags = (*QUICK, "--trainer.max_steps=1", "--trainer.limit_val_batches=0")
    start = f"--model.warmstart={tmp_path / 'quick.onnx'}"
    assert train(dataset, tmp_path, *flags, start) == 0
    old = load_checkpoint(checkpoint_of(root))["averages"]["weights"]
    new = load_checkpoint(checkpoint_of(tmp_path))["state_dict"]
    for name in ("text.embedding.weight", "decoder.exit.weight", "decoder.phase.weight"):
        assert (new[f"model_g.{name}"] - old[name]).abs().max() < 0.01, name
    # Neither family has anything for the other, which is said before anything is prepared.
    assert train(dataset, tmp_path, *QUICK, f"--model.warmstart={tiny_voice}") == 1
    assert "is of a VITS voice, and none of its weights serves a quick" in capsys.readouterr().err
    assert train(dataset, tmp_path, "--model.quality=tiny", start) == 1
    assert "is of a quick voice, and none of its weights serves a VITS" in capsys.readouterr().err


def test_flags_of_the_other_family_are_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "vits.yaml"
    config.write_text("model:\n  resblock: '1'\n", encoding="utf-8")
    for flags, said in (
        (("--model.quality=quick", "--model.resblock=1"), "--model.resblock: not a flag of a quic"),
        (("--model.quality=quick", f"--config={config}"), "--model.resblock: not a flag of a quic"),
        (("--model.preset=quick", "--model.vocoder_warmstart=a.onnx"), "or give another quality."),
        (("--model.text_blocks=2",), "or give --model.quality=quick."),
    ):
        with pytest.raises(SystemExit) as stop:
            train(tmp_path, tmp_path, *flags)
        assert stop.value.code == 2
        assert said in capsys.readouterr().err


def test_a_config_says_the_family_by_its_earlier_name(
    aligned_dataset: Path, tmp_path: Path
) -> None:
    """It is translated before the parser's flags are chosen."""
    config = tmp_path / "a.yaml"
    config.write_text("model:\n  preset: quick\n  text_blocks: 1\n", encoding="utf-8")
    flags = [flag for flag in QUICK if not flag.startswith(("--model.quality", "--model.text"))]
    flags += [f"--config={config}", "--trainer.max_steps=1", "--trainer.limit_val_batches=0"]
    assert train(aligned_dataset, tmp_path, *flags) == 0
    assert load_checkpoint(checkpoint_of(tmp_path))["hyper_parameters"]["text_blocks"] == 1


@pytest.mark.parametrize(
    "flags",
    [
        ("--trainer.accumulate_grad_batches=2", "--data.open_ends=0.5"),
        ("--trainer.precision=bf16-mixed", "--data.batch_size=auto"),
    ],
)
def test_the_trainer_s_flags_hold(
    flags: tuple[str, ...], aligned_dataset: Path, tmp_path: Path
) -> None:
    assert train(aligned_dataset, tmp_path, *QUICK, "--trainer.max_steps=4", *flags) == 0
    saved = load_checkpoint(checkpoint_of(tmp_path))
    assert saved["global_step"] == 8
    assert all(value.isfinite().all() for value in saved["state_dict"].values())
    assert float(np.abs(saved["state_dict"]["model_g.latent_mean"].numpy()).max()) > 1.0


def test_time_is_a_budget_at_any_rate(
    aligned_dataset: Path,
    tmp_path: Path,
    copy_dataset: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rates fall and discriminators begin by the clock, which counts the preparation."""
    dataset = copy_dataset(aligned_dataset)
    path = dataset / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["audio"]["sample_rate"] = 16000
    path.write_text(json.dumps(config), encoding="utf-8")
    # The seconds of this machine hardly count beside these.
    add_callback(Hurry(3600), monkeypatch)
    assert train(dataset, tmp_path, *QUICK, "--trainer.max_time=00:10:00:00") == 0
    saved = load_checkpoint(checkpoint_of(tmp_path))
    assert saved["hyper_parameters"]["sample_rate"] == 16000
    assert saved["global_step"] == 2 * 10
    assert saved["together_since"] == 3
    text = saved["optimizer_states"][0]["param_groups"][0]
    assert text["lr"] < 0.1 * 2e-3


def test_without_a_limit_the_data_set_the_end_of_the_rates_too(
    aligned_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(allowance, "QUICK_FRESH", Allowance(epochs=2, fewest=2, most=8))
    assert train(aligned_dataset, tmp_path, *QUICK) == 0
    assert "Training ends at step 8, after 2 epochs, the default from scratch" in caplog.text
    saved = load_checkpoint(checkpoint_of(tmp_path))
    assert saved["global_step"] == 16
    assert 0 < saved["together_since"] < 8
    assert saved["optimizer_states"][0]["param_groups"][0]["lr"] < 0.2 * 2e-3


def test_two_processes_make_one_update(aligned_dataset: Path, tmp_path: Path) -> None:
    """Losses are shares of the whole, and weights, phase and rates stay the same on both."""
    folders = [f"--data.dataset_dir={aligned_dataset}", f"--trainer.default_root_dir={tmp_path}"]
    flags = [*QUICK, *folders, "--trainer.max_steps=4", "--trainer.devices=2"]
    command = [sys.executable, "-m", "piper.train", "fit", *flags]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    saved = load_checkpoint(checkpoint_of(tmp_path))
    assert saved["global_step"] == 8
    assert saved["together_since"] == 2
    # One process makes no steps of networks that are not trained yet, so two make none either.
    steps = [{int(s["step"]) for s in o["state"].values()} for o in saved["optimizer_states"]]
    assert steps == [{4}, {2}]
    log = EventAccumulator(str(tmp_path / "lightning_logs/version_0"), {"scalars": 0})
    log.Reload()
    assert 0.5 < log.Scalars("train_mel")[0].value < 1.5


@pytest.mark.parametrize(("is_apple", "expected"), [(True, "cpu"), (False, "auto")])
def test_where_a_gpu_has_no_float64_the_processor_trains(
    is_apple: bool,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: is_apple)
    with suppress(SystemExit):
        cli.main(["fit", "--model.quality=quick", "--print_config"])
    assert f"accelerator: {expected}\n" in capsys.readouterr().out


def test_the_family_is_found_wherever_the_dataset_is_named(
    aligned_dataset: Path,
    tmp_path: Path,
    copy_dataset: Callable[[Path], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """JSON, YAML and files of it name a dataset whose config.json says quick, and later ones count.

    Where none of them says so before the flags are parsed, there is one message.
    """
    dataset = copy_dataset(aligned_dataset)
    path = dataset / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["audio"]["quality"] = "quick"
    path.write_text(json.dumps(config), encoding="utf-8")
    data = json.dumps({"dataset_dir": str(dataset)})
    for name, text in (
        ("data.yaml", data),
        ("flags.yaml", f"fit:\n  data: {data}\n"),
        ("medium.yaml", "model: {quality: medium}\n"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "file.yaml").write_text(f"data: {tmp_path / 'data.yaml'}\n", encoding="utf-8")
    for flags in (
        ["--data", data],
        [f"--data={tmp_path / 'data.yaml'}"],
        ["--model", '{"quality": "quick"}'],
        [f"--config={tmp_path / 'flags.yaml'}"],
        ["-c", str(tmp_path / "file.yaml")],
        ["-c", str(tmp_path / "medium.yaml"), "--model.quality=quick"],
    ):
        assert find_family(flags).quality == "quick", flags
    assert find_family(["--model.quality=quick", f"-c{tmp_path / 'medium.yaml'}"]).quality is None
    limits = ("--trainer.max_steps=1", "--trainer.limit_val_batches=0")
    root = f"--trainer.default_root_dir={tmp_path}"
    assert cli.main(["fit", "--data", data, root, *QUICK[1:], *limits]) == 0
    assert load_checkpoint(checkpoint_of(tmp_path))["hyper_parameters"]["quality"] == "quick"
    del config["audio"]["quality"]
    path.write_text(json.dumps(config), encoding="utf-8")
    capsys.readouterr()
    assert train(dataset, tmp_path, "--data.quality=quick", *limits) == 1
    said = capsys.readouterr().err
    assert "give --model.quality=quick" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("flag", "size"), [("cpu", 8), ("auto", 64)])
def test_the_default_batch_is_that_of_the_device_that_trains(
    flag: str, size: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with suppress(SystemExit):
        cli.main(
            ["fit", "--model.quality=quick", f"--trainer.accelerator={flag}", "--print_config"]
        )
    assert f"batch_size: {size}\n" in capsys.readouterr().out
