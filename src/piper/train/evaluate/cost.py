"""What a voice costs: time, memory, size. Measured in a process that does nothing else.

Scores no speech. The process loads what a user's would, so no torch is in its memory.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from piper.errors import PiperError
from piper.files import parse_json_object
from piper.train.evaluate.results import Figure

ROUNDS = 3
"""Of each sentence; the first is left out, since memory is still being taken."""
MAX_SENTENCES = 5
_PROCESS = """
import json, resource, sys, time
from piper import PiperVoice

spec = json.load(sys.stdin)
begin = time.perf_counter()
voice = PiperVoice.load(spec["model"])
loaded = time.perf_counter() - begin
factors, firsts = [], []
for round_number in range(spec["rounds"]):
    for text in spec["texts"]:
        begin = time.perf_counter()
        samples, first = 0, None
        for chunk in voice.synthesize_stream(text):
            first = time.perf_counter() - begin if first is None else first
            samples += len(chunk.audio_float_array)
        seconds = time.perf_counter() - begin
        if round_number and samples:
            factors.append(seconds * voice.config.sample_rate / samples)
            firsts.append(first)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.platform == "linux":
    # There ru_maxrss counts what the process had before it became this program: its parent's.
    with open("/proc/self/status") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
print(json.dumps({"loaded": loaded, "factors": factors, "firsts": firsts, "peak": peak}))
"""


def measure_cost(model_path: Path, texts: Sequence[str]) -> Mapping[str, Figure]:
    """Return real-time factor, seconds to the first audio (medians), megabytes of file and memory.

    Args:
        model_path: The voice.
        texts: Sentences; the first few are spoken.
    """
    # Graphs of published voices are made clean once, by a process that needs more memory.
    _run(model_path, texts[:1], 1)
    result = _run(model_path, texts[:MAX_SENTENCES], ROUNDS)
    figures = {"size_megabytes": Figure(model_path.stat().st_size / 1e6, None, None, 1)}
    if result["factors"]:
        figures["real_time_factor"] = _find_median(result["factors"])
        figures["first_audio_seconds"] = _find_median(result["firsts"])
    # Kilobytes on Linux, bytes on macOS.
    unit = 1e6 if sys.platform == "darwin" else 1e3
    figures["memory_megabytes"] = Figure(result["peak"] / unit, None, None, 1)
    return figures


def _find_median(values: Sequence[float]) -> Figure:
    return Figure(statistics.median(values), min(values), max(values), len(values))


def _run(model_path: Path, texts: Sequence[str], rounds: int) -> dict[str, Any]:
    spec = json.dumps({"model": str(model_path), "texts": list(texts), "rounds": rounds})
    process = subprocess.run(
        [sys.executable, "-c", _PROCESS], input=spec, capture_output=True, text=True
    )
    if process.returncode != 0:
        said = (process.stderr.strip().splitlines() or ["no word"])[-1]
        raise PiperError(f"{model_path} cannot be measured: {said}")
    return parse_json_object(process.stdout.splitlines()[-1], "the measurement")
