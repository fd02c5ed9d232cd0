"""How fast the judges are, and what they say of whole recordings and of their beginnings.

A table of a dataset's recordings from short to long, then JSON. Times are medians, on one thread
and on two; the processor's, too, for a machine that is not idle. `first` is DistillMOS of the first
7.68 s, `package` what the package's own `forward` says, window by window.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from piper.train.check.measuring import measure_recording
from piper.train.data.audio import decode
from piper.train.data.metadata import load_metadata
from piper.train.evaluate.measuring import measure_likeness, measure_signal
from piper.train.judges import find_quality_predictor, list_missing_judges, load_speaker_encoder

WINDOW_SECONDS = 7.68
LONGEST_SECONDS = 18.0
REPETITIONS = 3


def choose(dataset: Path, count: int) -> list[Path]:
    """Return recordings of up to 18 s, spread evenly over the lengths that there are."""
    rows = load_metadata(dataset / "metadata.csv", dataset / "wavs")
    lengths = sorted((measure_recording(row.audio_path).seconds, row.audio_path) for row in rows)
    fitting = [path for seconds, path in lengths if seconds <= LONGEST_SECONDS]
    places = np.linspace(0, len(fitting) - 1, min(count, len(fitting))).astype(int)
    return [fitting[place] for place in places]


def time_call(call: Callable[[], object]) -> tuple[float, float]:
    """Return the median seconds of a call, by the clock and of the processor."""
    call()
    times = []
    for _ in range(REPETITIONS):
        begin, processor = time.perf_counter(), time.process_time()
        call()
        times.append((time.perf_counter() - begin, time.process_time() - processor))
    return statistics.median(t for t, _ in times), statistics.median(t for _, t in times)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path, required=True, help="config.json, metadata.csv")
    parser.add_argument("--limit", type=int, default=12, help="default: %(default)s recordings")
    args = parser.parse_args()
    if missing := list_missing_judges():
        parser.error(" ".join(missing))
    speech = []
    for path in choose(args.dataset, args.limit):
        decoded = decode(path)
        speech.append((decoded.mix(), decoded.sample_rate))
    print(json.dumps({"speed": measure_speed(speech), "scores": compare_scores(speech)}))
    return 0


def measure_speed(speech: list) -> dict[str, list[float]]:
    """Print and return how often faster than real time each judge is: lowest, median."""
    predictor, encoder = find_quality_predictor("auto"), load_speaker_encoder()
    judges = {
        "DistillMOS": predictor,
        "Resemblyzer": encoder.embed,
        "likeness": lambda samples, rate: measure_likeness(samples, rate, samples, rate),
        "signal": measure_signal,
    }
    speeds = {}
    print(f"{'times real time':24}{'lowest':>8}{'median':>8}{'of CPU':>8}")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for name, judge in judges.items():
            found = []
            for samples, rate in speech:
                clock, processor = time_call(lambda j=judge, s=samples, r=rate: j(s, r))
                found.append((len(samples) / rate / clock, len(samples) / rate / processor))
            clocks, processors = zip(*found, strict=True)
            figures = [min(clocks), statistics.median(clocks), statistics.median(processors)]
            speeds[f"{name}, {threads}"] = [round(figure, 1) for figure in figures]
            print(f"{name + ', threads: ' + str(threads):24}", *(f"{f:7.1f}" for f in figures))
    return speeds


def compare_scores(speech: list) -> list[list[float]]:
    """Print and return seconds, DistillMOS of the whole, of the first 7.68 s, by the package."""
    import distillmos
    import soxr

    predictor = find_quality_predictor("auto")
    network = distillmos.ConvTransformerSQAModel().eval()
    rows = []
    print(f"{'seconds':>8}{'whole':>8}{'first':>8}{'package':>8}")
    for samples, rate in speech:
        audio = samples if rate == 16000 else soxr.resample(samples, rate, 16000)
        with torch.inference_mode():
            package = float(network(torch.from_numpy(audio)[None]))
        first = predictor(samples[: round(WINDOW_SECONDS * rate)], rate)
        rows.append([len(samples) / rate, predictor(samples, rate), first, package])
        print(f"{rows[-1][0]:8.1f}" + "".join(f"{score:8.3f}" for score in rows[-1][1:]))
    return [[round(value, 3) for value in row] for row in rows]


if __name__ == "__main__":
    sys.exit(main())
