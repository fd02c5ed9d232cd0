"""Parts of a step compiled by `torch.compile` or recorded as CUDA graphs, and run as they are where
that is of no use.

The decoder, whose pieces are of one length, and the duration predictor's couplings: they are more
than half of a step's kernels and hardly any of its arithmetic. The discriminators are left out: a
compiled backward pass computes the gradients of weights and audio both, and the step asks for each
alone.
"""

from __future__ import annotations

import logging
import os
import shutil
import sysconfig
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MethodType
from typing import Any, cast

import torch
from torch import Tensor, nn

from piper.errors import ConfigError, describe_briefly
from piper.train.steps.gan import GanStep
from piper.train.vits.durations import SplineCoupling
from piper.train.vits.network import VitsSynthesizer

UPDATES_WORTH_COMPILING = 10_000
"""Updates from which on `auto` compiles. Compiling takes some two minutes; training gains a factor
of 1.41 in the geometric mean of many networks (Ansel et al. 2024, "PyTorch 2", on an A100). At a
gain of 0.05 only, of a quarter of a second an update, 10,000 updates repay it."""

_RECOMPILATIONS = 64
"""Variants of one function before dynamo gives up: one for each batch size that it takes for a
constant, and each state of autocast."""

CALLS_BEFORE_RECORDING = 3
"""In which libraries choose their kernels and make their plans, which a graph cannot hold."""
MAX_GRAPHS = 4
"""Each has memory of its own; there is one for whole batches, and one for an epoch's last."""

_LOGGER = logging.getLogger(__name__)


Work = Callable[[Sequence[Tensor], Sequence[Tensor]], dict[str, Tensor]]
"""Takes leaves, which it gives gradients, and other tensors; returns named numbers."""


class Compiler:
    """Whether torch.compile has done what was asked of it until now."""

    works = True


class CompiledForward:
    """A module's compiled forward pass for training's pieces, its plain one for all else.

    Where compiling fails, the plain one serves from then on, and a line says why.

    Args:
        module: Whose forward pass is compiled; its state dict stays as it is.
        length: Size of the last axis of the pieces. Whole utterances have others, each of which
            would be compiled anew. None compiles once for all lengths.
        compiler: Shared by all parts, so that none tries again where another has failed.
    """

    def __init__(self, module: nn.Module, length: int | None, compiler: Compiler) -> None:
        self.module = module
        self.length = length
        self.compiler = compiler
        self.plain: Callable[..., Any] = MethodType(type(module).forward, module)
        self.compiled: Callable[..., Any] = torch.compile(
            self.plain, dynamic=True if length is None else None
        )

    def __call__(self, x: Tensor, *others: Any) -> Any:
        """Run the module on x (B, C, length) or on another length."""
        is_piece = self.module.training and self.length in (None, x.shape[-1])
        if not (is_piece and self.compiler.works):
            return self.plain(x, *others)
        try:
            return self.compiled(x, *others)
        except torch.OutOfMemoryError:
            raise  # of the batch, not of the compiler
        except Exception as error:  # of dynamo, inductor, Triton, a compiler or a driver
            self.compiler.works = False
            _LOGGER.warning(
                "torch.compile failed, so the network runs as it is (%s); --model.compile=off "
                "spares the attempt.",
                describe_briefly(error),
            )
        return self.plain(x, *others)


class Recorded:
    """Work on tensors of one shape as CUDA graphs, of which each is launched at once.

    A graph is recorded for each set of shapes after some calls with it, and reads and writes
    always the same memory. Where recording fails, the work is done as before, and a line says why.

    Args:
        work: It must draw no random numbers and copy nothing to the host.
        networks: To whose weights it adds gradients; no other work does so in an update.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Tensor], Sequence[Tensor]], dict[str, Tensor]],
        *networks: Any,
    ) -> None:
        self._work = work
        self._networks = networks
        self._calls: Counter[Any] = Counter()
        self._graphs: dict[Any, _Graph] = {}
        self._works = True
        self._too_large: set[Any] = set()

    def __call__(self, leaves: Sequence[Tensor], given: Sequence[Tensor]) -> dict[str, Tensor]:
        """Do the work, or let its graph do it."""
        weights = [p for network in self._networks for p in network.parameters()]
        learns = tuple(p.requires_grad for p in weights)
        shapes = tuple((t.shape, t.dtype) for t in (*leaves, *given))
        key = (len(leaves), shapes, learns)
        graph = self._graphs.get(key)
        is_known = self._calls[key] >= CALLS_BEFORE_RECORDING and key not in self._too_large
        if graph is None and self._works and is_known:
            learning = [p for p in weights if p.requires_grad]
            graph = self._record(key, leaves, given, learning)
        self._calls[key] += 1
        return self._work(leaves, given) if graph is None else graph.run(leaves, given)

    def _record(
        self, key: Any, leaves: Sequence[Tensor], given: Sequence[Tensor], weights: list[Any]
    ) -> _Graph | None:
        if len(self._graphs) == MAX_GRAPHS:
            return None
        before = [weight.grad for weight in weights]
        # Halves of weights that were made before would not be made again by the graph.
        torch.clear_autocast_cache()
        try:
            self._graphs[key] = _Graph(self._work, leaves, given, weights)
        except torch.OutOfMemoryError:  # smaller batches may have room for one
            self._too_large.add(key)
        except Exception as error:  # of CUDA or a driver
            self._works = False
            _LOGGER.warning(
                "No CUDA graph could be recorded, so the network runs as it is (%s); "
                "--model.compile=on spares the attempt.",
                describe_briefly(error),
            )
        finally:
            torch.clear_autocast_cache()
            for weight, gradient in zip(weights, before, strict=True):
                weight.grad = gradient
        return self._graphs.get(key)


class _Graph:
    """One recording: what it reads, and what it writes."""

    def __init__(
        self,
        work: Work,
        leaves: Sequence[Tensor],
        given: Sequence[Tensor],
        weights: list[nn.Parameter],
    ) -> None:
        self._leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
        self._given = [tensor.detach().clone() for tensor in given]
        self._weights: list[nn.Parameter] = []
        self._names: list[str] = []

        def record() -> list[Tensor]:
            for tensor in (*self._leaves, *weights):
                tensor.grad = None  # so that gradients are made in the graph's own memory
            named = work(self._leaves, self._given)
            self._names = list(named)
            self._weights = [weight for weight in weights if weight.grad is not None]
            gradients = [tensor.grad for tensor in (*self._leaves, *self._weights)]
            return [torch.stack([*named.values()]), *cast(list[Tensor], gradients)]

        self._replay, (self._numbers, *gradients) = record_graph(record)
        self._of_leaves = gradients[: len(leaves)]
        self._of_weights = gradients[len(leaves) :]

    @torch.no_grad()
    def run(self, leaves: Sequence[Tensor], given: Sequence[Tensor]) -> dict[str, Tensor]:
        """Do the recorded work on other tensors of these shapes."""
        torch._foreach_copy_([*self._leaves, *self._given], [*leaves, *given])
        # An earlier part of the update: its gradients lie where those of this one come to.
        kept = [None if p.grad is None else p.grad.clone() for p in self._weights]
        self._replay()
        for weight, own, earlier in zip(self._weights, self._of_weights, kept, strict=True):
            weight.grad = own if earlier is None else own + earlier
        for leaf, gradient in zip(leaves, self._of_leaves, strict=True):
            leaf.grad = gradient
        return dict(zip(self._names, self._numbers.clone().unbind(), strict=True))


def record_graph(work: Callable[[], list[Tensor]]) -> tuple[Callable[[], None], list[Tensor]]:
    """Record a CUDA graph; return what replays it, and the tensors that it fills."""
    graph = torch.cuda.CUDAGraph()
    # Other threads, which load data, may ask CUDA for memory meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        results = work()
    return graph.replay, results


def record_step(step: GanStep) -> None:
    """Let all that works on pieces of one length run as a CUDA graph."""
    step.decode_pieces = Recorded(step.decode_pieces, step.generator.dec, *step.discriminators)


def compile_generator(generator: VitsSynthesizer, *, with_decoder: bool = True) -> None:
    """Compile the parts of the generator that gain by it, at their next call in training.

    What is random (dropout) and what is saved (the state dict) stays as it was.
    """
    import torch._dynamo

    torch._dynamo.config.recompile_limit = _RECOMPILATIONS
    compiler = Compiler()
    parts: list[tuple[nn.Module, int | None]] = []
    if with_decoder:
        parts.append((generator.dec, generator.config.segment_frames))
    parts += [(part, None) for part in generator.modules() if isinstance(part, SplineCoupling)]
    for module, length in parts:
        module.forward = CompiledForward(module, length, compiler)


def should_compile(choice: str, device: torch.device, updates: float) -> bool:
    """Return whether to compile: not for `off`, for `auto` on a GPU in a run that repays it."""
    if choice not in ("off", "on", "graphs", "auto"):
        raise ConfigError(f"--model.compile is {choice!r}: choose off, on, graphs or auto.")
    is_worth_it = device.type == "cuda" and updates >= UPDATES_WORTH_COMPILING
    if choice == "off" or (choice == "auto" and not is_worth_it):
        return False
    missing = find_missing(device)
    if missing is not None:
        _LOGGER.warning("--model.compile=%s: nothing is compiled, for want of %s.", choice, missing)
    return missing is None


def find_missing(device: torch.device) -> str | None:
    """What this machine lacks to compile kernels for a device, or None."""
    if device.type != "cuda":
        has_compiler = _has_program("CXX", "g++", "clang++")
        return None if has_compiler else "a C++ compiler (apt-get install g++)"
    if find_spec("triton") is None:
        return "Triton (pip install triton)"
    if not _has_program("CC", "gcc", "clang"):
        return "a C compiler (apt-get install gcc)"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "Python's headers (apt-get install python3-dev)"
    return None


def _has_program(variable: str, *names: str) -> bool:
    """Whether a program is named by a variable of the environment, or found by one of its names."""
    return variable in os.environ or any(shutil.which(name) for name in names)
