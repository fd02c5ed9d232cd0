"""The job script for SLURM, run with stand-ins for SLURM's programs, which need a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "slurm" / "train.sbatch"
SRUN = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
"""
PYTHON = """#!/bin/sh
printf '%s\\n' "$@" > "$OUT/arguments"
exit "$CODE"
"""
SCONTROL = """#!/bin/sh
echo "$@" > "$OUT/scontrol"
"""


def test_shellcheck_has_nothing_to_say() -> None:
    checker = Path(sys.executable).with_name("shellcheck")
    result = subprocess.run([checker, SCRIPT], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize(
    ("code", "is_requeued"),
    [(0, False), (1, False), (129, True), (143, False)],
    ids=["done", "failed", "time is up", "cancelled"],
)
def test_only_the_end_of_time_queues_the_job_again(
    code: int, is_requeued: bool, tmp_path: Path
) -> None:
    programs, out = tmp_path / "bin", tmp_path / "out"
    programs.mkdir()
    out.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("trainer", PYTHON)):
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    variables = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHON": str(programs / "trainer"),
        "OUT": str(out),
        "CODE": str(code),
        "SLURM_JOB_ID": "4711",
        "SLURM_NNODES": "2",
        "SLURM_NTASKS_PER_NODE": "4",
        "SLURM_SUBMIT_DIR": "/shared",
    }
    command = ["bash", str(SCRIPT), "--data.dataset_dir=my recordings"]
    result = subprocess.run(command, env=variables, check=False)
    assert result.returncode == code
    assert (out / "arguments").read_text(encoding="utf-8").splitlines() == [
        *("-m", "piper.train", "fit", "--trainer.num_nodes=2", "--trainer.devices=4"),
        *("--trainer.default_root_dir=/shared", "--ckpt_path=last"),
        "--data.dataset_dir=my recordings",
    ]
    requeued = out / "scontrol"
    assert requeued.exists() == is_requeued
    if is_requeued:
        assert requeued.read_text(encoding="utf-8") == "requeue 4711\n"
