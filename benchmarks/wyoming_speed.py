"""The Wyoming server beside wyoming-piper: when sound comes, a table, then one JSON line.

Both servers run with the same voice; one client asks each in turn for one sentence of about eleven
seconds, so that whatever else the machine does meets both. Times count from the moment before the
event is sent. The peer is left out where no `--peer` is given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from synthesis import LONG
from wyoming.audio import AudioChunk, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.tts import Synthesize

PEER = "wyoming-piper==2.5.2"
PATH = "PYTHONPATH"
START_SECONDS = 60
ROWS = {"first": "first audio-chunk", "end": "audio-stop"}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, type=Path, help="the voice's ONNX")
    parser.add_argument(
        "--peer", type=Path, metavar="PYTHON", help=f"Python of an environment that has {PEER}"
    )
    parser.add_argument("--repeats", type=int, default=10, help="of each (default: 10)")
    return parser.parse_args()


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def run_server(python: Path, module: str, model: Path) -> Iterator[int]:
    """Run a server on a free port, in an empty folder, until it answers; give the port."""
    port = find_free_port()
    command = [str(python), "-m", module, "--voice", model.stem, "--data-dir", str(model.parent)]
    command += ["--uri", f"tcp://127.0.0.1:{port}"]
    # Both packages are called piper: a checkout on the path must not be found by the other.
    is_ours = python == Path(sys.executable)
    environment = {name: os.environ[name] for name in os.environ if is_ours or name != PATH}
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, cwd=folder, env=environment) as process,
    ):
        try:
            end = time.monotonic() + START_SECONDS
            while not can_connect(port):
                if process.poll() is not None or time.monotonic() > end:
                    sys.exit(f"{module} does not listen on port {port}; see above.")
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()


def can_connect(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def measure(port: int) -> dict[str, float]:
    """Return the seconds until the first chunk and until the end, and those of the sound."""
    found = {}
    samples = 0
    async with AsyncTcpClient("127.0.0.1", port, read_timeout=START_SECONDS) as client:
        start = time.perf_counter()
        await client.write_event(Synthesize(LONG).event())
        while (event := await client.read_event()) is not None:
            if AudioChunk.is_type(event.type):
                found.setdefault("first", time.perf_counter() - start)
                chunk = AudioChunk.from_event(event)
                samples += chunk.samples
                found["sound"] = samples / chunk.rate
            elif AudioStop.is_type(event.type):
                return found | {"end": time.perf_counter() - start}
    sys.exit("A server has ended the connection; see above.")


def compare(ports: dict[str, int], repeats: int) -> dict[str, list[dict[str, float]]]:
    """Return what was measured of each server, in turn; the first time does not count."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ports}
    for repeat in range(repeats + 1):
        for name, port in ports.items():
            figures = asyncio.run(measure(port))
            if repeat:
                found[name].append(figures)
    return found


def print_table(medians: dict[str, dict[str, float]]) -> None:
    print(f"{'seconds until':<20}" + "".join(f"{name:>16}" for name in medians) + f"{'ratio':>8}")
    for key, text in ROWS.items():
        figures = [figures[key] for figures in medians.values()]
        ratio = f"{figures[0] / figures[1]:8.2f}" if len(figures) > 1 else ""
        print(f"{text:<20}" + "".join(f"{value:16.3f}" for value in figures) + ratio)


def median_of(runs: Sequence[dict[str, float]], key: str) -> float:
    return round(statistics.median(run[key] for run in runs), 4)


def main() -> int:
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / args.model.name
        for ending in ("", ".json"):
            shutil.copy(f"{args.model}{ending}", f"{model}{ending}")
        with run_server(Path(sys.executable), "piper.wyoming_server", model) as our_port:
            ports = {"ours": our_port}
            if args.peer is None:
                found = compare(ports, args.repeats)
            else:
                with run_server(args.peer, "wyoming_piper", model) as peer_port:
                    found = compare(ports | {"wyoming-piper": peer_port}, args.repeats)
    medians = {
        name: {key: median_of(runs, key) for key in (*ROWS, "sound")}
        for name, runs in found.items()
    }
    print_table(medians)
    print(json.dumps({"repeats": args.repeats, **medians}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
