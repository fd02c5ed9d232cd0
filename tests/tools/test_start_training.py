"""The launcher: what it runs on which machine, and a real training through it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "runpod"))

import start_training
from machine import GIB, Machine
from start_training import parse_arguments

from piper.errors import PiperError

ROOT = Path(__file__).resolve().parents[2]
SMALL = Machine(num_gpus=0, cores=2, memory_bytes=int(4 * GIB))
LARGE = Machine(num_gpus=0, cores=2, memory_bytes=int(200 * GIB))
TWO_GPUS = Machine(num_gpus=2, cores=16, memory_bytes=int(64 * GIB))


@pytest.fixture(autouse=True)
def own_test_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the repository's folder of datasets out of it."""
    monkeypatch.setattr(start_training, "TEST_DATASETS", tmp_path / "datasets")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The launcher's own test dataset, cut to a few recordings: a training of seconds."""
    folder = tmp_path_factory.mktemp("recordings") / "test_ru"
    start_training.make_dataset(folder, 16000)
    csv_path = folder / "metadata.csv"
    lines = csv_path.read_text(encoding="utf-8").splitlines(keepends=True)
    assert len(lines) >= 24, "a few dozen sentences"
    csv_path.write_text("".join(lines[:8]), encoding="utf-8")
    return folder


def create_plan(*arguments: str, machine: Machine) -> start_training.Plan:
    return start_training.create_plan(parse_arguments(arguments), machine)


def flags_of(plan: start_training.Plan) -> dict[str, str]:
    assert plan.command[:4] == [sys.executable, "-m", "piper.train", "fit"]
    return dict(flag.removeprefix("--").split("=", 1) for flag in plan.command[4:])


def test_the_quick_start_s_command_on_two_gpus(tmp_path: Path) -> None:
    checkpoint = "lightning_logs/version_3/checkpoints/epoch=749-step=355500-val_loss=27.5963.ckpt"
    arguments = ["--batch-size", "80", "--num-gpus", "2", "--max-epochs", "1000"]
    arguments += ["--precision", "16-mixed", "--num-workers", "4", "--checkpoint", checkpoint]
    arguments += ["--dataset", "recordings", "--output-dir", "out"]
    plan = create_plan(*arguments, machine=TWO_GPUS)
    assert flags_of(plan) == {
        "data.dataset_dir": "recordings",
        "data.batch_size": "80",
        "data.num_workers": "4",
        "trainer.accelerator": "gpu",
        "trainer.devices": "2",
        "trainer.strategy": "ddp_find_unused_parameters_true",
        "trainer.precision": "16-mixed",
        "trainer.max_epochs": "1000",
        "trainer.default_root_dir": "out",
        "ckpt_path": checkpoint,
    }
    assert plan.lines == []


def test_the_quick_start_s_numbers_on_a_small_machine() -> None:
    plan = create_plan("--batch-size", "80", "--quality", "medium", machine=SMALL)
    flags = flags_of(plan)
    assert (flags["trainer.accelerator"], flags["trainer.devices"]) == ("cpu", "1")
    assert flags["trainer.strategy"] == "auto"
    assert int(flags["data.batch_size"]) < 80
    product = int(flags["data.batch_size"]) * int(flags["trainer.accumulate_grad_batches"])
    assert product == 80
    assert plan.lines[0] == (
        "2 GPUs asked for, but PyTorch sees none here: training uses the CPU (2 cores)."
    )
    assert plan.lines[1].startswith("A batch of 80 does not fit in 4.0 GiB")


def test_without_a_dataset_a_cpu_trains_a_quick_voice(tmp_path: Path) -> None:
    plan = create_plan("--num-gpus", "0", machine=LARGE)
    assert flags_of(plan)["model.quality"] == "quick"
    assert plan.dataset == tmp_path / "datasets" / "test_ru_quick"
    assert plan.test_sample_rate == 22050
    first, last = plan.lines
    assert first.endswith("--quality medium overrides it.")
    assert last == "The test training ends after 10 minutes; --max-epochs sets another end."
    # It went on for 40,000 epochs of one batch, more than five hours.
    assert flags_of(plan)["data.batch_size"] == "8"
    assert flags_of(plan)["trainer.max_time"] == "00:00:10:00"
    for end in (("--max-epochs", "5"), ("--", "--trainer.max_steps=5")):
        assert "trainer.max_time" not in flags_of(create_plan(*end, machine=LARGE))


def test_the_trainer_s_own_end_is_left_to_it() -> None:
    """The launcher ended each training after 1,000 epochs, and some before they went on."""
    flags = flags_of(create_plan("--dataset", "recordings", machine=TWO_GPUS))
    assert flags["data.batch_size"] == "32"
    assert not [name for name in flags if name.startswith("trainer.max_")]


def test_another_quality_gets_a_test_dataset_of_its_own(tmp_path: Path) -> None:
    # Their sample rates differ.
    plan = create_plan("--num-gpus", "0", "--quality", "x-low", machine=LARGE)
    assert flags_of(plan)["model.quality"] == "x-low"
    assert plan.dataset == tmp_path / "datasets" / "test_ru_x_low"
    assert plan.test_sample_rate == 16000
    assert len(plan.lines) == 1


def test_the_earlier_name_of_the_quality_goes_on_working() -> None:
    plan = create_plan("--num-gpus", "0", "--preset", "x-low", machine=LARGE)
    assert flags_of(plan)["model.quality"] == "x-low"


def test_without_a_dataset_gpus_train_the_default_quality(tmp_path: Path) -> None:
    plan = create_plan(machine=TWO_GPUS)
    assert "model.quality" not in flags_of(plan)
    assert plan.dataset == tmp_path / "datasets" / "test_ru_medium"


def test_a_dataset_s_own_quality_is_kept(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"audio": {"quality": "tiny"}}))
    arguments = ["--num-gpus", "0", "--dataset", str(tmp_path)]
    plan = create_plan(*arguments, machine=LARGE)
    assert "model.quality" not in flags_of(plan)
    assert (plan.lines, plan.test_sample_rate) == ([], None)
    (tmp_path / "config.json").write_text(json.dumps({"audio": {"quality": "medium"}}))
    plan = create_plan(*arguments, machine=LARGE)
    assert "model.quality" not in flags_of(plan)
    assert "takes days on a CPU; --quality quick trains a voice in minutes." in plan.lines[0]


def test_a_cpu_trains_quick_unless_told_otherwise(tmp_path: Path) -> None:
    """In batches as such a voice wants them, whoever it was that told."""
    arguments = ["--num-gpus", "0", "--dataset", str(tmp_path)]
    plan = create_plan(*arguments, machine=LARGE)
    [line] = plan.lines
    assert line.startswith("On a CPU the quality quick is trained, which is understood after min")
    flags = flags_of(plan)
    assert (flags["model.quality"], flags["data.batch_size"]) == ("quick", "8")
    assert not [name for name in flags if name.startswith("trainer.max_")]
    for told in (
        ["--quality", "low"],
        ["--", "--model.quality=low"],
        ["--", "--model.quality=x-low"],
    ):
        plan = create_plan(*arguments, *told, machine=LARGE)
        assert plan.lines == []
        assert flags_of(plan)["data.batch_size"] == "32"
    [line] = create_plan(*arguments, "--checkpoint", "a.ckpt", machine=SMALL).lines
    assert line.startswith("A batch of 32 does not fit")  # nothing says what is in it
    config = {"data": {"dataset_dir": str(tmp_path)}, "model": {"quality": "quick"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    plan = create_plan(*arguments, "--checkpoint", str(tmp_path / "a.ckpt"), machine=SMALL)
    assert (plan.lines, flags_of(plan)["data.batch_size"]) == ([], "8")
    plan = create_plan("--dataset", str(tmp_path), "--quality", "quick", machine=TWO_GPUS)
    assert (plan.lines, flags_of(plan)["data.batch_size"]) == ([], "64")


def test_the_quick_start_speaks_the_user_s_language(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANGUAGE", "ru")
    assert start_training.main(["--checkpoint", "no.ckpt"]) == 1
    assert capsys.readouterr().err.startswith("ошибка: no.ckpt не существует; проверьте")


def test_a_checkpoint_s_network_is_not_overruled() -> None:
    arguments = ["--num-gpus", "0", "--checkpoint", "last.ckpt", "--dataset", "recordings"]
    assert "model.quality" not in flags_of(create_plan(*arguments, machine=LARGE))


@pytest.fixture
def quick_start_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the quick start's run, in the working folder, without a config.yaml."""
    monkeypatch.chdir(tmp_path)
    run = Path("lightning_logs/version_3")
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / QUICK_START_CHECKPOINT).touch()
    return run


QUICK_START_CHECKPOINT = "epoch=749-step=355500-val_loss=27.5963.ckpt"


def test_the_quick_start_s_resume_command_goes_on_with_the_run_s_dataset(
    quick_start_run: Path, tmp_path: Path
) -> None:
    """As it is written there, without --dataset; a user's voice was trained on the test speech."""
    (tmp_path / "recordings").mkdir()
    config = {"data": {"dataset_dir": "recordings"}, "model": {"quality": "medium"}}
    (quick_start_run / "config.yaml").write_text(yaml.safe_dump(config))
    checkpoint = str(quick_start_run / "checkpoints" / QUICK_START_CHECKPOINT)
    arguments = ["--checkpoint", checkpoint, "--batch-size", "80", "--num-gpus", "2"]
    plan = create_plan(*arguments, machine=TWO_GPUS)
    assert (plan.dataset, plan.test_sample_rate) == (Path("recordings"), None)
    flags = flags_of(plan)
    assert flags["ckpt_path"] == checkpoint
    assert "data.dataset_dir" not in flags, "the trainer takes it, and all that belongs to it"
    # The launcher's own test dataset is made again where it is gone.
    made = tmp_path / "datasets" / "test_ru_x_low"
    config = {"data": {"dataset_dir": str(made)}, "model": {"quality": "x_low"}}
    (quick_start_run / "config.yaml").write_text(yaml.safe_dump(config))
    plan = create_plan(*arguments, machine=TWO_GPUS)
    assert (plan.dataset, plan.test_sample_rate) == (made, 16000)


def test_a_run_s_folder_is_its_newest_checkpoint(quick_start_run: Path) -> None:
    import torch

    Path("recordings").mkdir()
    torch.save({"state_dict": {"a": torch.ones(9)}}, quick_start_run / "checkpoints/last.ckpt")
    config = {"data": {"dataset_dir": "recordings"}, "model": {"quality": "medium"}}
    (quick_start_run / "config.yaml").write_text(yaml.safe_dump(config))
    arguments = parse_arguments(["--checkpoint", str(quick_start_run)])
    start_training.check_paths(arguments)
    plan = start_training.create_plan(arguments, TWO_GPUS)
    assert plan.dataset == Path("recordings")
    assert flags_of(plan)["ckpt_path"] == str(quick_start_run)


def test_a_checkpoint_that_names_no_dataset_is_refused_with_the_flag(
    quick_start_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = quick_start_run / "checkpoints" / QUICK_START_CHECKPOINT
    assert start_training.main(["--checkpoint", str(checkpoint), "--num-gpus", "0"]) == 1
    said = capsys.readouterr().err
    assert said.endswith("name them with --data.dataset_dir (--dataset of the launcher).\n")
    # With the flag of the trainer's own the command goes on.
    arguments = ["--checkpoint", str(checkpoint), "--", "--data.csv_path=rows.csv"]
    assert create_plan(*arguments, machine=TWO_GPUS).command[-1] == "--data.csv_path=rows.csv"


def test_last_begins_anew_on_the_test_dataset_where_nothing_was_trained(tmp_path: Path) -> None:
    arguments = ["--checkpoint", "last", "--output-dir", str(tmp_path), "--num-gpus", "0"]
    plan = create_plan(*arguments, machine=LARGE)
    assert plan.dataset == tmp_path / "datasets" / "test_ru_quick"
    assert flags_of(plan)["model.quality"] == "quick"


def test_flags_after_two_dashes_are_the_trainer_s_and_win() -> None:
    more = ["--", "--trainer.max_epochs=9", "--save_minutes=1"]
    plan = create_plan("--max-epochs", "5", *more, machine=TWO_GPUS)
    assert plan.command[-2:] == more[1:]


def test_addresses_of_a_cloud_are_left_to_the_trainer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """pathlib would fold the two slashes of s3://bucket into one."""
    monkeypatch.chdir(tmp_path)
    arguments = ["--output-dir", "s3://bucket/out", "--checkpoint", "s3://bucket/out/last.ckpt"]
    arguments += ["--dataset", "recordings"]
    (tmp_path / "recordings").mkdir()
    start_training.check_paths(parse_arguments(arguments))
    flags = flags_of(create_plan(*arguments, machine=TWO_GPUS))
    assert flags["trainer.default_root_dir"] == "s3://bucket/out"
    assert flags["ckpt_path"] == "s3://bucket/out/last.ckpt"
    assert start_training.find_log_folder("s3://bucket/out") == Path()


def test_a_machine_without_pytorch_is_told_what_to_do() -> None:
    with pytest.raises(PiperError, match=r"PyTorch is not installed for .*; run `make install`"):
        create_plan(machine=Machine(None, 2, int(GIB)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "nowhere"], "error: The dataset's folder nowhere does not exist; check"),
        (["--checkpoint", "no.ckpt"], "error: no.ckpt does not exist; check --checkpoint"),
        (["--quality", "best"], 'error: The quality "best" is unknown; choose one of medium'),
        (["--log-file", "/proc/none/log"], "error: /proc/none/log cannot be written"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start_training.main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(message)
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--batch-size", "0"], ["--num-gpus", "-1"], ["--lines"]])
def test_wrong_flags_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse_arguments(arguments)
    assert stop.value.code == 2


def run_command(*command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def test_the_root_s_launcher_shows_the_command_from_any_folder(tmp_path: Path) -> None:
    launcher = str(ROOT / "start_training.py")
    done = run_command(
        *(sys.executable, launcher, "--dry-run", "--num-gpus", "64", "--output-dir", "an out"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("64 GPUs asked for, but PyTorch sees ")
    command = shlex.split(done.stdout)
    assert command[:4] == [sys.executable, "-m", "piper.train", "fit"]
    assert "--trainer.default_root_dir=an out" in command
    assert list(tmp_path.iterdir()) == [], "a dry run writes nothing"


def test_the_shell_script_maps_the_environment(tmp_path: Path) -> None:
    (tmp_path / "my data").mkdir()
    (tmp_path / "my.ckpt").touch()
    done = run_command(
        *("bash", str(ROOT / "tools" / "runpod" / "train_local.sh"), "--dry-run"),
        *("--", "--save_minutes=3"),
        folder=tmp_path,
        BATCH_SIZE="2",
        NUM_GPUS="0",
        MAX_EPOCHS="7",
        PRECISION="bf16-mixed",
        NUM_WORKERS="0",
        ACCUM="3",
        CHECKPOINT="my.ckpt",
        DATA_DIR="my data",
    )
    assert done.returncode == 0, done.stderr
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in shlex.split(done.stdout)[4:])
    # A machine with little memory takes the batch in parts.
    updates = int(flags.pop("data.batch_size")) * int(flags.pop("trainer.accumulate_grad_batches"))
    assert updates == 2 * 3
    assert flags == {
        "data.dataset_dir": "my data",
        "data.num_workers": "0",
        "trainer.accelerator": "cpu",
        "trainer.devices": "1",
        "trainer.strategy": "auto",
        "trainer.precision": "bf16-mixed",
        "trainer.max_epochs": "7",
        "ckpt_path": "my.ckpt",
        "save_minutes": "3",
    }


def launch(dataset: Path, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [*launch_command(dataset), *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def launch_command(dataset: Path) -> list[str]:
    command = [sys.executable, str(ROOT / "tools" / "runpod" / "start_training.py")]
    command += ["--dataset", str(dataset), "--output-dir", "out", "--quality", "tiny"]
    return [*command, "--batch-size", "4", "--num-gpus", "0", "--num-workers", "0"]


def find_checkpoints(folder: Path) -> list[Path]:
    return list((folder / "out" / "lightning_logs").glob("version_*/checkpoints/last.ckpt"))


@pytest.mark.long
def test_a_training_saves_and_ends_on_ctrl_c_and_goes_on(dataset: Path, tmp_path: Path) -> None:
    first = ("--max-epochs", "1000", "--log-file", "out/the log")
    process = launch(dataset, tmp_path, *first)
    log = tmp_path / "out" / "the log"
    end = time.monotonic() + 250
    while not (log.exists() and "epoch 0 · batch" in log.read_text()):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=250)[0].decode()
    assert process.returncode == 130, output
    [checkpoint] = [path.relative_to(tmp_path) for path in find_checkpoints(tmp_path)]
    assert output == log.read_text()
    assert "$ " in output
    assert "Traceback" not in output

    # The last word is the command that goes on, in the launcher's own words.
    said = output.partition("SIGINT: stopped and saved; go on with:\n")[2]
    [line] = [line for line in said.splitlines() if line.startswith("  ")][:1]
    assert shlex.split(line) == [*launch_command(dataset), *first, f"--checkpoint={checkpoint}"]
    epochs = read_epoch(tmp_path / checkpoint) + 1
    process = subprocess.Popen(
        ["bash", "-c", f"{line} --max-epochs {epochs}"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output = process.communicate(timeout=250)[0].decode()
    assert process.returncode == 0, output
    assert len(find_checkpoints(tmp_path)) == 2
    assert log.read_text().endswith(output), "the log of the first run is kept"


def read_epoch(checkpoint: Path) -> int:
    import torch

    return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["epoch"])


def test_the_training_s_own_error_is_the_launcher_s(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    process = launch(tmp_path / "empty", tmp_path)
    output = process.communicate(timeout=250)[0].decode()
    assert process.returncode == 1
    assert "Traceback" not in output
    assert output.splitlines()[-1].startswith("error: ")
