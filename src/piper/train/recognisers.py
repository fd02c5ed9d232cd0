"""Speech recognisers as plug-ins, and the errors of what they recognised."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from piper.errors import ConfigError, PiperError, describe_briefly
from piper.train.data.audio import FloatArray
from piper.train.judges import import_plugin

Recogniser = Callable[[FloatArray, int], str]
"""Samples (S,) float32, one channel, and their rate in hertz (16,000 here), to what is said."""

SPECIFICATIONS = (
    "whisper:MODEL (a size such as small, or a folder), gigaam:MODEL (such as v3-ctc), "
    "onnx-asr:MODEL, or MODULE:FUNCTION, a function that takes samples and their rate and returns "
    "the text"
)
_WHISPER_LANGUAGES = {"cmn": "zh", "nb": "no"}
"""Where its name is another than espeak-ng's."""


def load_recogniser(specification: str, language: str) -> Recogniser:
    """Return the recogniser that one of `SPECIFICATIONS` names.

    What is not there yet is downloaded by the recogniser's own library.

    Args:
        specification: Its name.
        language: Of the texts, an espeak-ng voice such as `ru` or `en-us`.
    """
    name, _, model = specification.partition(":")
    if not name or not model:
        raise ConfigError(
            f'The recogniser "{specification}" cannot be loaded; give {SPECIFICATIONS}.'
        )
    if name not in _KNOWN:
        return _Checked(import_plugin(specification, "--recogniser"), specification)
    load, requirement = _KNOWN[name]
    try:
        return _Checked(load(model, language), specification)
    except ImportError as error:
        raise ConfigError(
            f"The recogniser {name} is not installed ({error}); run `pip install {requirement}`."
        ) from None
    except Exception as error:  # whatever its library raises
        raise ConfigError(
            f"The recogniser {specification} cannot be loaded ({describe_briefly(error)}); check "
            "the model's name or folder, and the network: what is not there is downloaded."
        ) from None


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
    code = _WHISPER_LANGUAGES.get(code, code)

    def recognise(samples: FloatArray, sample_rate: int) -> str:
        if sample_rate != 16000:
            raise ConfigError("faster-whisper takes samples at 16,000 Hz only.")
        segments, _ = loaded.transcribe(samples, language=code, condition_on_previous_text=False)
        return " ".join(segment.text.strip() for segment in segments)

    return recognise


def _load_onnx_asr(model: str, language: str) -> Recogniser:
    """Load `NAME`, or `NAME:FOLDER` of a model that lies here."""
    import onnx_asr

    name, _, folder = model.partition(":")
    loaded: Any = onnx_asr.load_model(name, folder or None)

    def recognise(samples: FloatArray, sample_rate: int) -> str:
        return str(loaded.recognize(samples, sample_rate=sample_rate))

    return recognise


def _load_gigaam(model: str, language: str) -> Recogniser:
    # The package gigaam wants torch 2.5 or earlier; it calls its newest models ctc and rnnt.
    version = "" if model.startswith(("v", "multilingual")) else "v2-"
    name, *folder = model.split(":", 1)
    return _load_onnx_asr(
        ":".join([f"gigaam-{version}{name.replace('_', '-')}", *folder]), language
    )


_KNOWN = {
    "whisper": (_load_faster_whisper, "faster-whisper"),
    "faster-whisper": (_load_faster_whisper, "faster-whisper"),
    "gigaam": (_load_gigaam, "'onnx-asr[cpu,hub]'"),
    "onnx-asr": (_load_onnx_asr, "'onnx-asr[cpu,hub]'"),
}
"""How each is loaded, and what pip is told to install."""


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
