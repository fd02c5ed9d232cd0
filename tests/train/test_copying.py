"""Copies of voices: spoken, killed, gone on with, trained, exported, compared."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
import torch

from piper import PiperVoice
from piper.files import load_records
from piper.text.phonemizers import find_espeak_data
from piper.train.checkpoints import load_checkpoint
from piper.train.copying import cli
from piper.train.copying.cli import main
from piper.train.copying.texts import load_words
from piper.train.export import export_voice
from piper.train.warm_start import load_source
from trainings import QUICK, StopAfter, add_callback

TEXT = "\n".join(
    f"{who} {does} the {what}."
    for who in ("A singer", "My uncle", "The old dog")
    for does in ("heard", "lost", "wants to see", "asked for")
    for what in ("river", "green door", "last train", "photograph")
)
SMALL = (*(flag for flag in QUICK[1:] if "." in flag), "--trainer.max_steps=2")
"""What makes the training one of a moment."""


def write_voice(folder: Path, voice: Path, **said: str) -> Path:
    """Put a voice into a folder of its own, with more in its JSON."""
    folder.mkdir(exist_ok=True)
    copied = folder / "slow.onnx"
    copied.write_bytes(voice.read_bytes())
    data = json.loads(Path(f"{voice}.json").read_text())
    Path(f"{copied}.json").write_text(json.dumps({**data, **said}))
    return copied


def test_a_copy_that_was_killed_goes_on_and_is_a_voice(tiny_voice: Path, tmp_path: Path) -> None:
    voice = write_voice(tmp_path, tiny_voice)
    (tmp_path / "MODEL_CARD").write_text("# Voice\n\n* URL: nowhere\n* License: CC0-1.0\n")
    texts, output = tmp_path / "texts.txt", tmp_path / "fast.onnx"
    texts.write_text(TEXT)
    work = tmp_path / "fast.copy"
    words = [str(voice), "--output-file", str(output), "--texts", str(texts), *SMALL]
    words += ["--scores", "trouble"]
    process = subprocess.Popen(
        [sys.executable, "-m", "piper.train", "copy", *words], stderr=subprocess.DEVNULL
    )
    spoken = work / "training" / "spoken.jsonl"
    while not (spoken.is_file() and load_records(spoken)) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = load_records(spoken)
    assert first  # it was killed while it spoke, or later

    assert main(words) == 0
    assert load_records(spoken)[: len(first)] == first  # nothing was spoken anew
    trained = (work / "training" / "metadata.csv").read_text().splitlines()
    held_out = (work / "held_out" / "metadata.csv").read_text().splitlines()
    assert len(trained) >= 44
    assert {line.split("|")[1] for line in held_out}.isdisjoint(
        line.split("|")[1] for line in trained
    )
    data = json.loads(Path(f"{output}.json").read_text())
    assert (data["copy_of"], data["license"], data["audio"]["quality"]) == (
        "slow",
        "CC0-1.0",
        "quick",
    )
    assert data["copied_by"].startswith("piper-workshop ")
    assert (tmp_path / "tokens.txt").is_file()
    copy = PiperVoice.load(output)
    assert copy.network.mean_hertz is not None
    # After two updates it knows no durations.
    assert sum(len(chunk.audio_float_array) for chunk in copy.synthesize("Hello.")) > 0
    report = json.loads((work / "comparison" / "report.json").read_text())
    assert [one["label"] for one in report["systems"]] == ["recordings", "copy", "original"]
    assert "license: cc0-1.0" in (work / "comparison" / "MODEL_CARD.md").read_text().lower()


def test_a_quick_voice_is_copied_with_how_far_its_pitch_wanders(
    quick_voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Speech without noise says nothing of it: the spread was 0.83 times the original's."""
    monkeypatch.setattr(cli, "_train", lambda *_: 1)
    voice = write_voice(tmp_path, quick_voice, license="MIT")
    (tmp_path / "texts.txt").write_text(TEXT)
    words = [str(voice), "--output-file", str(tmp_path / "fast.onnx")]
    assert main([*words, "--texts", str(tmp_path / "texts.txt")]) == 1
    records = load_records(tmp_path / "fast.copy" / "training" / "spoken.jsonl")
    assert records and all("noise_scale=1.2, noise_w_scale=0.8," in key for key, _ in records)


@pytest.mark.long
def test_a_voice_becomes_a_checkpoint_whose_speech_is_its_own(
    tiny_voice: Path, tmp_path: Path
) -> None:
    """What an .onnx lacks is learnt from its speech, and what it has stays."""
    voice = write_voice(tmp_path, tiny_voice, license="MIT")
    texts, output = tmp_path / "texts.txt", tmp_path / "full.ckpt"
    texts.write_text(TEXT)
    words = [str(voice), "--output-file", str(output), "--texts", str(texts)]
    flags = ("--trainer.max_steps=2", "--data.batch_size=2", "--trainer.limit_val_batches=0")
    assert main([*words, *flags]) == 0
    full, source = load_source(str(output)), load_source(str(voice))
    assert "optimizer_states" not in load_checkpoint(output)
    assert (full.phoneme_ids, full.sample_rate) == (source.phoneme_ids, source.sample_rate)
    again = load_source(str(export_voice(output, tmp_path / "again.onnx").model_path))
    for name, weight in source.weights.items():
        assert torch.allclose(again.weights[name], weight, atol=1e-6), name
    assert any(name.startswith("model_g.enc_q.") for name in full.weights)


@pytest.mark.long
def test_speakers_are_copied_and_a_training_that_was_stopped_goes_on(
    tiny_voice_multi_speaker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = write_voice(tmp_path, tiny_voice_multi_speaker, license="MIT")
    output = tmp_path / "fast.onnx"
    words = [str(voice), "--output-file", str(output), "--speakers", "vera,0", *SMALL[:-1]]
    words += ["--trainer.max_steps=4", "--scores", "trouble", "--minutes", "0.2"]
    with monkeypatch.context() as patch:
        add_callback(StopAfter(2), patch)
        assert main(words) == 128 + signal.SIGTERM
    assert main(words) == 0
    trained = (tmp_path / "fast.copy" / "training" / "metadata.csv").read_text().splitlines()
    assert [line.split("|")[1] for line in trained[:4]] == ["vera", "anna"] * 2
    copy = PiperVoice.load(output)
    assert copy.config.speaker_id_map == {"vera": 0, "anna": 1}
    assert copy.network.num_speakers == 2
    assert copy.config.extra["license"] == "MIT"


@pytest.mark.long
def test_a_voice_that_cannot_be_taken_apart_is_copied_from_its_speech(
    tiny_voice_without_durations: Path, tmp_path: Path
) -> None:
    voice = write_voice(tmp_path, tiny_voice_without_durations, license="MIT")
    remove_names(voice)
    texts, output = tmp_path / "texts.txt", tmp_path / "fast.onnx"
    texts.write_text(TEXT)
    words = ["--output-file", str(output), "--texts", str(texts), *SMALL, "--scores", "trouble"]
    assert not PiperVoice.load(voice).network.has_durations
    assert main([str(voice), *words]) == 0
    [line, *_] = (tmp_path / "fast.copy" / "training" / "metadata.csv").read_text().splitlines()
    assert ":" not in line.rpartition("|")[2]
    assert PiperVoice.load(output).network.has_durations


def remove_names(path: Path) -> None:
    """Give all values of a graph but its inputs and outputs names that say nothing."""
    model = onnx.load(path)
    kept = {value.name for value in (*model.graph.input, *model.graph.output)}
    new: dict[str, str] = {}

    def rename(name: str) -> str:
        return name if not name or name in kept else new.setdefault(name, f"v{len(new)}")

    del model.metadata_props[:]
    del model.graph.value_info[:]
    for tensor in model.graph.initializer:
        tensor.name = rename(tensor.name)
    for node in model.graph.node:
        node.name = ""
        node.input[:] = map(rename, list(node.input))
        node.output[:] = map(rename, list(node.output))
    onnx.save(model, path)


def test_what_cannot_be_copied_is_said(
    tiny_voice: Path, tiny_voice_multi_speaker: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    voice = write_voice(tmp_path, tiny_voice)
    output = ["--output-file", str(tmp_path / "fast.onnx")]
    assert main([str(voice), *output]) == 1
    assert "give it with --license" in capsys.readouterr().err
    assert main([str(voice), "--license", "CC0", "--output-file", str(voice)]) == 1
    assert "read by this run" in capsys.readouterr().err
    several = write_voice(tmp_path / "several", tiny_voice_multi_speaker, license="CC0")
    assert main([str(several), *output, "--speakers", "anna,otto"]) == 1
    assert 'no speaker "otto"; there are anna, boris, vera' in capsys.readouterr().err
    texts = tmp_path / "short.txt"
    texts.write_text("One sentence.\n")
    assert main([str(several), *output, "--texts", str(texts)]) == 1
    assert "has 1 different sentences" in capsys.readouterr().err
    assert main([str(voice), *output, "--license", "CC0"]) == 1
    assert "holds a copy of another voice" in capsys.readouterr().err


def test_words_of_espeak_ng_are_read() -> None:
    data = find_espeak_data()
    english, russian = (load_words(language, data) for language in ("en-us", "ru"))
    assert {"though", "saliva", "you"} <= set(english)
    assert len(russian) > 10000
    assert not {letter for word in russian for letter in word} - set(
        "абвгдежзийклмнопрстуфхцчшщъыьэюяё"
    )
    assert load_words("xx", data) == []
