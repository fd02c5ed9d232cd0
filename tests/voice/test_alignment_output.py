"""Voices with their durations as a second output, as other clients look for them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from piper.patch_voice_with_alignment import main
from piper.voice.voice import PiperVoice

IDS = [1, 0, 20, 0, 35, 0, 14, 0, 2]
HOP = 256


@pytest.fixture
def voice(tiny_voice_without_durations: Path, tmp_path: Path) -> Path:
    """A copy of a voice whose one output is the speech."""
    shutil.copy(f"{tiny_voice_without_durations}.json", tmp_path / "a.onnx.json")
    return Path(shutil.copy(tiny_voice_without_durations, tmp_path / "a.onnx"))


def run(path: Path, length_scale: float = 1.0) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feeds = {
        "input": np.array([IDS], dtype=np.int64),
        "input_lengths": np.array([len(IDS)], dtype=np.int64),
        "scales": np.array([0, length_scale, 0], dtype=np.float32),
    }
    return list(session.run(None, feeds))


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("length_scale", [1.0, 1.7])
def test_the_speech_is_equal_and_the_durations_add_up_to_it(
    voice: Path, capsys: pytest.CaptureFixture[str], length_scale: float
) -> None:
    [before] = run(voice, length_scale)
    voice.chmod(0o640)
    assert main([str(voice)]) == 0
    assert capsys.readouterr().out == f"Wrote {voice}, with durations as its second output.\n"
    audio, durations = run(voice, length_scale)
    assert np.array_equal(audio, before)
    assert durations.shape == (1, 1, len(IDS))
    assert int(durations.sum()) * HOP == audio.size
    onnx.checker.check_model(str(voice), full_check=True)
    assert voice.stat().st_mode & 0o777 == 0o640
    assert list_names(voice.parent) == ["a.onnx", "a.onnx.json"]
    [chunk] = PiperVoice.load(voice, cache_dir=False).synthesize("Hello.", include_alignments=True)
    assert chunk.phoneme_alignments is not None
    samples = sum(alignment.num_samples for alignment in chunk.phoneme_alignments)
    assert samples == len(chunk.audio_float_array)


def test_a_voice_with_durations_is_left_alone(
    voice: Path, tiny_voice: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(voice)]) == 0
    for model in (voice, tiny_voice):
        before = (model.read_bytes(), model.stat().st_mtime_ns)
        assert main([str(model)]) == 0
        assert "already; nothing was written" in capsys.readouterr().out
        assert (model.read_bytes(), model.stat().st_mtime_ns) == before


def test_another_file_and_a_name(voice: Path, tmp_path: Path) -> None:
    before = voice.read_bytes()
    other = tmp_path / "new" / "b.onnx"
    assert main([str(voice), "--output", str(other), "--tensor-name", "durations"]) == 0
    assert voice.read_bytes() == before
    assert len(run(other)) == 2


def test_a_link_stays_a_link(voice: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.onnx"
    link.symlink_to(voice)
    assert main([str(link)]) == 0
    assert link.is_symlink()
    assert len(run(voice)) == 2


def test_a_value_that_is_not_the_durations(voice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = voice.read_bytes()
    error = fail(capsys, voice, "--tensor-name", "nonsense")
    assert f"{voice} has no value 'nonsense'" in error
    node = next(node for node in onnx.load(voice).graph.node if node.op_type == "Exp")
    error = fail(capsys, voice, "--tensor-name", node.output[0])
    assert f"{node.output[0]} does not hold the frames of each phoneme" in error
    assert voice.read_bytes() == before
    assert list_names(voice.parent) == ["a.onnx", "a.onnx.json"]


def write_model(path: Path, *, ceils: int, outputs: int = 1) -> Path:
    """Write an ONNX file that is no voice."""
    nodes = [helper.make_node("Ceil", ["input"], [f"up{i}"]) for i in range(ceils)]
    nodes += [helper.make_node("Neg", ["input"], [f"output{i}"]) for i in range(outputs)]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
        for name in ("input", *(f"output{i}" for i in range(outputs)))
    ]
    graph = helper.make_graph(nodes, "other", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 15)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_what_cannot_be_patched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.onnx"
    assert f"{path} does not exist" in fail(capsys, path)
    path.write_bytes(b"text")
    assert f"{path} is not an ONNX model" in fail(capsys, path)
    for values, part in (
        ({"ceils": 0}, f"{path} has no Ceil node"),
        ({"ceils": 2}, "has 2 Ceil nodes where a voice has one; choose the durations with "),
        ({"ceils": 1, "outputs": 2}, f"{path} has the outputs output0, output1, but only"),
        ({"ceils": 1}, f"{path} cannot be patched: {path} is not a Piper voice"),
    ):
        write_model(path, **values)
        before = path.read_bytes()
        error = fail(capsys, path)
        assert part in error
        assert path.read_bytes() == before
    assert list_names(tmp_path) == ["x.onnx"]


def test_a_place_that_cannot_be_written(voice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot be read or written" in fail(capsys, voice, "--output", voice / "b.onnx")
