"""What the review's page asks for, over HTTP: clips, media, decisions, the copy. Keeps nothing."""

from __future__ import annotations

from http import HTTPStatus
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, FiniteFloat

from piper.errors import DatasetError, PiperError, describe_os_error
from piper.messages import translate
from piper.server.http import BodyLimit, add_error_handlers
from piper.train.review.decisions import Choice
from piper.train.review.desk import Desk
from piper.train.review.guard import Guard
from piper.train.review.reviewed_copy import write_reviewed_copy

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


def create_app(desk: Desk, token: str, host: str = "127.0.0.1") -> FastAPI:
    """Return the application; its page is at `/TOKEN/`.

    Args:
        desk: What is reviewed.
        token: From `create_token`.
        host: That the server listens on.
    """
    app = FastAPI(title="Piper review", docs_url=None, redoc_url=None, openapi_url=None)
    add_error_handlers(app, lambda _path, _status, sentence: _tell(detail=sentence))
    app.add_exception_handler(OSError, _answer_os_error)
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
    app.add_middleware(Guard, token=token, host=host)
    app.include_router(_create_page_router(desk), prefix=f"/{token}")
    app.include_router(_create_decision_router(desk), prefix=f"/{token}")
    return app


async def _answer_os_error(_: Request, error: Exception) -> Response:
    """Answer what a full disk or a folder without rights refused, as the command line does."""
    assert isinstance(error, OSError)
    sentence = describe_os_error(error)
    return JSONResponse(_tell(detail=str(sentence)), HTTPStatus.INTERNAL_SERVER_ERROR)


def _tell(**texts: str) -> dict[str, Any]:
    """Return texts by their names, and in `ru` those that the page shows in a Russian browser."""
    return {**texts, "ru": {name: translate(text, "ru") for name, text in texts.items()}}


def _create_page_router(desk: Desk) -> APIRouter:
    router = APIRouter()

    @router.get("/")
    def page() -> HTMLResponse:
        """Return the page."""
        page = resources.files("piper.train.review").joinpath("page.html")
        text = page.read_text(encoding="utf-8")
        return HTMLResponse(text, headers={"Content-Security-Policy": _POLICY})

    @router.get("/review")
    def review() -> dict[str, Any]:
        """Return all clips, with what is decided of them."""
        clips = [_clip_to_dict(desk, index) for index in range(len(desk.clips))]
        folder = desk.folder.absolute()
        return {
            "dataset": str(folder),
            "language": desk.language,
            "copy": str(folder.with_name(f"{folder.name}-reviewed")),
            "clips": clips,
            **_find_steps(desk),
        }

    @router.get("/clips/{index}/audio.wav")
    def audio(index: int) -> FileResponse:
        """Return what is shown of a clip as WAV; ranges are answered."""
        return FileResponse(desk.media.find(desk.find_clip(index)).wav_path, media_type="audio/wav")

    @router.get("/clips/{index}/spectrogram.png")
    def spectrogram(index: int) -> Response:
        """Return the spectrogram of the same."""
        return Response(desk.media.find(desk.find_clip(index)).picture, media_type="image/png")

    @router.get("/clips/{index}/outline")
    def outline(index: int) -> dict[str, Any]:
        """Return the waveform of the same."""
        media = desk.media.find(desk.find_clip(index))
        return {"peaks": media.outline, "top_hertz": media.top_hertz}

    @router.post("/phonemes")
    def phonemes(body: TextBody) -> dict[str, Any]:
        """Return what the voice will hear of a text."""
        try:
            return {"phonemes": desk.hearing.describe(body.text), "mistake": ""}
        except PiperError as error:
            return {"phonemes": "", **_tell(mistake=str(error))}

    return router


def _create_decision_router(desk: Desk) -> APIRouter:
    router = APIRouter()

    @router.post("/clips/{index}/decision")
    def decide(index: int, body: DecisionBody) -> dict[str, Any]:
        """Save a decision; it is on the disk when this answers."""
        clip = desk.find_clip(index)
        desk.review.decide(
            clip, body.choice, body.text, body.start, body.end, is_continued=body.is_continued
        )
        return _answer(desk, clip.key)

    @router.post("/undo")
    def undo() -> dict[str, Any]:
        """Take the last decision back."""
        return _answer(desk, desk.review.undo())

    @router.post("/redo")
    def redo() -> dict[str, Any]:
        """Make the decision again that was taken back last."""
        return _answer(desk, desk.review.redo())

    @router.post("/copy")
    def copy(body: CopyBody) -> dict[str, Any]:
        """Write the copy; the dataset stays as it is."""
        folder = _find_copy_folder(desk, body.folder.strip())
        summary = write_reviewed_copy(desk.gathered, desk.review, desk.config_path, folder)
        return {"folder": str(folder), **_tell(summary=summary.describe())}

    return router


def _find_copy_folder(desk: Desk, name: str) -> Path:
    """Return where a copy goes: a relative path is meant beside the dataset."""
    if not name or "\0" in name:
        raise DatasetError("Name a new folder for the copy.")
    try:
        folder = Path(name).expanduser()
    except RuntimeError:
        raise DatasetError(f"{name} names nobody's folder; write the whole path.") from None
    return desk.folder.absolute().parent / folder


def _answer(desk: Desk, key: str | None) -> dict[str, Any]:
    """Return the clip that has changed, null where it is not shown, and what can be undone."""
    index = desk.indices.get(key) if key else None
    clip = None if index is None else _clip_to_dict(desk, index)
    return {"clip": clip, "key": key, **_find_steps(desk)}


def _find_steps(desk: Desk) -> dict[str, bool]:
    return {"can_undo": desk.review.can_undo, "can_redo": desk.review.can_redo}


def _clip_to_dict(desk: Desk, index: int) -> dict[str, Any]:
    clip = desk.clips[index]
    outcome = desk.review.find_outcome(clip)
    return {
        "index": index,
        "name": clip.name,
        "line": clip.line,
        "speaker": clip.speaker,
        "original": {"text": clip.text, "start": clip.start_seconds, "end": clip.end_seconds},
        "limits": clip.limits,
        **_tell(obstacle=clip.obstacle, note=outcome.note),
        "doubts": [
            {
                "rule": doubt.rule,
                "severity": doubt.severity,
                **_tell(message=doubt.message, advice=doubt.advice),
                "span": doubt.span,
                "text": doubt.fitting_text,
            }
            for doubt in clip.doubts
        ],
        "state": outcome.state,
        "text": outcome.text,
        "start": outcome.start_seconds,
        "end": outcome.end_seconds,
    }
