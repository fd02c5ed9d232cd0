"""Piper voices, from recordings to speech: the public names, loaded when they are asked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# ONNX Runtime else keeps a device's number and a queue of events in the user's cache, and looks for
# a host to send them to. It reads this once, when it is imported; nothing of ours comes before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from piper.audio.chunk import AudioChunk, PhonemeAlignment
    from piper.config import PhonemeType, PiperConfig, SynthesisConfig, VoiceConfig
    from piper.errors import PiperError
    from piper.voice.voice import PiperVoice

    __version__: str

_MODULES = {
    "AudioChunk": "piper.audio.chunk",
    "PhonemeAlignment": "piper.audio.chunk",
    "PhonemeType": "piper.config",
    "PiperConfig": "piper.config",
    "PiperError": "piper.errors",
    "PiperVoice": "piper.voice.voice",
    "SynthesisConfig": "piper.config",
    "VoiceConfig": "piper.config",
}

__all__ = [
    "AudioChunk",
    "PhonemeAlignment",
    "PhonemeType",
    "PiperConfig",
    "PiperError",
    "PiperVoice",
    "SynthesisConfig",
    "VoiceConfig",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("piper-workshop")
        except PackageNotFoundError:  # run from its source, on a machine that installs nothing
            return "0+source"
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
