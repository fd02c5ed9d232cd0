"""Copies of voices: spoken, killed, gone on with, trained, exported, compared."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from piper import PiperVoice, SynthesisConfig
from piper.errors import CheckpointError, ExportError
from piper.files import load_records
from piper.text.phonemizers import find_espeak_data
from piper.train.checkpoints import load_checkpoint
from piper.train.copying import cli
from piper.train.copying.cli import main
from piper.train.copying.texts import load_words
from piper.train.export import compare_with_network, export_voice
from piper.train.families import KeptText, build_voice_graph
from piper.train.quick.config import QuickConfig
from piper.train.quick.network import QuickSynthesizer
from piper.train.warm_start import load_source
from piper.voice.session import PartsSession, SpeechSettings, SpokenSentence, VoiceSession
from piper.voice.weights import load_quick_weights, load_voice_weights
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


def test_a_text_that_is_too_short_and_a_full_disk_are_mistakes_that_can_be_corrected(
    tiny_voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    voice = write_voice(tmp_path, tiny_voice, license="MIT")
    texts = tmp_path / "texts.txt"
    words = [str(voice), "--output-file", str(tmp_path / "fast.onnx"), "--texts", str(texts)]
    texts.write_text("One.\nTwo.\n")
    assert main(words) == 1
    assert "has 2 different sentences" in capsys.readouterr().err
    # Nothing was spoken of it: another text is no other copy.
    texts.write_text(TEXT)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, old[1]))
    try:
        assert main(words) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    printed = capsys.readouterr().err
    assert ".wav cannot be written (File too large)" in printed
    assert "Traceback" not in printed
    assert not list((tmp_path / "fast.copy" / "held_out" / "wavs").iterdir())


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


def test_a_kept_text_side_speaks_through_another_decoder(
    tiny_voice_multi_speaker: Path, tmp_path: Path
) -> None:
    path, slow = tmp_path / "kept.onnx", PiperVoice.load(tiny_voice_multi_speaker)
    weights, graph = load_voice_weights(tiny_voice_multi_speaker)
    sizes = {"channels": 32, "frame_blocks": 2, "decoder_blocks": 2, "num_speakers": 3}
    torch.manual_seed(1)
    network = QuickSynthesizer(QuickConfig(sample_rate=16000, kept_latents=16, **sizes)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
        network.latent_mean[-2], network.latent_deviation[-2] = 4.8, 0.2
    assert isinstance(slow.network, PartsSession)
    kept = KeptText(weights, graph, slow.network, [0, 1, 2])
    with pytest.raises(ExportError, match="keeps the text side of its original"):
        build_voice_graph(network)
    onnx.save(build_voice_graph(network, kept), path)
    Path(f"{path}.json").write_text(Path(f"{tiny_voice_multi_speaker}.json").read_text())
    audio, difference = compare_with_network(VoiceSession(path), network, range(256), kept)
    assert (peak := np.abs(audio).max()) > 0.01
    assert difference < 0.03 * peak  # what rounding does to the phase of high harmonics
    with pytest.raises(CheckpointError, match="keeps the text side"):
        load_quick_weights(path)

    fast = PiperVoice.load(path)
    assert isinstance(fast.network, PartsSession)  # both its graphs were compared
    ids = slow.frontend.text_to_sentences("A sentence that is long enough for several windows.")[
        0
    ].ids
    mixed = SpeechSettings(0.667, 1.0, 0.8, {1: 0.5, 2: 0.5})

    def speak(voice: PiperVoice, seed: int, *, is_streamed: bool = False) -> SpokenSentence:
        rng = np.random.default_rng(seed)
        return voice.network.speak(ids, mixed, rng, is_streamed=is_streamed)

    # Rhythm and its noise are the voice's own, and so are the readings of a sentence.
    for seed in (1, 2):
        assert np.array_equal(speak(fast, seed).id_samples, speak(slow, seed).id_samples)
    whole, streamed = (
        np.concatenate(list(speak(fast, 1, is_streamed=is_streamed).audio))
        for is_streamed in (False, True)
    )
    assert np.abs(whole - streamed).max() < 1e-5
    low, high = (
        fast.network.find_latents(ids, replace(mixed, pitch=pitch), np.random.default_rng(1))[0]
        for pitch in (0.0, 3.0)
    )
    assert np.allclose(high[-1] / low[-1], 2 ** (3 / 12), rtol=1e-4)


@pytest.mark.long
def test_a_copy_keeps_the_text_side_of_some_speakers(
    tiny_voice_multi_speaker: Path, tmp_path: Path
) -> None:
    voice = write_voice(tmp_path, tiny_voice_multi_speaker, license="MIT")
    texts, output = tmp_path / "texts.txt", tmp_path / "kept.onnx"
    texts.write_text(TEXT)
    words = [str(voice), "--output-file", str(output), "--speakers", "vera,0", "--keep", "text"]
    words += ["--texts", str(texts), *SMALL, "--scores", "trouble"]
    assert main(words) == 0
    slow, fast = PiperVoice.load(voice, seed=1), PiperVoice.load(output, seed=1)
    assert fast.config.speaker_id_map == {"vera": 0, "anna": 1}
    for text in ("The old dog heard it.", "My uncle asked for a photograph."):
        mine, theirs = (
            [len(chunk.audio_float_array) for chunk in one.synthesize(text, SynthesisConfig(who))]
            for one, who in ((fast, 0), (slow, 2))
        )
        assert mine == theirs
    # What was trained cannot be exported without the original's text side.
    with pytest.raises(ExportError, match="keeps the text side of its original"):
        export_voice(tmp_path / "kept.copy", tmp_path / "half.onnx")
    # What lies beside the recordings is read again with each run.
    latents = next((tmp_path / "kept.copy" / "training" / "wavs").glob("*.npy"))
    latents.write_bytes(latents.read_bytes()[:-4])
    more = ["--trainer.max_steps=200" if "max_steps" in word else word for word in words]
    assert main(more) == 1


def make_checkpoint(voice: Path, folder: Path, *more: str) -> Path:
    """Copy a voice into a checkpoint, in two updates."""
    texts, output = folder / "texts.txt", folder / "full.ckpt"
    texts.write_text(TEXT)
    words = [str(voice), "--output-file", str(output), "--texts", str(texts), *more]
    flags = ("--trainer.max_steps=2", "--data.batch_size=2", "--trainer.limit_val_batches=0")
    assert main([*words, *flags]) == 0
    return output


@pytest.mark.long
def test_a_voice_becomes_a_checkpoint_whose_speech_is_its_own(
    tiny_voice: Path, tmp_path: Path
) -> None:
    """What an .onnx lacks is learnt from its speech, and what it has stays."""
    voice = write_voice(tmp_path, tiny_voice, license="MIT")
    output = make_checkpoint(voice, tmp_path)
    full, source = load_source(str(output)), load_source(str(voice))
    assert "optimizer_states" not in load_checkpoint(output)
    assert (full.phoneme_ids, full.sample_rate) == (source.phoneme_ids, source.sample_rate)
    again = load_source(str(export_voice(output, tmp_path / "again.onnx").model_path))
    for name, weight in source.weights.items():
        assert torch.allclose(again.weights[name], weight, atol=1e-6), name
    assert any(name.startswith("model_g.enc_q.") for name in full.weights)


@pytest.mark.long
@pytest.mark.parametrize("wanted", ["vera", "vera,anna"])
def test_a_checkpoint_of_some_speakers_speaks_as_they_do(
    wanted: str, tiny_voice_multi_speaker: Path, tmp_path: Path
) -> None:
    """Their table is held as all that speaks is, and has no gradients of its own."""
    voice = write_voice(tmp_path, tiny_voice_multi_speaker, license="MIT")
    output = make_checkpoint(voice, tmp_path, "--speakers", wanted)
    again = PiperVoice.load(export_voice(output, tmp_path / "again.onnx").model_path)
    spoken = []
    for one, speaker in ((PiperVoice.load(voice), 2), (again, 0)):
        settings = SynthesisConfig(speaker_id=speaker, noise_scale=0, noise_w_scale=0)
        chunks = one.synthesize("Hello there.", settings)
        spoken.append(np.concatenate([chunk.audio_float_array for chunk in chunks]))
    assert len(spoken[0]) == len(spoken[1])
    assert np.abs(spoken[0] - spoken[1]).max() < 1e-3


@pytest.mark.long
def test_one_of_several_speakers_is_copied(
    tiny_voice_multi_speaker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And compared with what the original says as that speaker."""
    voice = write_voice(tmp_path, tiny_voice_multi_speaker, license="MIT")
    output = tmp_path / "fast.onnx"
    words = [str(voice), "--output-file", str(output), "--speakers", "vera", *SMALL]
    assert main([*words, "--scores", "trouble", "--minutes", "0.2"]) == 0
    copy = PiperVoice.load(output)
    assert copy.config.num_speakers == 1
    held_out = (tmp_path / "fast.copy" / "held_out" / "metadata.csv").read_text().splitlines()
    assert held_out[0].split("|")[1] == "vera"
    assert "original" in capsys.readouterr().out


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
    assert main([str(voice), "--output-file", str(output), "--keep", "text"]) == 1
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
    tiny_voice: Path,
    tiny_voice_multi_speaker: Path,
    quick_voice: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
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
    kept = [*output, "--keep", "text", "--license", "CC0"]
    assert main([str(several), *kept, "--speakers", "anna"]) == 1
    assert "leave the flag out for one" in capsys.readouterr().err
    assert main([str(quick_voice), *kept]) == 1
    assert "--keep text" in (said := capsys.readouterr().err)
    assert "Leave the flag out to copy the whole voice" in said
    checkpoint = ["--output-file", str(tmp_path / "full.ckpt"), "--license", "CC0"]
    assert main([str(quick_voice), *checkpoint]) == 1
    assert "A name that ends in .onnx copies the whole voice" in capsys.readouterr().err
    spoken = tmp_path / "fast.copy" / "training" / "spoken.jsonl"
    spoken.parent.mkdir()
    spoken.touch()
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
