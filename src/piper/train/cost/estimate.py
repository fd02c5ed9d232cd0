"""What a training takes on this machine, from updates that another process measures; no torch.

A batch takes `fixed + utterances * each`, in time as in memory: what two sizes of a batch take
gives both. The result is kept in the cache folder, so that a second check does not measure again.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from piper.files import load_kept_object, parse_json_object, replace_on_success
from piper.messages import say
from piper.train.cost.request import CostRequest, MeasuredStep, Measurement
from piper.train.data.resources import available_cores, available_memory_bytes

KEPT_NAME = "cost-1.json"
"""In the cache; the number is raised when what is measured changes."""
MOST_SECONDS = 90.0
"""Of the other process. It stops by itself after 15 s, but for an update that takes longer."""
MARGIN = 0.1
"""Share of the memory that is to stay free, as `--data.batch_size=auto` leaves it."""
BUSY_SHARE = 0.75
"""Below this share of the threads' time, other programs took the rest."""


@dataclass(frozen=True)
class Cost:
    """What a training takes.

    Attributes:
        device: `cpu`, or the GPU's name.
        threads: Of the CPU.
        seconds_per_step: For the batch that was asked for.
        alone_seconds_per_step: The same with the processor to itself; None where it was.
        is_measured_whole: Whether such a batch was measured; else it follows from smaller ones.
        peak_bytes: With a batch of the longest utterances; 0 where that is not known.
        available_bytes: What there is.
        fitting_batch_size: The largest batch whose memory is there; 0 where not even one is.
    """

    device: str
    threads: int
    seconds_per_step: float
    alone_seconds_per_step: float | None
    is_measured_whole: bool
    peak_bytes: int
    available_bytes: int
    fitting_batch_size: int

    @property
    def fits(self) -> bool:
        """Whether memory is enough for the batch."""
        return self.peak_bytes <= self.available_bytes * (1 - MARGIN)


def measure_cost(request: CostRequest, cache_dir: Path, *, is_busy: bool) -> Cost | str:
    """Return what a training takes, or the sentence that says why that is not known.

    Args:
        request: The training.
        cache_dir: Where measurements are kept; it exists.
        is_busy: Whether other programs are at work; measured again where they are not any more.
    """
    try:
        key = _create_key(request, is_busy)
    except metadata.PackageNotFoundError:
        return "not measured: PyTorch is not installed (extra train)."
    path = cache_dir / KEPT_NAME
    kept = load_kept_object(path)
    measurement = _parse(kept.get(key))
    if measurement is None:
        quality = request.quality.replace("_", "-")
        message = f"Measuring what a training step of {quality} takes here, for 20 s or so"
        say(f"{message} (--quick leaves it out)", file=sys.stderr)
        lines = _run(request)
        if isinstance(lines, str):
            return lines
        measurement = _parse(lines)
        if measurement is None:
            return "not measured: the measuring process printed what cannot be read."
        kept[key] = lines
        with replace_on_success(path) as temporary:
            temporary.write_text(json.dumps(kept), encoding="utf-8")
    return estimate(request, measurement)


def estimate(request: CostRequest, measurement: Measurement) -> Cost:
    """Return what follows from a measurement."""
    few, many, longest = _find_steps(measurement)
    size = request.batch_size
    seconds = _extrapolate(few, many, size, "seconds")
    alone = _extrapolate(few, many, size, "processor_seconds") / measurement.threads
    is_cpu = measurement.device == "cpu"
    each = _find_bytes_per_utterance(few, many, longest)
    available = available_memory_bytes() if is_cpu else measurement.total_bytes
    fitting = size
    if each > 0:
        room = available * (1 - MARGIN) - longest.peak_bytes
        fitting = max(0, min(size, longest.utterances + int(room // each)))
    return Cost(
        measurement.device,
        measurement.threads,
        seconds,
        alone if is_cpu and alone < BUSY_SHARE * seconds else None,
        many.utterances == size,
        round(longest.peak_bytes + each * (size - longest.utterances)) if each else 0,
        available,
        fitting,
    )


def _find_bytes_per_utterance(
    few: MeasuredStep, many: MeasuredStep, longest: MeasuredStep
) -> float:
    """Return what each of the longest utterances takes; 0 where two sizes were not measured."""
    if many.utterances == few.utterances:
        return 0.0
    each = (many.peak_bytes - few.peak_bytes) / (many.utterances - few.utterances)
    return max(0.0, each + (longest.peak_bytes - many.peak_bytes) / longest.utterances)


def _find_steps(measurement: Measurement) -> tuple[MeasuredStep, MeasuredStep, MeasuredStep]:
    """Return a small batch, a larger one, and one of the longest utterances, as far as measured."""
    steps = measurement.steps[1:] or measurement.steps
    typical = [step for step in steps if step.frames == steps[0].frames]
    many = typical[-1]
    fewer = [step for step in typical if step.utterances < many.utterances]
    # Where a GPU was too small for a batch, all was measured again with half of it.
    return fewer[-1] if fewer else many, many, steps[-1]


def _extrapolate(few: MeasuredStep, many: MeasuredStep, size: int, name: str) -> float:
    less, more = float(getattr(few, name)), float(getattr(many, name))
    if many.utterances == few.utterances:
        return more * size / many.utterances
    # What an update takes whatever its batch cannot be negative.
    each = min((more - less) / (many.utterances - few.utterances), more / many.utterances)
    return more + max(0.0, each) * (size - many.utterances)


def _run(request: CostRequest) -> list[dict[str, Any]] | str:
    """Return what the measuring process printed, or the sentence that says why it did not."""
    command = [sys.executable, "-m", "piper.train.cost.measure", request.to_json()]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            printed, said = process.communicate(timeout=MOST_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            printed, said = process.communicate()
        except BaseException:
            process.kill()
            raise
    lines = _parse_lines(printed)
    if len(lines) > 1:
        return lines
    if said.strip():
        return f"not measured: {said.strip().splitlines()[-1]:.200}"
    return f"not measured: no step ended within {MOST_SECONDS:.0f} s."


def _parse_lines(printed: str) -> list[dict[str, Any]]:
    lines = []
    for line in printed.splitlines():
        try:
            lines.append(parse_json_object(line, "a measured step"))
        except ValueError:
            break  # cut off by the kill
    return lines


def _parse(lines: Any) -> Measurement | None:
    """Return a measurement from the lines of its process; None where they are none."""
    try:
        head, *steps = lines
        return Measurement(**head, steps=tuple(MeasuredStep(**step) for step in steps))
    except (TypeError, ValueError):
        return None


def _create_key(request: CostRequest, is_busy: bool) -> str:
    """By all that a step's time depends on, as far as it can be told without torch."""
    machine = [platform.node(), platform.machine(), available_cores(), is_busy]
    settings = [os.environ.get(name) for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")]
    return json.dumps([*machine, *settings, metadata.version("torch"), request.to_json()])
