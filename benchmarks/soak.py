"""A server among good and bad clients for some minutes; a table, and exit code 1 where it fails.

The real command runs with a voice without noise, so that each good answer can be compared with the
one that a single client got at the beginning, byte for byte. Meanwhile all kinds of bad clients
come again and again. Wrong are: a good answer that is another one, or does not come; a failure of
the server (5xx but 503, a traceback); a client that is still being waited for; and memory, threads
or open files that grow.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import soak_http
import soak_wyoming
from soak_clients import BadAct, GoodAct

from server import Server, copy_voice, find_free_port, read_status, run_until_end

KINDS: dict[str, tuple[ModuleType, Server]] = {
    "http": (soak_http, Server("http", Path(sys.executable), path="/")),
    "wyoming": (soak_wyoming, Server("wyoming", Path(sys.executable), "piper.wyoming_server")),
}
NUM_GOOD = 8
MAX_BREATH_SECONDS = 0.2
"""Between two acts of a bad client, at most: they are to be many, and still let others in."""
MAX_WAIT_SECONDS = 150
"""For one act: sixty slow seconds, thirty in which nothing is read, and a queue before."""
WARM_UP_SHARE = 0.2
MAX_GROWTH_MEGABYTES = 64
"""What the fullest moment needed is kept by malloc: the Wyoming server went from 255 to 272 MB in
seconds and stayed there, another time it took 42 MB in all. Ten minutes are some 25,000 requests; a
leak of 4 kB in each would be 100 MB."""
MAX_NEW_THREADS = (os.cpu_count() or 1) + 4
"""asyncio makes the threads of its pool when they are wanted, and so many at most."""


@dataclass
class Tally:
    """What clients have seen."""

    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Size:
    """What the server's process holds."""

    megabytes: float
    threads: int
    files: int


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, type=Path, help="the voice's ONNX")
    parser.add_argument("--server", choices=KINDS, default="http", help="which (default: http)")
    parser.add_argument("--minutes", type=float, default=10.0, help="of all (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of what bad clients do (default: 0)")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    clients, server = KINDS[arguments.server]
    quiet = ("--noise-scale", "0", "--noise-w-scale", "0")
    with tempfile.TemporaryDirectory() as folder:
        log, port = Path(folder) / "log", find_free_port()
        model = copy_voice(arguments.model, Path(folder))
        command = [*server.find_command(model, port), *quiet]
        environment = os.environ | {"PIPER_API_KEY": soak_http.KEY}
        with run_until_end(command, port, model.parent, environment, log) as process:
            soak = Soak(clients, process.pid, port, arguments.seed)
            tally, before, after = asyncio.run(soak.run(arguments.minutes * 60))
        judge(tally, before, after, log.read_text(encoding="utf-8", errors="replace"))
    print_tables(tally, before, after)
    return 1 if tally.wrong else 0


class Soak:
    """All clients of a server.

    Args:
        clients: Module with the GOOD and the BAD ones.
        pid: The server's process.
        port: Where it listens.
        seed: Of what bad clients do.
    """

    def __init__(self, clients: ModuleType, pid: int, port: int, seed: int) -> None:
        self._good: dict[str, GoodAct] = clients.GOOD
        self._bad: dict[str, BadAct] = clients.BAD
        self._pid = pid
        self._port = port
        self._chance = random.Random(seed)
        self._expected: dict[str, bytes | None] = {}

    async def run(self, seconds: float) -> tuple[Tally, Size, Size]:
        """Return what happened after the warm-up, and what the server held before and after."""
        for name, ask in self._good.items():
            self._expected[name] = await ask(self._port)
        await self._let_in_all(Tally(), seconds * WARM_UP_SHARE)
        before = await self._measure()
        tally = Tally()
        await self._let_in_all(tally, seconds * (1 - WARM_UP_SHARE))
        return tally, before, await self._measure()

    async def _let_in_all(self, tally: Tally, seconds: float) -> None:
        end = time.monotonic() + seconds
        good = (self._be_good(tally, end, number) for number in range(NUM_GOOD))
        bad = (self._be_bad(tally, end, name) for name in self._bad)
        await asyncio.gather(*good, *bad)

    async def _be_good(self, tally: Tally, end: float, number: int) -> None:
        names = list(self._good)
        while time.monotonic() < end:
            number += 1
            name = names[number % len(names)]
            try:
                async with asyncio.timeout(MAX_WAIT_SECONDS):
                    answer = await self._good[name](self._port)
            except Exception as error:  # whatever a client sees is a request that was lost
                tally.wrong[f"{name}: {error!r}"] += 1
                continue
            if answer is None:
                tally.seen[f"good: {name}", "refused"] += 1
                await asyncio.sleep(1)
            elif answer == self._expected[name]:
                tally.seen[f"good: {name}", "as before"] += 1
            else:
                tally.wrong[f"{name}: another answer"] += 1

    async def _be_bad(self, tally: Tally, end: float, name: str) -> None:
        while time.monotonic() < end:
            try:
                async with asyncio.timeout(MAX_WAIT_SECONDS):
                    status = await self._bad[name](self._port, self._chance)
            except TimeoutError:
                status = "waits"
            except (OSError, EOFError):
                status = "closed"
            except Exception as error:  # a handshake that is refused, and its like
                status = type(error).__name__
            tally.seen[f"bad: {name}", status] += 1
            await asyncio.sleep(self._chance.random() * MAX_BREATH_SECONDS)

    async def _measure(self) -> Size:
        """Return what the server holds when all bad clients have been given up."""
        await asyncio.sleep(45)  # the longest that anything lies unread, and some
        numbers = read_status(self._pid)
        files = sum(1 for _ in Path(f"/proc/{self._pid}/fd").iterdir())
        return Size(numbers["VmRSS"] / 1000, numbers["Threads"], files)


def judge(tally: Tally, before: Size, after: Size, log: str) -> None:
    """Add to what is wrong what the counts say."""
    for (name, status), count in tally.seen.items():
        is_failure = status.startswith("5") and status != "503"
        if is_failure or status in ("failed", "waits", "a file", "1011", "1006"):
            tally.wrong[f"{name}: {status}"] += count
    if after.megabytes - before.megabytes > MAX_GROWTH_MEGABYTES:
        tally.wrong["the memory grows"] += 1
    if after.threads > before.threads + MAX_NEW_THREADS:
        tally.wrong["threads stay"] += 1
    if after.files > before.files:
        tally.wrong["files stay open"] += 1
    found = re.findall(r"^\w[\w.]*(?:Error|Exception)\b.*", log, re.MULTILINE)
    tally.wrong.update(f"in the log: {line[:200]}" for line in found)
    tally.wrong["tracebacks in the log"] += log.count("Traceback")
    tally.wrong += Counter()  # what was counted 0 times goes


def print_tables(tally: Tally, before: Size, after: Size) -> None:
    print("| client | what became of it | times |\n| --- | --- | --- |")
    for (name, status), count in sorted(tally.seen.items()):
        print(f"| {name} | {status} | {count} |")
    print("\n| | memory, MB | threads | open files |\n| --- | --- | --- | --- |")
    for title, size in (("begin", before), ("end", after)):
        print(f"| {title} | {size.megabytes:.0f} | {size.threads} | {size.files} |")
    good = sum(count for (name, _), count in tally.seen.items() if name.startswith("good"))
    bad = sum(count for (name, _), count in tally.seen.items() if name.startswith("bad"))
    print(f"\n{good} good requests and {bad} bad ones: ", end="")
    print("nothing is wrong." if not tally.wrong else "WRONG.")
    for what, count in tally.wrong.most_common():
        print(f"- {what} ({count})")


if __name__ == "__main__":
    sys.exit(main())
