"""Speaking, beside `piper-tts`: a table of seconds, megabytes and ratios, then one JSON line.

Each figure is the median of several processes, ours and the peer's in turn, so that whatever else
the machine does meets both. Speaks one sentence of about eleven seconds. Our second start counts:
the first one makes the voice's clean graph.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PEER = "piper-tts==1.8.0"
SHORT = "This is a test."
# About 480 ids; one sentence.
LONG = (
    "The old lighthouse keeper walked slowly along the windy shore every single morning and "
    "looked for the small wooden boats that had left the quiet harbour long before the first "
    "pale light of the sun appeared over the cold grey water"
)

# The names are those that both packages have; only ours has synthesize_stream.
MEASURE = """
import json, resource, sys, time
model, text, task = sys.argv[1:]
start = time.perf_counter()
# Ours loads NumPy and ONNX Runtime when they are needed, the peer when it is imported.
from piper import PiperVoice
voice = PiperVoice.load(model)
result = {"load": time.perf_counter() - start}
if task == "peak":
    for chunk in voice.synthesize(text):
        pass
    result = {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
else:
    stream = getattr(voice, "synthesize_stream", voice.synthesize)
    first, whole = [], []
    for _ in range(4):
        start = time.perf_counter()
        pieces = iter(stream(text))
        next(pieces)
        first.append(time.perf_counter() - start)
        for piece in pieces:
            pass
        start = time.perf_counter()
        [chunk] = voice.synthesize(text)
        whole.append(time.perf_counter() - start)
    # The first run of a process is slower in both.
    result.update(first=sorted(first[1:])[1], whole=sorted(whole[1:])[1])
    result["ids"] = len(chunk.phoneme_ids)
print(json.dumps(result))
"""

ROWS = {
    "cold": ("one command from a cold start, four words", "s", 0.30),
    "load": ("import and loading of the voice", "s", 0.20),
    "first": ("first audio of an 11-second sentence", "s", 0.16),
    "whole": ("the whole of it, not streamed", "s", 0.90),
    "peak": ("peak memory of a process that speaks it", "MB", 0.60),
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, type=Path, help="the voice's ONNX")
    parser.add_argument(
        "--peer-python", type=Path, help=f"Python of an environment that has {PEER}"
    )
    parser.add_argument("--repeats", type=int, default=5, help="processes of each (default: 5)")
    return parser.parse_args()


def measure(python: Path, model: Path, task: str) -> dict[str, float]:
    command = [str(python), "-c", MEASURE, str(model), LONG, task]
    # An empty folder: a checkout's own packages must not be found in the current one.
    with tempfile.TemporaryDirectory() as folder:
        output = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
    return dict(json.loads(output.stdout.splitlines()[-1]))


def measure_cold_start(python: Path, model: Path) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [str(python), "-m", "piper", "-m", str(model), "-f", "out.wav"]
        start = time.perf_counter()
        subprocess.run(command, input=SHORT.encode(), capture_output=True, check=True, cwd=folder)
        return time.perf_counter() - start


def measure_all(pythons: dict[str, Path], model: Path, repeats: int) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, list[float]]] = {name: {} for name in pythons}
    for python in pythons.values():
        measure_cold_start(python, model)  # fills our cache and the system's
    for _ in range(repeats):
        for name, python in pythons.items():
            figures = measure(python, model, "time") | measure(python, model, "peak")
            figures["cold"] = measure_cold_start(python, model)
            for key, value in figures.items():
                found[name].setdefault(key, []).append(value)
    return {
        name: {key: statistics.median(values) for key, values in figures.items()}
        for name, figures in found.items()
    }


def has_peer(python: Path | None) -> bool:
    if python is None or not python.is_file():
        return False
    return subprocess.run([str(python), "-c", "import piper"], capture_output=True).returncode == 0


def main() -> int:
    args = parse_arguments()
    model = args.model.resolve()
    pythons = {"ours": Path(sys.executable)}
    if has_peer(args.peer_python):
        # Not resolved: an environment's python is a link, and its path names the environment.
        pythons["peer"] = args.peer_python.absolute()
    else:
        print(
            f"{PEER} is not measured; install it with: python3 -m venv peer && "
            f"peer/bin/pip install {PEER}, and give --peer-python peer/bin/python"
        )
    figures = measure_all(pythons, model, args.repeats)
    print(f"{'what':45} {'ours':>9} {'peer':>9} {'ratio':>6} {'goal':>5}")
    for key, (what, unit, goal) in ROWS.items():
        ours, peer = figures["ours"][key], figures.get("peer", {}).get(key)
        beside = f"{peer:>6.3g} {unit:2} {ours / peer:>6.2f} {goal:>5.2f}" if peer else ""
        print(f"{what:45} {ours:>6.3g} {unit:2} {beside}")
    print(json.dumps({"benchmark": "synthesis", "voice": model.stem, **figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
