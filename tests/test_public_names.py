"""The names and import paths that other programs use, and what importing must not load."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import piper

NAMES = {
    "piper": [
        "AudioChunk",
        "PhonemeAlignment",
        "PhonemeType",
        "PiperConfig",
        "PiperError",
        "PiperVoice",
        "SynthesisConfig",
        "VoiceConfig",
    ],
    "piper.voice": ["AudioChunk", "PhonemeAlignment", "PiperVoice", "SynthesisConfig"],
    "piper.config": ["PhonemeType", "PiperConfig", "SynthesisConfig"],
    "piper.const": ["BOS", "EOS", "PAD"],
    "piper.phoneme_ids": ["DEFAULT_PHONEME_ID_MAP", "phonemes_to_ids"],
    "piper.phonemize_espeak": ["EspeakPhonemizer"],
    "piper.download_voices": ["main"],
    "piper.http_server": ["main"],
    "piper.patch_voice_with_alignment": ["main"],
}


def find_modules_after(program: str, *arguments: str) -> set[str]:
    """Run a program in a fresh interpreter; return the modules that it has loaded."""
    code = f"{program}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in NAMES.items() for name in names]
)
def test_a_name_that_others_import(module: str, name: str) -> None:
    assert getattr(importlib.import_module(module), name) is not None


def test_the_names_are_listed() -> None:
    assert set(NAMES["piper"]) < set(dir(piper))
    assert set(piper.__all__) == {*NAMES["piper"], "__version__"}
    assert set(NAMES["piper.voice"]) < set(dir(piper.voice))
    namespace: dict[str, object] = {}
    exec("from piper import *", namespace)
    assert namespace["PiperVoice"] is importlib.import_module("piper.voice").PiperVoice


def test_the_version_is_the_distribution_s() -> None:
    from importlib.metadata import version

    assert piper.__version__ == version("piper-workshop")


@pytest.mark.parametrize("module", ["piper", "piper.voice"])
def test_a_name_that_is_not_there(module: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'Nonsense'"):
        _ = importlib.import_module(module).Nonsense


@pytest.mark.parametrize("module", ["piper", "piper.voice", "piper.config", "piper.cli"])
def test_importing_is_light(module: str) -> None:
    loaded = find_modules_after(f"import {module}")
    assert not loaded & {"torch", "onnxruntime", "onnx", "numpy", "espeakng_loader"}


def test_speaking_never_imports_torch(tiny_voice: Path, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from piper.cli import main\n"
        "assert main(['-m', sys.argv[1], '-f', sys.argv[2], 'Hello there.']) == 0"
    )
    # The first start takes the voice apart with `onnx`; from the second on speaking does without.
    find_modules_after(program, str(tiny_voice), str(tmp_path / "a.wav"))
    loaded = find_modules_after(program, str(tiny_voice), str(tmp_path / "a.wav"))
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "lightning", "onnx", "soundfile", "matplotlib", "jsonargparse"}
    assert (tmp_path / "a.wav").stat().st_size > 1000
