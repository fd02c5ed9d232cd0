"""Voices made here speak in the programs that Piper voices are for, each in its own environment."""

from __future__ import annotations

import subprocess
import sys
import wave
from pathlib import Path

import pytest

from piper.train.export import export_voice

pytestmark = pytest.mark.long

SENTENCE = "Привет, это тест."
SHERPA_SCRIPT = """
import sys
import espeakng_loader, sherpa_onnx

model, tokens, text = sys.argv[1:]
vits = sherpa_onnx.OfflineTtsVitsModelConfig(
    model=model, tokens=tokens, data_dir=str(espeakng_loader.get_data_path())
)
config = sherpa_onnx.OfflineTtsConfig(model=sherpa_onnx.OfflineTtsModelConfig(vits=vits))
assert config.validate()
audio = sherpa_onnx.OfflineTts(config).generate(text)
peak = max(abs(sample) for sample in audio.samples)
print(audio.sample_rate, len(audio.samples), peak)
"""


def make_environment(folder: Path, *packages: str) -> Path:
    """Make a virtual environment with packages of the registry; return its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
    return python


@pytest.fixture(scope="module")
def exported(speech_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A voice that was trained for two epochs and exported."""
    root = tmp_path_factory.mktemp("peers")
    small = ("hidden_channels=16", "inter_channels=16", "filter_channels=16", "n_layers=1")
    command = [
        *(sys.executable, "-m", "piper.train", "fit", f"--data.dataset_dir={speech_dataset}"),
        *(f"--data.cache_dir={root / 'cache'}", f"--data.config_path={root / 'config.json'}"),
        *("--data.espeak_voice=ru", "--model.quality=tiny", "--data.num_workers=0"),
        *(f"--model.{flag}" for flag in small),
        *("--model.discriminator_channels=16", "--trainer.accelerator=cpu"),
        *("--trainer.max_epochs=2", f"--trainer.default_root_dir={root}"),
    ]
    subprocess.run(command, check=True)
    checkpoint = root / "lightning_logs/version_0/checkpoints/last.ckpt"
    return export_voice(checkpoint, root / "voice.onnx").model_path


def test_the_existing_client_speaks_with_it(exported: Path, tmp_path: Path) -> None:
    python = make_environment(tmp_path / "piper", "piper-tts==1.8.0")
    wav = tmp_path / "out.wav"
    command = [str(python), "-m", "piper", "-m", str(exported), "-f", str(wav)]
    subprocess.run(command, input=SENTENCE, text=True, check=True, cwd=tmp_path)
    with wave.open(str(wav)) as file:
        assert file.getframerate() == 22050
        samples = file.readframes(file.getnframes())
    assert len(samples) > 2 * 2000
    assert any(samples)


def test_sherpa_onnx_speaks_with_it(exported: Path, tmp_path: Path) -> None:
    packages = ("sherpa-onnx==1.12.40", "espeakng-loader==0.2.4", "numpy")
    python = make_environment(tmp_path / "sherpa", *packages)
    tokens = exported.with_name("tokens.txt")
    command = [str(python), "-c", SHERPA_SCRIPT, str(exported), str(tokens), SENTENCE]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    rate, count, peak = result.stdout.split()[-3:]
    assert int(rate) == 22050
    assert int(count) > 2000
    assert float(peak) > 0.01
