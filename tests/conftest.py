"""Fixtures for all tests."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from piper.config import VoiceConfig
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from publishing import Hub, serve_hub

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Before torch is imported, and for the processes that tests start: with networks this small a
# second thread only waits for the first, and spins where other programs want the core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Likewise; optimised models of the tests' voices are not to fill the user's cache.
_cache_folder = tempfile.TemporaryDirectory(prefix="piper-test-cache-")
os.environ["PIPER_CACHE_DIR"] = _cache_folder.name

# Likewise; the trainings of the tests are not to find judges, and score all that they say.
_judges_folder = os.environ.get("PIPER_JUDGES_DIR") or str(Path(sys.prefix) / "judges")
os.environ.setdefault("PIPER_TESTS_JUDGES_DIR", _judges_folder)
os.environ["PIPER_JUDGES_DIR"] = ""

# Likewise; what `nohup` or a shell's `&` lets us ignore, they would ignore as well. Unlike that, a
# handler is not inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

sys.path.insert(0, str(Path(__file__).parent / "voice"))  # for network_shapes, used there too
sys.path.insert(0, str(Path(__file__).parent / "train"))  # for trainings, in all its folders
sys.path.insert(0, str(Path(__file__).parents[1] / "tools" / "datasets"))  # for speech_dataset


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Let what a test and its fixtures draw not depend on the tests before it."""
    random.seed(1)
    np.random.seed(1)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(1)


TINY_SPEAKERS = {"anna": 0, "boris": 1, "vera": 2}


def write_tiny_voice(path: Path, *, num_speakers: int = 1, include_durations: bool = True) -> Path:
    """Write a small real voice, ONNX and JSON, that babbles at 16 kHz; return the ONNX's path."""
    import onnx
    from network_shapes import golden_weights, network_shapes

    from piper.voice.graph import build_graph
    from piper.voice.graph_config import GraphConfig

    shapes = network_shapes(
        hidden=16,
        filters=16,
        layers=1,
        decoder_channels=16,
        speakers=num_speakers,
        speaker_channels=8,
    )
    weights = golden_weights(shapes)
    graph_config = GraphConfig.from_weights(weights, sample_rate=16000)
    onnx.save(build_graph(weights, graph_config, include_durations=include_durations), str(path))
    return _write_json(path, num_speakers)


def write_quick_voice(path: Path, *, num_speakers: int = 1) -> Path:
    """Write a small quick voice, ONNX and JSON, that hums at 16 kHz; return the ONNX's path."""
    import onnx
    from network_shapes import quick_shapes, quick_weights

    from piper.voice.graph_quick import QuickGraphConfig, build_quick_graph

    config = QuickGraphConfig(16000, 1024, 256, num_speakers=num_speakers)
    weights = quick_weights(quick_shapes(speakers=num_speakers))
    onnx.save(build_quick_graph(weights, config), str(path))
    return _write_json(path, num_speakers, quality="quick")


def _write_json(path: Path, num_speakers: int, quality: str = "") -> Path:
    config = VoiceConfig(
        num_symbols=256,
        num_speakers=num_speakers,
        sample_rate=16000,
        espeak_voice="en-us",
        phoneme_id_map=DEFAULT_PHONEME_ID_MAP,
        hop_length=256,
        speaker_id_map=TINY_SPEAKERS if num_speakers > 1 else {},
        quality=quality,
    )
    path.with_name(f"{path.name}.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a small voice's ONNX, with durations; its JSON lies beside it."""
    return write_tiny_voice(tmp_path_factory.mktemp("tiny") / "tiny.onnx")


@pytest.fixture(scope="session")
def tiny_voice_without_durations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a small voice's ONNX with the audio as its only output, as published ones have."""
    path = tmp_path_factory.mktemp("tiny_plain") / "plain.onnx"
    return write_tiny_voice(path, include_durations=False)


@pytest.fixture(scope="session")
def tiny_voice_multi_speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a small voice's ONNX with the speakers anna, boris and vera."""
    path = tmp_path_factory.mktemp("tiny_speakers") / "speakers.onnx"
    return write_tiny_voice(path, num_speakers=len(TINY_SPEAKERS))


@pytest.fixture(scope="session")
def quick_voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a small quick voice's ONNX; its pitch can be set."""
    return write_quick_voice(tmp_path_factory.mktemp("quick") / "quick.onnx")


@pytest.fixture(scope="session")
def quick_voice_multi_speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a small quick voice's ONNX with the speakers anna, boris and vera."""
    path = tmp_path_factory.mktemp("quick_speakers") / "speakers.onnx"
    return write_quick_voice(path, num_speakers=len(TINY_SPEAKERS))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium; of a module, since Playwright keeps an event loop running."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)  # five seconds are little on a busy machine
    path = shutil.which("chromium")
    assert path, "`make test` installs chromium, or says what to do"
    quiet = ("background-networking", "component-update", "gpu", "quic", "sync")
    arguments = ["--no-sandbox", "--no-first-run", *(f"--disable-{what}" for what in quiet)]
    # A test's sounds begin without a hand on the mouse.
    arguments.append("--autoplay-policy=no-user-gesture-required")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()


@contextmanager
def kept(folder: Path) -> Iterator[None]:
    """Fail where tests have changed a folder that others use after them."""

    def read() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    before = read()
    yield
    after = read()
    changed = [path for path in before | after if before.get(path) != after.get(path)]
    assert not changed, "A test has written into a dataset of all tests; let it copy that first."


@pytest.fixture(scope="session")
def speech_dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Sixteen Russian sentences spoken by espeak-ng, 22,050 Hz; not to be changed by a test."""
    from make_test_dataset import make_test_dataset

    folder = make_test_dataset(tmp_path_factory.mktemp("speech"), sentences=16)
    with kept(folder):
        yield folder


@pytest.fixture(scope="session")
def two_speaker_dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Eight sentences by two speakers in turn, 16 kHz; not to be changed by a test."""
    from make_test_dataset import make_test_dataset

    folder = tmp_path_factory.mktemp("speakers")
    make_test_dataset(folder, sentences=8, sample_rate=16000, speakers=2)
    with kept(folder):
        yield folder


@pytest.fixture(scope="session")
def spoken_dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All 42 sentences of synthetic speech, three minutes; not to be changed by a test."""
    from make_test_dataset import SENTENCES, make_test_dataset

    folder = tmp_path_factory.mktemp("spoken")
    make_test_dataset(folder, sentences=len(SENTENCES), sample_rate=16000)
    with kept(folder):
        yield folder


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test in a folder of its own, without ffplay."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def copy_dataset(tmp_path: Path) -> Callable[[Path], Path]:
    """Copy a dataset for a test that changes it."""

    def copy(source: Path) -> Path:
        return Path(shutil.copytree(source, tmp_path / "dataset"))

    return copy


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A server on loopback with a catalogue and the voices in it."""
    with serve_hub(tmp_path / "hub") as served:
        yield served


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A folder to download into, which is not there yet."""
    return tmp_path / "new" / "voices"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, list[Any]]]:
    """A Ray cluster: a head without cores, and two nodes of one core each."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # A lost machine is noticed after seconds, instead of half a minute.
    monkeypatch.setenv("RAY_health_check_initial_delay_ms", "0")
    monkeypatch.setenv("RAY_health_check_period_ms", "500")
    monkeypatch.setenv("RAY_health_check_failure_threshold", "3")
    from ray.cluster_utils import Cluster

    memory = {"object_store_memory": 100 * 1024**2}
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **memory})
    yield found, [found.add_node(num_cpus=1, **memory) for _ in range(2)]
    import ray

    ray.shutdown()
    found.shutdown()
