"""Gives a voice's ONNX its durations as a second output, for clients that look for them there.

Piper Workshop times any voice as it is (`piper.voice.cache`); others need the output. Shapes: B
batch, P phonemes.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from piper.errors import ExportError, describe_os_error, name_some
from piper.files import replace_on_success
from piper.voice.graph_writer import import_onnx
from piper.voice.session import NetworkOutput, SpeechSettings, VoiceSession
from piper.voice.weights import read_model

if TYPE_CHECKING:
    import onnx

_DURATIONS_NODE = "Ceil"
_TEST_IDS = (1, 0, 3, 0, 4, 0, 2)
"""Any few ids; all voices have more symbols than these."""
_TEST_LENGTH_SCALES = (1.0, 2.5)


def patch_voice(
    path: Path | str, output: Path | str | None = None, *, tensor_name: str | None = None
) -> bool:
    """Write a voice with its durations as the second output; its speech stays the same.

    Args:
        path: The voice's ONNX.
        output: Where to; None replaces the voice.
        tensor_name: The value that holds the durations; None finds the graph's single `Ceil`.

    Returns:
        Whether something was written: a voice that has the output already is left alone.
    """
    path = Path(path)
    model = read_model(path)
    if not add_alignment_output(model, str(path), tensor_name):
        return False
    # A link stays one: what it points to is replaced.
    target = (path if output is None else Path(output)).resolve()
    try:
        with replace_on_success(target) as temporary:
            import_onnx().save(model, temporary)
            _check_durations(temporary, path, tensor_name)
            shutil.copymode(path, temporary)
    except OSError as error:
        raise ExportError(describe_os_error(error)) from None
    return True


def add_alignment_output(
    model: onnx.ModelProto, source: str, tensor_name: str | None = None
) -> bool:
    """Declare the durations, (B, 1, P) in frames, as the second output of a model, in place.

    Args:
        model: A voice's graph.
        source: What to call it in errors.
        tensor_name: The value that holds the durations; None finds the graph's single `Ceil`.

    Returns:
        False where the model has that output already.
    """
    name = tensor_name or _find_durations(model.graph, source)
    outputs = [value.name for value in model.graph.output]
    if outputs[1:2] == [name]:
        return False
    if len(outputs) != 1:
        raise ExportError(
            f"{source} has the outputs {', '.join(outputs)}, but only a voice whose one output is "
            "the speech can be patched; take the voice as it was published."
        )
    if not any(name in node.output for node in model.graph.node):
        raise ExportError(
            f"{source} has no value {name!r}; leave out --tensor-name to find the durations."
        )
    model.graph.output.append(_describe_value(model, name))
    return True


def _find_durations(graph: onnx.GraphProto, source: str) -> str:
    found = [node.output[0] for node in graph.node if node.op_type == _DURATIONS_NODE]
    if len(found) == 1:
        return str(found[0])
    if found:
        raise ExportError(
            f"{source} has {len(found)} {_DURATIONS_NODE} nodes where a voice has one; choose the "
            f"durations with --tensor-name from {name_some(found)}."
        )
    raise ExportError(
        f"{source} has no {_DURATIONS_NODE} node, by which a voice's durations are known; "
        "is it a Piper voice?"
    )


def _describe_value(model: onnx.ModelProto, name: str) -> onnx.ValueInfoProto:
    """Return the type of a value, from shape inference where that knows it."""
    onnx = import_onnx()
    for value in onnx.shape_inference.infer_shapes(model).graph.value_info:
        if value.name == name:
            return value
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)


def _check_durations(path: Path, original: Path, tensor_name: str | None) -> None:
    """Speak a few ids at two speeds, and compare the durations with the sound."""
    try:
        session = VoiceSession(path)
        outputs = [
            session.run(_TEST_IDS, SpeechSettings(length_scale=length))
            for length in _TEST_LENGTH_SCALES
        ]
    except Exception as error:  # onnxruntime's errors have no public base class
        reason = " ".join(str(error).replace(str(path), str(original)).split())
        raise ExportError(f"{original} cannot be patched: {reason:.300}") from error
    hops = {_find_hop(output) for output in outputs}
    if len(hops) != 1 or None in hops:
        value = "its Ceil node's output" if tensor_name is None else tensor_name
        raise ExportError(
            f"{original} was left as it is, because {value} does not hold the frames of each "
            "phoneme; choose another with --tensor-name."
        )


def _find_hop(output: NetworkOutput) -> int | None:
    """Return the samples of a frame; None where the durations are not frames of the sound."""
    durations = output.durations_frames
    if durations is None or len(durations) != len(_TEST_IDS) or not durations.sum():
        return None
    hop, rest = divmod(len(output.audio), int(durations.sum()))
    return None if rest else hop
