"""The names and import paths that other programs use, and what importing must not load."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
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
    "piper.voice": [
        *("AudioChunk", "PhonemeAlignment", "PiperVoice", "SynthesisConfig", "PiperConfig"),
        *("PhonemeType", "BOS", "EOS", "PAD", "EspeakPhonemizer", "phonemes_to_ids"),
    ],
    "piper.config": ["PhonemeType", "PiperConfig", "SynthesisConfig"],
    "piper.const": ["BOS", "EOS", "PAD"],
    "piper.phoneme_ids": ["BOS", "DEFAULT_PHONEME_ID_MAP", "EOS", "PAD", "phonemes_to_ids"],
    "piper.phonemize_espeak": ["ESPEAK_DATA_DIR", "EspeakPhonemizer"],
    "piper.download_voices": [
        *("main", "download_voice", "list_voices"),
        *("VOICES_JSON", "URL_FORMAT", "VOICE_PATTERN"),
    ],
    "piper.download": ["VoiceNotFoundError", "ensure_voice_exists", "find_voice", "get_voices"],
    "piper.http_server": ["main"],
    "piper.patch_voice_with_alignment": ["add_alignment_output", "main"],
}

# The arguments that programs give by their place, as the existing client has them.
PLACES = {
    "piper.PiperVoice": ["session", "config", "espeak_data_dir", "download_dir"],
    "piper.PiperVoice.load": [
        *("model_path", "config_path", "use_cuda", "espeak_data_dir", "download_dir"),
        "include_alignments",
    ],
    "piper.PiperVoice.synthesize": ["self", "text", "syn_config", "include_alignments"],
    "piper.PiperVoice.synthesize_wav": [
        *("self", "text", "wav_file", "syn_config", "set_wav_format", "include_alignments")
    ],
    "piper.PiperVoice.phoneme_ids_to_audio": [
        *("self", "phoneme_ids", "syn_config", "include_alignments")
    ],
    "piper.SynthesisConfig": [
        *("speaker_id", "length_scale", "noise_scale", "noise_w_scale"),
        *("normalize_audio", "volume"),
    ],
    "piper.phoneme_ids.phonemes_to_ids": ["phonemes", "id_map"],
    "piper.phonemize_espeak.EspeakPhonemizer": ["espeak_data_dir"],
    "piper.phonemize_espeak.EspeakPhonemizer.phonemize": ["self", "voice", "text"],
    "piper.download_voices.download_voice": ["voice", "download_dir", "force_redownload"],
    "piper.download_voices.list_voices": [],
    "piper.patch_voice_with_alignment.add_alignment_output": ["model", "tensor_name"],
}


def find_modules_after(program: str, *arguments: str) -> set[str]:
    """Run a program in a fresh interpreter; return the modules that it has loaded."""
    code = f"{program}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in NAMES.items() for name in names]
)
def test_a_name_that_others_import(module: str, name: str) -> None:
    assert getattr(importlib.import_module(module), name) is not None


@pytest.mark.parametrize("dotted", PLACES)
def test_arguments_stand_where_others_give_them(dotted: str) -> None:
    found = pkgutil.resolve_name(dotted)
    places = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = inspect.signature(found).parameters.values()
    names = [parameter.name for parameter in parameters if parameter.kind is places]
    assert names[: len(PLACES[dotted])] == PLACES[dotted]


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
