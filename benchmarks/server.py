"""The HTTP server beside another one: first sound, requests a second, memory; then one JSON line.

Both serve the same voice and are asked for the same texts by so many clients at once, in turn, so
that whatever else the machine does meets both. Ours is asked at both of its endpoints: the one of
the other server, which gives sentences of full range, and the one that streams. The first sound is
the first byte after a WAV's header. In the end ours answers many requests while its memory is
watched.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from synthesis import LONG, SHORT

TEXTS = (
    LONG,
    SHORT,
    "The train to the coast leaves at nine, and the next one only in the afternoon.",
    "Yes.",
    "Turn left at the second crossing. The museum is on the right, opposite the old town hall.",
    "It is raining outside, so do not forget your umbrella when you leave the house.",
    "Good morning! The kitchen light is on, and the window in the living room is open.",
    "She had read the letter three times before she understood what it really said.",
)
HEADER_BYTES = 44
MEMORY_STEPS = 10


@dataclass(frozen=True)
class Server:
    """One way to ask one server.

    Attributes:
        name: In the table.
        python: Of the environment that it is installed in.
        path: Of the endpoint.
        key: The body's key for the text.
        more: What else the body says.
    """

    name: str
    python: Path
    path: str
    key: str
    more: dict[str, str] = field(default_factory=dict)


@dataclass
class Figures:
    """What some clients saw in one run."""

    first_seconds: list[float] = field(default_factory=list)
    whole_seconds: list[float] = field(default_factory=list)
    failed: int = 0
    requests_per_second: float = 0.0
    processor_seconds: float = 0.0
    peak_megabytes: float = 0.0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, type=Path, help="the voice's ONNX")
    parser.add_argument(
        "--peer", type=Path, metavar="PYTHON", help="of an environment that has piper-tts[http]"
    )
    text = "at once (default: 1 4 16 64)"
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64], help=text)
    parser.add_argument("--seconds", type=float, default=15.0, help="of a run (default: 15)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default: 3)")
    parser.add_argument(
        "--requests", type=int, default=2000, help="while memory is watched (default: 2000)"
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    ours = Path(sys.executable)
    servers = [
        Server("ours, streamed", ours, "/v1/audio/speech", "input", {"response_format": "wav"}),
        Server("ours, /synthesize", ours, "/synthesize", "text"),
    ]
    if arguments.peer:
        servers.append(Server("piper-tts", arguments.peer, "/synthesize", "text"))
    with tempfile.TemporaryDirectory() as folder:
        model = copy_voice(arguments.model, Path(folder))
        table = {
            "first sound of an 11-second sentence, one client": measure_first(servers, model, 10),
            **{
                f"{clients} clients": measure_load(servers, model, clients, arguments)
                for clients in arguments.clients
            },
        }
        memory = watch_memory(servers[0], model, arguments.requests)
    print_table(table)
    print(f"memory after each tenth of {arguments.requests} requests, MB:", *memory)
    print(json.dumps({"load": table, "memory_megabytes": memory}))


def copy_voice(model: Path, folder: Path) -> Path:
    """Copy a voice to where nothing else is: the servers look into its folder."""
    for path in (model, Path(f"{model}.json")):
        shutil.copy(path, folder / path.name)
    return folder / model.name


def measure_first(servers: list[Server], model: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Ask for one long sentence again and again, each server in turn, on servers that are warm."""
    seconds: dict[str, list[float]] = {server.name: [] for server in servers}
    whole: dict[str, list[float]] = {server.name: [] for server in servers}
    for server in cycle(servers):
        if len(seconds[server.name]) >= repeats:
            break
        with run_server(server, model) as (_, port):
            for turn in range(4):
                first, last = ask(server, port, LONG)
                if turn:
                    seconds[server.name].append(first)
                    whole[server.name].append(last)
    return {
        name: {"first": statistics.median(seconds[name]), "whole": statistics.median(whole[name])}
        for name in seconds
    }


def measure_load(
    servers: list[Server], model: Path, clients: int, arguments: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Let clients ask one after the other for some seconds; medians of the rounds."""
    rounds: dict[str, list[Figures]] = {server.name: [] for server in servers}
    for _ in range(arguments.rounds):
        for server in servers:
            with run_server(server, model) as (process, port):
                ask(server, port, LONG)
                before = read_processor_seconds(process.pid)
                figures = load(server, port, clients, arguments.seconds)
                used = read_processor_seconds(process.pid) - before
                figures.processor_seconds = used / max(1, len(figures.whole_seconds))
                figures.peak_megabytes = read_memory(process.pid, "VmHWM")
            rounds[server.name].append(figures)

    def median(runs: list[Figures], find: Callable[[Figures], float]) -> float:
        return statistics.median(find(run) for run in runs)

    return {
        name: {
            "first": median(runs, lambda run: statistics.median(run.first_seconds)),
            "whole": median(runs, lambda run: statistics.median(run.whole_seconds)),
            "requests_per_second": median(runs, lambda run: run.requests_per_second),
            "processor_seconds_per_request": median(runs, lambda run: run.processor_seconds),
            "peak_megabytes": median(runs, lambda run: run.peak_megabytes),
            "failed": sum(run.failed for run in runs),
        }
        for name, runs in rounds.items()
    }


def load(server: Server, port: int, clients: int, seconds: float) -> Figures:
    figures = Figures()
    end = time.monotonic() + seconds

    def run_client(number: int) -> None:
        for turn in range(number, 10**9):
            if time.monotonic() > end:
                return
            try:
                first, whole = ask(server, port, TEXTS[turn % len(TEXTS)])
            except (OSError, http.client.HTTPException):
                figures.failed += 1
                continue
            figures.first_seconds.append(first)
            figures.whole_seconds.append(whole)

    start = time.monotonic()
    threads = [threading.Thread(target=run_client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    figures.requests_per_second = len(figures.whole_seconds) / (time.monotonic() - start)
    return figures


def watch_memory(server: Server, model: Path, requests: int) -> list[int]:
    """Return what the server holds after each part of many requests by four clients."""
    memory = []
    with run_server(server, model) as (process, port):
        for _ in range(MEMORY_STEPS):

            def run_client() -> None:
                for number in range(requests // MEMORY_STEPS // 4):
                    ask(server, port, TEXTS[1 + number % 3])

            threads = [threading.Thread(target=run_client) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            memory.append(round(read_memory(process.pid, "VmRSS")))
    return memory


def ask(server: Server, port: int, text: str) -> tuple[float, float]:
    """Return the seconds until the first sound and until the end."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    body = json.dumps({server.key: text, **server.more})
    start = time.monotonic()
    connection.request("POST", server.path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise http.client.HTTPException(f"{server.name} answers {response.status}")
    response.read(HEADER_BYTES)
    response.read(1)
    first = time.monotonic() - start
    response.read()
    connection.close()
    return first, time.monotonic() - start


@contextmanager
def run_server(server: Server, model: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a server until it answers; give its process and port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [server.python, "-m", "piper.http_server", "-m", model, "--port", str(port)],
        cwd=model.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end and process.poll() is None:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.05)
        else:
            raise SystemExit(f"The server of {server.name} does not start.")
        yield process, port
    finally:
        process.kill()
        process.wait()


def read_memory(pid: int, key: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(rf"^{key}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1000


def read_processor_seconds(pid: int) -> float:
    """Return what a process has used so far, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def print_table(table: dict[str, dict[str, dict[str, float]]]) -> None:
    print("| what | " + " | ".join(next(iter(table.values()))) + " |")
    print("| --- |" + " --- |" * len(next(iter(table.values()))))
    for title, columns in table.items():
        keys = next(iter(columns.values()))
        for key in keys:
            cells = " | ".join(f"{figures[key]:.3g}" for figures in columns.values())
            print(f"| {title}: {key.replace('_', ' ')} | {cells} |")


if __name__ == "__main__":
    main()
