"""The command that goes on with a training, and the run that a checkpoint belongs to."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from piper.errors import PiperError
from piper.train.resuming import COMMAND_VARIABLE, fill_command, find_run, resume_command

ROOT = Path(__file__).resolve().parents[2]
FIT = ["python", "-m", "piper.train", "fit", "--data.dataset_dir=my data"]
PLACES = ["{flags}", "--ckpt_path={checkpoint}"]


@pytest.mark.parametrize("earlier", [[], ["--ckpt_path=old.ckpt"], ["--ckpt_path", "old.ckpt"]])
def test_a_command_goes_on_from_the_newest_checkpoint(earlier: list[str]) -> None:
    command = fill_command([*FIT, *earlier, *PLACES], "it's/last.ckpt", "--data.num_workers=0")
    assert shlex.split(command) == [*FIT, "--data.num_workers=0", "--ckpt_path=it's/last.ckpt"]
    assert "--data.dataset_dir='my data'" in command, "readable, too"


def test_last_stays_last_and_nothing_is_named_where_there_is_nothing() -> None:
    command = fill_command([*FIT, "--ckpt_path=last", *PLACES], "version_0/last.ckpt")
    assert shlex.split(command) == [*FIT, "--ckpt_path=last"]
    assert shlex.split(fill_command([*FIT, *PLACES], None)) == FIT
    launcher = ["python", "start.py", "--checkpoint={checkpoint}", "--", "{flags}"]
    assert fill_command(launcher, None) == "python start.py"


def test_a_shell_takes_the_command_as_it_was_meant() -> None:
    """Settings of the environment too, whatever their values hold."""
    code = "import os, sys; print([os.environ['CHECKPOINT'], *sys.argv[1:]])"
    words = ["CHECKPOINT={checkpoint}", sys.executable, "-c", code, "--name=$a `b` 'c'", "--"]
    command = fill_command([*words, "{flags}"], "an $out/it's=1.ckpt", "--x=a b")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert eval(done.stdout) == ["an $out/it's=1.ckpt", "--name=$a `b` 'c'", "--", "--x=a b"]


def test_who_started_the_training_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMMAND_VARIABLE, "make\ndemo\nDEMO_ARGS=--minutes 3")
    assert resume_command("last.ckpt") == "make demo DEMO_ARGS='--minutes 3'"


def test_the_shell_script_hands_its_own_words_over(tmp_path: Path) -> None:
    """The trainer's last line names variables and script, not the launcher's flags."""
    (tmp_path / "python3").write_text(f'#!/bin/bash\nprintf "%s" "${COMMAND_VARIABLE}"\n')
    (tmp_path / "python3").chmod(0o755)
    script = tmp_path / "tools" / "runpod" / "train_local.sh"
    script.parent.mkdir(parents=True)
    script.write_text((ROOT / "tools/runpod/train_local.sh").read_text())
    done = subprocess.run(
        ["bash", str(script), "--log-file", "the log"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "BATCH_SIZE": "80", "DATA_DIR": "my data"},
        capture_output=True,
        text=True,
        check=True,
    )
    command = fill_command(done.stdout.splitlines(), "a b/last.ckpt")
    assert command == (
        f"BATCH_SIZE=80 DATA_DIR='my data' CHECKPOINT='a b/last.ckpt' bash {script} "
        "--log-file 'the log'"
    )


def write_run(root: Path, content: str) -> str:
    run = root / "out" / "lightning_logs" / "version_0"
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text(content, encoding="utf-8")
    return str(run / "checkpoints" / "last.ckpt")


def test_a_run_s_dataset_is_found_from_any_folder(tmp_path: Path) -> None:
    """Its path is relative to the folder where the training began, not to where it goes on."""
    (tmp_path / "recordings").mkdir()
    data = {"dataset_dir": "recordings", "batch_size": 80, "validation_split": 0.02}
    checkpoint = write_run(tmp_path, yaml.safe_dump({"data": data, "model": {"preset": "high"}}))
    run = find_run(checkpoint)
    # What is trained on and what is held out; not the size of this machine's batches.
    assert run.data == {"dataset_dir": str(tmp_path / "recordings"), "validation_split": 0.02}
    assert run.quality == "high"


def test_a_dataset_by_its_parts_comes_whole(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").touch()
    data = {"csv_path": str(tmp_path / "rows.csv"), "espeak_voice": "ru", "cache_dir": "gone"}
    run = find_run(write_run(tmp_path, yaml.safe_dump({"data": data})))
    assert run.data == data
    assert run.dataset == data["csv_path"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("data: {dataset_dir: gone}", "gone, which .*config.yaml names as data.dataset_dir, is"),
        ("data: {batch_size: 3}", "config.yaml names no dataset"),
        ("[1, 2]", "config.yaml names no dataset"),
        ("data: {dataset_dir: ''}", "names no dataset"),
        ("data: {", "config.yaml cannot be read"),
        ("[" * 9999, "config.yaml cannot be read"),
    ],
)
def test_what_is_missing_is_said_with_the_flag(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PiperError, match=f"{message}.*--dataset of the launcher"):
        find_run(write_run(tmp_path, content))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["data", "model", "fit", "dataset_dir", "csv_path", "quality"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=6,
    )
)
def test_any_config_is_a_run_or_a_sentence(content: object) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_run(Path(folder), yaml.safe_dump(content))
        try:
            assert find_run(checkpoint).dataset
        except PiperError as error:
            assert "config.yaml" in str(error)
