"""A server beside another one: first sound, requests a second, memory; then one JSON line.

Both serve the same voice and are asked for the same texts by so many clients at once, in turn, so
that whatever else the machine does meets both. Ours is asked at both of its HTTP endpoints: the one
of the other server, which gives sentences of full range, and the one that streams. The first sound
is the first byte after a WAV's header, or Wyoming's first audio-chunk. In the end ours answers many
requests while its memory is watched.
"""

from __future__ import annotations

import argparse
import asyncio
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
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from synthesis import LONG, SHORT
from wyoming.client import AsyncTcpClient
from wyoming.tts import Synthesize

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
    """One way to ask one server: by HTTP at a path, with a body; by Wyoming where there is none."""

    name: str
    python: Path
    module: str = "piper.http_server"
    path: str = ""
    key: str = "text"
    more: dict[str, str] = field(default_factory=dict)

    def find_command(self, model: Path, port: int) -> list[str]:
        """Return what serves a voice at a port."""
        flags = ["-m", model.name, "--port", port]
        if not self.path:
            uri = f"tcp://127.0.0.1:{port}"
            flags = ["--voice", model.stem, "--data-dir", model.parent, "--uri", uri]
        return [str(word) for word in (self.python, "-m", self.module, *flags)]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, type=Path, help="the voice's ONNX")
    parser.add_argument("--protocol", choices=("http", "wyoming"), default="http")
    text = "of an environment that has piper-tts[http], or wyoming-piper"
    parser.add_argument("--peer", type=Path, metavar="PYTHON", help=text)
    text = "at once (default: 1 4 16 64; none: one client alone)"
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 4, 16, 64], help=text)
    parser.add_argument("--seconds", type=float, default=15.0, help="of a run (default: 15)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default: 3)")
    parser.add_argument(
        "--requests", type=int, default=2000, help="while memory is watched (default: 2000)"
    )
    return parser.parse_args()


def find_servers(protocol: str, peer: Path | None) -> list[Server]:
    ours = Path(sys.executable)
    streamed = {"path": "/v1/audio/speech", "key": "input"}
    servers = {
        "http": [
            Server("ours, streamed", ours, **streamed, more={"response_format": "wav"}),
            Server("ours, /synthesize", ours, path="/synthesize"),
        ],
        "wyoming": [Server("ours", ours, "piper.wyoming_server")],
    }[protocol]
    if peer is None:
        return servers
    if protocol == "http":
        return [*servers, Server("piper-tts", peer.absolute(), path="/synthesize")]
    return [*servers, Server("wyoming-piper", peer.absolute(), "wyoming_piper")]


def main() -> None:
    arguments = parse_arguments()
    servers = find_servers(arguments.protocol, arguments.peer)
    with tempfile.TemporaryDirectory() as folder:
        model = copy_voice(arguments.model, Path(folder))
        table = {
            "first sound of an 11-second sentence, one client": measure_first(servers, model, 10),
            **{
                f"{clients} clients": measure_load(servers, model, clients, arguments)
                for clients in arguments.clients
            },
        }
        memory = watch_memory(servers[0], model, arguments.requests) if arguments.requests else []
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
    seconds: dict[str, list[tuple[float, float]]] = {server.name: [] for server in servers}
    for _ in range(0, repeats, 3):
        for server in servers:
            with run_server(server, model) as (_, port):
                ask(server, port, LONG)
                seconds[server.name] += [ask(server, port, LONG) for _ in range(3)]
    return {
        name: {
            "first": statistics.median(first for first, _ in runs),
            "whole": statistics.median(whole for _, whole in runs),
        }
        for name, runs in seconds.items()
    }


def measure_load(
    servers: list[Server], model: Path, clients: int, arguments: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Let clients ask one after the other for some seconds; medians of the rounds."""
    rounds: dict[str, list[dict[str, float]]] = {server.name: [] for server in servers}
    for _ in range(arguments.rounds):
        for server in servers:
            with run_server(server, model) as (process, port):
                ask(server, port, LONG)
                before = read_processor_seconds(process.pid)
                figures = load(server, port, clients, arguments.seconds)
                used = read_processor_seconds(process.pid) - before
                figures["processor_seconds_per_request"] = used / max(1, figures.pop("answers"))
                figures["peak_megabytes"] = read_memory(process.pid, "VmHWM")
            rounds[server.name].append(figures)
    return {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        | {"failed": sum(run["failed"] for run in runs)}
        for name, runs in rounds.items()
    }


def load(server: Server, port: int, clients: int, seconds: float) -> dict[str, float]:
    """Return what some clients saw who asked for so long."""
    answers: list[tuple[float, float]] = []
    failures: list[Exception] = []
    end = time.monotonic() + seconds

    def ask_until_end(number: int) -> None:
        while time.monotonic() < end:
            try:
                answers.append(ask(server, port, TEXTS[number % len(TEXTS)]))
            except (OSError, http.client.HTTPException) as error:
                failures.append(error)
            number += 1

    start = time.monotonic()
    run_clients(clients, ask_until_end)
    return {
        "first": statistics.median(first for first, _ in answers),
        "whole": statistics.median(whole for _, whole in answers),
        "requests_per_second": len(answers) / (time.monotonic() - start),
        "answers": len(answers),
        "failed": len(failures),
    }


def run_clients(count: int, work: Callable[[int], None]) -> None:
    """Run so many clients at once, each with its number, to their end."""
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(work, range(count)))


def watch_memory(server: Server, model: Path, requests: int) -> list[int]:
    """Return what the server holds after each part of many requests by four clients."""
    memory = []
    with run_server(server, model) as (process, port):

        def ask_often(_: int) -> None:
            for number in range(requests // MEMORY_STEPS // 4):
                ask(server, port, TEXTS[1 + number % 3])

        for _ in range(MEMORY_STEPS):
            run_clients(4, ask_often)
            memory.append(round(read_memory(process.pid, "VmRSS")))
    return memory


def ask(server: Server, port: int, text: str) -> tuple[float, float]:
    """Return the seconds until the first sound and until the end."""
    if not server.path:
        return asyncio.run(ask_wyoming(port, text))
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


async def ask_wyoming(port: int, text: str) -> tuple[float, float]:
    first = 0.0
    async with AsyncTcpClient("127.0.0.1", port, read_timeout=300) as client:
        start = time.monotonic()
        await client.write_event(Synthesize(text).event())
        while (event := await client.read_event()) is not None:
            if event.type == "audio-chunk":
                first = first or time.monotonic() - start
            elif event.type == "audio-stop":
                return first, time.monotonic() - start
    raise ConnectionError("the server has ended the connection")


@contextmanager
def run_server(server: Server, model: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a server of a voice until the block ends; give its process and port."""
    # Both packages are called piper: a checkout on the path must not be found by the other.
    is_ours = server.python == Path(sys.executable)
    environment = {k: v for k, v in os.environ.items() if is_ours or k != "PYTHONPATH"}
    port = find_free_port()
    command = server.find_command(model, port)
    with run_until_end(command, port, model.parent, environment) as process:
        yield process, port


def find_free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def run_until_end(
    command: Sequence[str],
    port: int,
    folder: Path,
    environment: Mapping[str, str],
    log: Path = Path(os.devnull),
) -> Iterator[subprocess.Popen[bytes]]:
    """Run what listens at a port, from the moment that it answers until the block ends."""
    with log.open("ab") as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, env=environment)
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end and process.poll() is None:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.05)
        else:
            raise SystemExit(f"{command[2]} does not start: {log.read_text()[-2000:]}")
        yield process
        if process.poll() is not None:
            raise SystemExit(f"{command[2]} has fallen: {log.read_text()[-2000:]}")
    finally:
        process.kill()
        process.wait()


def read_memory(pid: int, key: str) -> float:
    """Return one of the system's figures of a process's memory, in megabytes."""
    return read_status(pid)[key] / 1000


def read_status(pid: int) -> dict[str, int]:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return {key: int(value) for key, value in re.findall(r"(\w+):\s+(\d+)", status)}


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
