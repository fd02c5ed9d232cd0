"""Downloads published voices into a folder. Knows nothing of connections that break.

A voice's files take their names when all of them are whole, the ONNX last: who finds the ONNX finds
a whole voice. Meanwhile `.NAME.onnx.download` keeps a second download of the voice waiting.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from piper import voices
from piper.atomic import hold_lock
from piper.catalogue import (
    CATALOGUE_URL,
    CatalogueFile,
    CatalogueVoice,
    fetch_catalogue,
    find_catalogue_voice,
    parse_catalogue,
)
from piper.errors import PiperError, VoiceNotFoundError
from piper.transfer import Manner, Part, describe_size, find_md5

__all__ = [
    "VoiceNotFoundError",
    "check_room",
    "download_voice",
    "ensure_voice_exists",
    "find_voice",
    "get_voices",
    "is_published",
]

_logger = logging.getLogger(__name__)


def download_voice(
    voice: CatalogueVoice,
    folder: Path | str,
    *,
    is_forced: bool = False,
    manner: Manner | None = None,
) -> list[Path]:
    """Download the files of a voice that are not there yet.

    A file that is there stays, with a warning where it is not the catalogue's: the user may have
    changed it.

    Args:
        voice: From the catalogue.
        folder: Where to; it is made where it is missing.
        is_forced: Download what is there, too.
        manner: How; None means the usual one.

    Returns:
        The paths of the voice's files, the ONNX first.

    Raises:
        PiperError: A file cannot be fetched or written, or is not what the catalogue says.
    """
    folder = Path(folder)
    manner = manner or Manner()
    lock_path = folder / f".{voice.files[0].name}.download"

    def note_another() -> None:
        if not manner.is_patient:
            raise PiperError(f"Another process downloads {voice.name}; try again later.")
        _logger.info("Waiting for another process that downloads %s", voice.name)

    with _disk_errors_explained(folder):
        if is_forced or _find_missing(voice, folder):
            check_room([voice], folder, is_forced=is_forced)
            with hold_lock(lock_path, note_another):
                try:
                    _download(voice, folder, is_forced, manner)
                finally:
                    with suppress(OSError):  # Windows removes no file that is open
                        lock_path.unlink()
        else:
            _find_missing(voice, folder, warns=True)
    return [folder / file.name for file in voice.files]


def get_voices(download_dir: Path | str, update_voices: bool = False) -> dict[str, Any]:
    """Return the catalogue, as Piper 1.2 did; `piper.download_voices` is the way of today.

    Raises:
        PiperError: It cannot be fetched.
    """
    _warn_about_call("get_voices", "piper.catalogue.fetch_catalogue()")
    return fetch_catalogue(CATALOGUE_URL)


def ensure_voice_exists(
    name: str,
    data_dirs: Iterable[Path | str],
    download_dir: Path | str,
    voices_info: Mapping[str, Any],
) -> None:
    """Download a voice that is in none of the folders, as Piper 1.2 did.

    Raises:
        PiperError: There is no such voice, or it cannot be fetched or written.
    """
    _warn_about_call("ensure_voice_exists", "piper.download_voices.download_voice()")
    if name not in voices.list_voices(list(data_dirs)):
        catalogue = parse_catalogue(voices_info, CATALOGUE_URL)
        download_voice(find_catalogue_voice(catalogue, name), download_dir)


def find_voice(name: str, data_dirs: Iterable[Path | str]) -> tuple[Path, Path]:
    """Return a voice's ONNX and JSON, as Piper 1.2 did.

    Raises:
        VoiceNotFoundError: It is in none of the folders.
    """
    _warn_about_call("find_voice", "piper.voices.find_voice()")
    files = voices.find_voice(name, data_dirs=list(data_dirs))
    return files.model, files.config


def _warn_about_call(name: str, new: str) -> None:
    sentence = f"piper.download.{name} is Piper 1.2's; call {new} in its place."
    warnings.warn(sentence, DeprecationWarning, stacklevel=3)


def check_room(voices: Iterable[CatalogueVoice], folder: Path, *, is_forced: bool = False) -> None:
    """Make sure that the disk has room for what is still to come.

    Args:
        voices: To be downloaded.
        folder: Where to; it may be missing yet.
        is_forced: What is there will be downloaded, too, and gives its room back only afterwards.

    Raises:
        PiperError: It has not, or cannot be asked.
    """
    with _disk_errors_explained(folder):
        files = {file for voice in voices for file in voice.files}
        needed_bytes = sum(
            max(file.size_bytes - Part(file, folder).size_bytes, 0)
            for file in files
            if is_forced or not (folder / file.name).is_file()
        )
        place = folder
        while not place.exists():
            place = place.parent
        free_bytes = shutil.disk_usage(place).free
    if needed_bytes > free_bytes:
        raise PiperError(
            f"{describe_size(needed_bytes)} are to come, but the disk of {folder} has only "
            f"{describe_size(free_bytes)} free; make room, or choose another folder with "
            "--download-dir."
        )


def is_published(path: Path, file: CatalogueFile) -> bool:
    """Return whether a file on disk is the catalogue's, byte by byte.

    Raises:
        OSError: It cannot be read.
    """
    return path.stat().st_size == file.size_bytes and find_md5(path) == file.md5


def _download(voice: CatalogueVoice, folder: Path, is_forced: bool, manner: Manner) -> None:
    # Another process may have brought it while this one waited.
    wanted = voice.files if is_forced else _find_missing(voice, folder, warns=True)
    parts = {file: Part(file, folder) for file in wanted}
    for part in parts.values():
        part.fetch(manner)
    for file, part in reversed(parts.items()):
        part.move(folder / file.name)
        _logger.info("Wrote %s", folder / file.name)


def _find_missing(
    voice: CatalogueVoice, folder: Path, *, warns: bool = False
) -> list[CatalogueFile]:
    """Return the files that are not there; `warns` says what the others are."""
    missing = []
    for file in voice.files:
        path = folder / file.name
        if not path.is_file():
            missing.append(file)
        elif warns and is_published(path, file):
            _logger.info("%s is already there", path)
        elif warns:
            _logger.warning(
                "%s is kept although it is not the catalogue's file; "
                "--force-redownload replaces it.",
                path,
            )
    return missing


@contextmanager
def _disk_errors_explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        path = error.filename2 or error.filename or folder
        reason = error.strerror or str(error)
        raise PiperError(
            f"{path} cannot be written ({reason}); choose another folder with --download-dir."
        ) from None
