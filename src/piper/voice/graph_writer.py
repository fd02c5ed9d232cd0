"""Writes ONNX nodes one by one, and shares equal constants."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from piper.errors import ExportError
from piper.voice.graph_config import count

if TYPE_CHECKING:
    import onnx

OPSET = 15
"""As in published voices, so that every client that speaks those reads ours."""
COMPACT_OPSET = 20
"""For graphs that only this package runs: it has layer norm and GELU as single nodes."""
QUICK_OPSET = 17
"""It has layer norm as a single node; ONNX Runtime reads it since 1.12, of 2022."""
_IR_VERSIONS = {OPSET: 8, QUICK_OPSET: 8, COMPACT_OPSET: 9}

Input = str | float | Sequence[float] | np.ndarray
"""The name of a value, or a constant."""
TensorSpec = tuple[str, type, Sequence[str | int]]
"""Name, dtype and axes of an input or output; an axis is a number, or a name where it varies."""


@dataclass(frozen=True)
class VoiceParts:
    """A voice's graph in three parts; their inputs and outputs say those who write them.

    Attributes:
        text: Ids to durations, and to what the flow wants.
        flow: That to `z`, frame by frame.
        decoder: `z` to samples.
        speakers: (number of speakers, C) float32; None with one speaker.
        flow_context_frames: Frames to each side that a frame of `z` depends on.
        decoder_context_frames: Frames to each side that a frame's samples depend on.
        num_symbols: Ids that the graph knows.
        max_difference: Largest difference of a sample from the whole graph's, of a full scale of 1.
    """

    text: onnx.ModelProto
    flow: onnx.ModelProto
    decoder: onnx.ModelProto
    speakers: np.ndarray | None
    flow_context_frames: int
    decoder_context_frames: int
    num_symbols: int
    max_difference: float = 1e-4


def import_onnx() -> ModuleType:
    """Return the package `onnx`, which only writing and rewriting voices needs."""
    try:
        import onnx
    except ImportError:
        raise ExportError(
            "Writing or taking apart a voice needs the Python package 'onnx'; "
            "install it with: pip install onnx"
        ) from None
    return onnx


class GraphWriter:
    """A growing ONNX graph; a value is known by its name.

    Args:
        constants: Name to array: the arrays that nodes may use by these names.
        opset: The set of operators to write for; `COMPACT_OPSET` makes fewer nodes.
        into: Another writer, into whose graph this one writes with constants of its own.
    """

    def __init__(
        self,
        constants: Mapping[str, np.ndarray],
        *,
        opset: int = OPSET,
        into: GraphWriter | None = None,
    ) -> None:
        if into is not None:
            opset = into._opset
        self.is_compact = opset == COMPACT_OPSET
        self._opset: int = opset
        self._helper = import_onnx().helper
        self._numpy_helper = import_onnx().numpy_helper
        self.constants = constants
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._shared: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._scope: list[str] = []
        self._names: dict[str, int] = {}
        if into is not None:
            self._nodes, self._initializers = into._nodes, into._initializers
            self._shared, self._names = into._shared, into._names

    @contextmanager
    def scope(self, name: str) -> Iterator[str]:
        """Put the nodes written inside under a name; gives the full name, as in a checkpoint."""
        self._scope.append(name)
        try:
            yield ".".join(self._scope)
        finally:
            self._scope.pop()

    def op(
        self, kind: str, *inputs: Input, outputs: int = 1, name: str = "", **attributes: Any
    ) -> Any:
        """Write one node; `writer.Mul(x, 2.0)` is short for `writer.op("Mul", x, 2.0)`.

        Args:
            kind: The operator.
            inputs: Names of values; what is none is a constant.
            outputs: How many.
            name: Of the output.
            attributes: The operator's.

        Returns:
            The output's name, or a list of names if there are several.
        """
        values = [one if isinstance(one, str) else self.constant(one) for one in inputs]
        node_name = self._unique("/".join(["", *self._scope, kind]))
        names = [name or node_name]
        if kind == "Split" and self.is_compact and len(values) == 1:
            attributes["num_outputs"] = outputs
        if outputs > 1:
            names = [f"{node_name}:{i}" for i in range(outputs)]
        self._nodes.append(
            self._helper.make_node(kind, values, names, name=node_name, **attributes)
        )
        return names if outputs > 1 else names[0]

    def __getattr__(self, kind: str) -> Callable[..., Any]:
        if not kind[:1].isupper():
            raise AttributeError(kind)
        return partial(self.op, kind)

    def mask(self, x: str, mask: str | None) -> str:
        """Write a product with a mask; without a mask, where nothing is padded, nothing."""
        return x if mask is None else self.Mul(x, mask)

    def split(self, x: str, parts: int, *, axis: int) -> list[str]:
        """Write a split into equal parts, of which there may be one."""
        if parts == 1:
            return [x]
        return list(self.Split(x, outputs=parts, axis=axis))

    def last_numbered(self, module: str) -> int:
        """Return the highest number of the modules `module.0`, `module.1`, …; -1 without any."""
        return count(self.constants, ".".join([*self._scope, module])) - 1

    def has(self, name: str) -> bool:
        """Say whether there is a constant of this name, relative to the scope."""
        return ".".join([*self._scope, name]) in self.constants

    def array(self, name: str) -> np.ndarray:
        """Return the constant of this name, relative to the scope."""
        full = ".".join([*self._scope, name])
        if full not in self.constants:
            raise ExportError(
                f"The weights have no {full.partition(':')[0]!r}; "
                "they are not those of a whole Piper voice."
            )
        return self.constants[full]

    def weight(self, name: str) -> str:
        """Return the name of a constant of the network, given relative to the scope."""
        array = self.array(name)
        full = ".".join([*self._scope, name])
        if full not in self._initializers:
            self._initializers[full] = self._numpy_helper.from_array(array, full)
        return full

    def outside(self, name: str) -> np.ndarray:
        """Return the constant of this full name, whatever the scope."""
        return self.constants[name]

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Return the name of a small constant; equal ones are written once.

        Numbers with a point become float32, others int64, where no type is given.
        """
        array: np.ndarray = np.asarray(value)
        array = array.astype(dtype or (np.float32 if array.dtype.kind == "f" else np.int64))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._shared:
            name = f"constant_{len(self._shared)}"
            self._shared[key] = name
            self._initializers[name] = self._numpy_helper.from_array(array, name)
        return self._shared[key]

    def gelu(self, x: str) -> Any:
        """Write x Φ(x) in the form that ONNX Runtime fuses. Source: Hendrycks and Gimpel 2016."""
        if self.is_compact:
            return self.Gelu(x)
        inner = self.Erf(self.Div(x, math.sqrt(2.0)))
        return self.Mul(self.Mul(x, self.Add(inner, 1.0)), 0.5)

    def conv(self, x: str, module: str, *, dilation: int = 1, groups: int = 1) -> str:
        """Write a convolution over the last axis that keeps its length.

        Args:
            x: (B, C, P), or (B, C, 1, T) where the weight has an axis of height too.
            module: Name of the layer, relative to the scope.
            dilation: Steps between the taps.
            groups: C for a depthwise convolution.
        """
        inputs = [x, self.weight(self._folded(f"{module}.weight"))]
        bias = self._folded(f"{module}.bias")
        # Only the decoder's last convolution has none.
        if self.has(bias) or module != "conv_post":
            inputs.append(self.weight(bias))
        *flat, kernel = self.array(self._folded(f"{module}.weight")).shape[2:]
        margin = dilation * (kernel - 1)
        still = [0] * len(flat)
        with self.scope(module):
            return self.Conv(
                *inputs,
                kernel_shape=[*flat, kernel],
                dilations=[*flat, dilation],
                pads=[*still, margin // 2, *still, margin - margin // 2],
                group=groups,
            )

    def conv_transpose(self, x: str, module: str, *, stride: int) -> str:
        """Write a transposed convolution that makes the last axis `stride` times longer."""
        name = self._folded(f"{module}.weight")
        inputs = [x, self.weight(name), self.weight(f"{module}.bias")]
        *flat, kernel = self.array(name).shape[2:]
        margin = kernel - stride
        still = [0] * len(flat)
        with self.scope(module):
            return self.ConvTranspose(
                *inputs,
                kernel_shape=[*flat, kernel],
                strides=[*flat, stride],
                pads=[*still, margin // 2, *still, margin - margin // 2],
            )

    def _folded(self, name: str) -> str:
        """Return the name under which folding has left a weight or bias."""
        changed = (f"{name}:{change}" for change in ("flipped", "scaled", "spline"))
        return next((other for other in changed if self.has(other)), name)

    def finish(
        self,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        metadata: Mapping[str, str],
    ) -> onnx.ModelProto:
        """Return the model."""
        graph = self._helper.make_graph(
            self._nodes,
            "piper",
            [self._value(*value) for value in inputs],
            [self._value(*value) for value in outputs],
            list(self._initializers.values()),
        )
        model = self._helper.make_model(
            graph,
            opset_imports=[self._helper.make_opsetid("", self._opset)],
            ir_version=_IR_VERSIONS[self._opset],
            producer_name="piper",
        )
        set_metadata(model, metadata)
        return model

    def _value(self, name: str, dtype: type, axes: Sequence[str | int]) -> onnx.ValueInfoProto:
        kind = self._helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self._helper.make_tensor_value_info(name, kind, list(axes))

    def _unique(self, name: str) -> str:
        number = self._names.get(name, 0)
        self._names[name] = number + 1
        return f"{name}_{number}" if number else name


def set_metadata(model: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    """Store texts in a model's metadata; keys already there are replaced, others stay."""
    merged = {entry.key: entry.value for entry in model.metadata_props} | dict(metadata)
    del model.metadata_props[:]
    for key, value in merged.items():
        model.metadata_props.add(key=key, value=value)
