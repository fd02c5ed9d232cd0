"""Voices made here speak in the programs that Piper voices are for, each in its own environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import wave
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser, expect

from documents import read_blocks
from piper import PiperVoice, SynthesisConfig
from piper.train.export import export_voice
from trainings import QUICK

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = ROOT / "docs" / "ru" / "elsewhere.md"
SENTENCE = "Привет, это тест."
SHERPA_SCRIPT = """
import sys
import sherpa_onnx

folder, name, text = sys.argv[1:]
vits = sherpa_onnx.OfflineTtsVitsModelConfig(
    model=f"{folder}/{name}.onnx", tokens=f"{folder}/tokens.txt",
    data_dir=f"{folder}/espeak-ng-data", noise_scale=0.0, noise_scale_w=0.0,
)
config = sherpa_onnx.OfflineTtsConfig(model=sherpa_onnx.OfflineTtsModelConfig(vits=vits))
assert config.validate()
generation = sherpa_onnx.GenerationConfig()
generation.silence_scale = 1.0  # else what is quiet is cut to a fifth
audio = sherpa_onnx.OfflineTts(config).generate(text, generation)
peak = max(abs(sample) for sample in audio.samples)
print(audio.sample_rate, len(audio.samples), peak)
"""

SHERPA_2_SCRIPT = """
import json, sys
import sherpa_onnx

model, tokens = sys.argv[1:]
vits = sherpa_onnx.OfflineTtsVitsModelConfig(
    model=model, tokens=tokens, noise_scale=0.0, noise_scale_w=0.0
)
config = sherpa_onnx.OfflineTtsConfig(model=sherpa_onnx.OfflineTtsModelConfig(vits=vits))
assert config.validate()
generation = sherpa_onnx.GenerationConfig()
generation.phoneme_codepoints = json.load(sys.stdin)
audio = sherpa_onnx.OfflineTts(config).generate("", generation)
print(audio.sample_rate, len(audio.samples), max(abs(sample) for sample in audio.samples))
"""
STREAMING_VITS_SCRIPT = """
import json, os, sys
import numpy as np

model, tokens, folder = sys.argv[1:]
os.environ["PATH"] += os.pathsep + folder  # it looks for the program espeak-ng
from streaming_vits import StreamingTTS

tts = StreamingTTS(model, tokens, model + ".json", threads=1, use_cached=False, verbose=False)
ids = np.array([json.load(sys.stdin)], dtype=np.int64)
tts.phoneme_ids = lambda text: (ids, [])
assert sum(len(chunk.audio) for chunk in tts.stream("")) > 2000
z_p, mask, speaker = tts.frontend(ids, 0, np.array([0.667, 1.0, 0.8], np.float32))
whole = tts.decode_all(z_p, mask, speaker)
frames = z_p.shape[2]
starts = range(0, frames, 40)
pieces = [tts.decode_chunk(z_p, mask, speaker, a, min(a + 40, frames)) for a in starts]
print(tts.meta.hop, np.abs(whole).max(), np.abs(np.concatenate(pieces) - whole).max())
"""

PIPECAT_SCRIPT = """
import asyncio, sys
from pathlib import Path
from pipecat.services.piper.tts import PiperTTSService

async def main(name, folder):
    service = PiperTTSService(
        download_dir=Path(folder), settings=PiperTTSService.Settings(voice=name)
    )
    service._sample_rate = 22050  # which its pipeline would say
    frames = [frame async for frame in service.run_tts("Привет, это тест.", "context")]
    return sum(len(getattr(frame, "audio", b"")) for frame in frames)

print(asyncio.run(main(*sys.argv[1:])))
"""
LOUDNESS_SCRIPT = """
import sys
from loudness_tts import TTS

name, folder = sys.argv[1:]
voice = TTS(f"{folder}/{name}.onnx", offline=True, cache_dir=f"{folder}/cache", language="ru")
assert sum(1 for _ in voice.stream("Привет, это тест."))
speech = voice.synthesize("Привет, это тест.")
assert speech.timings
print(2 * len(speech.samples))
"""
WYOMING_SCRIPT = """
import asyncio, subprocess, sys, time
from wyoming.audio import AudioChunk, AudioStop
from wyoming.client import AsyncClient
from wyoming.tts import Synthesize

name, folder = sys.argv[1:]
address = f"unix://{folder}/wyoming.sock"
command = [sys.executable, "-m", "wyoming_piper", "--voice", name, "--data-dir", folder]
server = subprocess.Popen([*command, "--uri", address])

async def speak():
    size = 0
    async with AsyncClient.from_uri(address) as client:
        await client.write_event(Synthesize("Привет, это тест.").event())
        while not AudioStop.is_type((event := await client.read_event()).type):
            if AudioChunk.is_type(event.type):
                size += len(AudioChunk.from_event(event).audio)
    return size

async def main():
    while True:
        try:
            return await speak()
        except (FileNotFoundError, ConnectionRefusedError):
            assert server.poll() is None
            await asyncio.sleep(0.2)

try:
    print(asyncio.run(asyncio.wait_for(main(), 120)))
finally:
    server.terminate()
    server.wait()
"""


def make_environment(folder: Path, *packages: str) -> Path:
    """Make a virtual environment with packages of the registry; return its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
    return python


def own_environment() -> dict[str, str]:
    """Return the environment without what would give other programs our modules."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


TINY = (
    *("--model.quality=tiny", "--data.num_workers=0", "--trainer.accelerator=cpu"),
    *("--model.hidden_channels=16", "--model.inter_channels=16", "--model.filter_channels=16"),
    *("--model.n_layers=1", "--model.discriminator_channels=16", "--trainer.max_epochs=2"),
)


@pytest.fixture(scope="module", params=["vits", "quick"])
def exported(
    request: pytest.FixtureRequest, speech_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A voice that was trained for two epochs and exported, of each family."""
    root = tmp_path_factory.mktemp("peers")
    flags = TINY if request.param == "vits" else (*QUICK, "--trainer.max_steps=6")
    command = [
        *(sys.executable, "-m", "piper.train", "fit", f"--data.dataset_dir={speech_dataset}"),
        *(f"--data.cache_dir={root / 'cache'}", f"--data.config_path={root / 'config.json'}"),
        *("--data.espeak_voice=ru", f"--trainer.default_root_dir={root}", *flags),
    ]
    subprocess.run(command, check=True)
    checkpoint = root / "lightning_logs/version_0/checkpoints/last.ckpt"
    return export_voice(checkpoint, root / "voice.onnx").model_path


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment where programs that ask for piper-tts get this package."""
    folder = tmp_path_factory.mktemp("beside")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for name in ("src", "tools/shim"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder / "wheels")]
    subprocess.run([*build, str(folder), str(folder / "tools" / "shim")], check=True)
    wheels = map(str, (folder / "wheels").glob("*.whl"))
    programs = ("pipecat-ai==1.14.0", "loudness-tts==0.1.1", "wyoming-piper==2.5.2")
    python = make_environment(folder / "environment", *wheels, *programs)
    subprocess.run([str(python), "-m", "pip", "check"], check=True)
    return python


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(PIPECAT_SCRIPT, id="pipecat-ai"),
        pytest.param(LOUDNESS_SCRIPT, id="loudness-tts"),
        pytest.param(WYOMING_SCRIPT, id="wyoming-piper"),
    ],
)
def test_programs_that_ask_for_piper_tts_speak_by_this_package(
    beside: Path, exported: Path, tmp_path: Path, script: str
) -> None:
    name = "ru_RU-irina-medium"  # one that wyoming-piper knows; nothing is downloaded
    for suffix in ("", ".json"):
        shutil.copy(f"{exported}{suffix}", tmp_path / f"{name}.onnx{suffix}")
    command = [str(beside), "-c", script, name, str(tmp_path)]
    result = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=tmp_path, env=own_environment()
    )
    assert int(result.stdout.split()[-1]) > 2 * 2000


def test_the_existing_client_speaks_with_it(exported: Path, tmp_path: Path) -> None:
    python = make_environment(tmp_path / "piper", "piper-tts==1.8.0")
    wav = tmp_path / "out.wav"
    command = [str(python), "-m", "piper", "-m", str(exported), "-f", str(wav)]
    result = subprocess.run(
        command,
        input=SENTENCE,
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=own_environment(),
    )
    assert result.stderr == ""  # no warning of ONNX Runtime's, as of an input with a default
    with wave.open(str(wav)) as file:
        assert file.getframerate() == 22050
        samples = file.readframes(file.getnframes())
    assert len(samples) > 2 * 2000
    assert any(samples)


def speak_quietly(voice: Path) -> int:
    """Return how many samples the sentence has here, without noise."""
    quiet = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0, whole_ends=False)
    chunks = PiperVoice.load(voice).synthesize(SENTENCE, quiet)
    return sum(len(chunk.audio_int16_array) for chunk in chunks)


def test_sherpa_onnx_speaks_from_the_folder_that_is_exported_for_it(
    exported: Path, tmp_path: Path
) -> None:
    python = make_environment(tmp_path / "sherpa", "sherpa-onnx==1.12.40", "soundfile")
    checkpoint = next(exported.parent.rglob("last.ckpt"))
    export = [sys.executable, "-m", "piper.train", "export", str(checkpoint), "--for=sherpa"]
    subprocess.run([*export, "--name=ru_RU-anna-medium"], check=True, cwd=tmp_path)
    (example,) = (block.text for block in read_blocks(ELSEWHERE) if block.language == "python")
    subprocess.run([str(python), "-c", example], check=True, cwd=tmp_path)
    with wave.open(str(tmp_path / "speech.wav")) as file:
        assert file.getframerate() == 22050
        assert any(file.readframes(file.getnframes()))
    name = "ru_RU-anna-medium"
    command = [str(python), "-c", SHERPA_SCRIPT, f"vits-piper-{name}", name, SENTENCE]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    rate, count, peak = result.stdout.split()[-3:]
    assert int(rate) == 22050
    assert int(count) == pytest.approx(speak_quietly(exported), rel=0.05)
    assert float(peak) > 0.01


def test_a_browser_speaks_from_the_folder_that_is_exported_for_it(
    exported: Path, tmp_path: Path, browser: Browser
) -> None:
    config = json.loads(Path(f"{exported}.json").read_text(encoding="utf-8"))
    config["inference"] |= {"noise_scale": 0.0, "noise_w": 0.0}
    voice = Path(shutil.copy(exported, tmp_path / "ru_RU-anna-low.onnx"))
    Path(f"{voice}.json").write_text(json.dumps(config), encoding="utf-8")
    export = [sys.executable, "-m", "piper.train", "export", voice.name, "--for=web"]
    subprocess.run(export, check=True, cwd=tmp_path)
    folder = tmp_path / "ru_RU-anna-low-web"
    served = partial(SimpleHTTPRequestHandler, directory=folder)
    page = browser.new_page(locale="ru")
    with ThreadingHTTPServer(("127.0.0.1", 0), served) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        said = page.get_by_role("status")
        expect(said).to_contain_text("npm install")
        subprocess.run(["npm", "install", "--ignore-scripts"], check=True, cwd=folder)
        page.reload()
        expect(page.get_by_role("button", name="Сказать")).to_be_enabled()
        page.get_by_role("textbox").fill(SENTENCE)
        page.get_by_role("button").click()
        expect(said).to_contain_text("с звука")
        seconds = float(said.inner_text().split()[0])
        server.shutdown()
    page.close()
    assert seconds == pytest.approx(speak_quietly(exported) / 22050, abs=0.03)


def test_sherpa_onnx_2_speaks_with_phonemes_that_are_made_here(
    exported: Path, tmp_path: Path
) -> None:
    python = make_environment(tmp_path / "sherpa", "sherpa-onnx==2.0.1", "numpy")
    script = ROOT / "tools" / "inference" / "sherpa_phonemes.py"
    made = [sys.executable, str(script), str(exported), SENTENCE]
    phonemes = subprocess.run(made, capture_output=True, text=True, check=True).stdout
    tokens = exported.with_name("tokens.txt")
    command = [str(python), "-c", SHERPA_2_SCRIPT, str(exported), str(tokens)]
    result = subprocess.run(
        command, input=phonemes, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    rate, count, peak = result.stdout.split()[-3:]
    assert (int(rate), int(count)) == (22050, speak_quietly(exported))
    assert float(peak) > 0.01


@pytest.mark.parametrize("exported", ["vits"], indirect=True)
def test_streaming_vits_streams_it(exported: Path, tmp_path: Path) -> None:
    """It cuts the graphs of VITS voices by itself,."""
    python = make_environment(tmp_path / "streaming", "streaming-vits==0.4.2")
    program = tmp_path / "espeak-ng"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    voice = PiperVoice.load(exported)
    ids = json.dumps(voice.phonemes_to_ids(voice.phonemize(SENTENCE)[0]))
    tokens = exported.with_name("tokens.txt")
    command = [str(python), "-c", STREAMING_VITS_SCRIPT, str(exported), str(tokens), str(tmp_path)]
    result = subprocess.run(
        command, input=ids, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    hop, peak, difference = result.stdout.split()[-3:]
    assert int(hop) == 256
    assert float(peak) > 0.01
    assert float(difference) < 1e-5
