"""The benchmark of training: ours alone, since the peer needs an environment of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "voices"))

from carrying import pack_dataset

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = "--model.discriminator_channels=16"


def run_benchmark(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "train_step.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.long
def test_speed_memory_padding_and_profile_of_ours(speech_dataset: Path) -> None:
    """The path that a GPU takes too: the device alone is another."""
    done = run_benchmark(
        *("--dataset", speech_dataset, "--quick", "--threads", 1, "--steps", 0),
        *("--utterances", 4, "--profile-steps", 1, "--operations", 3),
    )
    assert done.returncode == 0, done.stderr
    assert "piper-tts is not measured; install it with" in done.stdout
    *table, line = done.stdout.splitlines()
    assert any(row.startswith("time per utterance over an epoch") for row in table)
    report = json.loads(line)
    assert report["benchmark"] == "train_step"
    assert set(report["speed"]["32-true"]) == {"ours"}
    figures = report["speed"]["32-true"]["ours"]
    assert figures["steps"] == 2
    assert figures["seconds"] * figures["rate"] == pytest.approx(1)
    assert 0 <= figures["padding"] < 50
    assert 0 < figures["waiting"] < 100
    assert 0 < figures["busy"] <= 100
    longest = [milliseconds for _, milliseconds, _ in figures["operations"]]
    assert longest == sorted(longest, reverse=True)
    place = next(i for i, row in enumerate(table) if row.endswith("operation"))
    assert table[place + 1].endswith(figures["operations"][0][0][:100])
    assert figures["memory_before"] < figures["memory"]


@pytest.mark.long
def test_a_variant_of_ours_gets_a_column_of_its_own(speech_dataset: Path) -> None:
    done = run_benchmark(
        *("--dataset", speech_dataset, "--quick", "--threads", 1, "--steps", 0),
        *("--utterances", 4, "--precision", "32-true,bf16-mixed", "--busy", 1),
        *("--variant", f"small={SMALL}"),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert set(report["speed"]) == {"32-true", "bf16-mixed"}
    figures = report["speed"]["32-true"]
    assert set(figures) == {"ours", "small"}
    assert figures["small"]["memory"] < figures["ours"]["memory"]


@pytest.mark.long
def test_the_losses_of_the_first_steps_do_not_depend_on_threads(speech_dataset: Path) -> None:
    done = run_benchmark(
        *("--dataset", speech_dataset, "--quick", "--rounds", 0, "--steps", 2, "--threads", 1)
    )
    assert done.returncode == 0, done.stderr
    losses = json.loads(done.stdout.splitlines()[-1])["losses"]
    assert len(losses["losses_ours"]) == 2
    assert all(step["train_mel"] > 0 for step in losses["losses_ours"])
    assert max(max(steps) for steps in losses["floor_ours"].values()) < 1e-3


def test_a_number_of_utterances_that_makes_no_whole_batches_is_refused(tmp_path: Path) -> None:
    done = run_benchmark("--dataset", tmp_path, "--quick", "--utterances", 5)
    assert done.returncode == 2
    assert "--utterances must be a multiple of --batch-size 2" in done.stderr


def test_overlapping_spans_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from train_process import covered_length

    assert covered_length([(5, 6), (0, 2), (1, 3), (1, 2)]) == 4
    assert covered_length([]) == 0


def test_noise_follows_from_step_kind_shape_and_count(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.syspath_prepend(BENCHMARKS)
    for name in ("randn", "rand", "randn_like", "rand_like"):
        monkeypatch.setattr(torch, name, getattr(torch, name))  # put back afterwards
    from train_process import KeyedNoise

    noise = KeyedNoise()
    noise.install()
    drawn = []
    for _ in range(2):
        torch.rand(5)  # outside a step: torch's own
        noise.on_train_batch_start()
        drawn.append([torch.randn(2, 3), torch.randn_like(torch.zeros(2, 3)), torch.rand((2, 3))])
        noise.on_train_batch_end()
    # In another order, and by other functions of the same kind.
    noise.drawn.clear()
    noise.on_train_batch_start()
    uniform = torch.rand_like(torch.zeros(2, 3))
    first, second = torch.randn((2, 3)), torch.randn(2, 3)
    noise.on_train_batch_end()
    assert torch.equal(uniform, drawn[0][2])
    assert torch.equal(first, drawn[0][0])
    assert torch.equal(second, drawn[0][1])
    assert not torch.equal(first, second)
    assert not torch.equal(first, drawn[1][0])
    assert noise.drawn == [{"uniform 2x3": 1, "normal 2x3": 2}]


@pytest.mark.long
def test_ours_is_measured_by_ids_where_there_is_no_espeak(
    speech_dataset: Path, tmp_path: Path
) -> None:
    """A machine without a network gets a packed dataset; texts would want espeak-ng there."""
    pack_dataset(speech_dataset, tmp_path / "packed")
    metadata = tmp_path / "packed/metadata.csv"
    lines = [line.split("|") for line in metadata.read_text(encoding="utf-8").splitlines()]
    no_text = "".join(f"{name}||{ids}\n" for name, _, ids in lines)
    metadata.write_text(no_text, encoding="utf-8")
    done = run_benchmark(
        *("--dataset", tmp_path / "packed", "--quick", "--threads", 1, "--steps", 0),
        *("--utterances", 4, "--rounds", 1),
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout.splitlines()[-1])["speed"]["32-true"]) == {"ours"}
