"""Fixtures for the tests of training."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def dataset(speech_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the speech dataset of a module's own, for caches lie in it."""
    return Path(shutil.copytree(speech_dataset, tmp_path_factory.mktemp("own") / "dataset"))


@pytest.fixture(autouse=True)
def own_argv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let LightningCLI see no flags of pytest."""
    monkeypatch.setattr(sys, "argv", ["piper.train"])
