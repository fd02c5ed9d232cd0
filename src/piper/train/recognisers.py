"""Speech recognisers as plug-ins, and the errors of what they recognised."""

from __future__ import annotations

import re
import tempfile
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from piper.errors import ConfigError, PiperError
from piper.train.data.audio import FloatArray
from piper.train.judges import import_plugin

Recogniser = Callable[[FloatArray, int], str]
"""Samples (S,) float32, one channel, and their rate in hertz (16,000 here), to what is said."""

SPECIFICATIONS = (
    "faster-whisper:MODEL (a name or a folder), gigaam:MODEL, or MODULE:FUNCTION, a function that "
    "takes samples and their rate and returns the text"
)


def load_recogniser(specification: str, language: str) -> Recogniser:
    """Return the recogniser that one of `SPECIFICATIONS` names.

    Args:
        specification: Its name.
        language: Of the texts, an espeak-ng voice such as `ru` or `en-us`.
    """
    name, _, rest = specification.partition(":")
    if not name or not rest:
        raise ConfigError(
            f'The recogniser "{specification}" cannot be loaded; give {SPECIFICATIONS}.'
        )
    known = {"faster-whisper": _load_faster_whisper, "gigaam": _load_gigaam}
    try:
        load = known.get(name)
        function = load(rest, language) if load else import_plugin(specification, "--recogniser")
    except ImportError:
        raise ConfigError(
            f"The recogniser {name} is not installed; run `pip install {name}`."
        ) from None
    return _Checked(function, specification)


class _Checked:
    """A user's function, whose mistakes become a sentence."""

    def __init__(self, function: Callable[..., Any], specification: str) -> None:
        self._function = function
        self._specification = specification

    def __call__(self, samples: FloatArray, sample_rate: int) -> str:
        try:
            text = self._function(samples, sample_rate)
        except PiperError:
            raise
        except Exception as error:  # whatever a plug-in raises
            raise ConfigError(
                f"The recogniser {self._specification} failed ({type(error).__name__}: {error})."
            ) from error
        if not isinstance(text, str):
            raise ConfigError(
                f"The recogniser {self._specification} returned {type(text).__name__}, but a text "
                "is wanted."
            )
        return text


def _load_faster_whisper(model: str, language: str) -> Recogniser:
    from faster_whisper import WhisperModel

    loaded = WhisperModel(model)
    code = re.split("[-_]", language)[0]

    def recognise(samples: FloatArray, sample_rate: int) -> str:
        if sample_rate != 16000:
            raise ConfigError("faster-whisper hears samples at 16,000 Hz only.")
        segments, _ = loaded.transcribe(samples, language=code, condition_on_previous_text=False)
        return " ".join(segment.text.strip() for segment in segments)

    return recognise


def _load_gigaam(model: str, language: str) -> Recogniser:
    import gigaam

    loaded = gigaam.load_model(model)

    def recognise(samples: FloatArray, sample_rate: int) -> str:
        from piper.audio.output import write_wav

        # It reads files alone.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            write_wav(path, samples, sample_rate)
            return str(loaded.transcribe(str(path)))

    return recognise


def normalise_words(text: str) -> list[str]:
    """Return the words of a text as recognisers write them: small letters, no signs, no `ё`."""
    plain = unicodedata.normalize("NFC", text.replace("+", "").lower()).replace("ё", "е")
    return re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", plain)


def find_character_error(reference: Sequence[str], recognised: Sequence[str]) -> float:
    """Return the character error rate of recognised words: edits by the reference's characters.

    Spaces do not count: where one word ends is the recogniser's choice.
    """
    from rapidfuzz.distance import Levenshtein

    wanted = "".join(reference)
    return Levenshtein.distance(wanted, "".join(recognised)) / max(1, len(wanted))


def find_word_error(reference: Sequence[str], recognised: Sequence[str]) -> float:
    """Return the word error rate of recognised words: edits by the reference's words."""
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(reference, recognised) / max(1, len(reference))
