"""How a text is prepared before it becomes phonemes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from piper.errors import ConfigError
from piper.text.lexicon import Lexicon, load_lexicon

VOICE_KEY = "text_options"
"""The extra key of a voice's JSON that says how its training texts were prepared."""


class Stress(StrEnum):
    """Where the stress of Russian words comes from."""

    MARKS = "marks"
    SILERO = "silero"
    OFF = "off"


@dataclass(frozen=True)
class TextOptions:
    """How a text is prepared.

    Attributes:
        lexicon: Words and what is said instead.
        write_numbers: Whether numbers, dates, money and abbreviations are written out (Russian and
            English); None does as the voice's training did, where its JSON says so, else not.
        stress: For Russian `marks` (`+` before or U+0301 after the vowel is honoured), `silero`
            (silero-stress marks the other words too, and writes `ё`), or `off` (texts go to
            espeak-ng as they are); None does as the voice's training did, else `marks`.
        abbreviations: Whether a sentence goes on after a title or short form before a capital
            letter, as in `Dr. Smith`, where espeak-ng and Piper end it. None does as the voice's
            training did, where its JSON has `text_options`, else yes. With False the phonemes are
            those of Piper.

    Raises:
        ConfigError: The stress is none of these.
    """

    lexicon: Lexicon | None = None
    write_numbers: bool | None = None
    stress: Stress | str | None = None
    abbreviations: bool | None = None

    def __post_init__(self) -> None:
        if self.stress is not None and self.stress not in list(Stress):
            raise ConfigError(
                f'The stress "{self.stress}" is not known; choose one of {", ".join(Stress)}.'
            )

    def fill(self, voice_options: Mapping[str, Any] | None, source: str = "") -> TextOptions:
        """Return these options, with those that are None taken from the voice or the defaults.

        Args:
            voice_options: What the voice's JSON has under `text_options`.
            source: What to call the voice in errors.

        Raises:
            ConfigError: The voice's options are of the wrong kind.
        """
        given = {"abbreviations": True} if voice_options is None else voice_options
        flags = ("write_numbers", "abbreviations")
        if (
            not isinstance(given, Mapping)
            or not all(isinstance(given.get(flag, False), bool) for flag in flags)
            or given.get("stress") not in (None, *Stress)
        ):
            raise ConfigError(
                f'{source or "The voice"}: "{VOICE_KEY}" holds {given!r:.60}, but an object with '
                '"write_numbers" and "abbreviations" (true or false) and "stress" '
                f"({', '.join(Stress)}) is wanted."
            )
        numbers = self.write_numbers
        return TextOptions(
            self.lexicon,
            bool(given.get("write_numbers", False)) if numbers is None else numbers,
            self.stress or str(given.get("stress") or Stress.MARKS),
            # Voices that were trained here before there was such a key were trained without.
            bool(given.get("abbreviations", False))
            if self.abbreviations is None
            else self.abbreviations,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what a voice's JSON is to hold under `text_options`, so that speaking does alike.

        A lexicon is a file beside the voice and not told here.
        """
        filled = self.fill(None)
        return {
            "write_numbers": filled.write_numbers,
            "stress": str(filled.stress),
            # What is not there is not done, so that an older dataset keeps its prepared recordings.
            **({"abbreviations": True} if filled.abbreviations else {}),
        }


def load_text_options(
    lexicon: Path | None,
    write_numbers: bool | None,
    stress: str | None,
    abbreviations: bool | None,
) -> TextOptions | None:
    """Return what a command's options say; None where they say nothing.

    Args:
        lexicon: A file.
        write_numbers: As in `TextOptions`, like those that follow.
        stress: One of `Stress`.
        abbreviations: Whether sentences go on after short forms.

    Raises:
        LexiconError: The lexicon cannot be read.
    """
    if {lexicon, write_numbers, stress, abbreviations} == {None}:
        return None
    words = None if lexicon is None else load_lexicon(lexicon)
    return TextOptions(words, write_numbers, stress, abbreviations)
