"""What is evaluated: voices, checkpoints, speech that lies in files. Speaks nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from piper.config import load_voice_config
from piper.errors import ConfigError, PiperError
from piper.train.checkpoints.last import find_checkpoint
from piper.voices import find_voice

RECORDINGS_LABEL = "recordings"
_UNFIT = re.compile(r"[^\w.-]+")


class SourceKind(Enum):
    """How a system's sentences come to be spoken."""

    VOICE = "voice"
    CHECKPOINT = "checkpoint"
    SPEECH = "speech"


@dataclass(frozen=True)
class Source:
    """A system as it was given.

    Attributes:
        label: Short and unique.
        kind: What it is.
        path: The file, or the folder of speech.
    """

    label: str
    kind: SourceKind
    path: Path


def parse_sources(given: Sequence[tuple[SourceKind, str]]) -> list[Source]:
    """Return the systems of a command line, each `PATH` or `LABEL=PATH`.

    Raises:
        ConfigError: A label is there twice, or is that of the recordings.
        PiperError: A file is not there.
    """
    sources: list[Source] = []
    for kind, text in given:
        label, separator, rest = text.partition("=")
        # A path may hold the sign, too: `epoch=3-val_loss=20.ckpt`.
        has_label = bool(separator) and not Path(text).exists() and bool(_is_label(label))
        path = Path(rest if has_label else text)
        if kind is SourceKind.CHECKPOINT:
            path = Path(find_checkpoint(path))
        _check_there(kind, path)
        taken = {source.label for source in sources} | {RECORDINGS_LABEL}
        if has_label and label in taken:
            raise ConfigError(f'The label "{label}" is taken; give each system one of its own.')
        name = label if has_label else _find_free(_UNFIT.sub("_", path.stem), taken)
        sources.append(Source(name, kind, path))
    return sources


def describe_voice(model_path: Path) -> dict[str, str]:
    """Return what a voice's JSON says of it."""
    config = load_voice_config(find_voice(model_path).config)
    details = {
        "sample rate": f"{config.sample_rate:,} Hz",
        "quality": config.quality or "",
        "language": config.language.get("code") or config.espeak_voice,
        "speakers": str(config.num_speakers) if config.num_speakers > 1 else "",
    }
    return {name: value for name, value in details.items() if value}


def _is_label(text: str) -> bool:
    return _UNFIT.search(text) is None and bool(text)


def _check_there(kind: SourceKind, path: Path) -> None:
    if kind is SourceKind.VOICE:
        find_voice(path)  # names what is missing, and where voices are had
    elif kind is SourceKind.CHECKPOINT and not path.is_file():
        raise PiperError(f"--checkpoint: {path} does not exist; name a .ckpt file or a folder.")
    elif kind is SourceKind.SPEECH and not path.is_dir():
        raise PiperError(f"--speech: {path} is no folder; name one with a file for each sentence.")


def _find_free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free
