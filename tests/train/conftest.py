"""Fixtures for the tests of training."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile


@pytest.fixture(scope="module")
def dataset(speech_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the speech dataset of a module's own, for caches lie in it."""
    return Path(shutil.copytree(speech_dataset, tmp_path_factory.mktemp("own") / "dataset"))


@pytest.fixture(autouse=True)
def own_argv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let LightningCLI see no flags of pytest."""
    monkeypatch.setattr(sys, "argv", ["piper.train"])


@pytest.fixture
def judges(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The judges that `make judges` fetched; afterwards they are out of sight again."""
    folder = Path(os.environ["PIPER_TESTS_JUDGES_DIR"])
    assert folder.is_dir(), "`make test-long` fetches the judges; by hand: `make judges`"
    monkeypatch.setenv("PIPER_JUDGES_DIR", str(folder))
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(folder):
            del sys.modules[name]


@pytest.fixture(scope="session")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Six real recordings each of a Russian and an English speaker, 2.5 to 7 s; for long tests."""
    from asterisk_prompts import fetch_asterisk_prompts

    found = {}
    for language in ("ru", "en"):
        folder = tmp_path_factory.mktemp("prompts") / language
        fetch_asterisk_prompts(folder, language)
        paths = sorted((folder / "wavs").glob("*.wav"))
        found[language] = [path for path in paths if 2.5 < soundfile.info(path).duration < 7.0][:6]
    return found


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Address of a local S3 server."""
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of a bucket of its own, found by the variables that all AWS programs read."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    name = f"piper-{uuid.uuid4().hex}"
    s3fs.S3FileSystem().mkdir(name)
    return f"s3://{name}"


@pytest.fixture(scope="session")
def aligner_path(spoken_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An aligner that learnt on that dataset."""
    from training_examples import create_examples, hasty_aligner

    from piper.train.aligner.fitting import fit_aligner

    path = tmp_path_factory.mktemp("aligner") / "aligner.pt"
    with hasty_aligner(75):
        fit_aligner(create_examples(spoken_dataset)).save(path)
    return path
