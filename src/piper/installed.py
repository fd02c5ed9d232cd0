"""Compares the voices of a folder with the catalogue. Downloads nothing and mends nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from piper.catalogue import CatalogueVoice
from piper.download import is_published
from piper.errors import PiperError, describe_os_error
from piper.transfer import Part, describe_size
from piper.voices import CONFIG_SUFFIX, MODEL_SUFFIX


@dataclass(frozen=True)
class InstalledVoice:
    """A voice of a folder, or what there is of it.

    Attributes:
        name: Its name.
        state: What is to be said of it: `whole`, `not in the catalogue`, or what is wrong.
        is_good: Nothing is wrong.
    """

    name: str
    state: str
    is_good: bool


def inspect_voices(
    catalogue: Mapping[str, CatalogueVoice], folder: Path, names: Collection[str] = ()
) -> list[InstalledVoice]:
    """Compare the voices of a folder with the catalogue, byte by byte.

    Args:
        catalogue: The published voices.
        folder: Where they lie; it may be missing.
        names: Names of the catalogue that must be there; none means whatever is there.

    Returns:
        Voices by name, unfinished ones and files of the user's own among them.

    Raises:
        PiperError: A file cannot be read.
    """
    try:
        found = {}
        for voice in catalogue.values():
            if state := _compare(voice, folder):
                found[voice.name] = InstalledVoice(voice.name, state, state == "whole")
        for name in set(names) - found.keys():
            found[name] = InstalledVoice(name, "missing", False)
        published = {file.name for voice in catalogue.values() for file in voice.files}
        if not names:
            found.update(_find_others(folder, published))
    except OSError as error:
        raise PiperError(describe_os_error(error)) from None
    return [found[name] for name in sorted(names or found)]


def _compare(voice: CatalogueVoice, folder: Path) -> str:
    """Return what is to be said of a published voice; nothing where there is nothing of it."""
    there = [file for file in voice.files if (folder / file.name).is_file()]
    if len(there) < len(voice.files):
        come_bytes = sum(Part(file, folder).size_bytes for file in voice.files)
        come_bytes += sum((folder / file.name).stat().st_size for file in there)
        if not come_bytes:
            return ""
        total = describe_size(voice.size_bytes)
        return f"unfinished: {describe_size(come_bytes)} of {total} are there"
    wrong = [file.name for file in there if not is_published(folder / file.name, file)]
    return f"damaged or changed: {', '.join(wrong)}" if wrong else "whole"


def _find_others(folder: Path, published: Collection[str]) -> dict[str, InstalledVoice]:
    others = {}
    for path in folder.glob(f"*{MODEL_SUFFIX}"):
        if path.name not in published:
            config = path.with_name(path.name + CONFIG_SUFFIX)
            state = "not in the catalogue"
            if not config.is_file():
                state += f", and {config.name} is missing"
            others[path.stem] = InstalledVoice(path.stem, state, config.is_file())
    return others
