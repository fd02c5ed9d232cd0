"""A review without a server and one on loopback, for the tests of this folder."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from piper.server.sockets import bind_socket
from piper.train.data.settings import DataSettings, resolve_settings
from piper.train.review.app import ReviewContext, create_app
from piper.train.review.gathering import Gathered, gather_clips, select_clips
from piper.train.review.session import JOURNAL_NAME, Review

TOKEN = "token-of-the-tests"
RATE = 22050
LEAD_SECONDS = 1.0
"""Of faint noise before each piece of the long recording."""


def list_digests(folder: Path) -> dict[str, str]:
    """Return the digests of a dataset's own files: what a review may not touch."""
    files = [folder / "metadata.csv", folder / "config.json", *folder.rglob("wavs/*")]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def make_noise(seconds: float) -> np.ndarray:
    return 0.0003 * np.random.default_rng(1).standard_normal(round(seconds * RATE))


@dataclass
class Table:
    """A review without a server."""

    settings: DataSettings
    gathered: Gathered
    review: Review

    def find(self, name: str) -> Any:
        return next(clip for clip in self.gathered.clips if clip.name == name)

    def decide(self, name: str, choice: Any, **changes: Any) -> None:
        clip = self.find(name)
        outcome = self.review.find_outcome(clip)
        values = {
            "text": outcome.text,
            "start_seconds": outcome.start_seconds,
            "end_seconds": outcome.end_seconds,
        }
        self.review.decide(clip, choice, **{**values, **changes})


def open_table(folder: Path) -> Table:
    """Read a dataset and its journal, as a start of the command does."""
    settings = resolve_settings(dataset_dir=folder)
    gathered = gather_clips(settings)
    return Table(settings, gathered, Review(gathered.clips, folder / JOURNAL_NAME))


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)


@dataclass
class RunningReview:
    port: int
    context: ReviewContext

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://127.0.0.1:{self.port}/{TOKEN}/"

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        prefix: str = f"/{TOKEN}/",
        **headers: str,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if body is None else json.dumps(body)
        if data is not None:
            sent["Content-Type"] = "application/json"
        connection.request(method, f"{prefix}{path}", data, sent)
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        connection.close()
        return answer


def serve(folder: Path, media: Path) -> Iterator[RunningReview]:
    table = open_table(folder)
    clips = select_clips(table.gathered, folder, is_all=False, rules="")
    media.mkdir()
    context = ReviewContext(table.settings, table.gathered, clips, table.review, media)
    listener = bind_socket("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(context, TOKEN), log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    end = time.monotonic() + 120
    while not server.started:
        assert time.monotonic() < end
        time.sleep(0.01)
    yield RunningReview(listener.getsockname()[1], context)
    server.should_exit = True
    thread.join(120)
