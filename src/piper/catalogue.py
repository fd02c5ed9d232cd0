"""The catalogue of published Piper voices, and downloads from it. Knows nothing of networks."""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from piper.atomic import replace_on_success
from piper.errors import PiperError, VoiceNotFoundError
from piper.voices import CONFIG_SUFFIX, MODEL_SUFFIX

_logger = logging.getLogger(__name__)

CATALOGUE_URL = "https://huggingface.co/rhasspy/piper-voices/resolve/main/voices.json"
"""Where Piper publishes its voices; the files lie beside it."""

_TIMEOUT_SECONDS = 30
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class CatalogueFile:
    """One file of a voice.

    Attributes:
        url: Where it is.
        name: Its name on disk.
        size_bytes: Its length.
        md5: Its digest, 32 hexadecimal digits.
    """

    url: str
    name: str
    size_bytes: int
    md5: str


@dataclass(frozen=True)
class CatalogueVoice:
    """One voice: its name, other names, and the two files that speaking needs."""

    name: str
    aliases: tuple[str, ...]
    files: tuple[CatalogueFile, ...]


def load_catalogue(url: str = CATALOGUE_URL) -> dict[str, CatalogueVoice]:
    """Fetch the catalogue; the result is sorted by name.

    Raises:
        PiperError: It cannot be fetched, or is not a catalogue.
    """
    return parse_catalogue(fetch_catalogue(url), url)


def fetch_catalogue(url: str = CATALOGUE_URL) -> dict[str, Any]:
    """Fetch the catalogue as it is: a voice's name to all that is said of it.

    Raises:
        PiperError: It cannot be fetched, or is not a JSON object.
    """
    with _open_url(url) as response:
        raw = _read_all(response, url)
    try:
        data = json.loads(raw)
    except ValueError:
        raise PiperError(f"{url} is not JSON; check the catalogue's address.") from None
    if not isinstance(data, dict):
        raise PiperError(f"{url} is not a catalogue of voices; check the address.")
    return data


def parse_catalogue(data: Mapping[str, Any], url: str) -> dict[str, CatalogueVoice]:
    """Return the voices of a fetched catalogue, sorted by name.

    Args:
        data: What `fetch_catalogue` gives.
        url: Where it came from; the files lie beside it.

    Raises:
        PiperError: An entry lacks what a download needs.
    """
    return {name: _parse_voice(name, data[name], url) for name in sorted(data)}


def find_catalogue_voice(catalogue: Mapping[str, CatalogueVoice], name: str) -> CatalogueVoice:
    """Return the voice with this name or alias.

    Raises:
        VoiceNotFoundError: There is none; similar names are given.
    """
    if name in catalogue:
        return catalogue[name]
    for voice in catalogue.values():
        if name in voice.aliases:
            return voice
    import difflib

    similar = difflib.get_close_matches(name, catalogue, n=3)
    hint = f"did you mean {' or '.join(similar)}?" if similar else "list all by giving no name."
    raise VoiceNotFoundError(f"The catalogue has no voice {name!r}; {hint}")


def download_voice(
    voice: CatalogueVoice, folder: Path | str, *, is_forced: bool = False
) -> list[Path]:
    """Download the files of a voice that are not there yet.

    A file that is there stays, with a warning where it is not the catalogue's: the user may have
    changed it.

    Args:
        voice: From the catalogue.
        folder: Where to; it is made where it is missing.
        is_forced: Download what is there, too.

    Returns:
        The paths of the voice's files, the ONNX first.

    Raises:
        PiperError: A file cannot be fetched or written, or is not what the catalogue says.
    """
    paths = []
    for file in voice.files:
        path = Path(folder) / file.name
        if path.is_file() and not is_forced:
            _warn_if_different(path, file)
        else:
            _download_file(file, path)
        paths.append(path)
    return paths


def _download_file(file: CatalogueFile, path: Path) -> None:
    _logger.info("Downloading %s (%.1f MB)", file.name, file.size_bytes / 1e6)
    digest = hashlib.md5(usedforsecurity=False)
    size = 0
    try:
        with (
            _open_url(file.url) as response,
            replace_on_success(path) as temporary,
            temporary.open("wb") as stream,
        ):
            while block := _read_block(response, file.url):
                stream.write(block)
                digest.update(block)
                size += len(block)
            stream.flush()
            _check_download(file, size, digest.hexdigest())
    except OSError as error:
        reason = error.strerror or str(error)
        raise PiperError(
            f"{path} cannot be written ({reason}); choose another folder with --download-dir."
        ) from None
    _logger.info("Wrote %s", path)


def _check_download(file: CatalogueFile, size: int, md5: str) -> None:
    if size != file.size_bytes:
        wrong = f"{size} bytes came, but the catalogue says {file.size_bytes}"
    elif md5 != file.md5:
        wrong = f"its MD5 is {md5}, but the catalogue says {file.md5}"
    else:
        return
    raise PiperError(f"{file.url} did not arrive whole ({wrong}); try again later.")


def _warn_if_different(path: Path, file: CatalogueFile) -> None:
    is_same = path.stat().st_size == file.size_bytes
    if is_same:
        with path.open("rb") as stream:
            is_same = hashlib.file_digest(stream, _new_md5).hexdigest() == file.md5
    if is_same:
        _logger.info("%s is already there", path)
    else:
        _logger.warning(
            "%s is kept although it is not the catalogue's file; --force-redownload replaces it.",
            path,
        )


def _new_md5() -> Any:
    # The catalogue has no better digest; it guards against broken downloads, not against forgery.
    return hashlib.md5(usedforsecurity=False)


def _parse_voice(name: str, entry: Any, url: str) -> CatalogueVoice:
    files = {}
    try:
        for path, facts in entry["files"].items():
            file_name = PurePosixPath(path).name
            for suffix in (MODEL_SUFFIX, MODEL_SUFFIX + CONFIG_SUFFIX):
                if file_name.endswith(suffix):
                    files[suffix] = CatalogueFile(
                        url=urllib.parse.urljoin(url, urllib.parse.quote(path)),
                        name=file_name,
                        size_bytes=int(facts["size_bytes"]),
                        md5=str(facts["md5_digest"]).lower(),
                    )
        aliases = tuple(str(alias) for alias in entry.get("aliases") or ())
        ordered = (files[MODEL_SUFFIX], files[MODEL_SUFFIX + CONFIG_SUFFIX])
    except (KeyError, TypeError, AttributeError, ValueError):
        raise PiperError(
            f"{url}: the entry of {name!r} lacks the size and MD5 of an ONNX file and its JSON; "
            "is this a catalogue of Piper voices?"
        ) from None
    return CatalogueVoice(name, aliases, ordered)


def _open_url(url: str) -> http.client.HTTPResponse:
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "piper-workshop"})
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        raise PiperError(
            f"{url} answers {error.code} {error.reason}; check the address, or try again later."
        ) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _cannot_fetch(url, error) from None
    if not isinstance(response, http.client.HTTPResponse):
        response.close()
        raise PiperError(f"{url} is not an address of the web; it must begin with https://.")
    return response


def _read_block(response: http.client.HTTPResponse, url: str) -> bytes:
    try:
        block = response.read(_BLOCK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _cannot_fetch(url, error) from None
    # Reading in blocks ends without an error where the connection breaks off.
    if not block and response.length:
        raise _cannot_fetch(url, EOFError(f"{response.length} bytes of it did not come"))
    return block


def _read_all(response: http.client.HTTPResponse, url: str) -> bytes:
    blocks = []
    while block := _read_block(response, url):
        blocks.append(block)
    return b"".join(blocks)


def _cannot_fetch(url: str, error: Exception) -> PiperError:
    reason = getattr(error, "reason", None) or error
    return PiperError(f"{url} cannot be fetched ({reason}); check the network and the address.")
