"""Several machines train as one: two nodes on loopback, with one process each."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import node_training
import pytest
import torch

from piper.train.checkpoints import load_checkpoint
from piper.train.distributed import describe_lost_process
from trainings import SMALL, last_checkpoint, wait_for

SCRIPT = str(Path(__file__).with_name("node_training.py"))
Processes = list["subprocess.Popen[str]"]


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def torchrun(node: int, port: int, *command: str) -> list[str]:
    """Return the command of one of two nodes, as docs/TRAINING.md has it."""
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={node}"),
        *("--master-addr=127.0.0.1", f"--master-port={port}", "--nproc-per-node=1", *command),
    ]


def fit_on_node(dataset: Path, root: Path, *flags: str) -> list[str]:
    return [
        *("-m", "piper.train", "fit", *SMALL, f"--data.dataset_dir={dataset}"),
        "--data.batch_size=2",
        *(f"--trainer.default_root_dir={root}", "--trainer.num_nodes=2", "--trainer.devices=1"),
        *flags,
    ]


def children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(word) for word in text.split()]


@contextmanager
def running(commands: list[list[str]], variables: list[dict[str, str]]) -> Iterator[Processes]:
    """Start processes, and leave none behind."""
    processes = [
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **own},
        )
        for command, own in zip(commands, variables, strict=True)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            if process.poll() is None:
                # torchrun's workers have sessions of their own.
                for pid in (*children_of(process.pid), process.pid):
                    os.kill(pid, signal.SIGKILL)
            process.communicate()


def finish(processes: Processes, seconds: float = 120) -> list[str]:
    """Wait for all; return what they said."""
    return [process.communicate(timeout=seconds)[0] for process in processes]


@pytest.fixture(scope="module")
def datasets(speech_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two copies: nodes that share no disk."""
    folder = tmp_path_factory.mktemp("nodes")
    return [Path(shutil.copytree(speech_dataset, folder / str(node))) for node in range(2)]


def losses_of(path: Path) -> torch.Tensor:
    return torch.tensor(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.long
def test_two_nodes_train_as_one_with_the_doubled_batch(
    datasets: list[Path], tmp_path: Path
) -> None:
    """Equal utterances in an update, noise that follows from the utterance, no dropout."""
    node_training.train(datasets[0], tmp_path / "whole", batch_size=4)
    node_training.train(datasets[0], tmp_path / "parts", batch_size=2, accumulate=2)
    port = find_free_port()
    commands = [
        torchrun(node, port, SCRIPT, str(datasets[node]), str(tmp_path / f"node{node}"), "-1")
        for node in range(2)
    ]
    with running(commands, [{}, {}]) as processes:
        output = finish(processes)
    assert [process.returncode for process in processes] == [0, 0], output
    whole = losses_of(tmp_path / "whole")
    assert whole.shape == (8, 7)  # sixteen utterances in two epochs
    assert (whole[0] - whole[-1]).abs().max() > 0.1
    for name in ("parts", "node0", "node1"):
        torch.testing.assert_close(losses_of(tmp_path / name), whole, rtol=1e-5, atol=1e-6)
    for node in range(2):
        said = (tmp_path / f"node{node}.error").read_text(encoding="utf-8")
        assert "do not agree: utterances (14 on one, 15 on another)." in said


@pytest.mark.long
def test_a_killed_process_ends_the_other_node(datasets: list[Path], tmp_path: Path) -> None:
    port, roots = find_free_port(), [tmp_path / "root0", tmp_path / "root1"]
    commands = [
        torchrun(node, port, *fit_on_node(datasets[node], roots[node], "--trainer.max_epochs=500"))
        for node in range(2)
    ]
    with running(commands, [{}, {}]) as processes:
        wait_for(last_checkpoint(roots[0]), processes[0])
        # Rank 0 alone writes; the other node only has its own cache, on its own disk.
        assert [path for path in roots[1].rglob("*") if path.is_file()] == []
        (worker,) = children_of(processes[1].pid)
        os.kill(worker, signal.SIGKILL)
        begin = time.monotonic()
        said = finish(processes, 250)
        assert time.monotonic() - begin < 200  # 6 to 8 seconds on an idle machine
    assert [process.returncode for process in processes] == [1, 1], said
    assert "error: Another process of this training has ended" in said[0]
    assert "this one (rank 0) ends too" in said[0]
    # What was saved before is whole.
    assert load_checkpoint(last_checkpoint(roots[0]))["global_step"] > 0


@pytest.mark.long
def test_a_process_that_hangs_does_not_hang_the_other(datasets: list[Path], tmp_path: Path) -> None:
    port = find_free_port()
    commands = [
        torchrun(node, port, SCRIPT, str(datasets[node]), str(tmp_path / f"node{node}"), "1")
        for node in range(2)
    ]
    with running(commands, [{}, {}]) as processes:
        said = processes[0].communicate(timeout=120)[0]
        assert processes[0].returncode == 1
        assert processes[1].poll() is None
    assert "imeout" in said


@pytest.mark.long
def test_nodes_without_the_same_checkpoint_say_so(datasets: list[Path], tmp_path: Path) -> None:
    """Without a shared folder the second node would begin anew, and wait in vain."""
    roots = [tmp_path / "root0", tmp_path / "root1"]
    for flags in (("--trainer.max_epochs=1",), ("--trainer.max_epochs=3", "--ckpt_path=last")):
        port = find_free_port()
        commands = [
            torchrun(node, port, *fit_on_node(datasets[node], roots[node], *flags))
            for node in range(2)
        ]
        with running(commands, [{}, {}]) as processes:
            said = finish(processes)
    assert [process.returncode for process in processes] == [1, 1], said
    for text in said:
        assert "error: The processes of this training do not agree: updates so far (0 on one, 4 on"
        assert "copy it to the same path on each" in text


def slurm_variables(node: int, port: int) -> dict[str, str]:
    """What `srun` gives the process of a node."""
    return {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NAME": "piper",
        "SLURM_LOCALID": "0",
        "SLURM_NNODES": "2",
        "SLURM_NODEID": str(node),
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_PROCID": str(node),
    }


@pytest.mark.long
def test_slurm_ends_a_job_that_can_go_on(datasets: list[Path], tmp_path: Path) -> None:
    """SIGHUP to all tasks, as `--signal=HUP@300` sends it: saved once, and no requeueing inside."""
    port = find_free_port()
    command = fit_on_node(datasets[0], tmp_path, "--trainer.max_epochs=500")
    variables = [slurm_variables(node, port) for node in range(2)]
    with running([[sys.executable, *command]] * 2, variables) as processes:
        wait_for(last_checkpoint(tmp_path), processes[0])
        for process in processes:
            process.send_signal(signal.SIGHUP)
        said = finish(processes)
    assert [process.returncode for process in processes] == [129, 129], said
    assert "Traceback" not in "".join(said)
    checkpoint = load_checkpoint(last_checkpoint(tmp_path))
    assert checkpoint["global_step"] > 0
    assert not list(tmp_path.rglob("hpc_ckpt*"))
    loader = checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"][0]
    assert loader["batches"] == 4
    assert loader["ranks"] == 2


def test_other_errors_are_not_taken_for_a_lost_process() -> None:
    assert describe_lost_process(RuntimeError("shape '[2]' is invalid")) is None
    assert describe_lost_process(ValueError("gloo/")) is None
    text = "[/src/gloo/transport/tcp/pair.cc:5] Connection closed by peer [::1]:7. Advice."
    said = describe_lost_process(RuntimeError(text))
    assert said is not None
    assert said.endswith("(Connection closed by peer [::1]:7).")
    text = "Application timeout caused pair closure"  # what gloo says of one that hangs
    assert describe_lost_process(RuntimeError(text)) is not None
    said = describe_lost_process(torch.distributed.DistNetworkError("Timed out: 1/2 joined"))
    assert said is not None
    assert "1/2 joined" in said
