"""What a training takes: real updates of a small network, and what follows from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from piper.train.cost.estimate import KEPT_NAME, estimate, measure_cost
from piper.train.cost.measure import measure_steps
from piper.train.cost.request import CostRequest, MeasuredStep, Measurement

TINY = CostRequest("tiny", 22050, 256, 2, 32, 64, 96, 0.3)
GB = 10**9


def create_measurement(*steps: tuple[int, int, float, float], device: str = "GPU") -> Measurement:
    return Measurement(
        device,
        2,
        10 * GB,
        tuple(MeasuredStep(n, frames, s, s, round(peak * GB)) for n, frames, s, peak in steps),
    )


def test_real_updates_are_measured_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cost = measure_cost(TINY, tmp_path, is_busy=True)
    assert not isinstance(cost, str), cost
    assert "Measuring what a training step of tiny takes here" in capsys.readouterr().err
    assert cost.seconds_per_step > 0
    kept = json.loads((tmp_path / KEPT_NAME).read_text(encoding="utf-8"))
    ((head, *steps),) = kept.values()
    assert head["device"] == cost.device
    assert [step["utterances"] for step in steps[:2]] == [2, 2]
    # A process with torch and the network, and no more than a small training of it.
    assert 10**8 < steps[0]["peak_bytes"] < 3 * GB
    # A second check does not measure again.
    again = measure_cost(TINY, tmp_path, is_busy=True)
    assert not isinstance(again, str)
    assert again.seconds_per_step == cost.seconds_per_step
    assert capsys.readouterr().err == ""


def test_a_quick_voice_s_updates_are_measured_with_its_threads(tmp_path: Path) -> None:
    request = CostRequest("quick", 16000, 256, 1, 8, 320, 480, 0.2)
    steps = list(measure_steps(request, torch.device("cpu"), seconds=60.0))
    assert [step.utterances for step in steps] == [4, 4, 8, 8]
    cost = estimate(request, Measurement("cpu", 2, 0, tuple(steps)))
    assert cost.is_measured_whole
    assert 0.02 < cost.seconds_per_step < 30
    assert 10**8 < cost.peak_bytes < 4 * GB


def test_what_cannot_be_measured_is_a_sentence(tmp_path: Path) -> None:
    broken = CostRequest("huge", 22050, 256, 1, 32, 64, 96, 0.3)
    said = measure_cost(broken, tmp_path, is_busy=False)
    assert isinstance(said, str)
    assert said.startswith("not measured: ")
    assert 'The quality "huge" is unknown' in said
    assert not (tmp_path / KEPT_NAME).exists()


def test_time_is_kept() -> None:
    """The first update warms up and the second one counts; later ones only if there is time."""
    steps = list(measure_steps(TINY, torch.device("cpu"), seconds=0.0))
    assert [(step.utterances, step.frames) for step in steps] == [(2, 64), (2, 64)]


def test_a_batch_is_extrapolated_from_two_sizes() -> None:
    measured = create_measurement((2, 64, 9.0, 1.0), (2, 64, 3.0, 2.0), (4, 64, 5.0, 2.5))
    cost = estimate(TINY, measured)
    assert cost.seconds_per_step == pytest.approx(5 + 28)  # a second for each utterance
    assert cost.peak_bytes == pytest.approx((2.5 + 28 * 0.25) * GB)
    assert not cost.fits
    assert cost.fitting_batch_size == 4 + 26  # 0.25 GB each, up to 9 of 10 GB
    assert not cost.is_measured_whole
    assert cost.alone_seconds_per_step is None


def test_the_longest_utterances_decide_about_memory() -> None:
    steps = [(2, 64, 9.0, 1.0), (2, 64, 3.0, 2.0), (4, 64, 5.0, 2.5), (4, 96, 8.0, 2.9)]
    cost = estimate(TINY, create_measurement(*steps))
    assert cost.seconds_per_step == pytest.approx(5 + 28)
    assert cost.peak_bytes == pytest.approx((2.9 + 28 * (0.25 + 0.1)) * GB)


def test_a_slow_machine_is_said_what_it_is() -> None:
    cost = estimate(TINY, create_measurement((2, 64, 9.0, 1.0), (2, 64, 6.0, 2.0)))
    assert cost.seconds_per_step == pytest.approx(6 * 16)
    assert cost.peak_bytes == 0


def test_a_whole_batch_on_a_gpu_is_taken_as_it_is() -> None:
    steps = [(16, 64, 9.0, 3.0), (16, 64, 0.2, 3.0), (32, 64, 0.3, 5.0), (32, 96, 0.4, 6.0)]
    cost = estimate(TINY, create_measurement(*steps))
    assert (cost.seconds_per_step, cost.peak_bytes) == (pytest.approx(0.3), 6 * GB)
    assert cost.is_measured_whole
    assert cost.fits


def test_a_gpu_that_is_too_small_for_a_batch() -> None:
    """Half of it went in and the whole did not; then a quarter and a half were measured."""
    steps = [(16, 64, 9.0, 5.0), (16, 64, 0.8, 5.0), (8, 64, 0.5, 3.0), (8, 64, 0.4, 3.0)]
    steps += [(16, 64, 0.8, 5.0), (16, 96, 0.9, 6.6)]
    cost = estimate(TINY, create_measurement(*steps))
    assert cost.seconds_per_step == pytest.approx(1.6)
    assert cost.peak_bytes == pytest.approx((6.6 + 16 * (0.25 + 0.1)) * GB)
    assert (cost.fits, cost.fitting_batch_size) == (False, 22)


def test_time_that_others_took_is_told_apart() -> None:
    steps = tuple(MeasuredStep(n, 64, 2.0 * n, 1.0 * n, GB) for n in (2, 2, 4))
    cost = estimate(TINY, Measurement("cpu", 2, 0, steps))
    assert cost.seconds_per_step == pytest.approx(64)
    assert cost.alone_seconds_per_step == pytest.approx(16)
