"""64 clients at once and the real command: nothing is lost, nothing is mixed up, nothing stays."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from servers import wait_until
from test_http_server import run_server
from websockets.sync.client import connect

NUM_CLIENTS = 64
MAX_GROWTH_KILOBYTES = 32_000
"""Of a run beyond its warm-up. One that keeps 100 kB of each of a minute's requests grows by more
than 200 MB; in 5,500 requests the memory rose from 186 MB to 202 and fell to 193."""
MAX_NEW_THREADS = (os.cpu_count() or 1) + 4
"""asyncio makes the threads of its pool when they are wanted, and so many at most."""
TEXTS = (
    "Yes.",
    "The train leaves at nine. The next one leaves later.",
)
_OGG_PAGE = re.compile(rb"(OggS.{10}).{4}(.{4}).{4}", re.DOTALL)
"""RFC 3533, section 6: each stream has another number, by chance, and so other checksums."""


@dataclass(frozen=True)
class Question:
    """A request; without a body it is a conversation over the WebSocket."""

    path: str
    text: str
    body: str = ""


@dataclass
class Tally:
    """What clients have seen."""

    answered: int = 0
    refused: int = 0
    mistakes: Counter[str] = field(default_factory=Counter)


def list_questions() -> list[Question]:
    questions = []
    for text in TEXTS:
        for voice in ("tiny", "speakers"):
            body = json.dumps({"text": text, "voice": voice})
            questions.append(Question("/synthesize", text, body))
        for kind in ("mp3", "opus", "flac", "wav", "pcm"):
            body = json.dumps({"input": text, "response_format": kind})
            questions.append(Question("/v1/audio/speech", text, body))
        questions.append(Question("/live", text))
    return questions


def ask(port: int, question: Question) -> bytes | None:
    """Return the answer; None where it was refused for the time being."""
    if not question.body:
        return converse(port, question.text)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", question.path, question.body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status == 503 and int(answer.headers["Retry-After"]) >= 1:
            return None
        assert answer.status == 200, f"{answer.status}: {content!r}"
        return _OGG_PAGE.sub(rb"\1\2", content)
    finally:
        connection.close()


def converse(port: int, text: str) -> bytes | None:
    """Return the sound and the times of a text that comes in two parts."""
    times, sound = [], []
    with connect(f"ws://127.0.0.1:{port}/live", open_timeout=120, compression=None) as socket:
        middle = len(text) // 2
        for message in (
            {"type": "start"},
            {"type": "text", "text": text[:middle]},
            {"type": "text", "text": text[middle:]},
            {"type": "end"},
        ):
            socket.send(json.dumps(message))
        for message in socket:
            if isinstance(message, bytes):
                sound.append(message)
            else:
                times.append(message.encode())
    last = json.loads(times[-1])
    if "retry_after_seconds" in last:
        return None
    assert last["type"] == "end", last
    # Where a piece of the sound ends may depend on the load; what is said of it does not.
    return b"".join(times) + b"".join(sound)


def load(port: int, expected: dict[Question, bytes], seconds: float) -> Tally:
    """Let all clients ask for so long, each beginning with another question."""
    tally = Tally()
    lock = threading.Lock()
    end = time.monotonic() + seconds

    def run_client(number: int) -> None:
        questions = itertools.cycle(expected)
        for question in itertools.islice(questions, number, None):
            try:
                answer = ask(port, question)
                mistake = "" if answer in (None, expected[question]) else "another answer"
            except Exception as error:  # whatever a client sees is a request that was lost
                answer, mistake = None, repr(error)
            with lock:
                if mistake:
                    tally.mistakes[f"{question.path} {question.body}: {mistake}"] += 1
                elif answer is None:
                    tally.refused += 1
                else:
                    tally.answered += 1
            if time.monotonic() > end:
                return

    threads = [threading.Thread(target=run_client, args=(number,)) for number in range(NUM_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally


@contextmanager
def run_quiet_server(folder: Path) -> Iterator[tuple[int, int]]:
    """Run the command without noise, so that answers can be compared; give its id and port."""
    quiet = ("--noise-scale", "0", "--noise-w-scale", "0")
    with run_server("-m", "tiny", "--data-dir", str(folder), *quiet) as (process, url):
        yield process.pid, int(url.rpartition(":")[2])


def measure(pid: int, port: int) -> tuple[int, int, int]:
    """Return kilobytes of memory, threads and open files, once nothing is being done."""
    process = Path(f"/proc/{pid}")
    end = time.monotonic() + 120
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=120) as answer:
            is_idle = json.loads(answer.read())["requests"] == 0
        files = sum(1 for _ in (process / "fd").iterdir())
        sockets = Path(f"/proc/{pid}/net/tcp").read_text(encoding="ascii")
        # The one that asked is still being closed; all others have been.
        is_idle &= len(re.findall(rf":{port:04X} \S+ 01 ", sockets)) == 0
        if is_idle:
            status = (process / "status").read_text(encoding="ascii")
            found: Any = re.search(r"VmRSS:\s+(\d+) kB\nRssAnon", status)
            threads = sum(1 for _ in (process / "task").iterdir())
            return int(found[1]), threads, files
        assert time.monotonic() < end, "connections stay open"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("warm_up_seconds", "seconds"), [(0.5, 2.0), pytest.param(15.0, 60.0, marks=pytest.mark.long)]
)
def test_64_clients_at_once(voices_folder: Path, warm_up_seconds: float, seconds: float) -> None:
    with run_quiet_server(voices_folder) as (pid, port):
        expected = {}
        for question in list_questions():
            answer = ask(port, question)
            assert answer
            expected[question] = answer
        load(port, expected, warm_up_seconds)
        memory, threads, files = measure(pid, port)
        tally = load(port, expected, seconds)
        assert not tally.mistakes
        assert tally.answered >= NUM_CLIENTS
        # A connection that is being closed by both sides has its file for a moment more.
        wait_until(lambda: measure(pid, port)[2] <= files)
        later_memory, later_threads, _ = measure(pid, port)
        assert later_memory - memory < MAX_GROWTH_KILOBYTES
        assert later_threads <= threads + MAX_NEW_THREADS
