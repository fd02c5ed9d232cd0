"""The catalogue of published Piper voices: what there is. Knows nothing of files on this disk."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from piper.atomic import is_plain_name
from piper.errors import PiperError, VoiceNotFoundError
from piper.json_reader import parse_json_object
from piper.voices import CONFIG_SUFFIX, MODEL_SUFFIX
from piper.web import Retries, read_url

CATALOGUE_URL = "https://huggingface.co/rhasspy/piper-voices/resolve/main/voices.json"
"""Where Piper publishes its voices; the files lie beside it."""

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
        md5: Its digest, 32 hexadecimal digits.
    """

    url: str
    name: str
    size_bytes: int
    md5: str


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
    raw = read_url(url, Retries(_WAITS_SECONDS), _MAX_BYTES)
    return parse_json_object(raw, url)


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


def select_voices(
    catalogue: Mapping[str, CatalogueVoice],
    languages: Sequence[str] = (),
    qualities: Sequence[str] = (),
) -> dict[str, CatalogueVoice]:
    """Return the voices of some languages and qualities.

    Args:
        catalogue: All voices.
        languages: Codes or names, such as `ru`, `ru_RU` or `Russian`; none means all.
        qualities: Such as `medium`; none means all.

    Raises:
        VoiceNotFoundError: The catalogue has nothing of a language or quality, or of both together.
    """
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
