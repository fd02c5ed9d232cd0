"""What the review's page asks for, over HTTP: clips, media, decisions, the copy.

Any page that is open in the same browser can send requests to 127.0.0.1, and by DNS rebinding
even read the answers under its own name. So an address holds a random token, a request must name
this machine, and one that comes from a page must come from ours.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import webbrowser
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from markupsafe import Markup
from pydantic import BaseModel, FiniteFloat
from starlette.middleware.base import RequestResponseEndpoint

from piper.audio.output import write_wav
from piper.errors import DatasetError, PiperError, describe_os_error
from piper.files import remove_folder
from piper.messages import say, translate
from piper.server.http import add_error_handlers, is_own_name, limit_bodies
from piper.server.sockets import bind_socket
from piper.system import MACOS, WINDOWS
from piper.train.check.run import count_speakers, entries_to_rows
from piper.train.data.phonemes_cli import TextPhonemizer
from piper.train.data.settings import DataSettings
from piper.train.pages.document import load_dictionary, read_template, render
from piper.train.pages.excerpts import Excerpt, decode_excerpt, levels_to_png, samples_to_levels
from piper.train.review.gathering import Gathered
from piper.train.review.reviewed_copy import write_reviewed_copy
from piper.train.review.session import Choice, Clip, Review

_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}
_GRACE_SECONDS = 3
"""So long may answers take that are on their way at Ctrl+C."""


def serve_page(app: FastAPI, host: str, port: int, path: str, *, has_browser: bool) -> None:
    """Answer requests until the process is told to end; port 0 takes a free one."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=_GRACE_SECONDS
    )
    with closing(bind_socket(host, port)) as listener:
        # Before anybody is told the address: a request now waits for the loop, and is not refused.
        listener.listen()
        address, bound_port = listener.getsockname()[:2]
        url = f"http://{_name_address(address)}:{bound_port}{path}"
        say(f"Review: {url} (Ctrl+C ends it)")
        if has_browser and _has_window():
            # A browser that stays in the foreground must not keep the server waiting.
            threading.Thread(target=_open, args=(url,), daemon=True).start()
        uvicorn.Server(config).run(sockets=[listener])


def _name_address(address: str) -> str:
    """Return an address as a browser takes it; "all addresses" is none to open."""
    if address in ("0.0.0.0", "::"):
        return "localhost"
    return f"[{address}]" if ":" in address else address


def _has_window() -> bool:
    """Return False where only a browser inside this terminal would answer."""
    if WINDOWS or MACOS:
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def _open(url: str) -> None:
    try:
        webbrowser.open(url)
    except (webbrowser.Error, OSError):
        return  # The address is printed.


PICTURE_COLUMNS = 1000
PICTURE_ROWS = 160
OUTLINE_POINTS = 1000
KEPT_CLIPS = 32
"""As many are kept as WAV at a time: 10 MB of usual clips, 2 GB of ten minutes each."""


@dataclass(frozen=True)
class Media:
    """What is shown of a clip, between its limits.

    Attributes:
        wav_path: 16-bit WAV of one channel.
        outline: Peaks, 0 to 1, from the first limit to the second.
    """

    wav_path: Path
    picture: bytes
    top_hertz: float
    outline: list[float]


@contextmanager
def create_media_folder(cache_dir: Path, dataset: Path) -> Iterator[Path]:
    """Give an empty folder for a dataset's WAVs, which is gone after the block.

    Several datasets may share a cache, and be reviewed at once; a folder that somebody made there
    has another name, since this one is emptied of what a kill has left.
    """
    digest = hashlib.sha256(os.fsencode(dataset.absolute())).hexdigest()
    folder = cache_dir / f".review-{digest[:16]}"
    remove_folder(folder)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        remove_folder(folder)


class MediaStore:
    """Makes media of clips, and keeps those that were asked for last. Threads may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: OrderedDict[str, Media] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()

    def find(self, clip: Clip) -> Media:
        """Return what is shown of a clip."""
        with self._lock:
            if clip.key not in self._kept:
                self._kept[clip.key] = self._create(clip)
            self._kept.move_to_end(clip.key)
            while len(self._kept) > KEPT_CLIPS:
                _, old = self._kept.popitem(last=False)
                old.wav_path.unlink(missing_ok=True)
            return self._kept[clip.key]

    def _create(self, clip: Clip) -> Media:
        low, high = clip.limits
        decoded = decode_excerpt(Excerpt(clip.path, low, high - low)) if clip.path else None
        if decoded is None:
            raise DatasetError(clip.obstacle or f"{clip.path} cannot be decoded; replace it.")
        samples, rate = decoded
        self._count += 1
        wav_path = self._folder / f"{self._count}.wav"
        write_wav(wav_path, np.clip(samples, -1, 1), rate)
        levels = samples_to_levels(samples, rate, columns=PICTURE_COLUMNS, rows=PICTURE_ROWS)
        starts = np.arange(OUTLINE_POINTS) * len(samples) // OUTLINE_POINTS
        outline = np.maximum.reduceat(np.abs(samples), starts)
        rounded = [round(float(peak), 3) for peak in outline]
        return Media(wav_path, levels_to_png(levels), rate / 2, rounded)


class ReviewContext:
    """What lies before the reviewer, of whose clips some are shown."""

    def __init__(
        self,
        settings: DataSettings,
        gathered: Gathered,
        clips: Sequence[Clip],
        review: Review,
        media_folder: Path,
    ) -> None:
        self.folder = settings.csv_path.parent
        self.config_path = settings.config_path  # need not exist
        self.language = settings.espeak_voice  # of the texts, for the browser's spell-check
        self.gathered, self.clips, self.review = gathered, clips, review
        self.indices = {clip.key: index for index, clip in enumerate(clips)}
        rows = entries_to_rows(gathered.entries)
        self.phonemizer = TextPhonemizer(count_speakers(settings, gathered.entries), rows)
        self.media = MediaStore(media_folder)

    def find_clip(self, index: int) -> Clip:
        """Return the clip with a number."""
        if not 0 <= index < len(self.clips):
            raise DatasetError(f"There is no clip {index}; reload the page.")
        return self.clips[index]

    def find_media(self, index: int) -> Media:
        """Return what is shown of the clip with a number."""
        return self.media.find(self.find_clip(index))

    def find_copy_folder(self, name: str) -> Path:
        """Return where a copy goes: a relative path is meant beside the dataset."""
        if not name or "\0" in name:
            raise DatasetError("Name a new folder for the copy.")
        try:
            folder = Path(name).expanduser()
        except RuntimeError:
            raise DatasetError(f"{name} names nobody's folder; write the whole path.") from None
        return self.folder.absolute().parent / folder


SCRIPTS = ("page.js", "review.js")
MAX_BODY_BYTES = 100_000
"""A text of some pages."""
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src 'self' data:; media-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class DecisionBody(BaseModel):
    """A decision as the page sends it; borders in seconds of the file."""

    choice: Choice
    text: str
    start: FiniteFloat
    end: FiniteFloat
    is_continued: bool = False


class TextBody(BaseModel):
    """A text to hear."""

    text: str


class CopyBody(BaseModel):
    """Where the copy goes."""

    folder: str


def create_app(context: ReviewContext, token: str, host: str = "127.0.0.1") -> FastAPI:
    """Return the application; its page is at `/TOKEN/`."""
    app = FastAPI(title="Piper review", docs_url=None, redoc_url=None, openapi_url=None)
    add_error_handlers(app, lambda _path, _status, sentence: _tell(detail=sentence))
    app.add_exception_handler(OSError, _answer_os_error)
    app.add_middleware(limit_bodies, max_bytes=MAX_BODY_BYTES)

    @app.middleware("http")
    async def guard(request: Request, answer: RequestResponseEndpoint) -> Response:
        """Let through what our own page asks for."""
        refusal = _find_refusal(request, token, host)
        if refusal:
            return JSONResponse({"detail": refusal}, HTTPStatus.FORBIDDEN)
        response = await answer(request)
        response.headers.update(_HEADERS)
        return response

    app.include_router(_create_router(context), prefix=f"/{token}")
    return app


def _find_refusal(request: Request, token: str, listens_on: str) -> str:
    host = request.headers.get("host", "")
    if not is_own_name(host, listens_on):
        return f"{host or 'No name'} is no name of this review; open the address it printed."
    origin = request.headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return f"A page of {origin} may not use this review."
    _, _, given = request.scope["path"].partition("/")
    if not secrets.compare_digest(given.partition("/")[0].encode(), token.encode()):
        return "The address lacks the token; open the one that the command printed."
    return ""


async def _answer_os_error(_: Request, error: Exception) -> Response:
    """Answer what a full disk or a folder without rights refused, as the command line does."""
    assert isinstance(error, OSError)
    sentence = describe_os_error(error)
    return JSONResponse(_tell(detail=str(sentence)), HTTPStatus.INTERNAL_SERVER_ERROR)


def _tell(**texts: str) -> dict[str, Any]:
    """Return texts by their names, and in `ru` those that the page shows in a Russian browser."""
    return {**texts, "ru": {name: translate(text, "ru") for name, text in texts.items()}}


def _create_router(context: ReviewContext) -> APIRouter:
    router = APIRouter()

    @router.get("/")
    def page() -> HTMLResponse:
        """Return the page."""
        page = render(
            "review.html",
            policy=None,
            dictionary=load_dictionary(["review.html", *SCRIPTS]),
            script=Markup().join(map(read_template, SCRIPTS)),
        )
        return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})

    @router.get("/review")
    def review() -> dict[str, Any]:
        """Return all clips, with what is decided of them."""
        clips = [_clip_to_dict(context, index) for index in range(len(context.clips))]
        folder = context.folder.absolute()
        return {
            "dataset": str(folder),
            "language": context.language,
            "copy": str(folder.with_name(f"{folder.name}-reviewed")),
            "clips": clips,
            **_find_steps(context),
        }

    @router.get("/clips/{index}/audio.wav")
    def audio(index: int) -> FileResponse:
        """Return what is shown of a clip as WAV; ranges are answered."""
        return FileResponse(context.find_media(index).wav_path, media_type="audio/wav")

    @router.get("/clips/{index}/spectrogram.png")
    def spectrogram(index: int) -> Response:
        """Return the spectrogram of the same."""
        return Response(context.find_media(index).picture, media_type="image/png")

    @router.get("/clips/{index}/outline")
    def outline(index: int) -> dict[str, Any]:
        """Return the waveform of the same."""
        media = context.find_media(index)
        return {"peaks": media.outline, "top_hertz": media.top_hertz}

    @router.post("/phonemes")
    def phonemes(body: TextBody) -> dict[str, Any]:
        """Return what the voice will hear of a text."""
        try:
            return {"phonemes": context.phonemizer.describe(body.text), "mistake": ""}
        except PiperError as error:
            return {"phonemes": "", **_tell(mistake=str(error))}

    @router.post("/clips/{index}/decision")
    def decide(index: int, body: DecisionBody) -> dict[str, Any]:
        """Save a decision; it is on the disk when this answers."""
        clip = context.find_clip(index)
        context.review.decide(
            clip, body.choice, body.text, body.start, body.end, is_continued=body.is_continued
        )
        return _answer(context, clip.key)

    @router.post("/undo")
    def undo() -> dict[str, Any]:
        """Take the last decision back."""
        return _answer(context, context.review.undo())

    @router.post("/redo")
    def redo() -> dict[str, Any]:
        """Make the decision again that was taken back last."""
        return _answer(context, context.review.redo())

    @router.post("/copy")
    def copy(body: CopyBody) -> dict[str, Any]:
        """Write the copy; the dataset stays as it is."""
        folder = context.find_copy_folder(body.folder.strip())
        summary = write_reviewed_copy(context.gathered, context.review, context.config_path, folder)
        return {"folder": str(folder), **_tell(summary=summary)}

    return router


def _answer(context: ReviewContext, key: str | None) -> dict[str, Any]:
    """Return the clip that has changed, null where it is not shown, and what can be undone."""
    index = context.indices.get(key) if key else None
    clip = None if index is None else _clip_to_dict(context, index)
    return {"clip": clip, "key": key, **_find_steps(context)}


def _find_steps(context: ReviewContext) -> dict[str, bool]:
    return {"can_undo": context.review.can_undo, "can_redo": context.review.can_redo}


def _clip_to_dict(context: ReviewContext, index: int) -> dict[str, Any]:
    clip = context.clips[index]
    outcome = context.review.find_outcome(clip)
    return {
        "index": index,
        "name": clip.name,
        "line": clip.line,
        "speaker": clip.speaker,
        "original": {"text": clip.text, "start": clip.start_seconds, "end": clip.end_seconds},
        "limits": clip.limits,
        **_tell(obstacle=clip.obstacle, note=outcome.note),
        "issues": [
            {
                "rule": issue.rule,
                "severity": issue.severity,
                **_tell(message=issue.message, advice=issue.advice),
                "span": issue.span,
                "text": issue.fitting_text,
            }
            for issue in clip.issues
        ],
        "state": outcome.state,
        "text": outcome.text,
        "start": outcome.start_seconds,
        "end": outcome.end_seconds,
    }
