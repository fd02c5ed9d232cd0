"""A voice: its network as ONNX, run by ONNX Runtime. Other programs import its names from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from piper.audio.chunk import AudioChunk, PhonemeAlignment
    from piper.config import PhonemeType, PiperConfig, SynthesisConfig
    from piper.phoneme_ids import BOS, EOS, PAD, phonemes_to_ids
    from piper.phonemize_espeak import EspeakPhonemizer
    from piper.voice.voice import PiperVoice

# Looked up when asked for, so that `piper.voice.graph` can be had without ONNX Runtime.
_MODULES = {
    "BOS": "piper.phoneme_ids",
    "EOS": "piper.phoneme_ids",
    "ESPEAK_DATA_DIR": "piper.phonemize_espeak",
    "AudioChunk": "piper.audio.chunk",
    "EspeakPhonemizer": "piper.phonemize_espeak",
    "PAD": "piper.phoneme_ids",
    "PhonemeAlignment": "piper.audio.chunk",
    "PhonemeType": "piper.config",
    "PiperConfig": "piper.config",
    "PiperVoice": "piper.voice.voice",
    "SynthesisConfig": "piper.config",
    "phonemes_to_ids": "piper.phoneme_ids",
}

__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "AudioChunk",
    "EspeakPhonemizer",
    "PhonemeAlignment",
    "PhonemeType",
    "PiperConfig",
    "PiperVoice",
    "SynthesisConfig",
    "phonemes_to_ids",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(_MODULES[name]), name)
    except ImportError:
        # Where piper-tts was installed after this package, its `piper/__init__.py` comes here.
        from piper.jobs import describe_conflict

        sentence = describe_conflict()
        if sentence is None:
            raise
        raise ImportError(sentence) from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
