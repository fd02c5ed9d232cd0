"""Published voices: the catalogue, downloads that go on, and what a folder has of them.

What has come lies in a part beside the file-to-be, `.NAME.DIGEST.part`. It is named by the
catalogue's digest, so that what came of another version is never taken for this one, and outlives
whatever ends the transfer; the next one asks for the rest, and the digest decides in the end.

A voice's files take their names when all of them are whole, the ONNX last: who finds the ONNX finds
a whole voice. Meanwhile `.NAME.onnx.download` keeps a second download of the voice waiting.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import re
import shutil
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from piper import voices
from piper.errors import PiperError, VoiceNotFoundError, cannot_write, describe_os_error
from piper.files import (
    hold_lock,
    is_plain_name,
    parse_json_object,
    replace_on_success,
    sync_file,
)
from piper.progress import ProgressLine
from piper.voices import CATALOGUE_URL, CONFIG_SUFFIX, MODEL_SUFFIX

__all__ = [
    "VoiceNotFoundError",
    "check_room",
    "download_voice",
    "ensure_voice_exists",
    "find_voice",
    "get_voices",
    "is_published",
]

_LOGGER = logging.getLogger(__name__)

TIMEOUT_SECONDS = 30
"""A connection on which nothing comes for so long is given up."""
WAITS_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Between attempts in which nothing came: a minute in all, as a router takes to start anew."""

_MAX_SECONDS = 300
"""Of what is read into memory, however slowly it drips."""
_BLOCK_BYTES = 1 << 18
_BUSY = {408, 425, 429, 500, 502, 503, 504}
"""Answers that say: not now."""
_MAX_RETRY_AFTER_SECONDS = 60.0


@dataclass(eq=False)
class WebError(PiperError):
    """An address that did not give what was asked for.

    Attributes:
        message: A sentence for the user.
        status: What the server answered; None where the connection failed.
        is_unreachable: There was no connection at all.
        retry_after_seconds: When the server wants to be asked again.
    """

    message: str
    status: int | None = None
    is_unreachable: bool = False
    retry_after_seconds: float = 0.0

    def __str__(self) -> str:
        return self.message


class Retries:
    """Decides on another attempt after a failure, and waits for it.

    Who was never reached is not asked again: the address or the network is wrong, and the user is
    to know it at once.

    Args:
        waits_seconds: From each attempt to the next; they begin anew when something came.
        stop: Ends a wait when it is set.
    """

    def __init__(self, waits_seconds: Sequence[float], stop: threading.Event | None = None) -> None:
        self._waits_seconds = waits_seconds
        self._stop = stop or threading.Event()
        self._failures = 0
        self._was_reached = False

    def wait(self, error: WebError, *, has_come: bool = False) -> None:
        """Return when it is time for another attempt; raise the error where that would be in vain.

        Args:
            error: The failure.
            has_come: Whether something came before it: then it is a first one.
        """
        if has_come:
            self._failures, self._was_reached = 0, True
        is_hopeless = error.is_unreachable and not self._was_reached
        is_refusal = error.status is not None and error.status not in _BUSY
        if is_hopeless or is_refusal or self._failures == len(self._waits_seconds):
            raise error
        self._was_reached = True
        asked_for = min(error.retry_after_seconds, _MAX_RETRY_AFTER_SECONDS)
        seconds = max(self._waits_seconds[self._failures], asked_for)
        self._failures += 1
        _LOGGER.warning("%s; trying again in %g s", str(error).partition(";")[0], seconds)
        if self._stop.wait(seconds):
            raise error


def open_url(url: str, headers: Mapping[str, str] | None = None) -> http.client.HTTPResponse:
    """Ask for an address of the web; redirections are followed."""
    response: Any = None
    try:
        if urllib.parse.urlsplit(url).scheme.lower() in ("http", "https"):
            headers = {"User-Agent": "piper-workshop", **(headers or {})}
            request = urllib.request.Request(url, headers=headers)
            response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            when = error.headers.get("Retry-After") or ""
            raise WebError(
                f"{url} answers {error.code} {error.reason}; "
                "check the address, or try again later.",
                status=error.code,
                retry_after_seconds=float(when) if when.isdecimal() else 0.0,  # it may be a date
            ) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _cannot_fetch(url, error, is_unreachable=True) from None
    if not isinstance(response, http.client.HTTPResponse):  # or redirected to ftp://
        raise PiperError(
            f"{url} is not an address of the web; give one that begins with https:// or http:// "
            "(`python -m http.server` gives a folder such an address)."
        )
    return response


def read_blocks(response: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    """Yield the bytes of an answer as they come; a WebError is a connection that broke off."""
    try:
        while block := response.read1(_BLOCK_BYTES):
            yield block
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _cannot_fetch(url, error) from None
    # Reading in blocks ends without an error where the connection breaks off.
    if response.length:
        raise _cannot_fetch(url, EOFError(f"{response.length} bytes of it did not come"))


def _cannot_fetch(url: str, error: Exception, *, is_unreachable: bool = False) -> WebError:
    reason = getattr(error, "reason", None) or error
    return WebError(
        f"{url} cannot be fetched ({reason}); check the network and the address.",
        is_unreachable=is_unreachable,
    )


_WAITS_SECONDS = (1.0, 2.0)
"""A server's client waits for the list; a few hundred kilobytes come soon or not at all."""
_MAX_BYTES = 16 * 1024**2
"""Thirty times Piper's."""


@dataclass(frozen=True)
class CatalogueFile:
    """One file of a voice.

    Attributes:
        url: Where it is.
        name: Its name on disk.
        size_bytes: Its length.
        md5: Its digest, 32 hexadecimal digits. The catalogue has no better one; it guards against
            broken downloads, not against forgery.
    """

    url: str
    name: str
    size_bytes: int
    md5: str

    def part_path(self, folder: Path) -> Path:
        """Return where what has come of it lies, if it is to lie in this folder."""
        return folder / f".{self.name}.{self.md5[:12]}.part"


@dataclass(frozen=True)
class CatalogueVoice:
    """One voice, and the two files that speaking needs.

    Attributes:
        name: Such as `ru_RU-irina-medium`.
        aliases: Its other names.
        files: The ONNX and its JSON.
        language: Code of language and country, such as `ru_RU`.
        language_title: The language for people, such as `Russian (ru_RU)`.
        language_names: All that the language is called: the code, its first part, English and own
            name.
        quality: `x_low`, `low`, `medium` or `high`.
        num_speakers: How many speakers it has; 0 where the catalogue does not say.
    """

    name: str
    aliases: tuple[str, ...]
    files: tuple[CatalogueFile, ...]
    language: str
    language_title: str
    language_names: tuple[str, ...]
    quality: str
    num_speakers: int

    @property
    def size_bytes(self) -> int:
        """Length of its files together."""
        return sum(file.size_bytes for file in self.files)


def load_catalogue(url: str = CATALOGUE_URL) -> dict[str, CatalogueVoice]:
    """Fetch the catalogue; the result is sorted by name."""
    return parse_catalogue(fetch_catalogue(url), url)


def fetch_catalogue(url: str = CATALOGUE_URL) -> dict[str, Any]:
    """Fetch the catalogue as it is: a voice's name to all that is said of it."""
    retries = Retries(_WAITS_SECONDS)
    while True:
        end = time.monotonic() + _MAX_SECONDS
        content = bytearray()
        try:
            with open_url(url) as response:
                for block in read_blocks(response, url):
                    content += block
                    if len(content) > _MAX_BYTES or time.monotonic() > end:
                        raise PiperError(
                            f"{url} does not end ({len(content):,} bytes came); check the address."
                        )
            return parse_json_object(bytes(content), url)
        except WebError as error:
            retries.wait(error)


def parse_catalogue(data: Mapping[str, Any], url: str) -> dict[str, CatalogueVoice]:
    """Return a fetched catalogue's voices, sorted by name; their files lie beside its address."""
    return {name: _parse_voice(name, data[name], url) for name in sorted(data)}


def find_catalogue_voice(catalogue: Mapping[str, CatalogueVoice], name: str) -> CatalogueVoice:
    """Return the voice with this name or alias."""
    if name in catalogue:
        return catalogue[name]
    for voice in catalogue.values():
        if name in voice.aliases:
            return voice
    import difflib

    similar = difflib.get_close_matches(name, catalogue, n=3)
    hint = f"did you mean {' or '.join(similar)}?" if similar else "list all by giving no name."
    raise VoiceNotFoundError(f"The catalogue has no voice {name!r}; {hint}")


def select_voices(
    catalogue: Mapping[str, CatalogueVoice],
    languages: Sequence[str] = (),
    qualities: Sequence[str] = (),
) -> dict[str, CatalogueVoice]:
    """Return the voices of some languages (`ru_RU`, `Russian`) and qualities; none means all."""
    for kind, wanted, known in (
        ("language", languages, {voice.language for voice in catalogue.values()}),
        ("quality", qualities, {voice.quality for voice in catalogue.values()}),
    ):
        for text in wanted:
            if not any(_is_of(voice, kind, [text]) for voice in catalogue.values()):
                raise VoiceNotFoundError(
                    f"The catalogue has no voice of the {kind} {text!r}; "
                    f"it has {', '.join(sorted(known))}."
                )
    selected = {
        name: voice
        for name, voice in catalogue.items()
        if (not languages or _is_of(voice, "language", languages))
        and (not qualities or _is_of(voice, "quality", qualities))
    }
    if not selected and (languages or qualities):
        raise VoiceNotFoundError(
            f"The catalogue has no voice of the language {' or '.join(languages)} and the quality "
            f"{' or '.join(qualities)}; leave one of them out."
        )
    return selected


def _is_of(voice: CatalogueVoice, kind: str, wanted: Collection[str]) -> bool:
    names = voice.language_names if kind == "language" else (voice.quality,)
    return not {_fold(text) for text in wanted}.isdisjoint(map(_fold, names))


def _fold(text: str) -> str:
    return text.strip().replace("-", "_").casefold()


def _parse_voice(name: str, entry: Any, url: str) -> CatalogueVoice:
    try:
        if not is_plain_name(name):
            raise ValueError
        files = _parse_files(entry["files"], url)
        facts = entry.get("language") or {}
        # A short entry's are taken from the voice's name.
        code = _shown(facts.get("code") or name.partition("-")[0])
        english = _shown(facts.get("name_english") or "")
        names = [
            code,
            code.partition("_")[0],
            english,
            facts.get("family"),
            facts.get("name_native"),
        ]
        return CatalogueVoice(
            name=name,
            aliases=tuple(str(alias) for alias in entry.get("aliases") or ()),
            files=(files[MODEL_SUFFIX], files[MODEL_SUFFIX + CONFIG_SUFFIX]),
            language=code,
            language_title=f"{english} ({code})" if english else code,
            language_names=tuple(_shown(other) for other in names if other),
            quality=_shown(entry.get("quality") or name.rpartition("-")[2]),
            num_speakers=int(entry.get("num_speakers") or 0),
        )
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
        raise PiperError(
            f"{url}: the entry of {name!r:.80} lacks the name, size and MD5 of an ONNX file and "
            "its JSON; is this a catalogue of Piper voices?"
        ) from None


def _shown(value: Any) -> str:
    """Return a value as it may be shown on a terminal, which takes some characters as commands."""
    return "".join(sign for sign in str(value) if sign.isprintable())


def _parse_files(entries: Mapping[str, Any], url: str) -> dict[str, CatalogueFile]:
    files = {}
    for path, facts in entries.items():
        file_name = PurePosixPath(path).name
        for suffix in (MODEL_SUFFIX, MODEL_SUFFIX + CONFIG_SUFFIX):
            if file_name.endswith(suffix):
                size_bytes, md5 = int(facts["size_bytes"]), str(facts["md5_digest"]).lower()
                if size_bytes < 1 or not re.fullmatch("[0-9a-f]{32}", md5):
                    raise ValueError
                # The file is to lie beside the catalogue, and in the user's folder here.
                is_beside = not path.startswith("/") and ".." not in PurePosixPath(path).parts
                if not (is_beside and is_plain_name(file_name)):
                    raise ValueError
                files[suffix] = CatalogueFile(
                    url=urllib.parse.urljoin(url, urllib.parse.quote(path)),
                    name=file_name,
                    size_bytes=size_bytes,
                    md5=md5,
                )
    return files


MEGABYTE = 1_000_000


@dataclass(frozen=True)
class TransferOptions:
    """How a transfer behaves.

    Attributes:
        is_shown: Show progress on standard error.
        is_patient: Wait where another process downloads the same; else that is an error.
        waits_seconds: Between attempts after a connection broke.
        stop: Ends the transfer when it is set; the part stays.
    """

    is_shown: bool = False
    is_patient: bool = True
    waits_seconds: tuple[float, ...] = WAITS_SECONDS
    stop: threading.Event = field(default_factory=threading.Event)


def _fetch(file: CatalogueFile, folder: Path, options: TransferOptions) -> None:
    """Fetch what is missing of a file; its part is whole then."""
    part = file.part_path(folder)
    has, total = _size(part), describe_size(file.size_bytes)
    there = f"{describe_size(has)} of {total} are there" if has else total
    _LOGGER.info("Downloading %s (%s)", file.name, there)
    retries = Retries(options.waits_seconds, options.stop)
    # Of several answers, one may have been of another version.
    is_patched, is_anew = has > 0, False
    while True:
        start = _size(part)
        try:
            if start < file.size_bytes:
                wrong = _receive(file, part, start, options)
            elif (md5 := find_md5(part)) == file.md5:
                return
            else:
                wrong = f"its MD5 is {md5}, but the catalogue says {file.md5}"
        except WebError as error:
            if error.status != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not start:
                retries.wait(error, has_come=_size(part) > start)
                is_patched = _size(part) > 0
                continue
            wrong = "the server has less of it"
        if wrong:
            part.unlink(missing_ok=True)
            if is_anew or not is_patched:
                raise _not_whole(file, wrong)
            is_anew = True
            _LOGGER.warning("What came of %s does not fit (%s); starting anew", file.name, wrong)


def _receive(file: CatalogueFile, part: Path, start: int, options: TransferOptions) -> str:
    """Ask for a file from byte `start` on, and write what comes; return why nothing could be taken.

    What comes and is not the catalogue's file is an error, and the part is gone.
    """

    def check_length(size_bytes: int) -> None:
        if size_bytes != file.size_bytes:
            part.unlink(missing_ok=True)
            wrong = f"{size_bytes} bytes came, but the catalogue says {file.size_bytes}"
            raise _not_whole(file, wrong)

    with open_url(file.url, {"Range": f"bytes={start}-"} if start else {}) as response:
        if start and response.status != http.HTTPStatus.PARTIAL_CONTENT:
            _LOGGER.info("The server sends %s from its beginning", file.name)
            start = 0
        elif start and not (response.headers["Content-Range"] or "").startswith(f"bytes {start}-"):
            return "the server sent the rest of something else"
        if response.length is not None:
            check_length(start + response.length)
        with part.open("rb+" if start else "wb") as stream:
            stream.seek(start)
            _copy(response, stream, file, options)
    check_length(_size(part))
    return ""


def _copy(
    response: http.client.HTTPResponse,
    stream: BinaryIO,
    file: CatalogueFile,
    options: TransferOptions,
) -> None:
    done = stream.tell()
    line = None
    if options.is_shown and file.size_bytes >= MEGABYTE:
        line = ProgressLine(file.name, file.size_bytes, "MB", start=done, scale=MEGABYTE)
    try:
        for block in read_blocks(response, file.url):
            if options.stop.is_set():
                raise PiperError(
                    f"The download of {file.name} was stopped; the next one goes on from there."
                )
            stream.write(block)
            done += len(block)
            if done > file.size_bytes:
                return
            if line:
                line.show(done)
        if line:
            line.finish(done)
    finally:
        if line:
            line.leave()


def _place(file: CatalogueFile, folder: Path) -> None:
    """Give a whole part its name, on the disk too before anything else happens."""
    with replace_on_success(folder / file.name) as temporary:
        shutil.move(file.part_path(folder), temporary)
        sync_file(temporary)
    _LOGGER.info("Wrote %s", folder / file.name)
    # What came of other versions goes, too; `.etag` is what earlier releases kept beside it.
    others = re.compile(rf"\.{re.escape(file.name)}\.[0-9a-f]{{12}}\.(part|etag)")
    for path in folder.glob(".*"):
        if others.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _not_whole(file: CatalogueFile, wrong: str) -> PiperError:
    return PiperError(f"{file.url} did not arrive whole ({wrong}); try again later.")


def describe_size(size_bytes: int) -> str:
    """Return a length for people to read."""
    if size_bytes < MEGABYTE:
        return f"{size_bytes / 1000:.1f} kB"
    return f"{size_bytes / MEGABYTE:,.1f} MB"


def find_md5(path: Path) -> str:
    """Return a file's digest, as the catalogue has it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def is_published(path: Path, file: CatalogueFile) -> bool:
    """Return whether a file on disk is the catalogue's, byte by byte."""
    return path.stat().st_size == file.size_bytes and find_md5(path) == file.md5


def download_voice(
    voice: CatalogueVoice,
    folder: Path | str,
    *,
    is_forced: bool = False,
    options: TransferOptions | None = None,
) -> list[Path]:
    """Download the files of a voice that are not there yet; return their paths, the ONNX first.

    A file that is there stays unless `is_forced`, with a warning where it is not the catalogue's:
    the user may have changed it.

    Raises:
        PiperError: A file cannot be fetched or written, or is not what the catalogue says.
    """
    folder = Path(folder)
    options = options or TransferOptions()

    def note_another() -> None:
        if not options.is_patient:
            raise PiperError(f"Another process downloads {voice.name}; try again later.")
        _LOGGER.info("Waiting for another process that downloads %s", voice.name)

    with _disk_errors_explained(folder):
        if is_forced or _find_missing(voice, folder):
            check_room([voice], folder, is_forced=is_forced)
            lock_path = folder / f".{voice.files[0].name}.download"
            with hold_lock(lock_path, note_another, is_removed=True):
                # Another process may have brought it while this one waited.
                wanted = voice.files if is_forced else _find_missing(voice, folder, warns=True)
                for file in wanted:
                    _fetch(file, folder, options)
                for file in reversed(wanted):
                    _place(file, folder)
        else:
            _find_missing(voice, folder, warns=True)
    return [folder / file.name for file in voice.files]


def check_room(voices: Iterable[CatalogueVoice], folder: Path, *, is_forced: bool = False) -> None:
    """Make sure that the disk has room for what is still to come.

    What is there gives its room back only afterwards, where it is downloaded again.
    """
    with _disk_errors_explained(folder):
        files = {file for voice in voices for file in voice.files}
        needed_bytes = sum(
            max(file.size_bytes - _size(file.part_path(folder)), 0)
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
            _LOGGER.info("%s is already there", path)
        elif warns:
            _LOGGER.warning(
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
        raise cannot_write(path, error, "choose another folder with --download-dir") from None


WHOLE, OWN = "whole", "not in the catalogue"
"""States of a voice in which nothing is wrong with it."""


def inspect_voices(
    catalogue: Mapping[str, CatalogueVoice], folder: Path, names: Collection[str] = ()
) -> dict[str, str]:
    """Compare the voices of a folder, which may be missing, with the catalogue, byte by byte.

    Names are those of the catalogue that must be there; none means whatever is there.

    Returns:
        By name `WHOLE`, `OWN`, or what is wrong with a voice; unfinished ones are among them.
    """
    try:
        if names:
            return {name: _compare(catalogue[name], folder) or "missing" for name in sorted(names)}
        states = {name: _compare(voice, folder) for name, voice in catalogue.items()}
        published = {file.name for voice in catalogue.values() for file in voice.files}
        for path in folder.glob(f"*{MODEL_SUFFIX}"):
            if path.name not in published:
                config = path.with_name(path.name + CONFIG_SUFFIX)
                missing = f"not in the catalogue, and {config.name} is missing"
                states[path.stem] = OWN if config.is_file() else missing
    except OSError as error:
        raise PiperError(describe_os_error(error)) from None
    return {name: states[name] for name in sorted(states) if states[name]}


def _compare(voice: CatalogueVoice, folder: Path) -> str:
    """Return what is to be said of a published voice; nothing where there is nothing of it."""
    paths = {file: folder / file.name for file in voice.files}
    if all(path.is_file() for path in paths.values()):
        wrong = [file.name for file, path in paths.items() if not is_published(path, file)]
        return f"damaged or changed: {', '.join(wrong)}" if wrong else WHOLE
    come_bytes = sum(_size(path) + _size(file.part_path(folder)) for file, path in paths.items())
    there, total = describe_size(come_bytes), describe_size(voice.size_bytes)
    return f"unfinished: {there} of {total} are there" if come_bytes else ""


# As Piper 1.2 had them.


def get_voices(download_dir: Path | str, update_voices: bool = False) -> dict[str, Any]:
    """Return the catalogue; `piper.download_voices` is the way of today."""
    _warn_about_call("get_voices", "piper.download.fetch_catalogue()")
    return fetch_catalogue(CATALOGUE_URL)


def ensure_voice_exists(
    name: str,
    data_dirs: Iterable[Path | str],
    download_dir: Path | str,
    voices_info: Mapping[str, Any],
) -> None:
    """Download a voice that is in none of the folders."""
    _warn_about_call("ensure_voice_exists", "piper.download_voices.download_voice()")
    if name not in voices.list_voices(list(data_dirs)):
        catalogue = parse_catalogue(voices_info, CATALOGUE_URL)
        download_voice(find_catalogue_voice(catalogue, name), download_dir)


def find_voice(name: str, data_dirs: Iterable[Path | str]) -> tuple[Path, Path]:
    """Return a voice's ONNX and JSON."""
    _warn_about_call("find_voice", "piper.voices.find_voice()")
    files = voices.find_voice(name, data_dirs=list(data_dirs))
    return files.model, files.config


def _warn_about_call(name: str, new: str) -> None:
    sentence = f"piper.download.{name} is Piper 1.2's; call {new} in its place."
    warnings.warn(sentence, DeprecationWarning, stacklevel=3)
