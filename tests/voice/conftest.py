"""What many tests of voices need."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from piper.voice.voice import PiperVoice


@pytest.fixture(scope="session")
def voice(tiny_voice: Path) -> PiperVoice:
    """A small voice, loaded; not to be changed by a test."""
    return PiperVoice.load(tiny_voice)


@pytest.fixture
def own_voice(tiny_voice: Path, tmp_path: Path) -> Path:
    """A copy of the voice that a test may change."""
    for suffix in ("", ".json"):
        shutil.copy(f"{tiny_voice}{suffix}", tmp_path / f"own.onnx{suffix}")
    return tmp_path / "own.onnx"
